"""What norms refuse in words of ours: what is no true or false, statistics of a single value, and nothing at all."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.checks import flag
from neurosim.errors import ConfigError
from neurosim.norms import (
    BatchNorm,
    EvoNormS0,
    FreezingNorm,
    GeometricParametrization,
    GroupNorm,
    InstanceBatchNorm,
    InstanceNorm,
    LayerNorm,
    MessageNorm,
    Norm,
    PowerNorm,
    ScaledWeightStandardization,
    initialize_weight_norm,
    shape_batch_norms,
    unit_weights,
)

SWITCHES = [
    (name, argument)
    for name in ns.NORMS
    if ns.NORMS[name].kind == "module"
    for argument, one in inspect.signature(ns.NORMS[name].make).parameters.items()
    if isinstance(one.default, bool)
]


def test_there_are_switches_to_look_at() -> None:
    assert len(SWITCHES) > 15


@pytest.mark.parametrize(("name", "argument"), SWITCHES)
def test_a_switch_is_true_or_false_and_nothing_that_counts_as_either(name: str, argument: str) -> None:
    entry = ns.NORMS[name]
    for value in ("no", 1, None, torch.tensor(True)):
        with pytest.raises(ConfigError, match=rf"^{entry.make.__name__}\.{argument}: must be true or false, got"):
            entry(16, **{argument: value})
    assert isinstance(entry(16, **{argument: True}), Norm)


def test_a_switch_in_a_config_is_refused_under_its_name() -> None:
    with pytest.raises(ConfigError, match=r"norm\.center: must be true or false, got 'no'"):
        ns.models.mlp([4, 3, 2], norm={"kind": "layer", "center": "no"})
    assert flag("here", False) is False


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (GroupNorm(2, 2), (1, 2)),
        (GroupNorm(2, 2), (3, 2, 1, 1)),
        (InstanceNorm(3), (1, 3, 1)),
        (InstanceNorm(3), (2, 3, 1, 1)),
        (InstanceBatchNorm(4), (2, 4, 1)),
    ],
    ids=["group", "group of a batch", "instance", "instance of a batch", "ibn"],
)
def test_a_mean_and_spread_of_a_single_value_is_refused(norm: Norm, shape: tuple[int, ...], train: bool) -> None:
    with pytest.raises(ConfigError, match="x must have more than one value for every mean and spread, got one in shape"):
        norm.train(train)(torch.rand(shape))


def test_a_batch_norm_refuses_a_single_value_in_training_alone() -> None:
    norm = BatchNorm(3)
    with pytest.raises(ConfigError, match="statistics in training need more than one value each, got 1"):
        norm(torch.rand(1, 3))
    assert norm.eval()(torch.rand(1, 3)).shape == (1, 3)


@pytest.mark.parametrize("norm", [EvoNormS0(16), PowerNorm(16), GroupNorm(16)], ids=lambda norm: type(norm).__name__)
def test_a_batch_without_samples_stays_one(norm: Norm) -> None:
    assert norm.eval()(torch.rand(0, 16, 2, 2)).shape == (0, 16, 2, 2)


FOLLOW = [name for name in ns.NORMS if ns.NORMS[name].kind == "module" and ns.NORMS[name].stats == "running"]


@pytest.mark.parametrize(
    "make", [*(ns.NORMS[name].example for name in FOLLOW), lambda: FreezingNorm(LayerNorm(16), 1)], ids=[*FOLLOW, "freezing"]
)
def test_a_norm_that_keeps_statistics_refuses_a_batch_without_any_samples_and_stays_as_it_is(make: Callable[[], Norm]) -> None:
    norm = make()
    steps = (4,) if getattr(norm, "takes_time", False) else ()
    for _ in range(2):
        norm(torch.rand(*steps, 3, 16, 2, 2))
    before = copy.deepcopy(norm.state_dict())
    for shape in ((0, 16, 2, 2), (3, 16, 0, 2)):
        with pytest.raises(
            ConfigError, match=r"x must hold a sample in training, got shape|statistics in training need more than one value"
        ):
            norm(torch.rand(*steps, *shape))
    torch.testing.assert_close(norm.state_dict(), before, rtol=0, atol=0)
    assert norm.eval()(torch.rand(*steps, 0, 16, 2, 2)).shape == (*steps, 0, 16, 2, 2)


@pytest.mark.parametrize("call", [unit_weights, shape_batch_norms, lambda model: initialize_weight_norm(model, torch.rand(2, 3))])
def test_what_changes_a_model_refuses_what_is_none(call: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"^(unit_weights|shape_batch_norms|initialize_weight_norm): model must be a torch\.nn\.Module, got int"
    ):
        call(3)


def test_a_norm_whose_statistics_are_frozen_takes_a_single_value() -> None:
    norm = FreezingNorm(InstanceNorm(3), 1)
    x, single = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 1, 1)
    for refused in (norm, norm.average_of):
        with pytest.raises(ConfigError, match="x must have more than one value for every mean and spread, got one in shape"):
            refused(single)
    norm(x)
    for training in (True, False):
        torch.testing.assert_close(norm.train(training)(single), norm(single.expand(2, 3, 4, 4))[..., :1, :1])


@pytest.mark.parametrize("made", [GeometricParametrization, ScaledWeightStandardization])
def test_rows_of_one_number_have_no_angles_and_no_deviation(made: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{made.__name__}: rows must have two numbers or more, got a weight \(3, 1\)"):
        parametrize.register_parametrization(nn.Linear(1, 3), "weight", made())


def test_averages_that_are_frozen_stay_whatever_comes_in_training() -> None:
    norm = FreezingNorm(LayerNorm(16), 1)
    norm(torch.rand(3, 16))
    before = [kept.clone() for kept in norm.averages]
    assert norm.frozen
    norm(torch.full((3, 16), torch.inf))
    torch.testing.assert_close(norm.averages, before, rtol=0, atol=0)


def test_an_axis_that_a_message_norm_cannot_have_is_refused() -> None:
    wrong: Any = "x"
    with pytest.raises(ConfigError, match=r"MessageNorm\.channel_dim: must be a whole number, from -8 to 8, got 'x'"):
        MessageNorm(nn.Identity(), channel_dim=wrong)
    for x in (torch.rand(3, 4), torch.ones(3, 4).long(), wrong):
        with pytest.raises(ConfigError, match="MessageNorm: x must be floating-point with channels on axis 7"):
            MessageNorm(nn.Identity(), channel_dim=7)(x)
