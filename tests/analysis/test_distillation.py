"""Other activations in a trained model: the loss, the schedule, and what is learned."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis.distillation import DistilledSwap, distillation_loss, swapped_by
from neurosim.errors import ConfigError, RunError
from neurosim.random import stream


def normal(*shape: int, draw: int = 0) -> Tensor:
    return stream(11, "distillation", draw=draw).normal(shape, like=torch.empty(0))


def teacher(act: type[nn.Module] = nn.GELU) -> Any:
    """A random network whose logits are of about the size of trained ones."""
    layers = [layer for at in range(4) for layer in (nn.Linear(8 if at == 0 else 24, 24), act())]
    head = nn.Linear(24, 4)
    model = nn.Sequential(*layers, head)
    with torch.no_grad():
        for at, value in enumerate(model.parameters()):
            value.copy_(normal(*value.shape, draw=at) * (1.6 / math.sqrt(value.shape[1]) if value.dim() > 1 else 0.1))
        head.weight.mul_(4)
    return model


X, HELD_OUT = normal(512, 8, draw=99), normal(512, 8, draw=98)


def pairs(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Batches with the labels that the model gives."""
    with torch.no_grad():
        return [(x, model(x).argmax(1)) for x in X.split(64)]


@torch.no_grad()
def apart(one: nn.Module, other: nn.Module) -> float:
    """How far two models are apart on samples that nobody has learned from."""
    return float(distillation_loss(one(HELD_OUT), other(HELD_OUT)))


# --- the loss and the schedule ---------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_divergence_of_softened_probabilities() -> None:
    z, t, heat = normal(6, 5).double(), normal(6, 5, draw=1).double(), 3.0
    p, q = (torch.distributions.Categorical(logits=one / heat) for one in (t, z))
    torch.testing.assert_close(distillation_loss(z, t, heat), heat**2 * torch.distributions.kl_divergence(p, q).mean())
    assert torch.autograd.gradcheck(lambda one: distillation_loss(one, t, heat), (z.requires_grad_(),))


def test_at_a_high_temperature_it_is_the_distance_of_centred_logits() -> None:
    z, t = normal(6, 5).double(), normal(6, 5, draw=1).double()
    gap = (z - z.mean(1, keepdim=True)) - (t - t.mean(1, keepdim=True))
    torch.testing.assert_close(distillation_loss(z, t, 1e4), gap.square().mean(1).mean() / 2, rtol=1e-3, atol=0)


def test_iteratively_all_places_have_their_turn_and_the_same_share() -> None:
    counts = [swapped_by(5, "iterative", step / 40) for step in range(40)]
    assert counts == sorted(counts)
    assert [counts.count(one) for one in range(1, 6)] == [8] * 5
    assert swapped_by(5, "iterative", 1.0) == 5


# --- what is learned -------------------------------------------------------------------------------------------------------------------


def test_swapped_one_by_one_with_a_teacher_it_ends_nearer_than_all_at_once_with_labels() -> None:
    """The same steps on the same samples: labels do not tell what the model was, its outputs do."""
    model = teacher()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    settings: dict[str, Any] = {"epochs": 8, "lr": 3e-3}
    iterative = ns.distill_swap(model, "relu", pairs(model), **settings)
    at_once = ns.distill_swap(model, "relu", pairs(model), schedule="at_once", labels=1.0, **settings)
    plain = ns.swap_activation(model, "relu")
    assert apart(iterative, model) < 0.6 * apart(at_once, model)
    assert apart(iterative, model) < 0.6 * apart(plain, model)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert sum(isinstance(module, nn.ReLU) for module in iterative) == 4
    report: Any = iterative.distilled_swap
    assert isinstance(report, DistilledSwap)
    assert [one.activations for one in report.stages] == [("1",), ("3",), ("5",), ("7",)]
    assert "4 activations swapped in 4 stages" in str(report)
    assert len(at_once.distilled_swap.stages) == 1


@pytest.mark.parametrize("against", ["original", "previous"])
def test_every_stage_ends_nearer_to_its_teacher_and_twice_the_same_is_the_same(against: Any) -> None:
    model = teacher()
    found = [ns.distill_swap(model, "relu", X, layers=["5", "7"], order="backward", teacher=against, epochs=4, lr=3e-3) for _ in range(2)]
    stages = found[0].distilled_swap.stages
    assert [one.activations for one in stages] == [("7",), ("5",)]
    assert all(one.after < 0.9 * one.before for one in stages)
    assert found[0].distilled_swap == found[1].distilled_swap
    assert all(torch.equal(one, other) for one, other in zip(found[0].parameters(), found[1].parameters(), strict=True))


def test_a_new_activation_learns_its_parameters_too() -> None:
    model = teacher()
    student = ns.distill_swap(model, "prelu", X, layers="1", epochs=2, lr=0.01)
    assert float(student[1].weight.detach()) != 0.25
    assert sum(isinstance(module, nn.GELU) for module in student) == 3


def test_within_autocast_it_learns_too() -> None:
    model = teacher()
    plain = ns.distill_swap(model, "relu", X, epochs=4, lr=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ns.distill_swap(model, "relu", X, epochs=4, lr=0.01)
    assert apart(found, model) == pytest.approx(apart(plain, model), rel=0.2)
    assert found.distilled_swap.stages[-1].after < found.distilled_swap.stages[-1].before


def test_in_place_the_model_itself_is_swapped() -> None:
    model = teacher()
    assert ns.distill_swap(model, "relu", X, epochs=2, inplace=True) is model
    assert isinstance(model[1], nn.ReLU)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
@pytest.mark.parametrize("inplace", [False, True])
def test_a_wrapped_model_learns_as_the_one_inside(wrap: Any, inplace: bool) -> None:
    model = teacher()
    expected: Any = ns.distill_swap(model, "relu", X, epochs=4)
    wrapped = wrap(model)
    found: Any = ns.distill_swap(wrapped, "relu", X, epochs=4, inplace=inplace)
    assert found.distilled_swap == expected.distilled_swap
    assert (found is wrapped) == inplace
    assert type(found) is type(wrapped)
    inner: Any = ns.nn.wrappers.unwrapped(found)
    assert type(inner[1]) is nn.ReLU
    for name, value in expected.state_dict().items():
        assert torch.equal(inner.state_dict()[name], value)


def test_a_model_on_hardware_learns_through_its_noise() -> None:
    chip: Any = ns.to_analog(teacher(), "photonic_avnn", seed=2)
    student = ns.distill_swap(chip, "relu", X[:128], epochs=4, lr=1e-3)
    assert isinstance(student[1], nn.ReLU)
    assert all(math.isfinite(one.after) for one in student.distilled_swap.stages)


# --- refusals --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rellu"}, "did you mean 'relu'"),
        ({"layers": "9"}, "'9' names no activation"),
        ({"schedule": "all"}, "schedule"),
        ({"epochs": 0}, "epochs"),
        ({"lr": -1.0}, "lr"),
        ({"labels": 1.5}, "labels must be at most 1"),
        ({"labels": 0.5}, "gave inputs alone"),
        ({"loader": [X], "epochs": 3}, "4 places need as many steps"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_model_is_unchanged(arguments: dict[str, Any], message: str) -> None:
    model = teacher()
    given: dict[str, Any] = {"name": "relu", "loader": X, "epochs": 4, "inplace": True, **arguments}
    with pytest.raises(ConfigError, match=message):
        ns.distill_swap(model, **given)
    assert sum(isinstance(module, nn.GELU) for module in model) == 4


def test_nothing_to_swap_nothing_to_train_and_a_loss_that_diverges_are_refused() -> None:
    with pytest.raises(ConfigError, match="activations that are modules"):
        ns.distill_swap(nn.Sequential(nn.Linear(8, 2)), "relu", X)
    with pytest.raises(ConfigError, match="require a gradient"):
        ns.distill_swap(teacher().requires_grad_(False), "relu", X)
    with pytest.raises(RunError, match="try a lower lr"):
        ns.distill_swap(teacher(), "relu", X, epochs=8, lr=1e30)
