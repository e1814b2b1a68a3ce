"""Leaky integrate-and-fire with an adaptive threshold: against trajectories that can be counted, and a loop by hand."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

import neurosim as ns
from neurosim.neurons import ALIFParameters, ALIFState, Firing, alif_step
from tests.neurons.cases import UNITS, drive
from tests.neurons.oracle import Array, Fire, Values, agrees, reset_by_hand

TAU, TAU_ADAPT, DT = 20e-3, 80e-3, 1e-3
A, ALPHA = math.exp(-DT / TAU), math.exp(-DT / TAU_ADAPT)


def spike_times(spikes: Tensor) -> list[int]:
    return torch.nonzero(spikes.flatten()).flatten().tolist()


def test_without_leaks_the_threshold_counts_the_spikes() -> None:
    """Half a threshold a step, β = 1: spike k needs a potential of k. A hard reset starts from 0, a soft one from k − 1."""
    x = torch.full((25, 1, 1), 0.5)
    assert spike_times(ns.ALIF(math.inf, math.inf, DT, beta=1.0, reset="hard")(x)) == [1, 5, 11, 19]
    assert spike_times(ns.ALIF(math.inf, math.inf, DT, beta=1.0)(x)) == [1, 5, 9, 13, 17, 21]


def test_the_adaptation_is_the_sum_of_what_every_spike_leaves() -> None:
    """A spike counts 1 in the step after it, and decays from there."""
    spikes, state = ns.ALIF(TAU, TAU_ADAPT, DT, beta=0.3).run(drive(50, dtype=torch.float64))
    left = ALPHA ** torch.arange(49, -1, -1, dtype=torch.float64)
    torch.testing.assert_close(state.a, torch.einsum("t,tbn->bn", left, spikes))
    assert spikes.sum() > 20


def test_in_the_long_run_intervals_are_those_of_the_fixed_point() -> None:
    """Every n steps, A before a spike is αⁿ⁻¹/(1 − αⁿ); without leak, a hard reset fires at the first n with n x ≥ 1 + β A."""
    n = next(n for n in range(1, 100) if n * 0.11 >= 1 + 0.5 * ALPHA ** (n - 1) / (1 - ALPHA**n))
    times = spike_times(ns.ALIF(math.inf, TAU_ADAPT, DT, beta=0.5, reset="hard")(torch.full((2000, 1, 1), 0.11, dtype=torch.float64)))
    assert set(np.diff(times[-10:])) == {n}
    assert np.diff(times)[0] < n


def published(x: Array, theta: float, beta: float, rho: float) -> Array:
    """Bellec et al. (2020), Methods: v⁺ = a v + x⁺ − z ρ, z = Θ(v − θ − β A), A⁺ = α A + z; the reset comes a step later."""
    v = adaptation = z = 0 * x[0]
    spikes = []
    for now in x:
        v = A * v + now - rho * z
        adaptation = ALPHA * adaptation + z
        z = (v >= theta + beta * adaptation).astype(float)
        spikes.append(z)
    return np.stack(spikes)


def test_the_published_order_of_things_is_a_reset_by_a_little_more() -> None:
    x = drive(100, dtype=torch.float64)
    neuron = ns.ALIF(TAU, TAU_ADAPT, DT, beta=0.2, v_threshold=0.8, reset_by=0.8 / A)
    np.testing.assert_array_equal(neuron(x).numpy(), published(x.numpy(), 0.8, 0.2, 0.8))
    assert not torch.equal(ns.ALIF(TAU, TAU_ADAPT, DT, beta=0.2, v_threshold=0.8)(x), neuron(x))


def test_a_share_of_a_spike_as_in_the_first_paper_is_a_smaller_beta() -> None:
    """b⁺ = α b + (1 − α) z and B = θ + β b."""
    x, b, v, beta = drive(100, 1, 1, dtype=torch.float64), 0.0, 0.0, 12.0
    expected = []
    for now in x.flatten().tolist():
        v = A * v + now
        s = float(v >= 1 + beta * b)
        v, b = v - s, ALPHA * b + (1 - ALPHA) * s
        expected.append(s)
    assert ns.ALIF(TAU, TAU_ADAPT, DT, beta=beta * (1 - ALPHA))(x).flatten().tolist() == expected


@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
def test_without_adaptation_it_is_the_fused_leaky_neuron(reset: Literal["soft", "hard", "none"], detach_reset: bool) -> None:
    """Spikes bit for bit, gradients to rounding: of the input and of every parameter."""
    learn, grads = ns.LIF.learnable, []
    settings = {"v_threshold": 0.9, "v_leak": 0.05, "v_reset": 0.1, "r": 15.0, "reset_by": 0.7, "strict": True, "learn": learn}
    one = ns.ALIF(TAU, TAU_ADAPT, DT, beta=0.0, reset=reset, detach_reset=detach_reset, **settings)  # type: ignore[arg-type]  # of a dict
    other = ns.LIF(TAU, DT, reset=reset, detach_reset=detach_reset, **settings)  # type: ignore[arg-type]  # of a dict
    assert torch.equal(one(drive()), other(drive()))
    for neuron in (one.double(), other.double()):
        x = drive(dtype=torch.float64).requires_grad_()
        (neuron(x) * torch.arange(20)[:, None, None]).sum().backward()
        found = {name: value.grad for name, value in neuron.named_parameters()}
        grads.append([x.grad, *(torch.zeros(()) if found[name] is None else found[name] for name in sorted(found))])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12, check_dtype=False)


@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
def test_it_equals_a_loop_by_hand_and_its_gradients_finite_differences(reset: Literal["soft", "hard", "none"], detach_reset: bool) -> None:
    settings = {"v_leak": 0.1, "v_reset": 0.05, "reset_by": 0.7, "r": 15.0, "beta": torch.tensor([0.2, 0.5])}
    neuron = ns.ALIF(TAU, 30e-3, DT, reset=reset, detach_reset=detach_reset, learn=ns.ALIF.learnable, **settings)  # type: ignore[arg-type]  # of a dict

    def loop(p: Values, fire: Fire) -> tuple[Array, Array]:
        a, alpha = np.exp(-DT / np.exp(p["log_tau_mem"])), np.exp(-DT / np.exp(p["log_tau_adapt"]))
        v, adaptation, spikes, potentials = p["v_leak"] + 0 * p["x"][0], 0 * p["x"][0], [], []
        for x in p["x"]:
            h = a * v + (1 - a) * (p["v_leak"] + p["r"] * x)
            fired = fire(h - p["v_threshold"] - p["beta"] * adaptation)
            v = reset_by_hand(h, fired, reset, detach_reset, p["reset_by"], p["v_reset"])
            adaptation = alpha * adaptation + fired[0]
            spikes.append(fired[0])
            potentials.append(v)
        return np.stack(spikes), np.stack(potentials)

    agrees(neuron.double(), loop, drive(14, 2, 2, dtype=torch.float64))


def test_a_step_is_a_function_of_input_state_and_parameters() -> None:
    neuron, state = ns.ALIF(TAU, TAU_ADAPT, DT, beta=0.3), ALIFState(torch.zeros(3, UNITS), torch.zeros(3, UNITS))
    parameters = ALIFParameters(decay=A, gain=1.0, bias=0.0, adapt_decay=ALPHA, beta=0.3, firing=Firing())
    for x, expected in zip(drive(), neuron(drive()), strict=True):
        spikes, state = alif_step(x, state, parameters)
        assert torch.equal(spikes, expected)


def test_a_threshold_that_is_changed_afterwards_leaves_reset_and_adaptation_as_they_were() -> None:
    new = torch.linspace(0.4, 1.6, UNITS)
    changed = ns.ALIF(TAU, TAU_ADAPT, DT, beta=0.3, v_threshold=0.8).with_threshold(new)
    assert torch.equal(changed(drive()), ns.ALIF(TAU, TAU_ADAPT, DT, beta=0.3, v_threshold=new, reset_by=0.8)(drive()))
    never = changed.with_threshold(math.inf)
    assert never(drive()).sum() == 0
    assert never.run(drive())[1].v.isfinite().all()


def test_below_the_threshold_adaptation_makes_firing_harder_too() -> None:
    """σ = −1 fires at h ≤ θ − β A: at every step without adaptation, less often with it."""
    x = torch.full((40, 1, 1), 0.01)
    always = ns.ALIF(TAU, TAU_ADAPT, DT, beta=0.0, reset="none", v_threshold=0.3, sign=-1)
    tired = ns.ALIF(TAU, TAU_ADAPT, DT, beta=0.3, reset="none", v_threshold=0.3, sign=-1)
    assert always(x).sum() == 40
    assert 0 < tired(x).sum() < 10


def test_resets_that_look_back_are_refused() -> None:
    with pytest.raises(ns.ConfigError, match=r"^ALIF\.reset: no reset is named 'soft_next'; did you mean 'soft'\?$"):
        ns.ALIF(TAU, TAU_ADAPT, DT, reset="soft_next")  # type: ignore[arg-type]  # the point


def test_an_attached_reset_cannot_subtract_an_infinite_threshold() -> None:
    with pytest.raises(ns.ConfigError, match=r"^ALIF\.reset_by: must be given where the threshold is inf, which no reset can subtract$"):
        ns.ALIF(TAU, TAU_ADAPT, DT, v_threshold=math.inf, detach_reset=False)
