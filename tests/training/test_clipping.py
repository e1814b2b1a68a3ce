"""Adaptive gradient clipping, and what is added to a loss by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.norms import NormLoss, WeightNorm
from neurosim.training.build import rebuild
from neurosim.training.clipping import adaptive_clip, clip_adaptively
from neurosim.training.loop import Loop
from neurosim.training.optim import make_optimizer, take_step
from neurosim.training.penalty import penalty
from neurosim.training.precision import grad_scaler
from tests.norms.cases import recorded

Make = Callable[..., dict[str, Any]]
OFF = grad_scaler(torch.device("cpu"), "fp32")


def with_gradient(*shape: int, scale: float = 1.0) -> nn.Parameter:
    value = nn.Parameter(ns.random.stream(1, "value").normal(shape, like=torch.empty(0)))
    value.grad = scale * ns.random.stream(1, "gradient").normal(shape, like=torch.empty(0))
    return value


def test_gradients_are_clipped_as_timm_clips_them() -> None:
    data = recorded("norms/data/timm_weights.h5", "clip")
    values = [nn.Parameter(data[f"w{at}"]) for at in range(3)]
    for at, value in enumerate(values):
        value.grad = data[f"g{at}"].clone()
    clip_adaptively(values, limit=0.05, floor=1e-3)
    for at, value in enumerate(values):
        assert value.grad is not None
        torch.testing.assert_close(value.grad, data[f"clipped{at}"])
        assert not torch.equal(value.grad, data[f"g{at}"])


def test_no_unit_keeps_a_gradient_that_is_longer_than_its_share_and_short_ones_stay() -> None:
    weight = with_gradient(50, 8, 3, 3, scale=0.02)
    assert weight.grad is not None
    before = weight.grad.clone()
    clip_adaptively([weight], limit=0.02)
    share = weight.grad.flatten(1).norm(dim=1) / weight.detach().flatten(1).norm(dim=1)
    changed = (weight.grad != before).flatten(1).any(1)
    assert share.max() <= 0.02 * (1 + 1e-6)
    assert 0 < changed.sum() < 50
    torch.testing.assert_close(share[changed], torch.full_like(share[changed], 0.02))


def test_weights_of_0_may_move_by_the_floor_and_gradients_of_0_stay() -> None:
    weight = nn.Parameter(torch.zeros(2, 3))
    weight.grad = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    clip_adaptively([weight, nn.Parameter(torch.ones(2))], limit=0.1, floor=1e-2)
    torch.testing.assert_close(weight.grad, torch.tensor([[6e-4, 0.0, 8e-4], [0.0, 0.0, 0.0]]))


def test_layers_that_are_named_keep_their_gradients_and_parametrized_ones_have_their_own_names() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    for layer in model:
        parametrize.register_parametrization(layer, "weight", WeightNorm())
    model(torch.full((4, 3), 100.0)).square().sum().backward()
    before = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    adaptive_clip(model, skip=["1"])()
    changed = {name for name, value in model.named_parameters() if not torch.equal(torch.as_tensor(value.grad), before[name])}
    assert changed == {name for name in before if name.startswith("0.")}


def test_a_layer_that_is_not_there_is_not_skipped_silently() -> None:
    with pytest.raises(ConfigError, match=r"train\.clip\.skip: 'heat' names no layer with parameters.*'head'"):
        adaptive_clip(nn.ModuleDict({"head": nn.Linear(2, 2)}), skip=["heat"])
    wrong: list[dict[str, Any]] = [{"limit": 0.0}, {"floor": -1.0}]
    for changes in wrong:
        with pytest.raises(ConfigError, match=r"must be a finite number > 0"):
            adaptive_clip(nn.Linear(2, 2), **changes)


def test_a_step_clips_by_units_before_it_clips_the_whole() -> None:
    a, b = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([2.0]))

    def clip() -> None:
        clip_adaptively([a, b], limit=0.5)

    take_step((30 * a + 40 * b).sum(), make_optimizer([a, b], "sgd", lr=1.0), OFF, None, clip)
    assert (a.item(), b.item()) == (0.5, 1.0)
    take_step((30 * a + 40 * b).sum(), make_optimizer([a, b], "sgd", lr=1.0), OFF, 0.1, clip)  # 0.25 and 0.5, brought to a length of 0.1
    torch.testing.assert_close(torch.cat([a, b]).detach(), torch.tensor([0.5, 1.0]) - 0.1 * torch.tensor([1.0, 2.0]) / 5**0.5)


def moved(one: nn.Linear, other: nn.Linear) -> float:
    """How far the rows of a layer are from where they were, as a share of their length."""
    first, last = one.weight.detach(), other.weight.detach()
    return float(((last - first).norm(dim=1) / first.norm(dim=1)).max())


def test_a_config_clips_gradients_layer_by_layer(make_digital: Make) -> None:
    """Plain descent moves a row by at most lr · limit of its length in every step, of which there are 8."""
    clip = {"kind": "agc", "limit": 1e-4, "skip": ["fc2"]}
    config = ns.load_config(make_digital(train={"epochs": 1, "optimizer": {"kind": "sgd", "lr": 0.5}, "clip": clip}))
    before, after = rebuild(config), ns.load(ns.train(config).path)
    first, second = (moved(before.get_submodule(name), after.get_submodule(name)) for name in ("fc1", "fc2"))  # type: ignore[arg-type]  # they are linear
    assert 0 < first < 8 * 0.5 * 1e-4 * 1.01 < second


def test_the_norm_loss_of_a_config_brings_rows_to_length_1(make_digital: Make) -> None:
    train = {"epochs": 3, "optimizer": {"kind": "sgd", "lr": 0.1}}
    runs = {}
    for strength in (0.0, 1.0):
        run = ns.train(make_digital(train={**train, "regularizer": {"kind": "norm_loss", "strength": strength}}))
        model: Any = ns.load(run.path)
        runs[strength] = float(NormLoss(1.0)(model).detach())
        assert run.metrics["test_loss"] < 3  # the penalty is no part of what is reported
    assert runs[1.0] < 0.1 * runs[0.0]


def test_a_norm_loss_of_a_model_without_rows_is_refused_before_the_run(make_digital: Make) -> None:
    config = ns.load_config(make_digital(train={"regularizer": {"kind": "norm_loss", "strength": 1.0}}))
    with pytest.raises(ConfigError, match=r"train\.regularizer: NormLoss: the model must have a linear layer or a convolution"):
        penalty(nn.PReLU(), config)
    with pytest.raises(ConfigError, match="must be given a model"):
        NormLoss()(3)
    model = nn.PReLU()
    folder: Any = None
    with pytest.raises(ConfigError, match=r"train\.regularizer"):
        Loop(config, folder, model, torch.optim.SGD(model.parameters(), lr=0.1), samples=4)


def test_units_of_transposed_convolutions_lead_to_one_output_of_one_group() -> None:
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False)
    layer.weight.grad = ns.random.stream(1, "gradient").normal(tuple(layer.weight.shape), like=layer.weight.detach())
    before = layer.weight.grad.clone()
    adaptive_clip(layer, limit=0.1)()
    for group in (slice(0, 2), slice(2, 4)):
        for output in range(3):
            unit = layer.weight.detach()[group, output]
            torch.testing.assert_close(layer.weight.grad[group, output].norm(), 0.1 * unit.norm())
            ratio = layer.weight.grad[group, output] / before[group, output]
            torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio.mean())))


@pytest.mark.parametrize("shape", [(5, 1), (1, 5), (1, 5, 1, 1)])
def test_gains_of_rows_are_one_unit(shape: tuple[int, ...]) -> None:
    value = with_gradient(*shape)
    assert value.grad is not None
    before = value.grad.clone()
    clip_adaptively([value], limit=0.1)
    torch.testing.assert_close(value.grad, before * 0.1 * value.detach().norm() / before.norm())
