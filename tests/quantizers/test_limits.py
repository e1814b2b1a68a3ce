"""Limits: what a format's largest number stands for, and how much signal each leaves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.hardware.ranges import best_range
from neurosim.quantizers import (
    best_limit,
    channel_limits,
    fake_quantize,
    low_rank_factors,
    number_format,
    rounding_error,
    shift_limits,
    sqnr_db,
)
from neurosim.quantizers.limits import _Sorted

N = 60_000
LAWS = {"uniform": stats.uniform(-1, 2), "gauss": stats.norm(), "laplace": stats.laplace(), "student_t3": stats.t(3)}
#: dB with the best limit, each of one sample of 60,000 numbers
BEST = {
    "uniform": {"int4": 23.5, "e2m1": 20.1, "e3m0": 16.0},
    "gauss": {"int4": 18.9, "e2m1": 18.9, "e3m0": 14.2},
    "laplace": {"int4": 15.7, "e2m1": 17.4, "e3m0": 14.2},
    "student_t3": {"int4": 8.3, "e2m1": 9.6, "e3m0": 13.1},
}


def sample(law: str, seed: int = 0) -> Tensor:
    u = ns.random.stream(seed, law).uniform((N,), like=torch.empty(0, dtype=torch.float64))
    return torch.from_numpy(np.asarray(LAWS[law].ppf(u.numpy())))


def standard_error_db(x: Tensor, error: Tensor) -> float:
    """Of the ratio of two means, by their linear change: of both squares in units of their means."""
    change = x.square() / x.square().mean() - error.square() / error.square().mean()
    return 10 / math.log(10) * float(change.std()) / math.sqrt(len(x))


@pytest.mark.parametrize("law", ["uniform", "gauss", "laplace"])
def test_the_best_limit_leaves_the_signal_that_each_law_allows(law: str) -> None:
    x = sample(law)
    for form, expected in BEST[law].items():
        limit = best_limit(x, form)
        # both samples err by a standard error, and the number that is given is rounded to 0.1
        bound = 0.05 + 3 * math.sqrt(2) * standard_error_db(x, x - fake_quantize(x, form, limit))
        assert bound < 0.6
        assert abs(sqnr_db(x, form, limit) - expected) < bound, form


def test_under_heavy_tails_each_exponent_bit_gains() -> None:
    """Student's t with 3 degrees of freedom has no fourth moment, and samples differ by decibels: their spread is the tolerance."""
    found = {
        form: [sqnr_db(x, form, best_limit(x, form)) for x in (sample("student_t3", seed) for seed in range(7))] for form in BEST["gauss"]
    }
    for form, values in found.items():
        spread = float(np.std(values, ddof=1))
        assert abs(float(np.mean(values)) - BEST["student_t3"][form]) < 0.05 + 4 * spread * math.sqrt(1 + 1 / 7), form
    for few, more in (("int4", "e2m1"), ("e2m1", "e3m0")):
        assert all(a < b for a, b in zip(found[few], found[more], strict=True))


def test_without_a_search_floats_lose_less() -> None:
    """15.3 dB of integers and 18.2 dB of floats are one limit: that largest of 60,000 normal numbers with which integers have 15.3."""
    x = sample("gauss")
    step = math.sqrt(12 * 10**-1.53)  # of uniform rounding with that noise
    largest = 7 * step
    n = N  # the largest magnitude of n normal numbers: between its quantiles of 1e-4 and 1 − 1e-4
    least, most = (float(stats.norm.isf((1 - share ** (1 / n)) / 2)) for share in (1e-4, 1 - 1e-4))
    assert least < largest < most
    assert sqnr_db(x, "int4", largest) == pytest.approx(15.3, abs=0.05 + 4 * standard_error_db(x, x - fake_quantize(x, "int4", largest)))
    assert sqnr_db(x, "e2m1", largest) == pytest.approx(18.2, abs=0.05 + 4 * standard_error_db(x, x - fake_quantize(x, "e2m1", largest)))
    drop = {form: sqnr_db(x, form, best_limit(x, form)) - sqnr_db(x, form, float(x.abs().max())) for form in ("int4", "e2m1")}
    assert drop["e2m1"] < 0.5 * drop["int4"]


def test_the_best_limit_of_a_uniform_law_is_known() -> None:
    """On [−1, 1] every one of 15 numbers gets as much: limit 14/15, and the power ratio is 15²."""
    x = torch.linspace(-1, 1, 30_001, dtype=torch.float64)
    assert best_limit(x, "int4") == pytest.approx(14 / 15, rel=2e-3)
    assert sqnr_db(x, "int4", 14 / 15) == pytest.approx(20 * math.log10(15), abs=1e-3)


@pytest.mark.parametrize("measure", ["mse", "l1"])
@pytest.mark.parametrize("form", ["int3", "uint4", "e3m0", "dint4"])
def test_errors_by_sums_are_those_by_rounding(form: str, measure: Any) -> None:
    x, limits = sample("laplace")[:999], [0.1, 0.7, 1.0, 4.0, 30.0]
    by_rounding = [rounding_error(x, form, limit, measure) for limit in limits]
    assert _Sorted(x).errors(number_format(form), limits, measure) == pytest.approx(by_rounding, rel=1e-9)
    best = best_limit(x, form, measure)
    tried = [rounding_error(x, form, limit, measure) for limit in np.linspace(0.05, 1, 150) * float(x.abs().max())]
    assert rounding_error(x, form, best, measure) <= min(tried) * (1 + 1e-3)


@pytest.mark.parametrize(("form", "levels"), [("int4", 15), ("int8", 255)])
def test_one_number_far_beyond_all_others_does_not_set_the_limit(form: str, levels: int) -> None:
    """Limits by a ratio of 1.01, over seven decades, find none that does less harm."""
    x = torch.cat([sample("gauss"), torch.tensor([600.0], dtype=torch.float64)])
    least = min(rounding_error(x, form, float(limit), "l1") for limit in np.geomspace(6e-5, 600, 1600))
    for limit in (best_limit(x, form, "l1"), best_range(x, levels, "l1")):
        assert limit < 4.0
        assert rounding_error(x, form, limit, "l1") <= least * (1 + 1e-3)


def test_where_ever_smaller_limits_do_less_harm_they_end_at_a_hundredth_of_the_largest_number() -> None:
    """Two levels without 0 are best at the median, which is 0 here; and all limits are alike where all is cut off."""
    assert best_range(torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0]), 2, "l1") == pytest.approx(0.02)
    assert best_limit(torch.tensor([-1.0, -2.0]), "uint4", "l1") == pytest.approx(0.02)


def test_a_sample_of_zeros_has_a_limit_and_one_without_numbers_has_none() -> None:
    assert best_limit(torch.zeros(4), "int4") == 1.0
    for wrong in (torch.empty(0), torch.tensor([1.0, math.nan])):
        with pytest.raises(ConfigError, match="best_limit: a sample needs numbers, all finite"):
            best_limit(wrong, "int4")


def test_limits_are_of_the_tensor_of_channels_and_of_blocks() -> None:
    x = torch.tensor([[[1.0, -2.0], [0.5, 4.0]], [[0.0, 0.1], [-8.0, 3.0]]])
    assert channel_limits(x).item() == 8.0
    assert channel_limits(x, 0).flatten().tolist() == [4.0, 8.0]
    assert channel_limits(x, -1).tolist() == [[[8.0, 4.0]]]
    assert channel_limits(x, block=2).tolist() == [[[2.0, 2.0], [4.0, 4.0]], [[torch.tensor(0.1).item()] * 2, [8.0, 8.0]]]
    with pytest.raises(ConfigError, match=r"blocks of 3, without an axis, must fill rows of 4, got axis None"):
        channel_limits(x, block=3)
    with pytest.raises(ConfigError, match=r"axis must be one of a tensor of shape \(2, 2, 2\), got 3"):
        channel_limits(x, 3)


def test_ranges_of_groups_differ_by_shifts_and_hold_their_channels() -> None:
    ranges = torch.cat([ns.random.stream(1, "r").uniform((200,), like=torch.empty(0)).pow(4) * 30, torch.tensor([8.0, 4.0, 2.0, 0.0])])
    for groups in (1, 3, 8):
        limits = shift_limits(ranges, groups)
        shift = (ranges.max() / limits).log2()
        assert torch.equal(shift, shift.round())
        assert int(shift.max()) <= groups - 1
        assert bool((limits >= ranges).all())
        free = (shift < groups - 1) & (ranges > 0)
        assert bool((limits[free] < 2 * ranges[free]).all())
    exact = shift_limits(torch.tensor([8.0, 4.0, 2.0, 1.0]), 3)
    assert exact.tolist() == [8.0, 4.0, 2.0, 2.0]
    assert shift_limits(torch.zeros(2), 3).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (torch.tensor([100.0, 1e-3]).half(), [100.0, 100 / 128]),
        (torch.tensor([100.0, 1e-3]).bfloat16(), [100.0, 100 / 128]),
        (torch.tensor([1.0, 1e-39, 1e-42]), [1.0, 1 / 128, 1 / 128]),
        (torch.tensor([2.0**127, 1e-3]), [2.0**127, 2.0**120]),
        (torch.tensor([1.0, 0.5, math.nextafter(0.5, 1), math.nextafter(0.5, 0)], dtype=torch.float64), [1.0, 0.5, 1.0, 0.5]),
    ],
)
def test_ranges_of_groups_are_right_where_ratios_are_beyond_the_type(limits: Tensor, expected: list[float]) -> None:
    assert shift_limits(limits, 8).tolist() == expected
    with pytest.raises(ConfigError, match=r"shift_limits: there must be limits, got shape \(0,\)"):
        shift_limits(limits[:0], 8)


def test_grouped_ranges_are_nearly_as_good_as_one_for_each_channel_and_far_better_than_one_for_all() -> None:
    sizes = 10 ** (-3 * ns.random.stream(2, "s").uniform((64, 1), like=torch.empty(0)))
    x = sizes * ns.random.stream(2, "x").normal((64, 256), like=torch.empty(0))
    each = channel_limits(x, 0)
    error = {
        name: float(((x - fake_quantize(x, "int4", limit)) / sizes).square().mean())
        for name, limit in {"tensor": x.abs().amax(), "shift": shift_limits(each, 12), "channel": each}.items()
    }
    # the step is at most twice as large, on average by the square root of 4^u over u in [0, 1): a factor 3 / ln 4 in error²
    assert error["channel"] < error["shift"] < 4 * error["channel"]
    assert error["shift"] == pytest.approx(3 / math.log(4) * error["channel"], rel=0.3)
    assert error["tensor"] > 5 * error["shift"]


def test_a_correction_of_low_rank_takes_away_the_largest_singular_values_of_the_error() -> None:
    w = ns.random.stream(3, "w").normal((12, 5, 2), like=torch.empty(0, dtype=torch.float64))
    q = fake_quantize(w, "int3", float(w.abs().max()))
    values = torch.linalg.svdvals((w - q).flatten(1))
    for rank in (1, 4, 10):
        left, right = low_rank_factors(w, q, rank)
        left_over = (w - q).flatten(1) - left @ right
        assert float(left_over.norm()) == pytest.approx(float(values[rank:].norm()), abs=1e-12)
        assert (left.shape, right.shape) == ((12, rank), (rank, 10))
    with pytest.raises(ConfigError, match=r"rank: must be a whole number, from 1 to 10, got 11"):
        low_rank_factors(w, q, 11)
    with pytest.raises(ConfigError, match=r"both must be matrices of one shape, got \(12, 5, 2\) and \(5,\)"):
        low_rank_factors(w, q[0, :, 0], 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_correction_of_16_bits_is_that_of_32_bits_rounded(dtype: torch.dtype) -> None:
    w = ns.random.stream(3, "w").normal((12, 5), like=torch.empty(0)).to(dtype)
    q = fake_quantize(w, "int3", float(w.abs().max()))
    for found, wide in zip(low_rank_factors(w, q, 2), low_rank_factors(w.float(), q.float(), 2), strict=True):
        assert torch.equal(found, wide.to(dtype))
