"""Moments that are gathered batch by batch."""

from __future__ import annotations

from functools import reduce

import torch
from hypothesis import given
from hypothesis import strategies as st

from neurosim.norms.moments import ChannelMoments, moments
from tests.norms.cases import sequence


@given(st.lists(st.integers(0, 7), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 1))
def test_moments_of_parts_merge_to_those_of_the_whole(sizes: list[int]) -> None:
    x = sequence(sum(sizes))
    seen = reduce(ChannelMoments.merge, [moments(part, [2]) for part in x.split(sizes)])
    assert seen.n == x.numel() // 6
    torch.testing.assert_close(seen.mean, x.double().mean((0, 1, 3, 4)))
    torch.testing.assert_close(seen.variance, x.double().var((0, 1, 3, 4)))


def test_a_large_mean_does_not_swallow_a_small_spread() -> None:
    x = 1e8 + torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    seen = moments(x[:2], []).merge(moments(x[2:], []))
    assert abs(float(seen.variance) - 5 / 3) < 1e-6


def test_every_value_by_itself_has_no_spread() -> None:
    seen = moments(torch.tensor([[1.0, 5.0]]), [0, 1])
    assert seen.n == 1
    assert seen.mean.tolist() == [[1.0, 5.0]]
    assert seen.variance.tolist() == [[0.0, 0.0]]
