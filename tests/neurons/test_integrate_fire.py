"""Integrate-and-fire: it counts, so everything about it can be counted."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import pytest
import torch

import neurosim as ns
from neurosim.ops.neuron_arguments import Reset
from tests.neurons.cases import NOISE, UNITS, drive
from tests.neurons.oracle import Array, Fire, Values, agrees, reset_by_hand

DT = 1e-3
SPREAD = torch.linspace(0.5, 1.5, UNITS)


def spike_times(neuron: ns.IF, current: float, steps: int) -> list[int]:
    return torch.nonzero(neuron(torch.full((steps, 1, 1), current, dtype=torch.float64)).flatten()).flatten().tolist()


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("current", [0.125, 0.1875, 0.34375, 0.75])
def test_under_a_constant_drive_it_fires_exactly_when_the_sum_is_due(current: float) -> None:
    """The currents are sums of powers of 2, so sums of them are exact. A soft reset keeps what is left over, a hard one drops it."""
    expected = [t for t in range(200) if math.floor((t + 1) * current) > math.floor(t * current)]
    assert spike_times(ns.IF(DT), current, 200) == expected
    period = math.ceil(1 / current)
    assert spike_times(ns.IF(DT, reset="hard"), current, 200) == list(range(period - 1, 200, period))


def test_half_a_threshold_at_the_start_rounds_the_sum_to_the_nearest_number_of_spikes() -> None:
    x = torch.arange(1, 32, dtype=torch.float64) / 64  # rates that 8 steps cannot give
    counts = ns.IF(DT, v_start=0.5)(x.expand(8, 1, -1)).sum(0).flatten()
    assert torch.equal(counts, torch.floor(8 * x + 0.5))
    assert (counts / 8 - x).abs().max() <= 1 / 16
    assert torch.equal(ns.IF(DT)(x.expand(8, 1, -1)).sum(0).flatten(), torch.floor(8 * x))


def test_without_a_resistance_the_length_of_a_step_does_not_matter() -> None:
    assert torch.equal(ns.IF(1e-3)(drive()), ns.IF(7.0)(drive()))


@pytest.mark.parametrize("dt", [1e-3, 2.5e-4])
def test_with_a_resistance_it_fires_at_the_rate_of_continuous_time(dt: float) -> None:
    """v̇ = r x reaches θ every θ/(r x) = 8 ms, whatever the step; powers of 2 and decimal fractions leave a rounding."""
    times = spike_times(ns.IF(dt, r=250.0, v_threshold=0.999), 0.5, round(0.1 / dt))
    assert len(times) == 12
    assert [round((t + 1) * dt / 8e-3, 9) for t in times] == list(range(1, 13))


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("reset", get_args(Reset))
def test_it_is_a_leaky_neuron_that_does_not_leak(reset: Reset) -> None:
    settings = {"v_threshold": SPREAD, "v_reset": 0.1, "reset_by": 0.7, "strict": True, "membrane_noise": 0.1}
    one, other = ns.IF(DT, reset=reset, **settings), ns.LIF(math.inf, DT, reset=reset, **settings)  # type: ignore[arg-type]  # of a dict
    assert torch.equal(one(drive(), stream=NOISE), other(drive(), stream=NOISE))
    assert 0 < one(drive(), stream=NOISE).sum() < drive().numel()


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
def test_it_equals_a_loop_by_hand_and_its_gradients_finite_differences(reset: Literal["soft", "hard", "none"], detach_reset: bool) -> None:
    neuron = ns.IF(DT, r=900.0, v_start=0.2, v_reset=0.1, reset_by=0.7, reset=reset, detach_reset=detach_reset, learn=ns.IF.learnable)

    def loop(p: Values, fire: Fire) -> tuple[Array, Array]:
        v, spikes, potentials = p["v_start"] + 0 * p["x"][0], [], []
        for x in p["x"]:
            h = v + p["r"] * DT * x
            fired = fire(h - p["v_threshold"])
            v = reset_by_hand(h, fired, reset, detach_reset, p["reset_by"], p["v_reset"])
            spikes.append(fired[0])
            potentials.append(v)
        return np.stack(spikes), np.stack(potentials)

    agrees(neuron.double(), loop, drive(12, 2, 2, dtype=torch.float64))


def test_a_gain_that_is_learned_starts_at_one_per_input() -> None:
    assert torch.equal(ns.IF(DT, learn="r")(drive()), ns.IF(DT)(drive()))
