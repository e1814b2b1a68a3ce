"""Ranges of converters against brute force."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.ranges import (
    best_range,
    granular_adc_range,
    max_adc_range,
    max_range,
    percentile_range,
    power_of_two_range,
    range_error,
    sign_magnitude,
    sliced_adc_range,
    twos_complement,
    unsigned,
)
from neurosim.random import stream

DOUBLE = torch.empty(0, dtype=torch.float64)


def signals() -> dict[str, Tensor]:
    normal = stream(1, "signal").normal((4000,), like=DOUBLE)
    return {
        "normal": normal,
        "with outliers": torch.cat([0.1 * normal, torch.tensor([7.0, -9.0]).double()]),
        "uniform": stream(2, "signal").uniform((3000,), like=DOUBLE) * 2 - 1,
        "few": torch.tensor([-0.3, 0.1, 0.9]).double(),
    }


@pytest.mark.parametrize("name", list(signals()))
@pytest.mark.parametrize("measure", ["l1", "mse"])
@pytest.mark.parametrize(("levels", "signed"), [(3, True), (15, True), (16, False), (255, True)])
def test_the_best_range_does_no_more_harm_than_any_of_a_fine_grid(name: str, measure: Any, levels: int, signed: bool) -> None:
    x = signals()[name]
    limit = best_range(x, levels, measure, signed=signed)
    values, power = x.numpy(), 1 if measure == "l1" else 2
    least = math.inf
    for r in np.linspace(max_range(x) / 400, max_range(x), 3000):
        low = -r if signed else 0.0
        step = (r - low) / (levels - 1)
        least = min(least, float(np.mean(np.abs(values - (np.rint((np.clip(values, low, r) - low) / step) * step + low)) ** power)))
    assert range_error(x, levels, limit, measure, signed=signed) <= 1.01 * least


def test_the_best_range_of_a_normal_signal_is_the_published_one() -> None:
    """J. Max 1960, table II: uniform quantisers of least squared error; 16 levels have a step of 0.3352, 32 one of 0.1881."""
    n = 100_000
    x = torch.special.ndtri((torch.arange(n).double() + 0.5) / n)
    for levels, step in ((16, 0.3352), (32, 0.1881)):
        assert 2 * best_range(x, levels, "mse") / (levels - 1) == pytest.approx(step, rel=0.01)


def test_outliers_are_clipped_where_levels_are_few() -> None:
    x = signals()["with outliers"]
    assert best_range(x, 15, "l1") < 0.1 * max_range(x) < percentile_range(x, 1.0) == max_range(x)


def test_a_percentile_is_one_of_magnitudes() -> None:
    x = signals()["normal"] - 2.0  # nearly all negative: a quantile of the signed signal would be near 1
    for share in (0.5, 0.9, 0.999, 1.0):
        assert percentile_range(x, share) == pytest.approx(float(np.quantile(x.abs().numpy(), share)), rel=1e-12)
    clipped = (x.abs() > percentile_range(x, 0.9)).double().mean()
    assert float(clipped) == pytest.approx(0.1, abs=1 / len(x))


def test_zeros_have_a_range() -> None:
    assert best_range(torch.zeros(5), 7) == 1.0
    assert max_range(torch.zeros(5)) == 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: max_range(torch.zeros(0)),
        lambda: percentile_range(torch.tensor([1.0, math.nan])),
        lambda: percentile_range(torch.ones(3), 0.0),
        lambda: best_range(torch.ones(3), 1),
        lambda: best_range(torch.ones(3), 7, "l2"),  # type: ignore[arg-type]  # what is refused
        lambda: granular_adc_range(adc_bits=8, input_bits=8, signed_inputs=True, subtracted=True),
        lambda: granular_adc_range(adc_bits=8, input_bits=8, slice_bits=1, weight_bits=8, signed_inputs=True, subtracted=True),
        lambda: max_adc_range(0, signed_inputs=True, subtracted=False),
        lambda: sign_magnitude(1),
        lambda: unsigned(0),
        lambda: twos_complement(8, -1.0),
        lambda: power_of_two_range(0.0, 8),
    ],
)
def test_what_has_no_range_is_refused(call: Any) -> None:
    with pytest.raises(ConfigError):
        call()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("subtracted", [False, True])
def test_no_sum_of_a_small_array_exceeds_its_largest_range(signed: bool, subtracted: bool) -> None:
    rows = 3
    inputs = (-1.0, 0.0, 0.5, 1.0) if signed else (0.0, 0.5, 1.0)
    cells = (-1.0, -0.5, 0.0, 1.0) if subtracted else (0.0, 0.5, 1.0)
    sums = [
        sum(a * b for a, b in zip(x, g, strict=True))
        for x in itertools.product(inputs, repeat=rows)
        for g in itertools.product(cells, repeat=rows)
    ]
    assert (min(sums), max(sums)) == max_adc_range(rows, signed_inputs=signed, subtracted=subtracted)


@pytest.mark.parametrize("slice_bits", [1, 2, 4])
@pytest.mark.parametrize("rows", [16, 128])
def test_a_granular_range_tells_every_sum_of_cells_apart(slice_bits: int, rows: int) -> None:
    """All inputs full, whole numbers of least cell currents: one code for each, and no clipping with enough bits."""
    input_bits, adc_bits = 8, slice_bits + int(math.log2(rows))
    low, high = granular_adc_range(adc_bits=adc_bits, input_bits=input_bits, slice_bits=slice_bits, signed_inputs=False, subtracted=False)
    step = (high - low) / ((1 << adc_bits) - 1)
    least = 1 / ((1 << slice_bits) - 1)
    assert step == pytest.approx(least * 256 / 255, rel=1e-12)
    sums = np.arange(0, rows * ((1 << slice_bits) - 1) + 1) * least
    codes = np.rint(sums / step)
    assert high >= sums[-1] - step
    assert len(np.unique(codes[:100])) == min(100, len(sums))


def test_a_granular_range_of_signed_signals_is_symmetric_and_counts_the_sign() -> None:
    low, high = granular_adc_range(adc_bits=8, input_bits=9, weight_bits=8, signed_inputs=True, subtracted=False)
    assert low == -high
    assert high == pytest.approx(127 / 256 * 256 / 255, rel=1e-12)
    low, high = granular_adc_range(adc_bits=8, input_bits=8, weight_bits=8, signed_inputs=False, subtracted=True)
    assert (low, high) == (pytest.approx(-127 / 256 * 256 / 255), pytest.approx(127 / 256 * 256 / 255))


def test_a_range_of_slices_with_an_offset_has_steps_of_whole_cells() -> None:
    for rows, adc_bits, slice_bits in ((128, 8, 1), (100, 9, 2), (64, 8, 4)):
        low, high = sliced_adc_range(rows, adc_bits=adc_bits, input_bits=8, slice_bits=slice_bits, signed_inputs=False)
        step = high / ((1 << adc_bits) - 1)
        cell = 1 / ((1 << slice_bits) - 1) * 256 / 255
        ratio = math.log2(step / cell)
        assert low == 0.0
        assert ratio == pytest.approx(round(ratio), abs=1e-9)
    low, high = sliced_adc_range(128, adc_bits=8, input_bits=9, slice_bits=1, signed_inputs=True)
    assert low == -high
    assert high == pytest.approx(128 * 2 * 256 / 255 * 254 / 256)


@pytest.mark.parametrize("rows", [48, 64, 100])
def test_a_range_of_a_power_of_two_is_the_least_that_holds_the_limit(rows: int) -> None:
    for limit in (0.3, 1.0, 5.0, 12.5, 25.0, 40.0, 200.0):
        held = [rows / 2.0**k for k in range(-10, 20) if rows / 2.0**k >= limit]
        assert power_of_two_range(limit, rows) == min(held)
