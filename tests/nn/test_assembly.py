"""Recurrent areas that contract: the certificate, and trajectories that keep to it."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.nn import Assembly
from neurosim.nn.assembly import AssemblyState, area_weights, feedback
from neurosim.random import stream

CERTIFIED = ("spectral", "diagonal", "symmetric")
AREAS, UNITS = 3, 5
SIZE = AREAS * UNITS


def normal(*shape: int, name: str = "x") -> Tensor:
    return stream(11, name).normal(shape, like=torch.empty(0, dtype=torch.float64))


def network(condition: Any, *, strength: float = 1.0, **arguments: Any) -> Assembly:
    """In float64, with weights that are ``strength`` times as large as at the beginning, and a metric that is not the plain one."""
    made = Assembly(AREAS, UNITS, condition, source=stream(4, "assembly"), **arguments).double()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.mul_(strength)
            if name == "log_theta":
                parameter.add_(normal(*parameter.shape, name="theta"))
    return made


def in_metric(matrix: Tensor, metric: Tensor) -> float:
    """The norm of a matrix that the metric's norm of vectors gives: ‖M^½ A M^−½‖₂."""
    root = torch.linalg.cholesky(metric, upper=True)
    return float(torch.linalg.matrix_norm(root @ matrix @ torch.linalg.inv(root), 2))


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("strength", [0.3, 1.0, 30.0])
@pytest.mark.parametrize("condition", CERTIFIED)
def test_the_step_of_an_area_contracts_in_its_metric_for_every_slope(condition: Any, strength: float, alpha: float) -> None:
    rate = 0.1
    raw, scale = strength * normal(UNITS, UNITS), normal(UNITS, name="scale")
    weight, metric = area_weights(raw, scale, condition, alpha, rate)
    assert float(torch.linalg.eigvalsh(metric).min()) > 0
    one = torch.eye(UNITS, dtype=torch.float64)
    corners = [torch.tensor([(at >> i) & 1 for i in range(UNITS)], dtype=torch.float64) for at in range(2**UNITS)]
    inside = stream(11, "slopes").uniform((100, UNITS), like=raw)
    norms = [in_metric((1 - alpha) * one + alpha * slopes[:, None] * weight, metric) for slopes in (*corners, *inside)]
    assert max(norms) <= (1 - alpha * rate) * (1 + 1e-9)


def test_the_symmetric_condition_allows_more_than_the_spectral_one() -> None:
    weight, _ = area_weights(3 * normal(UNITS, UNITS), normal(UNITS), "symmetric", 0.25, 0.1)
    eigenvalues = torch.linalg.eigvalsh(weight)
    assert torch.equal(weight, weight.mT)
    assert float(eigenvalues.max()) <= 0.9 + 1e-12
    assert -(2 / 0.25 - 1.1) - 1e-9 <= float(eigenvalues.min()) < -3


def test_the_bounds_of_the_symmetric_condition_cannot_be_widened() -> None:
    """At the lowest eigenvalue that it allows, with all slopes at 1, the step is as long as κ: −κ = 1 − α + α λ."""
    alpha, rate = 0.5, 0.1
    weight, metric = area_weights(100 * normal(UNITS, UNITS), normal(UNITS), "symmetric", alpha, rate)
    step = (1 - alpha) * torch.eye(UNITS, dtype=torch.float64) + alpha * weight
    assert in_metric(step, metric) == pytest.approx(1 - alpha * rate, rel=1e-9)


@pytest.mark.parametrize("condition", CERTIFIED)
def test_coupling_is_skew_symmetric_in_the_metric_and_its_step_preserves_the_norm(condition: Any) -> None:
    made = network(condition, strength=20.0)
    _, between, metric = made.weights()
    energy = metric @ between
    assert torch.allclose(energy, -energy.mT, atol=1e-9 * float(energy.detach().abs().max()))
    turn = made._turn(between)
    assert torch.allclose(turn.mT @ metric @ turn, metric, atol=1e-9 * float(metric.detach().abs().max()))
    assert float(between.detach().abs().max()) > 5


def test_feedback_answers_every_connection_by_the_metric() -> None:
    """For M = diag(a, b): L₂₁ = B₂₁ and L₁₂ = −B₂₁ b/a."""
    metric = torch.diag(torch.tensor([2.0, 6.0]))
    assert feedback(torch.tensor([[0.0, 0.0], [1.5, 0.0]]), metric).tolist() == [[0.0, -4.5], [1.5, 0.0]]


@pytest.mark.parametrize("coupling", ["all", "chain", "none"])
@pytest.mark.parametrize("function", ["tanh", "relu"])
@pytest.mark.parametrize("strength", [0.5, 1.0, 50.0])
@pytest.mark.parametrize("condition", CERTIFIED)
def test_two_trajectories_approach_each_other_at_the_certified_rate(condition: Any, strength: float, function: Any, coupling: Any) -> None:
    made = network(condition, strength=strength, function=function, coupling=coupling, rate=0.1)
    certificate = made.certificate()
    assert certificate is not None
    u, starts = 3 * normal(60, 4, SIZE), normal(2, 4, SIZE, name="starts")
    one, other = (made.run(u, AssemblyState(start))[0].detach() for start in starts)
    apart = torch.cat([(starts[0] - starts[1])[None], one - other])
    distance = torch.einsum("tbi,ij,tbj->tb", apart, certificate.metric, apart).sqrt()
    assert bool((distance[1:] <= certificate.factor * distance[:-1] * (1 + 1e-9) + 1e-12).all())
    plain = apart.norm(dim=-1)
    steps = torch.arange(61, dtype=torch.float64)[:, None]
    assert bool((plain <= certificate.overshoot * certificate.factor**steps * plain[0] * (1 + 1e-9) + 1e-12).all())


def test_without_a_condition_there_is_no_certificate_and_trajectories_may_part() -> None:
    made = network("free", strength=4.0, coupling="none")
    assert made.certificate() is None
    u, start = torch.zeros(200, 1, SIZE, dtype=torch.float64), normal(1, SIZE)
    one, other = made(u).detach(), made.run(u, AssemblyState(1e-3 * start))[0].detach()
    assert float((one - other)[-1].norm()) > 10 * float(1e-3 * start.norm())


def test_the_certificate_is_of_the_approach_in_a_time_constant() -> None:
    for alpha in (0.1, 0.5, 1.0):
        certificate = network("spectral", alpha=alpha, rate=0.2).certificate()
        assert certificate is not None
        assert certificate.factor ** (1 / alpha) <= math.exp(-0.2)


def test_one_step_is_its_equation() -> None:
    made = network("diagonal", alpha=0.3)
    inner, between, _ = made.weights()
    x, u = normal(2, SIZE), normal(1, 2, SIZE, name="u")
    local = 0.7 * x + 0.3 * torch.tanh(x @ inner.mT + u[0])
    one = torch.eye(SIZE, dtype=torch.float64)
    wanted = torch.linalg.solve(one - 0.15 * between, (local @ (one + 0.15 * between).mT).mT).mT
    assert torch.allclose(made.run(u, AssemblyState(x))[0][0], wanted, atol=1e-12)


def test_small_steps_follow_the_differential_equation() -> None:
    """Order 1: a step half as long makes half the error."""

    def after(steps: int) -> Tensor:
        made = network("spectral", alpha=1 / steps)
        u = normal(1, 2, SIZE).expand(steps, 2, SIZE)
        x: Tensor = made(u)
        return x[-1].detach()

    exact = after(4096)
    errors = [float((after(steps) - exact).norm()) for steps in (16, 32, 64)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)


def test_areas_are_coupled_as_the_coupling_says() -> None:
    linked = {
        name: network("spectral", coupling=name).weights()[1].unflatten(1, (AREAS, UNITS)).unflatten(0, (AREAS, UNITS)).abs().amax((1, 3))
        > 0
        for name in ("all", "chain", "none")
    }
    assert linked["all"].tolist() == [[i != j for j in range(AREAS)] for i in range(AREAS)]
    assert linked["chain"].tolist() == [[abs(i - j) == 1 for j in range(AREAS)] for i in range(AREAS)]
    assert not linked["none"].any()


@pytest.mark.parametrize("condition", [*CERTIFIED, "free"])
def test_gradients_are_those_of_finite_differences(condition: Any) -> None:
    made = network(condition)
    names = [name for name, _ in made.named_parameters()]
    u = normal(3, 2, SIZE)

    def outputs(*values: Tensor) -> Any:
        return torch.func.functional_call(made, dict(zip(names, values, strict=True)), (u,))[-1].sum(0)

    assert torch.autograd.gradcheck(outputs, tuple(parameter.detach().requires_grad_() for parameter in made.parameters()), fast_mode=True)


@pytest.mark.parametrize("condition", [*CERTIFIED, "free"])
def test_a_sequence_can_be_cut_in_time_without_change(condition: Any) -> None:
    made, u = network(condition), normal(9, 2, SIZE)
    first, state = made.run(u[:4])
    second, _ = made.run(u[4:], state)
    assert torch.equal(torch.cat([first, second]), made(u))


@pytest.mark.parametrize("condition", [*CERTIFIED, "free"])
def test_a_network_survives_copying_and_saving(condition: Any) -> None:
    made, u = network(condition), normal(4, 2, SIZE)
    wanted = made(u)
    other = Assembly(AREAS, UNITS, condition, source=stream(5, "other")).double()
    other.load_state_dict(made.state_dict())
    for twin in (copy.deepcopy(made), pickle.loads(pickle.dumps(made)), other):
        assert torch.equal(twin(u), wanted)


def test_a_network_compiles_without_a_break() -> None:
    made, u = network("symmetric"), normal(4, 2, SIZE)
    assert torch.allclose(torch.compile(made, fullgraph=True, backend="aot_eager")(u), made(u), atol=1e-12)


def test_training_keeps_the_certificate() -> None:
    made = network("symmetric")
    optimizer = torch.optim.SGD(made.parameters(), lr=5.0)
    for _ in range(5):
        optimizer.zero_grad()
        made(normal(6, 2, SIZE)).square().sum().backward()
        optimizer.step()
    certificate = made.certificate()
    assert certificate is not None
    inner, between, _ = made.weights()
    one = torch.eye(SIZE, dtype=torch.float64)
    turn = made._turn(between.detach())
    slopes = stream(11, "slopes").uniform((50, SIZE), like=one)
    steps = [turn @ (0.5 * one + 0.5 * slope[:, None] * inner.detach()) for slope in slopes]
    assert max(in_metric(step, certificate.metric) for step in steps) <= certificate.factor * (1 + 1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"condition": "spectrum"}, r"Assembly\.condition: must be one of .*, got 'spectrum'; did you mean 'spectral'\?"),
        ({"coupling": "ring"}, r"Assembly\.coupling: must be one of .*, got 'ring'"),
        ({"function": "gelu"}, r"Assembly\.function: must be one of .*, got 'gelu'"),
        ({"areas": 0}, r"Assembly\.areas: must be a whole number, 1 or more, got 0"),
        ({"alpha": 1.5}, r"Assembly\.alpha: must be more than 0 and at most 1, got 1.5"),
        ({"rate": 1.0}, r"Assembly\.rate: must be more than 0 and less than 1, got 1.0"),
    ],
)
def test_arguments_out_of_their_domain_are_refused(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"areas": 2, "units": 2, "source": stream(0, "a"), **arguments}
    with pytest.raises(ns.ConfigError, match=message):
        Assembly(**given)


def test_inputs_and_states_that_do_not_fit_are_refused() -> None:
    made = Assembly(2, 3, source=stream(0, "a"))
    with pytest.raises(ns.ConfigError, match=r"Assembly: x must be \(time, batch, 6\), got shape \(4, 2, 5\)"):
        made(torch.zeros(4, 2, 5))
    with pytest.raises(ns.ConfigError, match="state must be an AssemblyState"):
        made.run(torch.zeros(4, 2, 6), AssemblyState(torch.zeros(3, 6)))
    assert isinstance(made, nn.Module)
