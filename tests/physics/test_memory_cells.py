"""Physics of memory cells against closed forms and numerical integrals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from neurosim.errors import ConfigError
from neurosim.hardware.devices import at_temperature, deviated, drift_exponent, drifted, flicker, stuck
from neurosim.random import stream

N = 100_000


@pytest.mark.parametrize("seconds", [1.0, 3600.0, 3.15e7])
def test_flicker_noise_is_the_spectrum_integrated_over_its_band(seconds: float) -> None:
    """Of a density 1/f between the frequencies 1/(t + t_r) and 1/(2 t_r)."""
    read = 250e-9
    power, _ = integrate.quad(lambda u: 1.0, math.log(1 / (seconds + read)), math.log(1 / (2 * read)))  # du = df / f
    assert flicker(seconds, read) == pytest.approx(math.sqrt(power), rel=1e-12)


def test_flicker_noise_is_none_until_one_read_has_passed() -> None:
    assert flicker(0.0, 1e-6) == flicker(1e-6, 1e-6) == 0.0


def test_conductances_drift_as_a_lognormal_with_closed_moments() -> None:
    mean, spread, t0, seconds = 0.06, 0.01, 20.0, 86400.0
    x = torch.ones(N, dtype=torch.float64)
    nu = drift_exponent(torch.full_like(x, mean), spread, stream(1, "nu").normal((N,), like=x))
    y = drifted(x, nu, seconds, t0)
    factor = math.log((seconds + t0) / t0)
    exact = stats.lognorm(s=spread * factor, scale=math.exp(-mean * factor))  # folding exponents at 0 is six deviations away
    assert abs(float(y.mean()) - exact.mean()) < 5 * exact.std() / math.sqrt(N)
    assert stats.kstest(y.numpy(), exact.cdf).pvalue > 1e-4


def test_no_exponent_is_negative_and_they_are_a_folded_normal() -> None:
    zeros = torch.zeros(N, dtype=torch.float64)
    nu = drift_exponent(zeros + 0.01, 0.02, stream(2, "nu").normal((N,), like=zeros))
    assert float(nu.min()) >= 0
    assert stats.kstest(nu.numpy(), stats.foldnorm(c=0.5, scale=0.02).cdf).pvalue > 1e-4


def test_drift_in_two_spans_is_drift_in_one() -> None:
    """(t/t₀)^−ν composes: what is left at t₂ is what is left at t₁ and drifts from t₁ + t₀ on."""
    x, nu = torch.linspace(1, 25, 7, dtype=torch.float64), torch.linspace(0.01, 0.1, 7, dtype=torch.float64)
    once = drifted(x, nu, 5000.0, 20.0)
    twice = drifted(drifted(x, nu, 1000.0, 20.0), nu, 4000.0, 1020.0)
    assert torch.allclose(once, twice, rtol=1e-12)


def test_a_clipped_deviation_is_a_censored_normal() -> None:
    x = torch.full((N,), 1.0, dtype=torch.float64)
    y = deviated(x, torch.tensor(2.0, dtype=torch.float64), stream(3, "d").normal((N,), like=x))
    share = stats.norm.cdf(-0.5)
    mean = stats.norm.cdf(0.5) + 2 * stats.norm.pdf(0.5)
    assert abs(float((y == 0).double().mean()) - share) < 5 * math.sqrt(share * (1 - share) / N)
    assert abs(float(y.mean()) - mean) < 5 * float(y.std()) / math.sqrt(N)


def test_stuck_devices_are_told_apart_by_one_uniform_number() -> None:
    u = torch.from_numpy(np.linspace(0.0005, 0.9995, 1000))
    y = stuck(torch.full((1000,), 5.0, dtype=torch.float64), u, 0.1, 0.2, 0.3, low=1.0, high=9.0)
    assert {value: int((y == value).sum()) for value in (1.0, 9.0, 0.0, 5.0)} == {1.0: 100, 9.0: 200, 0.0: 300, 5.0: 400}


def test_arrhenius_is_a_straight_line_over_inverse_temperature() -> None:
    x = torch.ones(1, dtype=torch.float64)
    kelvins = (250.0, 300.0, 350.0, 400.0)
    logs = [float(at_temperature(x, kelvin, 300.0, activation_ev=0.3).log()) for kelvin in kelvins]
    slope = stats.linregress([1 / kelvin for kelvin in kelvins], logs)
    assert slope.slope == pytest.approx(-0.3 * 1.602176634e-19 / 1.380649e-23, rel=1e-9)
    assert slope.rvalue == pytest.approx(-1, abs=1e-12)


def test_a_linear_coefficient_never_turns_a_conductance_negative() -> None:
    x = torch.ones(2)
    assert at_temperature(x, 100.0, 300.0, coefficient=torch.tensor([0.004, 0.01])).tolist() == pytest.approx([0.2, 0.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: drifted(torch.ones(1), torch.ones(1), -1.0, 20.0), "drift: seconds must be >= 0 and t0_s > 0, got -1.0 and 20.0"),
        (lambda: drifted(torch.ones(1), torch.ones(1), 1.0, 0.0), "drift: seconds must be >= 0"),
        (lambda: flicker(1.0, 0.0), "flicker noise: seconds must be >= 0 and read_s > 0"),
        (lambda: at_temperature(torch.ones(1), 0.0, 300.0), "temperature: must be above 0 K, got 0.0 and a reference of 300.0"),
    ],
)
def test_times_and_temperatures_out_of_their_domain_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
