"""What is added to the loss of a run: magnitudes of activations, more and more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.training.penalty import ActivationPenalty

Make = Callable[..., dict[str, Any]]
STAGES = {"kind": "activation_l1", "ends": [2, 6], "strengths": [0.1, 0.5]}


def test_it_is_the_mean_magnitude_of_the_last_forward_in_training_times_the_stage() -> None:
    model: Any = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.Tanh())
    added = ActivationPenalty(model, [2, 6], [0.1, 0.5], ["*"])
    model(torch.randn(7, 3))
    x = torch.randn(6, 3)
    hidden = model[1](model[0](x))
    by_hand = hidden.abs().mean() + model[3](model[2](hidden)).abs().mean()
    model(x)
    model.eval()(torch.randn(9, 3))
    for step, strength in ((0, 0.1), (4, 0.3), (6, 0.5)):  # half of the sine is half of the way
        torch.testing.assert_close(added(step), strength * by_hand)
    (slope,) = torch.autograd.grad(added(6), [model[0].weight], retain_graph=True)
    torch.testing.assert_close(slope, torch.autograd.grad(0.5 * by_hand, [model[0].weight])[0])


def test_afterwards_nothing_looks_at_the_model() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    added = ActivationPenalty(model, [2], [0.1], ["1"])
    added.end()
    model(torch.ones(1, 3))
    with pytest.raises(ConfigError, match="nothing was seen yet"):
        added(0)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_config_makes_activations_smaller_without_counting_it_as_loss(make_digital: Make) -> None:
    found = {}
    images = torch.as_tensor(ns.load_dataset("digits").test.images[:200]).float()
    for strengths in ([0.0, 0.0], [0.5, 2.0]):
        run = ns.train(make_digital(train={"epochs": 3, "regularizer": {**STAGES, "strengths": strengths}}))
        model: Any = ns.load(run.path)
        with ns.sparsity.watch_activations(model) as seen, torch.no_grad():
            model(images)
        found[sum(strengths)] = float(seen.l1())
        assert run.metrics["test_loss"] < 3
    assert found[2.5] < 0.7 * found[0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ends": [6, 2]}, "ends must rise, one a strength"),
        ({"strengths": [0.1]}, "ends must rise, one a strength"),
        ({"strengths": [0.1, -1.0]}, r"regularizer\S*strengths"),
        ({"layers": ["fc1"]}, "train.regularizer: activation_l1: layers: 'fc1' names no activation"),
    ],
)
def test_stages_that_cannot_be_are_refused_before_the_run(change: dict[str, Any], message: str, make_digital: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        ns.train(make_digital(train={"regularizer": {**STAGES, **change}}))
