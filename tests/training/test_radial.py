"""AdamP and SGDP: steps across the weights where only their direction counts, and torch's own steps elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.random import stream
from neurosim.training import load, remove_radial

Make = Callable[..., dict[str, Any]]
LIKE = torch.empty(0, dtype=torch.float64)
ONE: Any = (0.9,)  # where two numbers belong
KINDS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamp": ns.AdamP,
    "adamp ahead": lambda weights, **how: ns.AdamP(weights, nesterov=True, **how),
    "sgdp": lambda weights, **how: ns.SGDP(weights, momentum=0.9, **how),
    "sgdp ahead": lambda weights, **how: ns.SGDP(weights, momentum=0.9, nesterov=True, **how),
}


def drawn(name: str, *shape: int) -> Tensor:
    return stream(3, name).normal(shape, like=LIKE)


def direction(weight: Tensor, whole: bool) -> Tensor:
    """The rows, or all of a weight, at length 1."""
    length: Tensor = weight.norm() if whole else weight.flatten(1).norm(dim=1).reshape(-1, *(1,) * (weight.dim() - 1))
    return weight / length


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("whole", [False, True], ids=["rows", "layer"])
def test_on_a_loss_of_directions_every_step_is_across_the_weights(kind: str, whole: bool) -> None:
    """Then lengths grow as Pythagoras has it, and not faster: |w'|² = |w|² + |step|²."""
    weight = nn.Parameter(drawn("weight", 5, 4, 3))
    wanted = drawn("wanted", 5, 4, 3)
    optimizer = KINDS[kind]([weight], lr=0.05)
    along = []
    for _ in range(20):
        before = weight.detach().clone()
        optimizer.zero_grad()
        (direction(weight, whole) * wanted).sum().backward()
        optimizer.step()
        step = weight.detach() - before
        assert float(step.norm()) > 1e-3
        inner = (step * before).sum() / before.norm() if whole else (step * before).flatten(1).sum(1) / before.flatten(1).norm(dim=1)
        along.append(float(inner.abs().max() / step.norm()))
    assert max(along) < 1e-7


def test_adam_makes_such_weights_longer_and_adamp_hardly() -> None:
    lengths = {}
    for name, kind in (("adam", torch.optim.Adam), ("adamp", ns.AdamP)):
        made: Any = kind
        weight = nn.Parameter(drawn("weight", 6, 20))
        optimizer = made([weight], lr=0.01)
        for step in range(100):
            optimizer.zero_grad()
            (direction(weight, False) * drawn(f"wanted {step}", 6, 20)).sum().backward()
            optimizer.step()
        lengths[name] = float(weight.detach().norm() / drawn("weight", 6, 20).norm())
    assert 1 < lengths["adamp"] < lengths["adam"]


@pytest.mark.parametrize("shape", [(4, 7), (3, 2, 3, 3), (5,)], ids=str)
def test_where_nothing_is_projected_adamp_is_adamw(shape: tuple[int, ...]) -> None:
    ours, theirs = nn.Parameter(drawn("weight", *shape)), nn.Parameter(drawn("weight", *shape))
    pairs = [
        (ours, ns.AdamP([ours], lr=0.02, betas=(0.8, 0.95), weight_decay=0.3, delta=0.0)),
        (theirs, torch.optim.AdamW([theirs], lr=0.02, betas=(0.8, 0.95), weight_decay=0.3)),
    ]
    for step in range(8):
        for value, optimizer in pairs:
            value.grad = drawn(f"gradient {step}", *shape)
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_where_nothing_is_projected_sgdp_is_sgd(nesterov: bool) -> None:
    ours, theirs = nn.Parameter(drawn("weight", 4, 7)), nn.Parameter(drawn("weight", 4, 7))
    how: dict[str, Any] = {"lr": 0.02, "momentum": 0.9, "nesterov": nesterov}
    pairs: list[tuple[nn.Parameter, torch.optim.Optimizer]] = [
        (ours, ns.SGDP([ours], delta=0.0, **how)),
        (theirs, torch.optim.SGD([theirs], **how)),
    ]
    for step in range(8):
        for value, optimizer in pairs:
            value.grad = drawn(f"gradient {step}", 4, 7)
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_weights_whose_gradient_has_a_part_along_them_are_not_projected() -> None:
    weight, update = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    across, along = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    found, changed = remove_radial(update, weight, across)
    assert changed
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    found, changed = remove_radial(update, weight, along)
    assert not changed
    assert torch.equal(found, update)


def test_where_only_the_whole_is_across_the_whole_is_projected() -> None:
    weight, gradient = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    found, changed = remove_radial(torch.tensor([[3.0, 5.0], [7.0, 1.0]]), weight, gradient)
    assert changed
    torch.testing.assert_close(found, torch.tensor([[1.0, 5.0], [7.0, -1.0]]))  # less (3 + 1)/2 of the identity


@pytest.mark.parametrize(("kind", "share"), [("adamp", 1.0), ("sgdp", 10.0)])
def test_weights_that_are_projected_decay_by_their_share(kind: str, share: float) -> None:
    """One step with a gradient across leaves the part along: 1 − lr · decay · 0.1, of SGDP over 1 − momentum."""
    weight = nn.Parameter(torch.tensor([[2.0, 0.0]]))
    optimizer = KINDS[kind]([weight], lr=0.01, weight_decay=0.5)
    weight.grad = torch.tensor([[0.0, 1.0]])
    optimizer.step()
    assert float(weight.detach()[0, 0]) == pytest.approx(2 * (1 - 0.01 * 0.5 * 0.1 * share), rel=1e-6)
    weight.grad = torch.tensor([[1.0, 0.0]])
    before = weight.detach().clone()
    optimizer.param_groups[0]["betas" if kind == "adamp" else "momentum"] = (0.0, 0.0) if kind == "adamp" else 0.0
    optimizer.step()
    moved = 1.0 / (1.0 + 1e-8)
    assert float(weight.detach()[0, 0]) == pytest.approx(float(before[0, 0]) * (1 - 0.01 * 0.5) - 0.01 * moved, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimiser_goes_on_from_its_state(kind: str) -> None:
    weights = [nn.Parameter(drawn("weight", 4, 5)) for _ in range(2)]
    first, second = (KINDS[kind]([value], lr=0.1) for value in weights)

    def step(value: nn.Parameter, optimizer: torch.optim.Optimizer, at: int) -> None:
        value.grad = drawn(f"gradient {at}", 4, 5)
        optimizer.step()

    for at in range(6):
        step(weights[0], first, at)
        if at < 3:
            step(weights[1], second, at)
    other = KINDS[kind]([weights[1]], lr=0.7)
    other.load_state_dict(copy.deepcopy(second.state_dict()))
    for at in range(3, 6):
        step(weights[1], other, at)
    assert torch.equal(*(value.detach() for value in weights))


def test_complex_weights_are_two_real_ones() -> None:
    start, gradient = drawn("weight", 3, 4, 2), drawn("gradient", 3, 4, 2)
    real, both = nn.Parameter(start.clone()), nn.Parameter(torch.view_as_complex(start.clone()))
    real.grad, both.grad = gradient, torch.view_as_complex(gradient)
    for value in (real, both):
        ns.AdamP([value], lr=0.1, weight_decay=0.2).step()
    torch.testing.assert_close(torch.view_as_real(both.detach()), real.detach())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda value: ns.AdamP([value], lr=-1.0), r"AdamP\.lr: must be"),
        (lambda value: ns.AdamP([value], betas=(0.9, 1.0)), r"AdamP\.betas: must be"),
        (lambda value: ns.AdamP([value], betas=ONE[0]), r"AdamP\.betas: must be two numbers, got 0\.9"),
        (lambda value: ns.AdamP([value], betas=ONE), r"AdamP\.betas: must be two numbers, got \(0\.9,\)"),
        (lambda value: ns.SGDP([value], delta=-0.1), r"SGDP\.delta"),
        (lambda value: ns.SGDP([value], nesterov=True), r"SGDP\.nesterov: needs momentum > 0"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[nn.Parameter], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(nn.Parameter(torch.ones(2, 2)))


def test_the_closure_gives_the_loss() -> None:
    weight = nn.Parameter(torch.ones(1))

    def closure() -> Tensor:
        loss: Any = weight.square().sum()
        loss.backward()
        return torch.as_tensor(loss)

    assert float(ns.AdamP([weight]).step(closure).detach()) == 1.0


@pytest.mark.parametrize("kind", ["adamp", "sgdp"])
def test_a_config_trains_with_them(kind: str, make_digital: Make) -> None:
    run = ns.train(make_digital(train={"epochs": 1, "optimizer": {"kind": kind, "lr": 0.01, "delta": 0.2, "wd_ratio": 0.5}}))
    assert run.metrics["test_accuracy"] > 0.15
    assert load(run.path) is not None
