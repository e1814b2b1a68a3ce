"""What spike trains say, against closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp, variation
from torch import Tensor

import neurosim as ns
from neurosim import analysis


def bernoulli(shape: tuple[int, ...], share: float, name: str = "spikes") -> Tensor:
    return (ns.random.stream(9, name).uniform(shape, like=torch.empty(0)) < share).float()


def test_rates_are_spikes_over_time() -> None:
    spikes = torch.zeros(50, 2, 3)
    spikes[:, :, 1] = 1
    spikes[::5, 0, 2] = 1  # 10 spikes in one of two samples of 50 ms
    torch.testing.assert_close(analysis.firing_rates(spikes, 1e-3), torch.tensor([0.0, 1000.0, 100.0], dtype=torch.float64))
    torch.testing.assert_close(analysis.firing_rates(spikes), torch.tensor([0.0, 1.0, 0.1], dtype=torch.float64))


def test_the_rate_of_a_driven_neuron_is_that_of_its_closed_form() -> None:
    tau, dt, drive = 20e-3, 1e-3, 0.1
    spikes = ns.LIF(tau, dt, reset="hard")(torch.full((1000, 1, 1), drive))
    a = math.exp(-dt / tau)
    period = math.ceil(math.log(1 - (1 - a) / drive) / math.log(a))
    assert float(analysis.firing_rates(spikes, dt)) == pytest.approx((1000 // period) / (1000 * dt))
    assert set(analysis.inter_spike_intervals(spikes, dt).tolist()) == {period * dt}
    assert float(analysis.interval_variation(spikes)) == 0


def test_dead_and_saturated_units_are_those_that_never_and_always_fire() -> None:
    spikes = torch.zeros(10, 4, 3)
    spikes[:, :, 1] = 2  # a neuron that sends two spikes a step
    spikes[3, 2, 2] = 1
    assert analysis.dead_units(spikes).tolist() == [True, False, False]
    assert analysis.saturated_units(spikes).tolist() == [False, True, False]
    assert analysis.dead_units(spikes, at_most=1 / 40).tolist() == [True, False, True]
    assert analysis.saturated_units(spikes, at_least=1 / 40).tolist() == [False, True, True]


def test_the_interval_of_a_mean_rate_is_that_of_students_test() -> None:
    spikes = bernoulli((30, 12, 5), 0.3)
    per_sample = spikes.mean((0, 2)).double().numpy()
    expected = ttest_1samp(per_sample, 0).confidence_interval(0.9)
    found = analysis.mean_rate(spikes, level=0.9)
    assert (found.value, found.low, found.high, found.n) == pytest.approx((per_sample.mean(), expected.low, expected.high, 12))
    assert analysis.mean_rate(spikes, 1e-3, 0.9).low == pytest.approx(1000 * expected.low)


def test_one_sample_has_no_interval() -> None:
    found = analysis.mean_rate(torch.ones(4, 1, 2))
    assert found.value == 1
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_intervals_are_those_between_the_spikes_of_one_unit() -> None:
    spikes = torch.zeros(20, 2, 2)
    for sample, unit, times in ((0, 0, (1, 4, 9)), (0, 1, (2,)), (1, 0, ()), (1, 1, (0, 19))):
        spikes[list(times), sample, unit] = 3
    assert analysis.inter_spike_intervals(spikes).tolist() == [3, 5, 19]
    torch.testing.assert_close(analysis.inter_spike_intervals(spikes, 2e-3), torch.tensor([6e-3, 10e-3, 38e-3], dtype=torch.float64))
    assert analysis.interval_variation(spikes).isnan().tolist() == [[False, True], [True, True]]
    assert float(analysis.interval_variation(spikes)[0, 0]) == pytest.approx(variation([3, 5]))


def test_the_variation_is_that_of_every_train() -> None:
    spikes = bernoulli((80, 3, 4), 0.2)
    found = analysis.interval_variation(spikes)
    for sample in range(3):
        for unit in range(4):
            times = np.flatnonzero(spikes[:, sample, unit].numpy())
            assert float(found[sample, unit]) == pytest.approx(variation(np.diff(times)))


def test_spikes_at_random_vary_as_a_geometric_distribution() -> None:
    """Intervals have mean 1/p and variance (1 − p)/p², so that CV = √(1 − p); the mean over 100 trains of about 400 is within 5 σ."""
    p = 0.2
    found = analysis.interval_variation(bernoulli((2000, 10, 10), p))
    assert abs(float(found.mean()) - math.sqrt(1 - p)) < 5 * float(found.std()) / 10 + 1 / 400  # the bias is of the order of 1/n


def test_what_all_units_do_alike_is_synchronous() -> None:
    common = bernoulli((100, 2, 1), 0.5)
    torch.testing.assert_close(analysis.synchrony(common.expand(100, 2, 7)), torch.ones(2, dtype=torch.float64))
    pair = torch.cat([common, -common], 2)
    torch.testing.assert_close(analysis.synchrony(pair), torch.zeros(2, dtype=torch.float64))


def test_independent_units_have_the_synchrony_of_chance() -> None:
    """χ² has mean 1/N and, over T steps, a relative standard deviation of about √(2/T)."""
    found = analysis.synchrony(bernoulli((2000, 20, 25), 0.5)).square()
    assert abs(float(found.mean()) * 25 - 1) < 5 * math.sqrt(2 / 2000) / math.sqrt(20)


def test_where_nothing_happens_there_is_no_number() -> None:
    assert analysis.synchrony(torch.ones(5, 2, 3)).isnan().all()
    assert analysis.firing_rates(torch.zeros(0, 2, 3)).isnan().all()
    assert len(analysis.inter_spike_intervals(torch.zeros(0, 2, 3))) == 0
    assert analysis.interval_variation(torch.zeros(0, 2, 3)).isnan().all()


def test_messages_say_what_must_hold() -> None:
    spikes: Any = torch.zeros(4, 2, 3)
    for call, message in [
        (lambda: analysis.firing_rates(torch.zeros(3)), r"firing_rates: must be a tensor \(time, batch, \*units\), got shape \(3,\)"),
        (lambda: analysis.firing_rates(spikes.tolist()), r"got list"),
        (lambda: analysis.firing_rates(spikes, dt=0.0), r"dt must be more than 0 seconds and finite, got 0.0"),
        (lambda: analysis.dead_units(spikes, 1.5), r"dead_units: at_most must be a share of steps, 0 to 1, got 1.5"),
        (lambda: analysis.saturated_units(spikes, -0.1), r"saturated_units: at_least must be a share"),
        (lambda: analysis.mean_rate(spikes, level=95), r"level must be between 0 and 1, got 95"),
        (lambda: analysis.synchrony(torch.zeros(4, 2)), r"synchrony: must be given several units"),
    ]:
        with pytest.raises(ns.ConfigError, match=message):
            call()
