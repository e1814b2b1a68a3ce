"""Scale, leakage and precision of noise: round trips, quadrature, Monte Carlo."""

from __future__ import annotations

import math

import pytest
from scipy import integrate, stats

from neurosim.errors import ConfigError
from neurosim.hardware.leakage import (
    Distribution,
    enob,
    equivalent_sigma,
    leakage_from,
    poisson_leakage,
    precision_from,
    scale_from,
    snr_db,
)

ADDITIVE: list[Distribution] = ["gaussian", "laplacian", "uniform"]
DISTRIBUTIONS: list[Distribution] = [*ADDITIVE, "poisson"]


@pytest.mark.parametrize("distribution", ADDITIVE)
@pytest.mark.parametrize("leakage", [1e-9, 0.01, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("precision", [0.5, 3.0, 16.0, 255.0])
def test_any_two_give_the_third(distribution: Distribution, leakage: float, precision: float) -> None:
    scale = scale_from(distribution, leakage, precision)
    assert leakage_from(distribution, scale, precision) == pytest.approx(leakage, rel=1e-9, abs=1e-15)
    assert precision_from(distribution, scale, leakage) == pytest.approx(precision, rel=1e-9)


@pytest.mark.parametrize(("leakage", "precision"), [(0.3, 4.0), (0.5, 16.0), (0.8, 3.0)])
def test_poisson_solutions_reproduce_the_leakage(leakage: float, precision: float) -> None:
    scale = scale_from("poisson", leakage, precision)
    assert poisson_leakage(scale, precision) == pytest.approx(leakage, abs=1e-9)
    assert poisson_leakage(scale, precision_from("poisson", scale, leakage)) == pytest.approx(leakage, abs=1e-9)


@pytest.mark.parametrize("distribution", ADDITIVE)
def test_leakage_is_the_probability_of_leaving_the_decision_interval(distribution: Distribution) -> None:
    """The density integrated outside of ±1/(2p), by quadrature."""
    precision, scale = 7.0, 0.08
    density = {"gaussian": stats.norm(0, scale), "laplacian": stats.laplace(0, scale), "uniform": stats.uniform(-scale / 2, scale)}[
        distribution
    ].pdf
    half = 0.5 / precision
    inside, _ = integrate.quad(density, -half, half, points=[-scale / 2, 0.0, scale / 2], epsabs=1e-12)
    assert leakage_from(distribution, scale, precision) == pytest.approx(1 - inside, abs=1e-9)


def test_poisson_leakage_at_whole_counts_is_that_of_the_distribution() -> None:
    """With λ = 320 and p = 16 the decision limits fall on the counts 310 and 330, where the continued distribution is the discrete one."""
    exact = 1 - (stats.poisson(320).cdf(330) - stats.poisson(320).cdf(310))
    assert poisson_leakage(20.0, 16.0) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("distribution", ADDITIVE)
def test_the_equivalent_sigma_is_the_standard_deviation(distribution: Distribution) -> None:
    scale = 0.12
    expected = {"gaussian": stats.norm(0, scale), "laplacian": stats.laplace(0, scale), "uniform": stats.uniform(-scale / 2, scale)}[
        distribution
    ].std()
    assert equivalent_sigma(distribution, scale) == pytest.approx(expected, rel=1e-12)


def test_poisson_sigma_at_full_scale_is_one_over_the_root_of_the_counts() -> None:
    assert equivalent_sigma("poisson", 10.0, 40.0) == pytest.approx(1 / math.sqrt(400))


def test_enob_of_the_quantisation_noise_of_a_converter_is_its_bits() -> None:
    bits = 6
    step = 2.0 / 2**bits
    assert enob(step / math.sqrt(12)) == pytest.approx(bits)


def test_snr_follows_the_6_02_db_a_bit_rule() -> None:
    step = 2.0 / 2**8
    assert snr_db(step / math.sqrt(12)) == pytest.approx(6.0206 * 8 + 1.7609, abs=1e-3)


@pytest.mark.parametrize("distribution", ADDITIVE)
def test_no_leakage_is_no_noise(distribution: Distribution) -> None:
    assert scale_from(distribution, 0.0, 16.0) == 0.0
    assert leakage_from(distribution, 0.0, 16.0) == 0.0


@pytest.mark.parametrize(
    ("leakage", "precision", "message"),
    [(1.0, 4.0, r"must be in \[0, 1\), got 1.0"), (-0.1, 4.0, "leakage"), (0.5, 0.0, "precision must be"), (0.5, math.nan, "precision")],
)
def test_arguments_out_of_their_domain_are_refused(leakage: float, precision: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scale_from("gaussian", leakage, precision)


def test_a_leakage_that_no_count_rate_gives_is_refused() -> None:
    with pytest.raises(ConfigError, match="no scale of at least"):
        scale_from("poisson", 0.99, 2.0)


def test_precision_does_not_follow_from_zero_noise() -> None:
    with pytest.raises(ConfigError, match="only where both are positive"):
        precision_from("gaussian", 0.0, 0.5)
