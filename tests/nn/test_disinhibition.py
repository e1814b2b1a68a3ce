"""Circuits that learn by a local rule: where they settle, and what their synapses are told."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor, nn
from torch.nn import functional

import neurosim as ns
from neurosim.nn import DisinhibitoryNetwork
from neurosim.nn.disinhibition import equilibrium
from neurosim.random import stream


def normal(*shape: int, name: str = "x") -> Tensor:
    return stream(7, name).normal(shape, like=torch.empty(0, dtype=torch.float64))


def network(*sizes: int, **arguments: Any) -> DisinhibitoryNetwork:
    """In float64, with weights of a size at which the units are not linear."""
    made = DisinhibitoryNetwork(sizes, **arguments).double()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_(normal(*parameter.shape, name=name) / parameter.shape[-1] ** 0.5)
    return made


def gradients(model: nn.Module, x: Tensor, targets: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    functional.cross_entropy(model(x), targets).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_the_equilibrium_is_the_root_that_bisection_finds() -> None:
    def softplus(x: float) -> float:
        return float(functional.softplus(torch.tensor(x, dtype=torch.float64)))

    drives = [-40.0, -5.0, -0.3, 0.0, 0.7, 4.0, 50.0, 1000.0]
    found = equilibrium(torch.tensor(drives, dtype=torch.float64))
    for drive, u in zip(drives, found.tolist(), strict=True):
        wanted = brentq(lambda u, a=drive: u + softplus(softplus(u)) - a, min(drive, 0) - 1, max(drive, 0))
        assert u == pytest.approx(wanted, rel=1e-10, abs=1e-10)


def test_the_gradient_of_the_equilibrium_is_that_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(equilibrium, (3 * normal(20)).requires_grad_())


def test_the_circuit_without_its_controller_stays_where_the_forward_pass_says() -> None:
    made = network(5, 7, 6, 3, k_p=0.0, k_i=0.0)
    x = normal(4, 5)
    learned = made.local_update(x, torch.tensor([0, 1, 2, 0]))
    assert torch.allclose(learned.outputs, made(x))
    assert torch.allclose(learned.controlled, made(x), atol=1e-12)
    assert all(float(gradient.abs().max()) < 1e-12 for gradient in learned.gradients.values())


def test_the_circuit_settles_whatever_the_step_of_the_simulation() -> None:
    x, targets = normal(4, 5), torch.tensor([0, 1, 2, 0])
    coarse, fine = (network(5, 7, 6, 3, dt=dt, settle=2.0).local_update(x, targets) for dt in (5e-3, 1e-3))
    assert torch.allclose(coarse.controlled, fine.controlled, atol=1e-7)
    assert all(torch.allclose(coarse.gradients[name], fine.gradients[name], atol=1e-7) for name in fine.gradients)


def test_the_controller_brings_the_outputs_nearer_to_the_targets() -> None:
    made, x, targets = network(5, 20, 20, 3), normal(16, 5), torch.arange(16) % 3
    learned = made.local_update(x, targets)
    before, after = (functional.cross_entropy(y, targets, reduction="none") for y in (learned.outputs, learned.controlled))
    assert bool((after < before).all())


def test_with_weak_feedback_every_synapse_of_a_layer_learns_a_known_positive_multiple_of_its_gradient() -> None:
    """The gradient at a unit of the only layer is −e·w φ'(u)/(1 + φ'(v)φ'(u)); the rule gives −c·w φ'(u)² φ'(v), c = (k_P + k_I) e."""
    gain = 1e-5
    made = network(5, 9, 4, normalize=False, k_p=gain, k_i=gain, settle=3.0)
    x, target = normal(1, 5), torch.tensor([2])
    learned = made.local_update(x, target)
    hidden = made.hidden[0]
    assert isinstance(hidden, nn.Linear)
    u = equilibrium(hidden(x)).detach()
    slope_e, slope_i = torch.sigmoid(u), torch.sigmoid(functional.softplus(u))
    factor = 2 * gain * slope_e * slope_i * (1 + slope_e * slope_i)
    true = gradients(made, x, target)
    assert torch.allclose(learned.gradients["hidden.0.weight"], factor.mT * true["hidden.0.weight"], rtol=1e-3)
    assert torch.allclose(learned.gradients["hidden.0.bias"], factor[0] * true["hidden.0.bias"], rtol=1e-3)
    assert torch.allclose(learned.gradients["readout.weight"], 2 * gain * true["readout.weight"], rtol=1e-3)


@pytest.mark.parametrize("rule", ["exact", "linear"])
def test_what_is_learned_points_down_the_loss_in_every_layer(rule: Any) -> None:
    made, x, targets = network(8, 20, 20, 20, 4, rule=rule), normal(64, 8), torch.arange(64) % 4
    true, learned = gradients(made, x, targets), made.local_update(x, targets).gradients
    assert set(learned) == set(true)
    for name, gradient in learned.items():
        assert float(functional.cosine_similarity(gradient.flatten(), true[name].flatten(), 0)) > 0.5, name


def test_the_two_rules_agree_where_inhibition_varies_little() -> None:
    """Near the point of expansion the rate tells the potential: the difference falls with the square of the distance."""
    x, targets = normal(16, 8), torch.arange(16) % 4

    def difference(spread: float) -> float:
        exact, linear = (network(8, 12, 4, rule=rule, k_p=spread, k_i=spread) for rule in ("exact", "linear"))
        one, other = (made.local_update(spread * x, targets).gradients["hidden.0.bias"] for made in (exact, linear))
        return float((one - other).norm())

    assert difference(0.02) / difference(0.01) == pytest.approx(4, rel=0.1)


def test_steps_along_the_rule_lower_the_loss() -> None:
    made, x = network(8, 16, 4, settle=0.25), normal(64, 8)
    targets = (x @ normal(8, 4, name="teacher")).argmax(1)
    losses = []
    for _ in range(30):
        learned = made.local_update(x, targets)
        losses.append(float(functional.cross_entropy(learned.outputs, targets)))
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                parameter.sub_(learned.gradients[name])
    assert losses[-1] < 0.8 * losses[0]


def test_average_feedback_is_one_matrix_for_all_samples() -> None:
    made = network(5, 7, 6, 3, feedback="average", normalize=True)
    for effect in made._feedback(made._open(normal(4, 5))):
        assert torch.equal(effect, effect[:1].expand_as(effect))
        assert float(torch.linalg.matrix_norm(effect[0]).detach()) == pytest.approx(1)


def test_learning_leaves_no_graph_and_changes_no_weight() -> None:
    made = network(5, 7, 3)
    before = copy.deepcopy(made.state_dict())
    learned = made.local_update(normal(4, 5), torch.tensor([0, 1, 2, 0]))
    assert not any(value.requires_grad for value in (learned.outputs, learned.controlled, *learned.gradients.values()))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert all(parameter.grad is None for parameter in made.parameters())


def test_the_forward_pass_compiles_without_a_break() -> None:
    made, x = network(5, 7, 3), normal(4, 5)
    assert torch.allclose(torch.compile(made, fullgraph=True, backend="aot_eager")(x), made(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": [3, 2]}, r"DisinhibitoryNetwork\.sizes: must be at least three integers, with a hidden layer, got \[3, 2\]"),
        ({"rule": "exakt"}, r"DisinhibitoryNetwork\.rule: must be one of .*, got 'exakt'; did you mean 'exact'\?"),
        ({"feedback": "random"}, r"DisinhibitoryNetwork\.feedback: must be one of .*, got 'random'"),
        ({"k_p": -1.0}, r"DisinhibitoryNetwork\.k_p: must be 0 or more and finite, got -1"),
        ({"tau_e": 0.0}, r"DisinhibitoryNetwork\.tau_e: must be more than 0 seconds and finite, got 0"),
        ({"dt": 6e-3}, r"DisinhibitoryNetwork\.dt: must be at most every time constant and settle, .* got 0.006 s"),
    ],
)
def test_arguments_out_of_their_domain_are_refused(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"sizes": [4, 3, 2], **arguments}
    with pytest.raises(ns.ConfigError, match=message):
        DisinhibitoryNetwork(**given)


@pytest.mark.parametrize("targets", [torch.tensor([0, 1]), torch.tensor([0, 1, 3]), torch.tensor([0, -1, 1]), torch.rand(3)])
def test_targets_that_are_no_classes_are_refused(targets: Tensor) -> None:
    with pytest.raises(ns.ConfigError, match="targets must be one class below 3 for each of 3 samples"):
        network(5, 7, 3).local_update(normal(3, 5), targets)


@pytest.mark.parametrize("shape", [(3, 4), (5,), (3, 2, 3)])
def test_an_input_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    model = network(5, 7, 3)
    for call in (model, lambda x: model.local_update(x, torch.zeros(len(x), dtype=torch.int64))):
        with pytest.raises(ns.ConfigError, match=r"DisinhibitoryNetwork: x must have 5 features a sample, \(batch, \*\), got shape"):
            call(normal(*shape))
