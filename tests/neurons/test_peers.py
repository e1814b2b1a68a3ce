"""Neurons of other libraries are settings of ours: the same spikes and gradients as were recorded from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import neurosim as ns
from neurosim.surrogate import surrogate
from tests.parity.recorded import names, record

DT = 1e-3


def tau(decay: float) -> float:
    """The time constant whose decay is that."""
    return -DT / math.log(decay)


def leaky(reset: Any, **others: Any) -> ns.LIF:
    """snnTorch: > instead of ≥, an input counts once."""
    return ns.LIF(tau(0.85), DT, reset=reset, strict=True, **others)


def lif_node(reset: Any, decay_input: bool) -> ns.LIF:
    """SpikingJelly: 1 − 1/τ instead of the exponential, τ in steps; ``decay_input`` divides inputs by τ."""
    return ns.LIF(tau(1 - 1 / 2.5), DT, r=1.0 if decay_input else None, reset=reset, detach_reset=False)


#: what each of them is here; norse decays by 1 − dt/τ, and the gradient of its SuperSpike does not depend on its alpha: 1/(1 + |z|)²
PEERS: dict[str, Callable[[], ns.Neuron[Any]]] = {
    "snntorch_leaky_subtract_delay1": lambda: leaky("soft_next"),
    "snntorch_leaky_subtract_delay0": lambda: leaky("soft_both", detach_reset=False),
    "snntorch_leaky_zero_delay1": lambda: leaky("hard_next"),
    "snntorch_leaky_zero_delay0": lambda: leaky("hard", detach_reset=False),
    "snntorch_synaptic_zero_nodelay": lambda: ns.CubaLIF(
        *(tau(0.85), tau(0.7), DT), reset="hard", strict=True, detach_reset=False, surrogate=surrogate("fast_sigmoid", slope=25)
    ),
    "spikingjelly_lif_decay0_hard": lambda: lif_node("hard", decay_input=False),
    "spikingjelly_lif_decay0_soft": lambda: lif_node("soft", decay_input=False),
    "spikingjelly_lif_decay1_hard": lambda: lif_node("hard", decay_input=True),
    "spikingjelly_lif_decay1_soft": lambda: lif_node("soft", decay_input=True),
    "norse_lif": lambda: ns.CubaLIF(
        *(tau(1 - DT * 100), tau(1 - DT * 200), DT),
        r=1.0,
        v_threshold=0.2,
        reset="hard",
        strict=True,
        detach_reset=False,
        surrogate="sj_superspike",
    ),
}


def test_everything_that_was_recorded_is_compared() -> None:
    assert set(PEERS) == set(names("")) - {"x", "cotangent"}


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("name", list(PEERS))
def test_spikes_and_gradients_are_those_that_were_recorded(name: str) -> None:
    theirs = record(name)
    x = theirs.x.requires_grad_()
    spikes = PEERS[name]()(x * theirs.settings.get("input_scale", 1.0))
    assert 0 < theirs.spikes.sum() < theirs.spikes.numel()
    assert torch.equal(spikes, theirs.spikes)
    (spikes * theirs.cotangent).sum().backward()
    torch.testing.assert_close(x.grad, theirs.grad_x, rtol=1e-4, atol=1e-5 * theirs.grad_x.abs().max().item())
