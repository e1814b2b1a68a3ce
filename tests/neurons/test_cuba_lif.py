"""Leaky integrate-and-fire with a synapse: against closed forms, and against a loop of its own."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

import neurosim as ns
from neurosim.neurons import CubaLIFState, LIFState
from tests.neurons.cases import UNITS, drive, run_with

TAU, TAU_SYN, DT = 20e-3, 5e-3, 1e-3
A, ALPHA = math.exp(-DT / TAU), math.exp(-DT / TAU_SYN)


def pulse(size: float, steps: int) -> Tensor:
    x = torch.zeros(steps, 1, 1, dtype=torch.float64)
    x[0] = size
    return x


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize(("w_in", "weight"), [(None, 1.0), (3.0, 3.0 * (1 - ALPHA))])
def test_a_pulse_makes_a_difference_of_two_exponentials(w_in: float | None, weight: float) -> None:
    """Below threshold, v after n steps is w Σₖ a^(n−1−k) αᵏ = w (aⁿ − αⁿ)/(a − α), k from 0 to n − 1."""
    trace = ns.CubaLIF(TAU, TAU_SYN, DT, w_in=w_in, v_threshold=100.0).trace(pulse(0.2, 60))
    n = torch.arange(1, 61, dtype=torch.float64)
    torch.testing.assert_close(trace.v.flatten(), 0.2 * weight * (A**n - ALPHA**n) / (A - ALPHA))
    assert trace.state.i.item() == pytest.approx(0.2 * weight * ALPHA**59)


def test_a_constant_input_brings_the_current_to_w_in_times_it() -> None:
    _, state = ns.CubaLIF(TAU, TAU_SYN, DT, w_in=3.0, v_threshold=100.0, r=0.5).run(torch.full((2000, 1, 1), 0.2, dtype=torch.float64))
    assert state.i.item() == pytest.approx(3.0 * 0.2)
    assert state.v.item() == pytest.approx(0.5 * 3.0 * 0.2)


def test_a_synapse_that_forgets_at_once_is_none() -> None:
    """α is 0 in double precision from dt/τ = 746 on."""
    x = drive(40)
    with_synapse, without = ns.CubaLIF(TAU, DT / 1000, DT), ns.LIF(TAU, DT)
    assert torch.equal(with_synapse(x), without(x))


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
def test_it_equals_a_loop_over_neurons() -> None:
    x = drive(60, 2, dtype=torch.float64)
    spread = torch.linspace(0.8, 1.2, UNITS, dtype=torch.float64)
    neuron = ns.CubaLIF(TAU * spread, TAU_SYN * spread, DT, w_in=2 * spread, v_threshold=spread, v_leak=0.1, reset="soft")
    trace = neuron.trace(x)
    for unit, one in enumerate(spread.tolist()):
        a, alpha = math.exp(-DT / (TAU * one)), math.exp(-DT / (TAU_SYN * one))
        i, v, spikes, potentials = np.zeros(2), np.full(2, 0.1), [], []
        for current in x[:, :, unit].numpy():
            i = alpha * i + 2 * one * (1 - alpha) * current
            h = a * v + i + 0.1 * (1 - a)
            spikes.append(h >= one)
            v = np.where(h >= one, h - one, h)
            potentials.append(v)
        np.testing.assert_array_equal(trace.spikes[..., unit].bool().numpy(), spikes)
        np.testing.assert_allclose(trace.v[..., unit].numpy(), potentials, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(trace.state.i[:, unit].numpy(), i, rtol=1e-9)
    assert 0 < trace.spikes.sum() < x.numel()


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_gradients_of_the_potential_are_those_of_finite_differences(reset: Literal["soft", "hard"]) -> None:
    x = drive(12, 2, 3, dtype=torch.float64).requires_grad_()
    neuron = ns.CubaLIF(
        *(TAU, TAU_SYN, DT), w_in=1.5, v_reset=0.1, v_leak=0.05, r=18.0, reset_by=0.7, reset=reset, learn=ns.CubaLIF.learnable
    ).double()
    assert 0 < neuron(x).sum() < x.numel()

    def potential(x: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        trace = run_with(neuron, "trace", values, x)
        return trace.v, trace.state.i

    assert torch.autograd.gradcheck(potential, (x, *neuron.parameters()))


def test_the_noise_on_the_input_comes_before_the_synapse() -> None:
    """One step in the dark from rest: i = w σ ξ with ξ standard normal, so var i = w² σ²; 5 standard errors of a variance."""
    n = 20_000
    neuron = ns.CubaLIF(TAU, TAU_SYN, DT, w_in=3.0, input_noise=0.5, v_threshold=100.0)
    _, state = neuron.run(torch.zeros(1, 1, n), stream=ns.random.stream(3, "synapse"))
    variance = (3.0 * (1 - ALPHA) * 0.5) ** 2
    assert state.i.var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / n))


def test_a_state_of_another_neuron_is_refused() -> None:
    with pytest.raises(ns.ConfigError, match=r"^CubaLIF: state must be a CubaLIFState or None, got LIFState$"):
        ns.CubaLIF(TAU, TAU_SYN, DT).run(drive(), LIFState(torch.zeros(3, UNITS)))  # type: ignore[arg-type]  # the point
    with pytest.raises(ns.ConfigError, match=r"^CubaLIF: state.i: must have the shape \(3, 5\) that one step of x has, got \(3, 1\)$"):
        ns.CubaLIF(TAU, TAU_SYN, DT).run(drive(), CubaLIFState(torch.zeros(3, 1), torch.zeros(3, UNITS)))
