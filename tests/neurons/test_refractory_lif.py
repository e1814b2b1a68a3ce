"""Leaky integrate-and-fire with a refractory period: its periods are those of a LIF and the refractory steps."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch

import neurosim as ns
from neurosim.neurons import Firing, RefractoryLIF, RefractoryParameters, RefractoryState, refractory_step
from tests.neurons.cases import UNITS, drive
from tests.neurons.oracle import Array, Fire, Values, agrees

TAU, DT = 20e-3, 1e-3
A = math.exp(-DT / TAU)


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
@pytest.mark.parametrize("current", [0.0501, 0.07, 0.1, 0.3, 1.01])
def test_a_period_is_that_of_the_equation_and_the_refractory_steps(current: float, steps: int) -> None:
    """From 0, h after n steps is x (1 − aⁿ)/(1 − a); it reaches 1 at the first n with aⁿ ≤ 1 − (1 − a)/x."""
    period = math.ceil(math.log(1 - (1 - A) / current) / math.log(A)) if current < 1 else 1
    spikes = RefractoryLIF(TAU, steps * DT, DT, reset="hard")(torch.full((300, 1, 1), current, dtype=torch.float64))
    assert torch.nonzero(spikes.flatten()).flatten().tolist() == list(range(period - 1, 300, period + steps))


@pytest.mark.parametrize(("t_ref", "steps"), [(0.0, 0), (1e-9, 0), (1e-5, 1), (1e-3, 1), (1.001e-3, 2), (0.3e-2, 3), (7e-3, 7)])
def test_a_refractory_period_lasts_whole_steps_and_is_never_too_short(t_ref: float, steps: int) -> None:
    """0.3e-2/1e-3 and 7e-3/1e-3 are no whole numbers in floating point; a millionth of a step is rounding."""
    spikes = RefractoryLIF(math.inf, t_ref, DT)(torch.ones(40, 1, 1))
    assert torch.nonzero(spikes.flatten()).flatten().tolist() == list(range(0, 40, steps + 1))


def test_half_the_step_has_the_same_refractory_period() -> None:
    for dt in (1e-3, 0.5e-3, 0.25e-3):
        first, second = torch.nonzero(RefractoryLIF(math.inf, 3e-3, dt)(torch.ones(40, 1, 1)).flatten()).flatten()[:2].tolist()
        assert (second - first - 1) * dt == pytest.approx(3e-3)


@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
def test_while_it_lasts_the_input_is_lost_and_the_potential_stays(reset: Literal["soft", "hard", "none"]) -> None:
    x = torch.tensor([1.75, 9.0, -9.0, 0.0]).reshape(4, 1, 1)
    trace = RefractoryLIF(TAU, 3e-3, DT, v_reset=0.25, reset=reset).trace(x)
    assert trace.spikes.flatten().tolist() == [1, 0, 0, 0]
    assert trace.v.flatten().tolist() == [{"soft": 0.75, "hard": 0.25, "none": 1.75}[reset]] * 4
    assert trace.state.remaining.item() == 0


@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
def test_without_a_refractory_period_it_is_the_fused_leaky_neuron(reset: Literal["soft", "hard", "none"], detach_reset: bool) -> None:
    settings: dict[str, Any] = {"v_threshold": 0.5, "v_leak": 0.05, "v_reset": 0.1, "r": 15.0, "sign": -1, "strict": True}
    grads = []
    for neuron in (
        RefractoryLIF(TAU, 0.0, DT, reset=reset, detach_reset=detach_reset, **settings),
        ns.LIF(TAU, DT, reset=reset, detach_reset=detach_reset, **settings),
    ):
        x = drive().requires_grad_()
        out = neuron(x)
        (out * torch.arange(20)[:, None, None]).sum().backward()
        grads.append((out, x.grad))
    assert torch.equal(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1], grads[1][1], rtol=1e-4, atol=1e-5)


def test_every_unit_may_have_a_period_of_its_own() -> None:
    periods = DT * torch.arange(UNITS)
    spikes = RefractoryLIF(math.inf, periods, DT)(torch.ones(30, 2, UNITS))
    for unit in range(UNITS):
        assert torch.equal(spikes[..., unit : unit + 1], RefractoryLIF(math.inf, unit * DT, DT)(torch.ones(30, 2, 1)))


@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
def test_it_equals_a_loop_by_hand_and_its_gradients_finite_differences(reset: Literal["soft", "hard", "none"], detach_reset: bool) -> None:
    settings: dict[str, Any] = {"v_leak": 0.1, "v_reset": 0.05, "reset_by": 0.7, "r": 15.0, "v_threshold": torch.tensor([0.9, 0.6])}
    neuron = RefractoryLIF(TAU, 2e-3, DT, reset=reset, detach_reset=detach_reset, learn=RefractoryLIF.learnable, **settings)

    def loop(p: Values, fire: Fire) -> tuple[Array, Array]:
        a = np.exp(-DT / np.exp(p["log_tau_mem"]))
        v, deaf, spikes, potentials = p["v_leak"] + 0 * p["x"][0], 0 * p["x"][0], [], []
        for x in p["x"]:
            h = a * v + (1 - a) * (p["v_leak"] + p["r"] * x)
            s, held = fire(h - p["v_threshold"])
            jump = held if detach_reset else s
            after = {"soft": h - p["reset_by"] * jump, "hard": h * (1 - jump) + p["v_reset"] * jump, "none": h}[reset]
            hears = deaf == 0
            spikes.append(np.where(hears, s, 0.0))
            v = np.where(hears, after, v)
            deaf = np.where(hears, 2 * held, deaf - 1)
            potentials.append(v)
        return np.stack(spikes), np.stack(potentials)

    agrees(neuron.double(), loop, drive(14, 2, 2, dtype=torch.float64))


def test_a_step_is_a_function_of_input_state_and_parameters() -> None:
    parameters = RefractoryParameters(decay=0.5, gain=1.0, bias=0.0, steps=2.0, firing=Firing())
    state = RefractoryState(torch.tensor([[1.0, 0.5]]), torch.tensor([[0.0, 1.0]]))
    spikes, after = refractory_step(torch.tensor([[0.75, 9.0]]), state, parameters)
    assert spikes.tolist() == [[1, 0]]
    assert after.v.tolist() == [[0.25, 0.5]]
    assert after.remaining.tolist() == [[2, 0]]


def test_a_threshold_that_is_changed_afterwards_leaves_the_reset_as_it_was() -> None:
    new = torch.linspace(0.4, 1.6, UNITS)
    changed = RefractoryLIF(TAU, 2e-3, DT, v_threshold=0.8).with_threshold(new)
    assert torch.equal(changed(drive(40)), RefractoryLIF(TAU, 2e-3, DT, v_threshold=new, reset_by=0.8)(drive(40)))


def test_a_negative_period_is_refused() -> None:
    with pytest.raises(ns.ConfigError, match=r"^RefractoryLIF\.t_ref: must be 0 or more and finite, got -0\.001$"):
        RefractoryLIF(TAU, -1e-3, DT)
