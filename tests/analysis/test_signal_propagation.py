"""Signals of deep residual networks before training, measured by a probe, against what theory says of wide ones."""

from __future__ import annotations

import math
from functools import cache

import pytest

from benchmarks.signal_propagation import KINDS, expected, gamma_of, measured

WIDTH, SAMPLES = 128, 512


@cache
def found(kind: str, depth: int) -> list[tuple[float, float]]:
    """Mean² and variance behind every block."""
    return measured(kind, depth, width=WIDTH, samples=SAMPLES)


def bound(kind: str, depth: int) -> float:
    """Three standard deviations of the logarithm of the second moment of one sample, in networks of this width.

    A layer of n standardised or Gaussian rows behind a ReLU gives a sample a relative variance of at most 5/n; a branch has two of them,
    and a share of the stream. Of a batch, whose samples see the same weights, it is no more.
    """
    total, before = 0.0, 1.0
    for mean, variance in expected(kind, depth):
        after = mean + variance
        fresh = after < before  # behind a transition nothing is left of the stream
        total = (0.0 if fresh else total) + (1.0 if fresh else (after - before) / after) ** 2 * 2 * 5 / WIDTH
        before = after
    return 3 * math.sqrt(total)


@pytest.mark.parametrize("depth", [10, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_the_second_moment_of_the_stream_grows_block_by_block_as_theory_says(kind: str, depth: int) -> None:
    theory = expected(kind, depth)
    assert len(found(kind, depth)) == depth
    for at, (here, there) in enumerate(zip(found(kind, depth), theory, strict=True), 1):
        assert abs(math.log(sum(here) / sum(there))) < bound(kind, at), at


@pytest.mark.parametrize("depth", [10, 50])
@pytest.mark.parametrize("kind", KINDS[2:])
def test_scaled_weight_standardisation_leaves_no_mean(kind: str, depth: int) -> None:
    """But for what a finite batch leaves, 1/N, and a finite width, 1/n: twice that holds the second order of the kernel of ReLU."""
    assert all(mean < (1 / SAMPLES + 2 / WIDTH) * variance for mean, variance in found(kind, depth))


@pytest.mark.parametrize("depth", [10, 50])
def test_without_it_means_grow_and_a_transition_behind_a_norm_begins_anew(depth: int) -> None:
    mean, variance = found("plain", depth)[-1]
    assert mean > 2 * variance
    half = depth // 2
    means, variances = zip(*found("batch norm", depth), strict=True)
    for at, branches in enumerate([*range(1, half + 1), 2]):  # each branch adds 1/π and 1 − 1/π
        assert means[at] == pytest.approx(branches / math.pi, rel=bound("batch norm", at + 1))
        assert variances[at] == pytest.approx((at < half) + branches * (1 - 1 / math.pi), rel=bound("batch norm", at + 1))


@pytest.mark.parametrize("name", ["silu", "tanh", "selu"])
def test_a_wrong_gain_drifts_from_the_right_one_with_depth(name: str) -> None:
    """By a power of depth: v = Γ(L + 1 + a) / (Γ(L + 1) Γ(1 + a)) with a = (γ'/γ)⁴, and L + 1 for a = 1."""
    a = (gamma_of(name) / gamma_of("relu")) ** 4
    drift = math.lgamma(51 + a) - math.lgamma(51) - math.lgamma(1 + a) - math.log(51)
    theory = (expected(f"γ of {name}", 50)[-1][1], expected("γ of relu", 50)[-1][1])
    assert math.log(theory[0] / theory[1]) == pytest.approx(drift, abs=1e-9)
    seen = math.log(found(f"γ of {name}", 50)[-1][1] / found("γ of relu", 50)[-1][1])
    assert (drift > 0) == (a > 1)
    assert seen == pytest.approx(drift, abs=abs(drift) / 2)
