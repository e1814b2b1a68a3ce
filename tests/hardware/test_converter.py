"""Converters with errors: tables of levels, gain, offset, unequal steps, noise, and what is left without them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.level_table import LEAST_STEP, at_levels, between_levels, dnl, inl, level_table
from neurosim.hardware.ranges import sign_magnitude, twos_complement, unsigned
from neurosim.hardware.stage import STAGES, Context
from neurosim.hardware.stages import Converter, Quantize
from neurosim.random import Stream, stream

STAGE, SOURCE = STAGES["converter"], stream(3, "layer", "output.adc", "read")
DOUBLE = torch.empty(0, dtype=torch.float64)


def convert(
    x: Tensor, source: Stream | None = SOURCE, shape: tuple[int, ...] | None = None, strength: float = 1.0, **fields: Any
) -> Tensor:
    spec = Converter(**fields)
    params = {name: value.to(x.dtype) for name, value in STAGE.init(spec, x.shape[1:]).items()}
    device = STAGE.program(spec, params, x.shape[1:] if shape is None else shape, stream(3, "layer", "output.adc", "device"))
    return STAGE.apply(x, spec, params, device, Context(source, strength=strength))


def ramp(count: int, channels: int) -> Tensor:
    return torch.linspace(-1.2, 1.2, count, dtype=torch.float64).unsqueeze(1).expand(count, channels)


def test_levels_are_a_walk_that_is_held_at_both_ends() -> None:
    n, sigma, count = 64, 0.05, 20_000
    table = level_table(stream(1, "widths").normal((count, n), like=DOUBLE), sigma)
    assert torch.equal(table[:, 0], torch.zeros(count).double())
    assert torch.equal(table[:, -1], torch.full((count,), n).double())
    k = torch.arange(1, n).double()
    expected = sigma**2 * k * (n - k) / n
    measured = inl(table)[:, 1:-1].square().mean(0)
    # the mean of `count` squares has relative deviation sqrt(2 / count); dividing by the sum of the widths adds terms of order σ²
    assert ((measured / expected - 1).abs() < 6 * math.sqrt(2 / count) + 3 * sigma**2).all()
    spread = dnl(table).square().mean() / (sigma**2 * (1 - 1 / n))
    assert abs(float(spread) - 1) < 6 * math.sqrt(2 / (count * n)) + 3 * sigma**2


def test_levels_never_change_places() -> None:
    table = level_table(stream(1, "widths").normal((100, 30), like=DOUBLE), 3.0)
    assert (table.diff(dim=-1) > 0).all()
    assert (1 + dnl(table)).min() < 2 * LEAST_STEP  # some are all but missing


def test_no_spread_means_whole_numbers() -> None:
    assert torch.equal(level_table(torch.randn(3, 7, generator=torch.Generator().manual_seed(0)), 0.0), torch.arange(8.0).expand(3, 8))
    with pytest.raises(ConfigError, match="dnl must be ≥ 0"):
        level_table(torch.zeros(3), -0.1)


def test_the_way_into_a_table_is_the_inverse_of_the_way_out() -> None:
    table = level_table(stream(1, "widths").normal((4, 1, 15), like=DOUBLE), 0.3)
    k = torch.arange(-2.0, 18.0).double().expand(3, 4, 20)
    out = at_levels(k, table)
    assert torch.equal(out[..., 2:18], table.expand(3, 4, 1, 16).squeeze(2))
    assert torch.allclose(between_levels(out, table), k, atol=1e-12)
    halfway = between_levels((table[..., 1:] + table[..., :-1]).reshape(4, 15) / 2, table)
    assert torch.allclose(halfway, torch.arange(15).double() + 0.5, atol=1e-12)


def test_a_table_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="must broadcast"):
        at_levels(torch.zeros(3, 5), torch.zeros(4, 7))


@pytest.mark.parametrize("rounding", ["half_even", "half_to_zero", "floor", "ceil", "to_zero", "away_from_zero", "stochastic"])
@pytest.mark.parametrize("side", ["adc", "dac"])
def test_without_errors_it_is_the_quantiser(rounding: Any, side: Any) -> None:
    x = ramp(301, 2)
    fields: dict[str, Any] = {"levels": 9, "low": -1.0, "high": 0.5, "rounding": rounding, "clip": "after"}
    expected = STAGES["quantize"].apply(x, Quantize(**fields), {}, None, Context(SOURCE))
    assert torch.equal(convert(x, **fields, side=side), expected)
    if rounding not in ("stochastic", "to_zero", "away_from_zero"):
        assert torch.equal(convert(x, None, **fields, side=side, gain=0.1, offset=1.0, dnl=0.3, noise=1.0), expected)
        assert torch.equal(convert(x, strength=0.0, **fields, side=side, gain=0.1, offset=1.0, dnl=0.3, noise=1.0), expected)


def test_errors_that_are_too_small_to_see_change_nothing() -> None:
    """The way through the table is the identity in the limit, for every rounding that has fixed borders."""
    x = ramp(300, 2) + 1e-4
    for rounding in ("half_even", "half_to_zero", "floor", "ceil"):
        for side in ("adc", "dac"):
            ideal = convert(x, levels=9, rounding=rounding)
            assert torch.allclose(convert(x, levels=9, rounding=rounding, side=side, dnl=1e-9), ideal, atol=1e-7)


@pytest.mark.parametrize(("rounding", "first"), [("half_even", 0.5), ("floor", 1.0), ("ceil", 0.0)])
def test_codes_of_an_adc_begin_where_its_table_says(rounding: Any, first: float) -> None:
    levels, sigma, channels = 17, 0.2, 3
    x = ramp(200_001, channels)
    y = convert(x, levels=levels, rounding=rounding, dnl=sigma)
    widths = stream(3, "layer", "output.adc", "device").child("widths").normal((channels, levels - 2), like=torch.empty(0))
    borders = level_table(widths.double(), sigma) + first
    codes = ((y + 1) / 2 * (levels - 1)).round()
    assert codes.unique().tolist() == list(range(levels))
    for channel in range(channels):
        begins = x[torch.searchsorted(codes[:, channel].contiguous(), torch.arange(1.0, levels).double()), channel]
        assert ((begins + 1) / 2 * (levels - 1) - borders[channel]).abs().max() < 2.5 / 200_000 * (levels - 1)


def test_levels_of_a_dac_lie_where_its_table_says() -> None:
    levels, sigma = 17, 0.2
    y = convert(ramp(2001, 3), levels=levels, side="dac", dnl=sigma)
    widths = stream(3, "layer", "output.adc", "device").child("widths").normal((3, levels - 1), like=torch.empty(0))
    expected = level_table(widths.double(), sigma) * 2 / (levels - 1) - 1
    for channel in range(3):
        assert torch.allclose(y[:, channel].unique(), expected[channel], atol=1e-12)
    assert not torch.allclose(expected[0], expected[1], atol=1e-3)


def test_gain_and_offset_are_the_converters_own_and_scale_with_their_fields() -> None:
    x = torch.tensor([[0.5], [-0.25]], dtype=torch.float64).expand(2, 4)
    fine: dict[str, Any] = {"levels": 1 << 20, "clip": "none"}
    step = 2 / ((1 << 20) - 1)
    device = stream(3, "layer", "output.adc", "device")
    gain, offset = (device.child(name).normal((4,), like=torch.empty(0)).double() for name in ("gain", "offset"))
    assert torch.allclose(convert(x, **fine, gain=0.02), x * (1 + 0.02 * gain), atol=step)
    assert torch.allclose(convert(x, **fine, offset=1e4), x + 1e4 * step * offset, atol=step)
    assert torch.allclose(convert(x, **fine, offset=1e4, strength=0.5), x + 5e3 * step * offset, atol=step)
    assert torch.allclose(convert(x, **fine, side="dac", gain=0.02), x * (1 + 0.02 * gain), atol=step)


def test_noise_of_a_comparator_is_new_at_every_read_and_measured_in_steps() -> None:
    n, levels, sigma = 200_000, 1025, 3.0
    y = convert(torch.full((n, 1), 0.25, dtype=torch.float64), levels=levels, noise=sigma)
    lsb = 2 / (levels - 1)
    variance = (sigma**2 + 1 / 12) * lsb**2  # that of the noise and of the rounding
    assert abs(float(y.mean()) - 0.25) < 5 * math.sqrt(variance / n)
    assert abs(float(y.var()) / variance - 1) < 5 * math.sqrt(2 / n)
    other = convert(torch.full((n, 1), 0.25, dtype=torch.float64), SOURCE._replace(draw=1), levels=levels, noise=sigma)
    assert not torch.equal(y, other)


def test_a_shared_converter_errs_alike_in_all_channels() -> None:
    x = ramp(101, 5)
    fields: dict[str, Any] = {"levels": 9, "gain": 0.1, "offset": 0.3, "dnl": 0.3}
    shared, own = convert(x, **fields, shared=True), convert(x, **fields)
    assert torch.equal(shared, shared[:, :1].expand(-1, 5))
    assert not torch.equal(own, own[:, :1].expand(-1, 5))


def test_channels_of_images_have_one_converter_each() -> None:
    x = ramp(60, 6).reshape(10, 6, 6).reshape(10, 3, 3, 4)
    fields: dict[str, Any] = {"levels": 9, "gain": 0.1, "offset": 0.3, "dnl": 0.3}
    together = convert(x, shape=(3, 1, 1), **fields)
    apart = convert(x.permute(0, 2, 3, 1).reshape(-1, 3), shape=(3,), **fields)
    assert torch.equal(together, apart.reshape(10, 3, 4, 3).permute(0, 3, 1, 2))


def test_a_place_that_nobody_programmed_keeps_its_errors_over_calls() -> None:
    x, spec = ramp(50, 3), Converter(levels=9, gain=0.1, dnl=0.2)
    first, second = (STAGE.apply(x, spec, {}, None, Context(SOURCE._replace(draw=draw))) for draw in (0, 7))
    assert torch.equal(first, second)
    assert not torch.equal(first, STAGE.apply(x, spec, {}, None, Context(None)))


def test_gradients_follow_the_rule_of_the_rounding_and_the_factor_of_the_gain() -> None:
    x = torch.tensor([[-1.5, 0.2, 1.5]], dtype=torch.float64, requires_grad=True)
    gain = 1 + 0.1 * stream(3, "layer", "output.adc", "device").child("gain").normal((3,), like=torch.empty(0)).double()
    for side in ("adc", "dac"):
        y = convert(x, levels=9, gain=0.1, offset=0.2, dnl=0.2, side=side)
        assert torch.allclose(torch.autograd.grad(y.sum(), x)[0][0], gain, rtol=1e-6)
        y = convert(x, levels=9, gain=0.1, dnl=0.2, side=side, grad="ste_masked")
        assert torch.allclose(torch.autograd.grad(y.sum(), x)[0][0], gain * torch.tensor([0, 1, 0]), rtol=1e-6)


def test_learned_ends_stay_learned() -> None:
    fields: dict[str, Any] = {"levels": 5, "learned": True, "grad": "lsq", "dnl": 0.1}
    spec = Converter(**fields)
    params = {name: value.double().requires_grad_() for name, value in STAGE.init(spec, (2,)).items()}
    device = STAGE.program(spec, params, (2,), SOURCE)
    y = STAGE.apply(torch.tensor([[-3.0, 0.3]]).double(), spec, params, device, Context(SOURCE))
    grads = torch.autograd.grad(y.sum(), (params["low"], params["high"]))
    assert all(grad.abs() > 0 for grad in grads)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"levels": 1 << 20, "dnl": 0.1}, "at most 65536 levels"),
        ({"levels": 9, "dnl": 0.1, "rounding": "to_zero"}, "borders of codes"),
        ({"levels": 9, "low": 1.0, "high": 0.0}, "low must be below high"),
        ({"levels": 9, "learned": True}, "learned ends need grad 'lsq'"),
        ({"levels": 9, "noise": -1.0}, "noise"),
    ],
)
def test_converters_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Converter(**fields)


def test_a_description_names_the_errors() -> None:
    text = STAGE.describe(Converter(levels=256, gain=0.01, dnl=0.25, shared=True))
    assert text.startswith("ADC, 256 levels on [-1, 1]")
    assert text.endswith("errors gain 1 %, DNL 0.25 LSB, one converter for all")


def test_codes_of_a_number_of_bits() -> None:
    x = torch.linspace(-1.5, 1.5, 3001).double().unsqueeze(1)
    signed = convert(x, **sign_magnitude(4)._asdict()).unique()
    assert torch.equal(signed, -signed.flip(0))
    assert len(signed) == 15
    assert 0.0 in signed
    positive = convert(x, **unsigned(4)._asdict()).unique()
    assert torch.allclose(positive, torch.arange(16).double() / 15)


def test_a_floor_that_saturates_is_that_of_an_integer_word() -> None:
    """BrainScaleS-2's converters: floor, then a signed 8-bit word."""
    x = torch.linspace(-200, 200, 16_001).double().unsqueeze(1)
    for clip in ("before", "after"):
        y = convert(x, **twos_complement(8, 128.0)._asdict(), rounding="floor", clip=clip)
        assert torch.equal(y, x.floor().clamp(-128, 127))
