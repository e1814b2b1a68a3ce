"""Output converters whose range follows the partial sums: against the arithmetic written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.stages import Mapping, Slices, sliced
from neurosim.hardware.stages.mapping import decoding, encode
from neurosim.hardware.stages.slices import factors
from tests.nn.test_array import CELLS, FILLED, LAYOUTS, layer_and_input, profile

MAPPING: dict[str, Any] = CELLS | {"scheme": "offset", "slices": 2, "weight_bits": 8}
SLICES: dict[str, Any] = {"kind": "slices", "bits": 4, "slice_bits": 2}
STEP = 0.0617  # of the largest partial sum: none is a whole number of steps
FLOOR: dict[str, Any] = {"kind": "quantize", "levels": 16, "low": 0.0, "high": 15 * STEP, "rounding": "floor", "clip": "after"}
ROWS = 8


def dynamic(adc: dict[str, Any] | None = None, **scale: Any) -> dict[str, Any]:
    found = {"scale": {"kind": "scale"} | scale}
    return {"output": found | ({} if adc is None else {"adc": adc})}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("per", ["tensor", "vector"])
@pytest.mark.parametrize("how", ["linear over more axes", "grouped", "transposed", "without a batch"])
@pytest.mark.parametrize("lies", [lies for lies in LAYOUTS if "slices" not in lies])
def test_without_levels_the_product_is_the_digital_one(lies: str, how: str, per: str) -> None:
    layer, x = layer_and_input(how)
    x = x.requires_grad_()
    chip = ns.to_analog(nn.Sequential(layer), profile(LAYOUTS[lies] | dynamic(per=per)), seed=0)
    wanted, got = layer_and_input(how)[0](x), chip(x)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    grads = [torch.autograd.grad((y**2).sum(), x)[0] for y in (wanted, got)]
    torch.testing.assert_close(*grads, rtol=0, atol=1e-11)
    with torch.no_grad():
        torch.testing.assert_close(chip(x), wanted, rtol=0, atol=1e-12)


def by_hand(layer: nn.Linear, x: Tensor, per: str) -> Tensor:
    """One conversion after the other, each in steps of the largest partial sum, rounded down."""
    mapping, slices = Mapping(**MAPPING), Slices(**SLICES)
    weights, zero = decoding(mapping)
    held = encode(layer.weight.detach(), mapping) / mapping.siemens
    total = torch.zeros(len(x), layer.out_features, dtype=x.dtype)
    for sent, weight in zip(sliced(x, slices), factors(slices), strict=True):
        total -= weight * zero * sent.sum(-1, keepdim=True)
        for cells, share in zip(held, weights, strict=True):
            for part, tile in zip(sent.split(ROWS, -1), cells.split(ROWS, -1), strict=True):
                y = part @ tile.T
                largest = y.abs().amax(-1, keepdim=True) if per == "vector" else y.abs().amax()
                step = largest * STEP
                total += weight * share * (y / step).floor().clamp(0, 15) * step
    return total


@pytest.mark.parametrize("per", ["tensor", "vector"])
def test_each_partial_sum_is_converted_in_its_own_range(per: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3 * ROWS, 7, bias=False).double()
    nn.init.uniform_(layer.weight, -1, 1)
    x = torch.rand(20, 3 * ROWS, dtype=torch.float64)
    spec = {"input": {"slices": SLICES}, "array": {"mapping": MAPPING, "tiles": {"kind": "tiles", "rows": ROWS}}} | dynamic(FLOOR, per=per)
    chip: Any = ns.to_analog(layer, profile(spec), seed=0)
    wanted = by_hand(layer, x, per)
    torch.testing.assert_close(chip(x), wanted, rtol=0, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(chip(x), wanted, rtol=0, atol=1e-10)
    with ns.noise("ideal", chip, stages="output.scale"):
        assert not torch.allclose(chip(x), wanted, atol=1e-3)


def test_levels_pass_the_gradient_and_the_range_has_none() -> None:
    layer, x = layer_and_input("linear")
    coarse = {"kind": "quantize", "levels": 7, "low": -1.0, "high": 1.0}
    chip = ns.to_analog(nn.Sequential(layer), profile(dynamic(coarse)), seed=0)
    digital = layer_and_input("linear")[0]
    up = torch.randn(4, 6, dtype=torch.float64)
    wanted = torch.autograd.grad(digital(x.requires_grad_()), [x, *digital.parameters()], up)
    got = torch.autograd.grad(chip(x), [x, *chip.parameters()], up)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    assert not torch.allclose(chip(x), digital(x), atol=1e-3)


def test_the_scale_follows_the_signal_and_full_and_limit_bound_it() -> None:
    """An input times a number gives the output times it; ``full`` counts in steps, ``limit`` leaves what is larger to the converter."""
    layer = nn.Linear(5, 3, bias=False).double()
    x = torch.randn(9, 5, dtype=torch.float64)
    coarse = {"kind": "quantize", "levels": 9, "low": -1.0, "high": 1.0}
    chip = ns.to_analog(nn.Sequential(layer), profile(dynamic(coarse)), seed=0)
    torch.testing.assert_close(chip(1000 * x), 1000 * chip(x), rtol=1e-12, atol=0)
    steps = {"kind": "quantize", "levels": 9, "low": -4.0, "high": 4.0}
    counted = ns.to_analog(nn.Sequential(nn.Linear(5, 3, bias=False).double()), profile(dynamic(steps, full=4.0)), seed=0)
    counted.load_state_dict(chip.state_dict())
    torch.testing.assert_close(counted(x), chip(x), rtol=0, atol=1e-12)
    limited = ns.to_analog(nn.Sequential(layer), profile(dynamic(coarse | {"levels": 1 << 20}, limit=0.1)), seed=0)
    torch.testing.assert_close(limited(x), (x @ layer.weight.T).clamp(-0.1, 0.1), rtol=0, atol=1e-6)


def test_noise_of_a_detector_is_in_front_of_the_scale() -> None:
    layer, x = layer_and_input("linear")
    noise = {"kind": "noise", "distribution": "gaussian", "scale": 0.1, "scope": "read"}
    tiles: dict[str, Any] = {"array": {"tiles": {"kind": "tiles", "rows": 4}}}
    outputs = [
        ns.to_analog(nn.Sequential(layer), profile(tiles | {"output": {"noise": noise} | more}), seed=0)(x)
        for more in ({}, {"scale": {"kind": "scale"}})
    ]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)


def test_a_calibrated_converter_behind_a_scale_has_the_range_of_the_scaled_signal() -> None:
    layer, x = layer_and_input("linear")
    adc = {"kind": "quantize", "levels": 255, "low": -8.0, "high": 8.0}
    chip: Any = ns.to_analog(nn.Sequential(layer), profile({"input": FILLED} | dynamic(adc)), seed=0)
    ns.calibrate(chip, x, stages="output.adc", method="max")
    assert chip[0].chain.spec.output.adc.high == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (dynamic(mode="constant", value=2.0), "mode must be 'absmax', got 'constant'; a range that does not is that of adc"),
        (dynamic(retries=2), "retries must be null, which is for input.scale"),
        ({"output": {"scale": {"kind": "scale"}, "ranges": {"kind": "ranges"}}}, "leave ranges out"),
        ({"input": {"scale": {"kind": "scale", "retries": 2}}} | dynamic(), "input.scale.retries is for outputs that leave"),
        ({"bias": {}} | dynamic(), "bias: null makes it digital"),
    ],
)
def test_scales_that_cannot_follow_are_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChainSpec.model_validate(spec)
