"""Channels on any axis but that of the batch: the same norm of the same values."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError, ConversionError
from neurosim.norms import BatchNorm, FreezingNorm, InstanceNorm, L1BatchNorm, MeasuredNorm, Residual, UnifiedNorm
from neurosim.norms.registry import NORMS, register
from tests.norms.contracts import draw, same_as_loaded, varied

C = 16
SINGLE = [name for name in ns.NORMS if ns.NORMS[name].kind == "module" and not getattr(ns.NORMS[name].make, "takes_time", False)]


def step(norm: nn.Module, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Output and gradient of an input whose channels are brought to that axis, with both brought back."""
    there = x.movedim(1, axis).contiguous().requires_grad_()
    y = norm(there)
    assert y.shape == there.shape
    y.backward(draw(*x.shape, name="cotangent", dtype=x.dtype).movedim(1, axis))
    assert there.grad is not None
    return y.detach().movedim(axis, 1), there.grad.movedim(axis, 1)


@pytest.mark.parametrize("axis", [-1, 2, -2])
@pytest.mark.parametrize("name", SINGLE)
def test_channels_on_another_axis_are_the_same_norm(name: str, axis: int) -> None:
    first, other = varied(ns.NORMS[name](C)).double(), ns.NORMS[name](C, channel_dim=axis).double()
    same_as_loaded(first, other)
    for training in (True, True, False):
        x = draw(3, C, 4, 2, name=f"{training}", dtype=torch.float64)
        for norm in (first, other):
            norm.train(training).zero_grad()
        for found, expected in zip(step(other, x, axis), step(first, x, 1), strict=True):
            torch.testing.assert_close(found, expected)
        for one, two in zip(first.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(two.grad, one.grad)
        torch.testing.assert_close(other.state_dict(), first.state_dict())
    assert other.channel_axis == axis
    assert f"channel_dim={axis}" in repr(other)
    assert (other.hw_ops(), other.bounds()) == (first.hw_ops(), first.bounds())
    with pytest.raises(ConfigError, match=rf"x must be \(batch, \*\) with 16 channels on axis {axis}"):
        other(torch.zeros(2, C, 3, 5, dtype=torch.float64))


@pytest.mark.parametrize("name", SINGLE)
def test_an_axis_that_no_channels_can_be_on_is_refused(name: str) -> None:
    for wrong in (0, "x", 9, 1.5):
        with pytest.raises(ConfigError, match=rf"^{ns.NORMS[name].make.__name__}\.channel_dim: must be"):
            ns.NORMS[name](C, channel_dim=wrong)


def test_a_batch_norm_of_channels_that_come_last_is_that_of_torch() -> None:
    ours, theirs = varied(BatchNorm(C, channel_dim=-1)), nn.BatchNorm1d(C)
    same_as_loaded(ours, theirs)
    for training in (True, False):
        x = draw(5, 7, C)
        y = ours.train(training)(x)
        assert torch.equal(y, theirs.train(training)(x.transpose(1, 2)).transpose(1, 2))
        assert torch.equal(ours(x[:, 0]), theirs(x[:, 0]))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("norm", [BatchNorm(C), BatchNorm(C, affine=False), L1BatchNorm(C)], ids=["batch", "plain batch", "l1"])
def test_an_input_of_another_precision_or_device_is_refused(norm: nn.Module) -> None:
    for x in (draw(3, C).double(), draw(3, C).to("meta")):
        with pytest.raises(ConfigError, match=r"Norm: x must be torch\.float32 on cpu like the norm, or of 16 bits there, got torch\."):
            norm(x)


@pytest.mark.parametrize("name", SINGLE)
def test_every_norm_stands_in_for_the_layer_norms_of_a_transformer(name: str) -> None:
    encoder = nn.TransformerEncoderLayer(C, 2, 32, 0.0, batch_first=True)
    swapped: Any = ns.swap_norm(encoder, name)
    assert [type(one) for one in (swapped.norm1, swapped.norm2)] == [ns.NORMS[name].make] * 2
    y = swapped(draw(3, 5, C))
    y.square().sum().backward()
    assert y.isfinite().all()
    assert swapped.norm1.channel_dim == -1


def trained(norm: nn.Module, dtype: torch.dtype) -> Any:
    """Between linear layers, after two batches ``(batch, length, features)``."""
    model = nn.Sequential(nn.Linear(6, C), varied(norm), nn.ReLU(), nn.Linear(C, 2)).to(dtype)
    for at in range(2):
        model(draw(4, 5, 6, name=f"{at}", dtype=dtype))
    return model.eval()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize(
    "name", [name for name in SINGLE if ns.NORMS[name].fold == "F0" or isinstance(ns.NORMS[name].example(), MeasuredNorm)]
)
def test_what_is_constant_folds_into_the_linear_layer_before(name: str, dtype: torch.dtype, tolerance: float) -> None:
    norm = ns.NORMS[name](C, channel_dim=-1)
    model = trained(norm if ns.NORMS[name].fold == "F0" else FreezingNorm(norm, 2), dtype)
    x = draw(3, 5, 6, dtype=dtype)
    folded: Any = ns.fold(model, x)
    assert folded.folding.count("folded") == 1
    y = model(x)
    assert float((folded(x) - y).detach().abs().max()) <= tolerance * max(1.0, float(y.detach().abs().max()))


def test_channels_that_come_last_do_not_fold_into_a_convolution() -> None:
    model = nn.Sequential(nn.Conv1d(3, C, 1), BatchNorm(C, channel_dim=-1)).eval()
    folded: Any = ns.fold(model, torch.rand(2, 3, C))
    assert folded.folding.norms[0].status == "left"
    assert "its channels are on axis -1, and those of the Conv1d on axis 1" in folded.folding.norms[0].reason
    with pytest.raises(ConversionError, match="its channels are on axis -1, and those of the Conv1d on axis 1"):
        ns.to_spiking(nn.Sequential(*model, nn.ReLU()), time_steps=2, calibration=torch.rand(2, 3, C))


def test_statistics_are_taken_anew_and_mixed_along_the_same_axis() -> None:
    x = 3 * draw(40, 7, C) + 1
    ours, theirs = (nn.Sequential(norm) for norm in (BatchNorm(C, channel_dim=-1), nn.BatchNorm1d(C)))
    moved = x.transpose(1, 2)
    for given, model in ((x, ours), (moved, theirs)):
        ns.recalibrate(model, [given], inplace=True)
    torch.testing.assert_close(dict(ours[0].named_buffers()), dict(theirs[0].named_buffers()))
    with ns.batch_statistics(ours.eval(), 0.3), ns.batch_statistics(theirs.eval(), 0.3):
        torch.testing.assert_close(ours(2 * x), theirs(2 * moved).transpose(1, 2))


def test_a_norm_with_channels_last_is_swapped_for_one_of_the_same_axis() -> None:
    model = nn.Sequential(BatchNorm(C, channel_dim=-1), UnifiedNorm(C, channel_dim=2), InstanceNorm(C, channel_dim=-1))
    swapped: Any = ns.swap_norm(model, "group")
    assert [one.channel_dim for one in swapped] == [-1, 2, -1]
    assert copy.deepcopy(swapped)(draw(3, 5, C)).shape == (3, 5, C)


class _First(BatchNorm):
    def __init__(self, features: int) -> None:
        super().__init__(features)


def test_a_norm_that_has_no_such_argument_is_refused_where_channels_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NORMS, "_entries", dict(NORMS._entries))
    register("first", formula="y", fold="F0")(_First)
    message = "first takes channels on axis 1, and here they are on axis -1"
    with pytest.raises(ConfigError, match=message):
        Residual(nn.Identity(), C, "first", channel_dim=-1)
    model = nn.Sequential(nn.LayerNorm(C))
    with pytest.raises(ConversionError, match=f"the model is unchanged; 0: {message}"):
        ns.swap_norm(model, "first")
    assert isinstance(model[0], nn.LayerNorm)
