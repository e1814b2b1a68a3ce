"""The neurons that every test of the contract runs over, and data for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.neurons import EIF, RLIF, Izhikevich, MultiSpikeLIF, RCubaLIF, Recurrent, RefractoryLIF

UNITS = 5
NOISE = ns.random.stream(11, "noise of the neurons under test")

_PER_UNIT = torch.linspace(10e-3, 30e-3, UNITS)
_VARIED = torch.linspace(0.5, 1.5, UNITS)


def connected(neuron: Recurrent) -> Recurrent:
    """The same with weights that 16 bits hold exactly, and their sums too: excitation by two neighbours, inhibition by the rest."""
    weight = torch.full((UNITS, UNITS), -0.125) + 0.375 * (torch.eye(UNITS).roll(1, 0) + torch.eye(UNITS).roll(-2, 0))
    neuron.connection.load_state_dict({"weight": weight})
    return neuron


def leaves(state: Any) -> list[Any]:
    """The entries of a state, those of the states within it too."""
    return [leaf for value in state for leaf in (leaves(value) if isinstance(value, tuple) else [value])]


def learned_arguments(neuron: ns.Neuron[Any]) -> set[str]:
    """The arguments that parameters of a neuron stand for; the weights of a connection are none."""
    names = [name.removeprefix("neuron.").removeprefix("log_") for name, _ in neuron.named_parameters() if "connection" not in name]
    return {"tau_mem" if name == "w" else name for name in names}


#: by registered name and kind: a fresh neuron
CASES: dict[tuple[str, str], Callable[[], ns.Neuron[Any]]] = {
    ("lif", "plain"): lambda: ns.LIF(20e-3, 1e-3),
    ("lif", "per unit"): lambda: ns.LIF(_PER_UNIT, 1e-3, v_threshold=_VARIED, v_leak=-0.1 * _VARIED, r=5 * _VARIED, reset="hard"),
    ("lif", "learned"): lambda: ns.LIF(_PER_UNIT, 1e-3, v_leak=0.1, r=8.0, reset_by=0.8, v_reset=0.1, learn=ns.LIF.learnable),
    ("lif", "noisy"): lambda: ns.LIF(20e-3, 1e-3, input_noise=0.2, membrane_noise=0.1),
    ("cuba_lif", "plain"): lambda: ns.CubaLIF(20e-3, 5e-3, 1e-3, w_in=2.0),
    ("cuba_lif", "per unit"): lambda: ns.CubaLIF(20e-3, _PER_UNIT / 4, 1e-3, w_in=_VARIED, v_leak=0.2 * _VARIED, reset="soft_next"),
    ("cuba_lif", "learned"): lambda: ns.CubaLIF(20e-3, _PER_UNIT / 4, 1e-3, w_in=2.0, v_leak=0.1, r=8.0, learn=ns.CubaLIF.learnable),
    ("cuba_lif", "noisy"): lambda: ns.CubaLIF(20e-3, 5e-3, 1e-3, w_in=2.0, input_noise=0.2, membrane_noise=0.1),
    ("if", "plain"): lambda: ns.IF(1e-3),
    ("if", "per unit"): lambda: ns.IF(1e-3, r=500 * _VARIED, v_start=0.2 * _VARIED, v_threshold=_VARIED, reset="hard"),
    ("if", "learned"): lambda: ns.IF(1e-3, v_reset=0.1, reset_by=0.8, learn=ns.IF.learnable),
    ("if", "noisy"): lambda: ns.IF(1e-3, input_noise=0.2, membrane_noise=0.1),
    ("plif", "plain"): lambda: ns.ParametricLIF(20e-3, 1e-3),
    ("plif", "per unit"): lambda: ns.ParametricLIF(_PER_UNIT, 1e-3, v_threshold=_VARIED, v_leak=-0.1 * _VARIED, learn=()),
    ("plif", "learned"): lambda: ns.ParametricLIF(
        _PER_UNIT, 1e-3, v_leak=0.1, r=8.0, reset_by=0.8, v_reset=0.1, learn=ns.ParametricLIF.learnable
    ),
    ("plif", "noisy"): lambda: ns.ParametricLIF(20e-3, 1e-3, input_noise=0.2, membrane_noise=0.1),
    ("alif", "plain"): lambda: ns.ALIF(20e-3, 50e-3, 1e-3, beta=0.3),
    ("alif", "per unit"): lambda: ns.ALIF(20e-3, 5 * _PER_UNIT, 1e-3, beta=_VARIED, v_leak=-0.1 * _VARIED, reset="hard"),
    ("alif", "learned"): lambda: ns.ALIF(
        _PER_UNIT, 50e-3, 1e-3, v_leak=0.1, r=8.0, reset_by=0.8, v_reset=0.1, detach_reset=False, learn=ns.ALIF.learnable
    ),
    ("multi_spike_lif", "plain"): lambda: MultiSpikeLIF(20e-3, 1e-3, v_threshold=0.2),
    ("multi_spike_lif", "per unit"): lambda: MultiSpikeLIF(_PER_UNIT, 1e-3, max_spikes=2, v_threshold=0.3 * _VARIED, reset="hard"),
    ("multi_spike_lif", "learned"): lambda: MultiSpikeLIF(
        _PER_UNIT, 1e-3, v_threshold=0.3, v_leak=0.1, r=8.0, reset_by=0.2, v_reset=0.1, learn=MultiSpikeLIF.learnable
    ),
    ("refractory_lif", "plain"): lambda: RefractoryLIF(20e-3, 2e-3, 1e-3),
    ("refractory_lif", "per unit"): lambda: RefractoryLIF(20e-3, _PER_UNIT / 10, 1e-3, v_threshold=_VARIED, reset="hard", strict=True),
    ("refractory_lif", "learned"): lambda: RefractoryLIF(
        _PER_UNIT, 2e-3, 1e-3, v_leak=0.1, r=8.0, reset_by=0.8, v_reset=0.1, learn=RefractoryLIF.learnable
    ),
    ("eif", "plain"): lambda: EIF(20e-3, 1e-3),
    ("eif", "per unit"): lambda: EIF(_PER_UNIT, 1e-3, slope_factor=0.2 * _VARIED, v_threshold=_VARIED, v_peak=3.0, v_leak=0.1),
    ("eif", "learned"): lambda: EIF(_PER_UNIT, 1e-3, slope_factor=0.2, v_leak=0.1, v_reset=-0.1, r=8.0, learn=EIF.learnable),
    ("izhikevich", "plain"): lambda: Izhikevich(1e-3, r=60.0),
    ("izhikevich", "per unit"): lambda: Izhikevich(1e-3, pattern="chattering", a=0.05 * _VARIED, d=2 * _VARIED, r=60 * _VARIED),
    ("izhikevich", "learned"): lambda: Izhikevich(1e-3, pattern="fast_spiking", r=60.0, learn=Izhikevich.learnable),
    ("rlif", "plain"): lambda: connected(RLIF(UNITS, 20e-3, 1e-3)),
    ("rlif", "per unit"): lambda: connected(RLIF(UNITS, _PER_UNIT, 1e-3, v_threshold=_VARIED, reset="hard", self_connections=False)),
    ("rlif", "learned"): lambda: connected(RLIF(UNITS, 20e-3, 1e-3, v_leak=0.1, r=8.0, reset_by=0.8, v_reset=0.1, learn=RLIF.learnable)),
    ("rlif", "noisy"): lambda: connected(RLIF(UNITS, 20e-3, 1e-3, input_noise=0.2, membrane_noise=0.1)),
    ("rcuba_lif", "plain"): lambda: connected(RCubaLIF(UNITS, 20e-3, 5e-3, 1e-3, w_in=2.0)),
    ("rcuba_lif", "per unit"): lambda: connected(RCubaLIF(UNITS, 20e-3, _PER_UNIT / 4, 1e-3, w_in=_VARIED, v_leak=0.2 * _VARIED)),
    ("rcuba_lif", "learned"): lambda: connected(
        RCubaLIF(UNITS, 20e-3, _PER_UNIT / 4, 1e-3, w_in=2.0, v_leak=0.1, r=8.0, learn=RCubaLIF.learnable)
    ),
    ("rcuba_lif", "noisy"): lambda: connected(RCubaLIF(UNITS, 20e-3, 5e-3, 1e-3, w_in=2.0, input_noise=0.2, membrane_noise=0.1)),
    ("li", "plain"): lambda: ns.LI(20e-3, 1e-3),
    ("li", "per unit"): lambda: ns.LI(_PER_UNIT, 1e-3, r=_VARIED),
    ("li", "learned"): lambda: ns.LI(20e-3, 1e-3, v_leak=0.3, r=_VARIED, learn=ns.LI.learnable),
}


def drive(time: int = 20, batch: int = 3, *units: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Input that makes the neurons fire now and then: the same at every call."""
    like = torch.empty(0, dtype=dtype)
    return ns.random.stream(5, "drive").uniform((time, batch, *(units or (UNITS,))), like=like) * 0.6


class _Run(nn.Module):
    """Another method of a neuron as the forward of a module."""

    def __init__(self, neuron: ns.Neuron[Any], method: str) -> None:
        super().__init__()
        self.neuron, self.method = neuron, method

    def forward(self, *args: Any) -> Any:
        return getattr(self.neuron, self.method)(*args)


def run_with(neuron: ns.Neuron[Any], method: str, values: Sequence[Tensor], *args: Any) -> Any:
    """What a method gives with other values for the learned parameters, in their order."""
    names = [f"neuron.{name}" for name, _ in neuron.named_parameters()]
    return torch.func.functional_call(_Run(neuron, method), dict(zip(names, values, strict=True)), args)
