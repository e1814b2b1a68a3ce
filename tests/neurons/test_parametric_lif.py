"""Leaky integrate-and-fire with a learned leak: as SpikingJelly has it, and as a LIF of the same time constant."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import pytest
import torch

import neurosim as ns
from tests.neurons.cases import UNITS, drive
from tests.neurons.oracle import Array, Fire, Values, agrees, reset_by_hand

TAU, DT = 20e-3, 1e-3
RECORDED = Path(__file__).parent / "data/plif.h5"
with h5py.File(RECORDED) as file:
    GROUPS = [name for name in file if isinstance(file[name], h5py.Group)]


def test_what_was_recorded_holds_every_setting_of_theirs() -> None:
    assert len(GROUPS) == 2 * 2 * 2 * 2


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("name", GROUPS)
def test_spikes_and_gradients_with_that_of_w_are_those_of_spikingjelly(name: str) -> None:
    with h5py.File(RECORDED) as file:
        group, x, cotangent = file[name], torch.from_numpy(file["x"][()]), torch.from_numpy(file["cotangent"][()])
        theirs = {key: torch.as_tensor(group[key][()]).float() for key in ("spikes", "grad_x", "grad_w")}
        settings = dict(group.attrs)
    neuron = ns.ParametricLIF(
        -DT / math.log(1 - 1 / settings["init_tau"]),
        DT,
        r=1.0 if settings["decay_input"] else None,
        reset="soft" if settings["soft"] else "hard",
        detach_reset=bool(settings["detach_reset"]),
    )
    assert neuron.w.item() == pytest.approx(settings["w"], rel=1e-6)
    x = (float(settings["input_scale"]) * x).requires_grad_()
    spikes = neuron(x)
    assert torch.equal(spikes, theirs["spikes"])
    (spikes * cotangent).sum().backward()
    torch.testing.assert_close(x.grad, theirs["grad_x"], rtol=1e-4, atol=1e-5 * theirs["grad_x"].abs().max().item())
    torch.testing.assert_close(neuron.w.grad, theirs["grad_w"], rtol=1e-4, atol=1e-4)


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("tau", [TAU, torch.linspace(5e-3, 50e-3, UNITS)])
def test_it_is_a_leaky_neuron_of_that_time_constant(tau: float | torch.Tensor) -> None:
    settings = {"r": 8.0, "v_leak": 0.2, "v_reset": 0.1, "reset": "hard"}
    one, other = ns.ParametricLIF(tau, DT, **settings).double(), ns.LIF(tau, DT, **settings).double()  # type: ignore[arg-type]  # of a dict
    x = drive(60, dtype=torch.float64)
    torch.testing.assert_close(one.trace(x).v, other.trace(x).v, rtol=1e-5, atol=1e-6)  # time constants are kept in float32
    assert 0 < one(x).sum() < x.numel()


@pytest.mark.parametrize("ratio", [1e-6, 1e-3, 0.05, 1.0, 19.0, 21.0, 80.0])
def test_time_constants_are_read_back_in_seconds(ratio: float) -> None:
    """Of steps much shorter and much longer than the time constant; beyond 88 the decay is 0 in float32."""
    assert ns.ParametricLIF(DT / ratio, DT).tau_mem.item() == pytest.approx(DT / ratio, rel=1e-5)


def test_a_layer_has_one_leak_or_every_unit_its_own() -> None:
    assert ns.ParametricLIF(TAU, DT).w.shape == ()
    assert ns.ParametricLIF(torch.full((8, 1, 1), TAU), DT).w.shape == (8, 1, 1)
    assert [name for name, _ in ns.ParametricLIF(TAU, DT, learn=()).named_buffers()] == ["w"]


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_it_equals_a_loop_by_hand_and_its_gradients_finite_differences(reset: Literal["soft", "hard"], detach_reset: bool) -> None:
    neuron = ns.ParametricLIF(
        torch.tensor([5e-3, 30e-3]),
        DT,
        **{"r": 9.0, "v_leak": 0.1, "v_reset": 0.05, "reset_by": 0.7},  # type: ignore[arg-type]  # of a dict
        reset=reset,
        detach_reset=detach_reset,
        learn=ns.ParametricLIF.learnable,
    )

    def loop(p: Values, fire: Fire) -> tuple[Array, Array]:
        leak = 1 / (1 + np.exp(-p["w"]))
        v, spikes, potentials = p["v_leak"] + 0 * p["x"][0], [], []
        for x in p["x"]:
            h = v + leak * (p["v_leak"] - v + p["r"] * x)
            fired = fire(h - p["v_threshold"])
            v = reset_by_hand(h, fired, reset, detach_reset, p["reset_by"], p["v_reset"])
            spikes.append(fired[0])
            potentials.append(v)
        return np.stack(spikes), np.stack(potentials)

    agrees(neuron.double(), loop, drive(12, 2, 2, dtype=torch.float64))


def test_a_leak_is_found_by_gradient_descent_through_spikes_alone() -> None:
    """From 3 ms to within a fifth of the 20 ms that made the target, by the filtered difference of spike trains."""
    x, smooth = drive(80, 1, 20), ns.LI(10e-3, DT)
    target = smooth(ns.LIF(TAU, DT)(x))
    neuron = ns.ParametricLIF(3e-3, DT)
    optimizer = torch.optim.Adam(neuron.parameters(), lr=0.05)
    for _ in range(120):
        optimizer.zero_grad()
        (smooth(neuron(x)) - target).square().mean().backward()
        optimizer.step()
    assert neuron.tau_mem.item() == pytest.approx(TAU, rel=0.2)
