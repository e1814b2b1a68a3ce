"""How representations move when inputs are pushed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis import representation_paths
from neurosim.errors import ConfigError
from neurosim.random import stream


def drawn(name: str, *shape: int) -> Tensor:
    return stream(2, name).normal(shape, like=torch.empty(0, dtype=torch.float64))


def test_a_linear_layer_moves_by_even_steps_on_a_straight_line() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(6, 4).double(), drawn("x", 5, 6)
    found = representation_paths(model, x, steps=7, size=0.1, seed=3)
    n = stream(3, "representation paths").normal(x.shape, like=x)
    torch.testing.assert_close(found.steps, (0.1 * (n @ model.weight.T).norm(dim=1)).expand(7, -1))
    torch.testing.assert_close(found.length, 7 * found.steps[0])
    assert float(found.variation.max()) < 1e-9
    torch.testing.assert_close(found.straightness, torch.ones(5, dtype=torch.float64))
    assert "5 paths of 7 steps" in str(found)


def test_a_step_function_jumps_once() -> None:
    """Of K steps one has a length: its mean is 1/K and its deviation √(K − 1)/K, so the variation is √(K − 1)."""
    model = nn.Sequential(nn.Threshold(0.5, 0.0), nn.Hardtanh(0.0, 1e-3), nn.Flatten())
    x = torch.full((1, 1), 0.0, dtype=torch.float64)
    seed = next(one for one in range(50) if float(stream(one, "representation paths").normal((1, 1), like=x)) > 0.5)
    found = representation_paths(model, x, steps=9, size=0.3, seed=seed)
    assert int((found.steps > 0).sum()) == 1
    assert float(found.variation) == pytest.approx(8**0.5)


def test_adversarial_steps_follow_the_gradient_of_the_predicted_class() -> None:
    """Of two classes with scores ±w·x the gradient has the signs of w in every place, so x goes a straight way, and so does a linear h."""
    model = nn.Linear(3, 2, bias=False).double()
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.stack([w, -w]))
    x = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], dtype=torch.float64)
    found = representation_paths(model, x, push="gradient", steps=4, size=0.01)
    torch.testing.assert_close(found.steps, torch.full((4, 2), 0.01 * 3.5 * 2**0.5, dtype=torch.float64))
    assert all(value.requires_grad and value.grad is None for value in model.parameters())


def test_a_layer_inside_can_be_followed_and_nothing_moves_behind_a_dead_one() -> None:
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    nn.init.constant_(model[0].bias, -100.0)
    x = drawn("x", 3, 4)
    assert float(representation_paths(model, x, layer="0").length.min()) > 0
    dead = representation_paths(model, x, layer="1")
    assert (float(dead.length.sum()), float(dead.variation.sum()), dead.straightness.tolist()) == (0.0, 0.0, [1.0] * 3)


def test_a_chip_is_followed_without_its_random_noise_and_left_as_it_was() -> None:
    torch.manual_seed(0)
    chip: Any = ns.to_analog(nn.Sequential(nn.Linear(8, 4)), "photonic_avnn", seed=0)
    x, draws = torch.rand(4, 8), ns.get_draws(chip)
    one, other = (representation_paths(chip, x, steps=3) for _ in range(2))
    assert torch.equal(one.steps, other.steps)
    assert ns.get_draws(chip) == draws


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"steps": 0}, "representation_paths: steps"),
        ({"size": 0.0}, "representation_paths: size"),
        ({"push": "pgd"}, "representation_paths: push: must be one of"),
        ({"layer": "9"}, "layer: '9' names no module"),
        ({"inputs": torch.ones(2, 4, dtype=torch.int64)}, "inputs must be a tensor of floating-point numbers"),
        ({"inputs": torch.ones(0, 4)}, "at least one sample"),
        ({"model": nn.Unflatten(1, (2, 2)), "push": "gradient"}, "push: gradient needs a classifier"),
    ],
)
def test_what_cannot_be_is_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        representation_paths(**{"model": nn.Linear(4, 2), "inputs": torch.ones(2, 4), **how})
