"""Leaky integrate-and-fire: against closed forms, and against a loop of its own for every convention."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.neurons import LIFState
from neurosim.ops.neuron_arguments import Reset
from tests.neurons.cases import UNITS, drive, run_with

TAU, DT = 20e-3, 1e-3
A = math.exp(-DT / TAU)
RESETS = get_args(Reset)


def constant(current: float, steps: int) -> Tensor:
    return torch.full((steps, 1, 1), current, dtype=torch.float64)


def spike_times(neuron: ns.LIF, current: float, steps: int) -> list[int]:
    return torch.nonzero(neuron(constant(current, steps)).flatten()).flatten().tolist()


# --- closed forms ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("current", [0.0501, 0.07, 0.1, 0.3, 0.99, 1.01])
def test_it_fires_at_the_period_that_the_equation_gives(current: float) -> None:
    """From 0, h after n steps is x (1 − aⁿ)/(1 − a); it reaches 1 at the first n with aⁿ ≤ 1 − (1 − a)/x."""
    period = math.ceil(math.log(1 - (1 - A) / current) / math.log(A)) if current < 1 else 1
    assert spike_times(ns.LIF(TAU, DT, reset="hard"), current, 300) == list(range(period - 1, 300, period))


def test_a_current_that_does_not_reach_the_threshold_never_makes_it_fire() -> None:
    """The potential tends to r x; with g = 1, to x/(1 − a)."""
    assert spike_times(ns.LIF(TAU, DT), 0.999 * (1 - A), 5000) == []
    assert spike_times(ns.LIF(TAU, DT, r=2.0), 0.499, 5000) == []


@pytest.mark.parametrize("dt", [1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("drive", [1.1, 1.5, 2.0, 5.0])
def test_its_rate_is_that_of_continuous_time_to_within_a_step(drive: float, dt: float) -> None:
    """f(I) = 1/(τ ln(r I/(r I − θ))); the first step at or after the crossing is less than a step late."""
    crossing = TAU * math.log(drive / (drive - 1))
    first = spike_times(ns.LIF(TAU, dt, r=1.0, reset="hard"), drive, math.ceil(crossing / dt) + 2)[0]
    assert 0 <= (first + 1) * dt - crossing < dt * (1 + 1e-9)


def test_a_soft_reset_loses_no_charge() -> None:
    """Without leak, what has come in is what was fired, times the threshold, and what is left."""
    spikes, state = ns.LIF(math.inf, DT, v_threshold=0.75).run(drive(200, dtype=torch.float64))
    torch.testing.assert_close(0.75 * spikes.sum(0) + state.v, drive(200, dtype=torch.float64).sum(0), rtol=1e-12, atol=0)


def test_without_leak_it_counts() -> None:
    assert spike_times(ns.LIF(math.inf, DT), 0.25, 13) == [3, 7, 11]


def test_at_the_threshold_it_fires_unless_it_is_strict() -> None:
    assert spike_times(ns.LIF(math.inf, DT), 0.5, 5) == [1, 3]
    assert spike_times(ns.LIF(math.inf, DT, strict=True), 0.5, 5) == [2, 4]


def test_it_starts_from_its_resting_potential_and_decays_to_it() -> None:
    neuron = ns.LIF(TAU, DT, v_leak=0.4)
    trace = neuron.trace(torch.zeros(50, 1, 1, dtype=torch.float64))
    torch.testing.assert_close(trace.v, torch.full_like(trace.v, 0.4))
    _, state = neuron.run(torch.zeros(50, 1, 1, dtype=torch.float64), LIFState(torch.full((1, 1), 0.9, dtype=torch.float64)))
    torch.testing.assert_close(state.v.item(), 0.4 + 0.5 * math.exp(-50 * DT / TAU))


def test_an_input_that_stays_brings_the_potential_to_leak_plus_resistance_times_current() -> None:
    _, state = ns.LIF(TAU, DT, r=3.0, v_leak=0.2, v_threshold=math.inf, reset_by=1.0).run(constant(0.1, 2000))
    assert state.v.item() == pytest.approx(0.2 + 3.0 * 0.1)


def test_half_the_step_makes_twice_as_many_samples_of_the_same_potential() -> None:
    """The step is the exact solution for an input that is constant within it."""
    coarse = ns.LIF(TAU, DT, r=1.0, reset="none").trace(drive(20, dtype=torch.float64)).v
    fine = ns.LIF(TAU, DT / 2, r=1.0, reset="none").trace(drive(20, dtype=torch.float64).repeat_interleave(2, 0)).v
    torch.testing.assert_close(fine[1::2], coarse)


# --- a loop of its own -----------------------------------------------------------------------------------------------------------------


def by_hand(
    x: np.ndarray, v: float, a: float, g: float, b: float, th: float, rho: float, rest: float, sign: int, strict: bool, reset: str
) -> tuple[list[bool], list[float]]:
    """One neuron, from the table in the documentation, in plain Python."""
    spikes, potentials = [], []
    for current in x:
        over = sign * (v - th)
        r = over > 0 if strict else over >= 0
        if reset == "soft_next_decayed" and r:
            v = v - rho
        if reset == "hard_next" and r:
            v = rest
        h = a * v + g * current + b
        if reset in ("soft_next", "soft_both") and r:
            h = h - rho
        if reset == "hard_next_erasing" and r:
            h = rest
        over = sign * (h - th)
        s = over > 0 if strict else over >= 0
        v = h
        if reset == "soft" and s:
            v = h - rho
        if reset == "hard" and s:
            v = rest
        if reset == "soft_both":
            v = h - rho * (int(s) - int(r))
        spikes.append(bool(s))
        potentials.append(float(v))
    return spikes, potentials


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("reset", RESETS)
def test_every_convention_equals_a_loop_over_neurons(reset: Reset, sign: int, strict: bool) -> None:
    x = drive(60, 2, dtype=torch.float64)
    spread = torch.linspace(0.8, 1.2, UNITS, dtype=torch.float64)
    if sign < 0:
        x = x - 0.25  # now below the threshold, now above
    v_reset = 0.1 if sign > 0 else 0.95
    neuron = ns.LIF(
        TAU * spread,
        DT,
        v_threshold=0.9 * spread,
        v_reset=v_reset * spread,
        v_leak=0.05 * spread,
        r=18 * spread,
        reset_by=0.7 * spread * sign,
        reset=reset,
        sign=float(sign),
        strict=strict,
    ).double()
    trace = neuron.trace(x)
    fired = 0
    for unit, one in enumerate(spread.tolist()):
        a = math.exp(-DT / (TAU * one))
        for sample in range(2):
            settings = (a, 18 * one * (1 - a), 0.05 * one * (1 - a), 0.9 * one, 0.7 * one * sign, v_reset * one, sign, strict, reset)
            spikes, potentials = by_hand(x[:, sample, unit].numpy(), 0.05 * one, *settings)
            assert trace.spikes[:, sample, unit].bool().tolist() == spikes
            np.testing.assert_allclose(trace.v[:, sample, unit].numpy(), potentials, rtol=1e-9, atol=1e-12)
            fired += sum(spikes)
    assert 0 < fired < x.numel()


def test_the_trace_ends_with_the_state() -> None:
    trace = ns.LIF(TAU, DT).trace(drive())
    spikes, state = ns.LIF(TAU, DT).run(drive())
    assert torch.equal(trace.spikes, spikes)
    assert torch.equal(trace.v[-1], state.v)
    assert torch.equal(trace.state.v, state.v)
    assert trace.state.step == state.step == 20


# --- thresholds that are changed afterwards --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", RESETS)
def test_a_threshold_that_is_changed_afterwards_leaves_the_reset_as_it_was(reset: Reset) -> None:
    x, new = drive(40), torch.linspace(0.4, 1.6, UNITS)
    changed = ns.LIF(TAU, DT, v_threshold=0.8, v_reset=0.1, reset=reset).with_threshold(new)
    expected = ns.LIF(TAU, DT, v_threshold=new, reset_by=0.8, v_reset=0.1, reset=reset)
    assert torch.equal(changed(x), expected(x))
    assert changed(x).sum() > 0


def test_changing_the_threshold_changes_the_copy_only() -> None:
    neuron = ns.LIF(TAU, DT, v_threshold=torch.full((UNITS,), 0.8), learn=("v_threshold", "tau_mem"))
    changed = neuron.with_threshold(0.3).with_threshold(0.5)
    assert neuron.learn == ("v_threshold", "tau_mem")
    assert changed.learn == ("tau_mem",)
    assert changed.v_threshold == 0.5
    assert torch.equal(torch.as_tensor(changed.reset_by), torch.full((UNITS,), 0.8))
    assert set(dict(changed.named_parameters())) == {"log_tau_mem"}


def test_a_norm_folds_into_threshold_and_sign() -> None:
    """m = λ(h − μ) + β fires at m ≥ θ: at h ≥ (θ − β)/λ + μ for λ > 0, at h ≤ that for λ < 0, always or never for λ = 0."""
    scale, shift, mean = torch.tensor([0.8, -1.2, 0.0, 0.0]), torch.tensor([0.1, 0.4, 1.5, 0.5]), 0.3
    threshold = torch.where(scale == 0, torch.where(shift >= 1, -math.inf, math.inf), (1 - shift) / scale + mean)
    folded = ns.LIF(TAU, DT, reset="hard").with_threshold(threshold, torch.where(scale < 0, -1.0, 1.0))
    v, expected = torch.zeros(3, 4), []
    x = drive(30, 3, 4)
    for current in x:
        h = A * v + current
        s = scale * (h - mean) + shift >= 1
        expected.append(s.float())
        v = torch.where(s, 0.0, h)
    assert torch.equal(folded(x), torch.stack(expected))


def test_infinite_thresholds_fire_never_and_always() -> None:
    limits = torch.tensor([math.inf, -math.inf])
    spikes, state = ns.LIF(math.inf, DT, v_threshold=limits, reset_by=0.25).run(torch.full((4, 1, 2), 0.5))
    assert spikes[:, 0].tolist() == [[0, 1]] * 4
    assert state.v[0].tolist() == [2.0, 1.0]


# --- gradients -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", RESETS)
def test_gradients_of_the_potential_are_those_of_finite_differences(reset: Reset) -> None:
    """Between two spike patterns the potential is smooth, and with a detached reset that is all its gradient knows of."""
    x = drive(12, 2, 3, dtype=torch.float64).requires_grad_()
    neuron = ns.LIF(TAU, DT, v_threshold=0.8, v_reset=0.1, v_leak=0.05, r=18.0, reset_by=0.7, reset=reset, learn=ns.LIF.learnable).double()
    assert 0 < neuron(x).sum() < x.numel()

    def potential(x: Tensor, *values: Tensor) -> Any:
        return run_with(neuron, "trace", values, x).v

    assert torch.autograd.gradcheck(potential, (x, *neuron.parameters()))


def test_spikes_have_the_gradient_of_the_surrogate() -> None:
    """One step from rest: ∂s/∂x = g(x − θ) and ∂s/∂θ = −g(x − θ); the arctangent is 1/(1 + (π z)²) for α = 2."""
    x = torch.linspace(0.0, 2.0, 9).reshape(1, 1, 9).requires_grad_()
    neuron = ns.LIF(TAU, DT, learn=("v_threshold",))
    neuron(x).sum().backward()
    expected = 1 / (1 + (math.pi * (x.detach() - 1)) ** 2)
    torch.testing.assert_close(x.grad, expected)
    (threshold,) = neuron.parameters()
    torch.testing.assert_close(threshold.grad, -expected.sum())


def test_a_reset_that_is_attached_adds_its_own_gradient() -> None:
    """Two steps, h₂ = a (x₁ − s₁) and v₂ = h₂ − s₂: attached, ∂v₂/∂x₁ = a (1 − g(h₁ − 1)) (1 − g(h₂ − 1)); detached, a."""
    grads = {}
    for detach_reset in (True, False):
        x = torch.tensor([1.25, 0.0]).reshape(2, 1, 1).requires_grad_()
        ns.LIF(TAU, DT, reset="soft", detach_reset=detach_reset).trace(x).v[1].sum().backward()
        assert x.grad is not None
        grads[detach_reset] = x.grad[0].item()
    slopes = [1 / (1 + (math.pi * (h - 1)) ** 2) for h in (1.25, A * 0.25)]
    assert grads == pytest.approx({True: A, False: A * (1 - slopes[0]) * (1 - slopes[1])})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ns.LIF(math.inf, 1e-3, r=2.0), "LIF.r: must be None, and not learned, where tau_mem is infinite"),
        (lambda: ns.LIF(torch.tensor([5e-3, math.inf]), 1e-3, r=2.0), r"an integrator with a gain is neurosim\.IF\(dt, r=\.\.\.\)"),
        (lambda: ns.LIF(math.inf, 1e-3, learn="r"), "LIF.r: must be None, and not learned"),
        (lambda: ns.LI(math.inf, 1e-3, r=2.0), "LI.r: must be None"),
        (lambda: ns.neurons.RLIF(3, math.inf, 1e-3, r=2.0), "LIF.r: must be None"),
        (lambda: ns.CubaLIF(math.inf, 5e-3, 1e-3, r=2.0), "CubaLIF.r: must be None"),
        (lambda: ns.CubaLIF(5e-3, math.inf, 1e-3, w_in=2.0), "CubaLIF.w_in: must be None, and not learned, where tau_syn is infinite"),
    ],
)
def test_a_gain_that_lets_nothing_in_is_refused(make: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()


def test_the_integrator_with_a_gain_that_the_refusal_names_counts_r_dt() -> None:
    assert ns.IF(1e-3, r=500.0)(torch.ones(4, 1, 1)).flatten().tolist() == [0, 1, 0, 1]
    assert ns.LIF(math.inf, 1e-3)(torch.full((4, 1, 1), 0.5)).flatten().tolist() == [0, 1, 0, 1]
