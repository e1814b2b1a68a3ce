"""Sums over batches give what the whole gives, and the effective rank is what its definition says."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats

import neurosim as ns
from neurosim.analysis.streaming import covariance, effective_rank, moments


@pytest.fixture
def rows() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(90, 5, generator=draw).exp() + torch.arange(5.0)


def test_moments_of_parts_are_those_of_the_whole(rows: torch.Tensor) -> None:
    found = moments(rows[:7]).merge(moments(rows[7:8])).merge(moments(rows[8:]))
    values = rows.double().numpy()
    assert found.n == 90
    torch.testing.assert_close(found.mean, torch.from_numpy(values.mean(0)))
    torch.testing.assert_close(found.variance, torch.from_numpy(values.var(0)))
    torch.testing.assert_close(found.excess_kurtosis, torch.from_numpy(stats.kurtosis(values)))
    assert float(found.pooled().excess_kurtosis) == pytest.approx(stats.kurtosis(values.ravel()))
    assert float(found.pooled().variance) == pytest.approx(values.var())


def test_moments_far_from_zero_keep_their_digits() -> None:
    far = 1e8 + torch.tensor([[1.0], [2.0], [4.0], [9.0]], dtype=torch.float64)
    found = moments(far[:2]).merge(moments(far[2:]))
    assert float(found.variance) == pytest.approx(9.5)
    assert float(found.excess_kurtosis) == pytest.approx(stats.kurtosis([1, 2, 4, 9]))


def test_the_excess_kurtosis_of_known_distributions() -> None:
    coin = moments(torch.tensor([[1.0], [-1.0]] * 50))
    assert float(coin.excess_kurtosis) == pytest.approx(-2)
    n = 100
    uniform = moments(torch.arange(float(n)).unsqueeze(1))
    assert float(uniform.excess_kurtosis) == pytest.approx(-6 * (n * n + 1) / (5 * (n * n - 1)))
    assert bool(moments(torch.ones(9, 1)).excess_kurtosis.isnan())


def test_the_covariance_of_parts_is_that_of_the_whole(rows: torch.Tensor) -> None:
    found = covariance(rows[:40]).merge(covariance(rows[40:41])).merge(covariance(rows[41:]))
    torch.testing.assert_close(found.products / (found.n - 1), rows.double().T.cov())
    assert found.effective_rank == pytest.approx(effective_rank(rows, center=True))


def test_the_effective_rank_is_the_exponential_of_the_entropy_of_singular_values() -> None:
    shares = [0.75, 0.25]
    expected = math.exp(-sum(p * math.log(p) for p in shares))
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0, 0.0]))) == pytest.approx(expected)
    orthogonal = torch.linalg.qr(torch.randn(8, 3, generator=torch.Generator().manual_seed(1)))[0]
    assert effective_rank(orthogonal) == pytest.approx(3)
    assert effective_rank(torch.zeros(4, 4)) == 0


def test_the_mean_is_a_direction_unless_features_are_centered() -> None:
    features = torch.tensor([[10.0, 1.0], [10.0, -1.0]])
    assert effective_rank(features, center=True) == pytest.approx(1)
    assert 1 < effective_rank(features) < 2


@pytest.mark.parametrize(
    "features", [torch.zeros(3), torch.zeros(0, 3), torch.tensor([[math.nan]]), torch.zeros(2, 2, dtype=torch.cfloat), 3]
)
def test_what_has_no_effective_rank_is_refused(features: Any) -> None:
    with pytest.raises(ns.ConfigError, match="effective_rank: features must be"):
        effective_rank(features)
