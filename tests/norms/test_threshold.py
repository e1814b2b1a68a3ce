"""The threshold that a norm comes to, to the last bit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurosim.norms.threshold import fold_threshold
from neurosim.norms.time_norm import normalize

ONE = torch.ones(())
values = st.floats(-100, 100, width=32)
thresholds = values | st.sampled_from([math.inf, -math.inf])
scales = values | st.sampled_from([0.0, 1e-30, -1e-30, 1e30, -1e30])


def around(centre: Tensor) -> Tensor:
    """The neighbours of a number, some numbers further away, and the ends of the range."""
    finite = centre.clamp(-1e30, 1e30)
    near = [finite]
    for towards in (math.inf, -math.inf):
        one = finite
        for _ in range(40):
            one = one.nextafter(torch.full_like(one, towards))
            near.append(one)
    largest = torch.finfo(centre.dtype).max
    far = torch.tensor([0.0, -0.0, 1e-45, 1.0, -1.0, 1e4, -1e4, largest, -largest], dtype=centre.dtype)
    return torch.cat([torch.stack(near), far, finite * torch.linspace(-3, 3, 101, dtype=centre.dtype)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(mean=values, scale=scales, shift=values, threshold=thresholds, sign=st.sampled_from([1.0, -1.0]), strict=st.booleans())
def test_both_comparisons_agree_for_every_number(
    dtype: torch.dtype, mean: float, scale: float, shift: float, threshold: float, sign: float, strict: bool
) -> None:
    mu, k, beta, theta, sigma = (torch.tensor(value, dtype=dtype) for value in (mean, scale, shift, threshold, sign))
    found = fold_threshold(mu, k, beta, theta, sigma, strict)
    u = around(found.threshold)
    before = sigma * (normalize(u, mu, k, beta) - theta)
    after = found.sign * (u - found.threshold)
    if scale == 0:  # 0 · inf
        before = torch.where(before.isnan(), sigma * (beta - theta), before)
    assert torch.equal(before > 0, after > 0) if strict else torch.equal(before >= 0, after >= 0)


@given(mean=values, scale=st.floats(0.0625, 64), negative=st.booleans(), shift=values, threshold=values)
def test_the_threshold_is_the_formula_up_to_rounding(mean: float, scale: float, negative: bool, shift: float, threshold: float) -> None:
    k = -scale if negative else scale
    mu, slope, beta, theta, sigma = (torch.tensor(value, dtype=torch.float64) for value in (mean, k, shift, threshold, 1.0))
    found = fold_threshold(mu, slope, beta, theta, sigma, strict=False)
    assert float(found.threshold) == pytest.approx((threshold - shift) / k + mean, rel=1e-9, abs=1e-9)
    assert float(found.sign) == (-1 if negative else 1)


@pytest.mark.parametrize("strict", [True, False])
def test_a_slopeof_0_is_a_constant_that_the_shift_decides(strict: bool) -> None:
    shift = torch.tensor([0.9, 1.0, 1.1])
    found = fold_threshold(0.3 * ONE, 0 * ONE, shift, ONE, ONE, strict)
    assert found.threshold.tolist() == [math.inf, math.inf if strict else -math.inf, -math.inf]
    assert found.sign.tolist() == [1.0, 1.0, 1.0]


def test_strictness_stays_when_the_comparison_turns_round() -> None:
    """−2 u ≥ −1 is u ≤ ½ and −2 u > −1 is u < ½: both with the threshold ½ and the strictness of the neuron."""
    for strict in (False, True):
        assert fold_threshold(0 * ONE, -2 * ONE, 0 * ONE, -ONE, ONE, strict) == (0.5, -1.0)


def test_values_broadcast_to_one_threshold_for_every_unit() -> None:
    found = fold_threshold(torch.zeros(3, 1), torch.ones(3, 1), torch.zeros(3, 1), torch.linspace(0, 1, 4), ONE, strict=False)
    assert torch.equal(found.threshold, torch.linspace(0, 1, 4).expand(3, 4))
