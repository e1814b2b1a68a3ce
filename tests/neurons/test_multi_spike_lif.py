"""Neurons that fire several times within a step: against the floor function, LIF, and a loop by hand."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch

import neurosim as ns
from neurosim.neurons import Firing, MultiSpikeLIF, MultiSpikeParameters, MultiSpikeState, multi_spike_step
from neurosim.surrogate import surrogate
from tests.neurons.cases import UNITS, drive
from tests.neurons.oracle import Array, Fire, Values, agrees

TAU, DT = 20e-3, 1e-3


@pytest.mark.parametrize("theta", [1.0, 0.75, 0.5])
def test_one_step_sends_on_how_often_the_threshold_fits(theta: float) -> None:
    """min(max(⌊h/θ⌋, 0), K), at the thresholds themselves too."""
    h = torch.linspace(-3, 6, 73, dtype=torch.float64).reshape(1, 1, -1)
    expected = torch.floor(h / theta).clamp(0, 5)
    assert torch.equal(MultiSpikeLIF(TAU, DT, max_spikes=5, v_threshold=theta)(h), expected)
    below = (torch.ceil(h / theta) - 1).clamp(0, 5)
    assert torch.equal(MultiSpikeLIF(TAU, DT, max_spikes=5, v_threshold=theta, strict=True)(h), below)


def test_without_leak_the_spikes_are_the_floor_of_the_sum() -> None:
    """Inputs in 64ths add up exactly; as no input is more than K thresholds, nothing waits."""
    x = torch.floor(drive(50, 4, dtype=torch.float64) * 64 * 4) / 64
    spikes, state = MultiSpikeLIF(math.inf, DT, v_threshold=0.5, max_spikes=6).run(x)
    assert torch.equal(spikes.cumsum(0), torch.floor(x.cumsum(0) / 0.5))
    assert torch.equal(state.v, x.sum(0) - 0.5 * spikes.sum(0))
    assert spikes.max() > 2


def test_what_a_step_cannot_send_on_is_sent_later_after_a_soft_reset_and_lost_after_a_hard_one() -> None:
    x = torch.tensor([5.5, 0.0, 0.0, 0.0]).reshape(4, 1, 1)
    assert MultiSpikeLIF(math.inf, DT, max_spikes=2, reset="soft")(x).flatten().tolist() == [2, 2, 1, 0]
    assert MultiSpikeLIF(math.inf, DT, max_spikes=2, reset="hard")(x).flatten().tolist() == [2, 0, 0, 0]


@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
def test_one_spike_at_most_is_the_fused_leaky_neuron(reset: Literal["soft", "hard", "none"], detach_reset: bool) -> None:
    """Spikes bit for bit, gradients to rounding."""
    settings: dict[str, Any] = {"v_threshold": 0.5, "v_leak": 0.05, "v_reset": 0.1, "r": 15.0, "reset": reset, "detach_reset": detach_reset}
    grads = []
    for neuron in (MultiSpikeLIF(TAU, DT, max_spikes=1, **settings, learn="v_threshold"), ns.LIF(TAU, DT, **settings, learn="v_threshold")):
        x = drive().requires_grad_()
        out = neuron(x)
        (out * torch.arange(20)[:, None, None]).sum().backward()
        (threshold,) = neuron.parameters()
        grads.append((out, x.grad, threshold.grad))
    assert torch.equal(grads[0][0], grads[1][0])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_every_step_of_the_staircase_has_the_surrogate() -> None:
    """∂n/∂h = Σₖ g(h − k θ) and ∂n/∂θ = −Σₖ k g(h − k θ), at h = x for one step from rest."""
    x = torch.linspace(-1, 5, 13, dtype=torch.float64).reshape(1, 1, -1).requires_grad_()
    neuron = MultiSpikeLIF(TAU, DT, max_spikes=3, v_threshold=0.8, surrogate="triangle", learn="v_threshold").double()
    neuron(x).sum().backward()
    slopes = [surrogate("triangle").gradient(x.detach() - k * neuron.v_threshold) for k in (1, 2, 3)]
    torch.testing.assert_close(x.grad, sum(slopes).detach())  # type: ignore[union-attr]  # not the 0 of an empty sum
    (threshold,) = neuron.parameters()
    torch.testing.assert_close(threshold.grad, -sum(k * one.sum() for k, one in enumerate(slopes, 1)).detach())  # type: ignore[union-attr]  # likewise


@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
def test_it_equals_a_loop_by_hand_and_its_gradients_finite_differences(reset: Literal["soft", "hard", "none"], detach_reset: bool) -> None:
    settings: dict[str, Any] = {"v_threshold": torch.tensor([0.3, 0.2]), "v_leak": 0.1, "v_reset": 0.05, "reset_by": 0.25}
    settings["r"] = 4.0 if reset == "none" else 15.0  # that it does not fire at every step
    neuron = MultiSpikeLIF(
        TAU, DT, max_spikes=3, reset=reset, detach_reset=detach_reset, learn=MultiSpikeLIF.learnable, **settings
    ).double()

    def loop(p: Values, fire: Fire) -> tuple[Array, Array]:
        a = np.exp(-DT / np.exp(p["log_tau_mem"]))
        v, counts, potentials = p["v_leak"] + 0 * p["x"][0], [], []
        for x in p["x"]:
            h = a * v + (1 - a) * (p["v_leak"] + p["r"] * x)
            fired = [fire(h - k * p["v_threshold"]) for k in (1, 2, 3)]
            sent, held = (sum(one[at] for one in fired) for at in (0, 1))
            first = fired[0][int(detach_reset)]
            down = p["reset_by"] * (held if detach_reset else sent)
            v = {"soft": h - down, "hard": h * (1 - first) + p["v_reset"] * first, "none": h}[reset]
            counts.append(sent)
            potentials.append(v)
        return np.stack(counts), np.stack(potentials)

    agrees(neuron, loop, drive(12, 2, 2, dtype=torch.float64))
    assert neuron(drive(12, 2, 2, dtype=torch.float64)).max() > 1


def test_a_step_is_a_function_of_input_state_and_parameters() -> None:
    parameters = MultiSpikeParameters(decay=0.5, gain=2.0, bias=0.25, max_spikes=3, firing=Firing())
    count, state = multi_spike_step(torch.full((2, 1), 1.0), MultiSpikeState(torch.full((2, 1), 0.5)), parameters)
    assert count.flatten().tolist() == [2, 2]
    assert state.v.flatten().tolist() == [0.5, 0.5]


def test_whole_numbers_survive_16_bits() -> None:
    counts = MultiSpikeLIF(math.inf, DT, max_spikes=200)(torch.full((1, 1, UNITS), 150.5).bfloat16())
    assert counts.tolist() == [[[150.0] * UNITS]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_spikes": 0}, r"max_spikes: must be a whole number of 1 or more, got 0"),
        ({"max_spikes": 2.0}, r"max_spikes: must be a whole number of 1 or more, got 2\.0"),
        ({"v_threshold": 0.0}, r"v_threshold: must be more than 0 and finite, got 0"),
        ({"v_threshold": -1.0, "learn": "v_threshold"}, r"v_threshold: must be more than 0 and finite, got -1"),
        ({"reset": "soft_both"}, r"reset: no reset is named 'soft_both'; did you mean 'soft'\?"),
    ],
)
def test_what_it_cannot_be_made_of_is_said_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ns.ConfigError, match=rf"^MultiSpikeLIF\.{message}$"):
        MultiSpikeLIF(TAU, DT, **settings)


def test_its_thresholds_do_not_move_one_by_one() -> None:
    with pytest.raises(ns.ConfigError, match=r"^MultiSpikeLIF: with_threshold needs a neuron with one threshold; this one has several"):
        MultiSpikeLIF(TAU, DT).with_threshold(0.5)
