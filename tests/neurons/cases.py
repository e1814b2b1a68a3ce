"""The neurons that every test of the contract runs over, and data for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import neurosim as ns

UNITS = 5
NOISE = ns.random.stream(11, "noise of the neurons under test")

_PER_UNIT = torch.linspace(10e-3, 30e-3, UNITS)
_VARIED = torch.linspace(0.5, 1.5, UNITS)

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
