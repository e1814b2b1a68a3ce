"""Exponential integrate-and-fire: against a quadrature and an integration of its equation, and a loop by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad, solve_ivp

import neurosim as ns
from neurosim.neurons import EIF, EIFParameters, EIFState, Firing, eif_step
from tests.neurons.cases import drive
from tests.neurons.oracle import Array, Fire, Values, agrees

TAU = 10e-3


def speed(v: float, current: float, slope: float, v_leak: float = 0.0) -> float:
    """τ v̇ for a threshold of 1."""
    return v_leak - v + slope * math.exp((v - 1) / slope) + current


def periods(neuron: EIF, currents: list[float], seconds: float) -> Array:
    """Mean interval, from the first spike to the last one, of a unit for every current."""
    spikes = neuron(torch.tensor(currents, dtype=torch.float64).expand(round(seconds / neuron.dt), 1, -1))[:, 0].bool()
    times = [torch.nonzero(unit).flatten() for unit in spikes.unbind(1)]
    assert min(len(one) for one in times) > 2
    return np.array([(one[-1] - one[0]).item() / (len(one) - 1) * neuron.dt for one in times])


def test_it_fires_at_the_period_that_the_integral_gives() -> None:
    """T = τ ∫ dv/(τ v̇) from reset to peak. The error shrinks with the step: the upstroke of every spike is a few steps late."""
    currents, slopes, resets = [1.2, 1.5, 3.0, 1.3], [0.1, 0.1, 0.2, 0.05], [0.0, -0.2, 0.3, 0.0]
    exact = np.array(
        [
            TAU * quad(lambda v, current=current, slope=slope: 1 / speed(v, current, slope), reset, 2.0, limit=200)[0]
            for current, slope, reset in zip(currents, slopes, resets, strict=True)
        ]
    )
    parameters = {"slope_factor": torch.tensor(slopes), "v_reset": torch.tensor(resets)}
    errors = [periods(EIF(TAU, dt, r=1.0, **parameters).double(), currents, 0.08) - exact for dt in (1e-4, 2e-5)]  # type: ignore[arg-type]  # of a dict
    for dt, error in zip((1e-4, 2e-5), errors, strict=True):
        assert 0 < error.min() < error.max() < 10 * dt
    np.testing.assert_array_less(errors[1], 0.4 * errors[0])


def test_below_threshold_its_error_is_of_the_first_order_in_the_step() -> None:
    """Against an integration to 12 digits; half the step halves the error."""

    def slope(_: float, v: Array) -> Array:
        return speed(v[0], 0.85, 0.2) / TAU

    exact = solve_ivp(slope, (0, 20e-3), [0.0], method="DOP853", rtol=1e-12, atol=1e-14).y[0, -1]
    errors = []
    for steps in (50, 100, 200, 400):
        _, state = EIF(TAU, 20e-3 / steps, slope_factor=0.2, r=1.0).run(torch.full((steps, 1, 1), 0.85, dtype=torch.float64))
        errors.append(abs(state.v.item() - exact))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert errors[-1] < 1e-3
    np.testing.assert_allclose(orders, 1.0, atol=0.1)


def test_with_a_sharp_threshold_it_is_a_leaky_neuron_with_hard_reset() -> None:
    x = drive(200)
    sharp, lif = EIF(TAU, 1e-3, slope_factor=1e-3, v_peak=1.001), ns.LIF(TAU, 1e-3, v_threshold=1.001, reset="hard")
    assert (sharp(x) == lif(x)).float().mean() > 0.97  # all but potentials within a few thousandths of the threshold
    assert lif(x).sum() > 100


def test_a_current_that_the_equation_can_hold_never_makes_it_fire() -> None:
    """The largest one is v_T − Δ_T − v_leak, at v = v_T, where the leak grows as fast as the upstroke."""
    rheobase = 1 - 0.1
    for current, fires in ((0.99 * rheobase, False), (1.01 * rheobase, True)):
        spikes = EIF(TAU, 1e-4, r=1.0)(torch.full((4000, 1, 1), current, dtype=torch.float64))
        assert bool(spikes.any()) == fires


def test_where_the_peak_lies_hardly_matters() -> None:
    """From 10 slope factors on, the rest of the upstroke takes less than e⁻¹⁰ time constants."""
    near, far = periods(EIF(TAU, 2e-5, r=1.0, v_peak=torch.tensor([2.0, 20.0])), [1.5, 1.5], 0.05)
    assert 0 <= far - near <= 2 * 2e-5  # a step or two are left of the upstroke


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_however_far_beyond_the_peak_a_potential_is_nothing_overflows(dtype: torch.dtype) -> None:
    neuron = EIF(TAU, 1e-3, slope_factor=1e-3, learn=EIF.learnable)
    x = torch.tensor([1e6, 3.0, 1e6, -1e6, 2.0], dtype=dtype).reshape(5, 1, 1).requires_grad_()
    spikes, state = neuron.run(x, EIFState(torch.full((1, 1), 1e4, dtype=dtype)))
    (spikes.sum() + state.v.sum()).backward()
    assert spikes[0].item() == 1
    assert state.v.isfinite().all()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in (x, *neuron.parameters()))


@pytest.mark.parametrize("detach_reset", [True, False])
def test_it_equals_a_loop_by_hand_and_its_gradients_finite_differences(detach_reset: bool) -> None:
    settings: dict[str, Any] = {"v_leak": 0.1, "v_reset": -0.1, "r": 12.0, "v_peak": 1.5, "v_threshold": torch.tensor([0.8, 0.6])}
    neuron = EIF(20e-3, 1e-3, slope_factor=0.3, detach_reset=detach_reset, learn=EIF.learnable, **settings).double()

    def loop(p: Values, fire: Fire) -> tuple[Array, Array]:
        a, slope = np.exp(-1e-3 / np.exp(p["log_tau_mem"])), np.exp(p["log_slope_factor"])
        v, spikes, potentials = p["v_leak"] + 0 * p["x"][0], [], []
        for x in p["x"]:
            h = a * v + (1 - a) * (p["v_leak"] + p["r"] * x + slope * np.exp((v - p["v_threshold"]) / slope))
            s, held = fire(h - 1.5)
            jump = held if detach_reset else s
            v = h * (1 - jump) + p["v_reset"] * jump
            spikes.append(s)
            potentials.append(v)
        return np.stack(spikes), np.stack(potentials)

    agrees(neuron, loop, drive(14, 2, 2, dtype=torch.float64))


def test_a_step_is_a_function_of_input_state_and_parameters() -> None:
    parameters = EIFParameters(
        decay=0.5, gain=1.0, bias=0.0, arriving=0.5, v_threshold=1.0, slope_factor=0.5, firing=Firing(2.0, reset="hard")
    )
    spikes, state = eif_step(torch.tensor([[0.25, 1.5]]), EIFState(torch.ones(1, 2)), parameters)
    assert spikes.tolist() == [[0, 1]]
    assert state.v.tolist() == [[1.0, 0.0]]  # 0.5 · 1 + 0.25 + 0.5 · 0.5 · e⁰


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slope_factor": 0.0}, r"slope_factor: must be more than 0 and finite, got 0"),
        ({"v_peak": 1.0}, r"v_peak: must be above v_threshold everywhere, got a peak at or below it"),
        ({"v_threshold": torch.tensor([1.0, 2.5])}, r"v_peak: must be above v_threshold everywhere, got a peak at or below it"),
        ({"v_threshold": math.inf}, r"v_threshold: must be finite, got inf"),
    ],
)
def test_what_it_cannot_be_made_of_is_said_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ns.ConfigError, match=rf"^EIF\.{message}$"):
        EIF(TAU, 1e-3, **settings)


def test_its_threshold_is_not_a_comparison_that_could_move() -> None:
    with pytest.raises(ns.ConfigError, match=r"^EIF: with_threshold needs a neuron with one threshold; here the equation fires"):
        EIF(TAU, 1e-3).with_threshold(0.5)
