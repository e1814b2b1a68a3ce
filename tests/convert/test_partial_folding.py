"""Norms whole and in parts, taken over by their neighbours: the network computes what it did."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.convert import fold_affine, fold_centering, fold_gain
from neurosim.errors import ConfigError, ConversionError
from neurosim.norms import (
    BatchNorm,
    DynamicTanh,
    FilterResponseNorm,
    GlobalResponseNorm,
    InstanceBatchNorm,
    L1LayerNorm,
    LayerNorm,
    LayerNormScaling,
    PrenormalizedLayerNorm,
    RMSNorm,
    ScaleNorm,
    UnifiedNorm,
)
from tests.norms.contracts import draw, varied

OTHER_LAYER: Any = nn.ReLU()
OTHER_NORM: Any = RMSNorm(16)

C = 16
F0 = [
    name for name in ns.NORMS if ns.NORMS[name].kind == "module" and ns.NORMS[name].fold == "F0" and not hasattr(ns.NORMS[name].make, "run")
]


def digital(name: str) -> bool:
    return not getattr(ns.NORMS[name].make, "takes_time", False)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    tolerance = 1e-12 if one.dtype == torch.float64 else 1e-6
    return bool((one - other).abs().max() <= tolerance * max(1.0, float(other.abs().max())))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", F0)
def test_a_network_without_its_static_norms_computes_the_same(name: str, dtype: torch.dtype) -> None:
    norm = varied(ns.NORMS[name].example())
    model: Any = nn.Sequential(nn.Conv2d(3, C, 3), norm, nn.ReLU(), nn.Conv2d(C, 2, 1)).to(dtype)
    x = draw(4, 3, 6, 5, dtype=dtype)
    if not digital(name):
        model = ns.nn.SpikingSequential(nn.Conv2d(3, C, 3), norm).to(dtype)
        x = draw(5, 4, 3, 6, 5, dtype=dtype)
    for at in range(3):
        model(x * (1 + at) + at)
    folded: Any = ns.fold(model.eval())
    with torch.no_grad():
        assert close(folded(x), model(x))
    assert folded.folding.count("folded") == 1


@pytest.mark.parametrize("name", [name for name in ns.NORMS if ns.NORMS[name].kind == "module" and ns.NORMS[name].fold != "F0"])
def test_a_norm_that_cannot_be_folded_is_left_with_the_reason(name: str) -> None:
    folded: Any = ns.fold(nn.Sequential(nn.Linear(6, C), ns.NORMS[name].example()).eval())
    (report,) = folded.folding.norms
    assert report.status == "left"
    assert "so no constant scale and shift can replace it" in report.reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", [LayerNorm, RMSNorm, ScaleNorm, DynamicTanh], ids=lambda make: make.__name__)
def test_scale_and_shift_go_into_the_next_layer(make: Any, dtype: torch.dtype) -> None:
    for layer, x in ((nn.Linear(C, 4), draw(5, C, dtype=dtype)), (nn.Conv2d(C, 4, 3), draw(5, C, 4, 4, dtype=dtype))):
        model: Any = nn.Sequential(varied(make(C)), layer).to(dtype)
        before = copy.deepcopy(model)
        fold_affine(model[0], model[1])
        assert model[0].weight is None
        with torch.no_grad():
            assert close(model(x), before(x))


CENTRED: list[Any] = [LayerNorm, L1LayerNorm, *(partial(PrenormalizedLayerNorm, by=by) for by in ("mad", "max", "pow2"))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", CENTRED)
def test_centring_goes_into_the_layer_before(make: Any, dtype: torch.dtype) -> None:
    for layer, shape in (
        (nn.Linear(6, C), (5, 6)),
        (nn.Conv2d(6, C, 3), (5, 6, 4, 4)),
        (nn.ConvTranspose2d(6, C, 3, bias=False), (5, 6, 4, 4)),
    ):
        model: Any = nn.Sequential(layer, varied(make(C))).to(dtype)
        before = copy.deepcopy(model)
        fold_centering(model[0], model[1])
        assert (model[1].centers, model[1].bounds() == before[1].bounds()) == (False, False)
        assert "center=False" in repr(model[1])
        x = draw(*shape, dtype=dtype)
        with torch.no_grad():
            assert close(model[0](x).mean(1), torch.zeros((), dtype=dtype))
            assert close(model(x), before(x))


def test_a_norm_without_centring_computes_less() -> None:
    for make in CENTRED:
        norm = make(C)
        before = norm.hw_ops()
        fold_centering(nn.Linear(3, C), norm)
        after = norm.hw_ops()
        times = 2 if isinstance(norm, PrenormalizedLayerNorm) else 1  # it centres before it scales, and again behind
        assert before.per_element.adds - after.per_element.adds == 2 * times  # the sum of the mean, and taking it away
        assert before.per_vector.multiplies - after.per_vector.multiplies == times


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scale_and_shift_of_both_halves_of_an_instance_and_batch_norm_go_into_the_next_layer(dtype: torch.dtype) -> None:
    x = draw(5, C, 4, 4, dtype=dtype)
    model: Any = nn.Sequential(InstanceBatchNorm(C, 0.3), nn.Conv2d(C, 4, 3)).to(dtype)
    for at, half in enumerate((model[0].instance, model[0].batch)):
        varied(half, at)
    model(x)
    for before in (model.eval(), ns.freeze_statistics(model, 0, x).eval()):
        changed = copy.deepcopy(before)
        fold_affine(changed[0], changed[1])
        assert list(changed[0].parameters()) == []
        with torch.no_grad():
            assert close(changed(x), before(x))
        fold_affine(changed[0], changed[1])  # nothing is left to give


def test_a_norm_of_torch_can_be_replaced_by_one_whose_centring_folds() -> None:
    model: Any = nn.Sequential(nn.Linear(6, C), varied(nn.LayerNorm(C)))
    with pytest.raises(ConversionError, match=r"got torch's LayerNorm; neurosim\.swap_norm puts one of ours in its place"):
        fold_centering(*model)
    swapped: Any = ns.swap_norm(model, "layer")
    fold_centering(*swapped)
    x = draw(3, 5, 6)
    with torch.no_grad():
        assert close(swapped(x), model(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gain_of_a_dynamic_tanh_goes_into_the_layer_before(dtype: torch.dtype) -> None:
    model: Any = nn.Sequential(nn.Linear(6, C), varied(DynamicTanh(C)), nn.Linear(C, 3)).to(dtype)
    before, x = copy.deepcopy(model), draw(5, 6, dtype=dtype)
    fold_gain(model[0], model[1])
    fold_affine(model[1], model[2])
    assert list(model[1].parameters()) == []  # a plain curve is left
    with torch.no_grad():
        assert close(model(x), before(x))


def test_channels_on_another_axis_are_not_those_of_a_convolution() -> None:
    folded: Any = ns.fold(nn.Sequential(nn.Conv2d(3, 4, 1), UnifiedNorm(4, channel_dim=-1)).eval())
    assert "its channels are on axis -1, and those of the Conv2d on axis 1" in folded.folding.norms[0].reason


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fold_affine(FilterResponseNorm(C), nn.Conv2d(C, 2, 1)), "something follows its scale and shift"),
        (lambda: fold_affine(GlobalResponseNorm(C), nn.Conv2d(C, 2, 1)), "something follows its scale and shift, or they are part"),
        (lambda: fold_affine(varied(LayerNorm(C)), nn.Conv2d(C, 2, 3, padding=1)), "pads with zeros, to which no shift is added"),
        (lambda: fold_affine(LayerNorm(C), OTHER_LAYER), "must be a linear layer or a convolution, got ReLU"),
        (lambda: fold_affine(LayerNorm((C, 3)), nn.Linear(3, 2)), "a layer has one scale a channel"),
        (lambda: fold_affine(LayerNorm(C, channel_dim=-1), nn.Conv2d(C, 2, 1)), "its channels are on axis -1"),
        (lambda: fold_centering(nn.Linear(3, 8), LayerNorm(C)), r"it has features \(16,\), and the layer 8 outputs"),
        (
            lambda: fold_centering(nn.Linear(3, C), OTHER_NORM),
            "must be a LayerNorm or L1LayerNorm or PrenormalizedLayerNorm of neurosim.norms, got RMSNorm",
        ),
        (lambda: fold_gain(nn.Linear(3, C), OTHER_NORM), "the norm must be a DynamicTanh of neurosim.norms, got RMSNorm"),
    ],
)
def test_what_a_neighbour_cannot_take_over_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        call()


def test_centering_does_not_fold_into_a_layer_whose_outputs_have_different_inputs() -> None:
    layer = nn.Conv2d(4, 8, 3, groups=2)
    before = layer.weight.detach().clone()
    with pytest.raises(ConversionError, match="grouped convolution"):
        fold_centering(layer, LayerNorm(8))
    assert torch.equal(layer.weight, before)


def test_a_norm_on_axis_1_beside_a_linear_layer_takes_no_other_inputs_than_those_for_which_both_mean_the_same() -> None:
    norm, layer = varied(LayerNorm(C)), nn.Linear(C, 4)
    x = draw(3, C, C)
    unfolded = layer(norm(x))  # scaled along axis 1, multiplied along axis 2: no weights of the layer do that
    fold_affine(norm, layer)
    assert unfolded.shape == (3, C, 4)
    with pytest.raises(ConfigError, match=r"LayerNorm: x must have 2 axes since a linear layer took a part over, got shape \(3, 16, 16\)"):
        norm(x)
    assert copy.deepcopy(norm)(draw(3, C)).shape == (3, C)
    centred = LayerNorm(C)
    fold_centering(nn.Linear(3, C), centred)
    with pytest.raises(ConfigError, match="x must have 2 axes"):
        centred(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_norm_of_the_last_axis_folds_into_a_linear_layer_for_any_number_of_axes(dtype: torch.dtype) -> None:
    for axis, shape in ((-1, (3, 5, C)), (-1, (3, 2, 5, C)), (2, (3, 5, C))):
        model: Any = nn.Sequential(varied(LayerNorm(C, channel_dim=axis)), nn.Linear(C, 4)).to(dtype)
        before = copy.deepcopy(model)
        x = draw(3, C, *shape[1:-1], dtype=dtype).movedim(1, -1)
        fold_affine(model[0], model[1])
        with torch.no_grad():
            assert close(model(x), before(x))
    with pytest.raises(ConversionError, match="its channels are on axis -2, and the features of the Linear on the last one"):
        fold_affine(LayerNorm(C, channel_dim=-2), nn.Linear(C, 4))


def test_convolutions_and_norms_on_axis_1_agree_for_inputs_of_any_number_of_axes() -> None:
    cases: list[tuple[nn.Module, tuple[int, ...]]] = [(nn.Conv1d(C, 4, 2), (3, C, C)), (nn.Conv3d(C, 4, 1), (2, C, 3, 2, C))]
    for layer, shape in cases:
        model: Any = nn.Sequential(varied(LayerNorm(C)), layer).double()
        before, x = copy.deepcopy(model), draw(*shape, dtype=torch.float64)
        fold_affine(model[0], model[1])
        with torch.no_grad():
            assert close(model(x), before(x))


@pytest.mark.parametrize("norm", [BatchNorm(6), nn.BatchNorm1d(6), UnifiedNorm(6)], ids=lambda norm: type(norm).__module__)
def test_a_batch_shows_that_a_norm_on_axis_1_has_other_channels_than_the_linear_layer(norm: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 6), norm).eval()
    x = draw(3, 6, 4)
    norm.weight.data.copy_(torch.linspace(-1, 2, 6))
    folded: Any = ns.fold(model, x, tolerance=1e-6)
    (report,) = folded.folding.norms
    assert "its channels are on axis 1, and the features of the Linear on the last one" in report.reason
    folded = ns.fold(model, draw(5, 4), tolerance=1e-6)
    assert folded.folding.count("folded") == 1


def test_scales_lie_where_the_norm_and_its_layer_do() -> None:
    """On a device that computes nothing, which tells values of the CPU from others."""
    for name in F0:
        assert [value.device.type for value in ns.NORMS[name].example().to("meta").fold()] == ["meta", "meta"], name
    given, layer = LayerNorm(C).to("meta"), nn.Linear(C, 3, device="meta")
    given.register_parameter("weight", None)
    affine = given.last_affine()
    assert affine is not None
    assert affine.scale.device.type == "meta"
    fold_affine(LayerNormScaling(C, depth=4, affine=False), layer)  # 1/√ℓ is made on the CPU
    assert layer.weight.device.type == layer.bias.device.type == "meta"
