"""A spiking model, its data and a study of it, small enough that they take a moment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.neurons import LIF
from neurosim.nn import SpikingNetwork, SpikingSequential
from neurosim.sweep.report import Report

UNITS = 12
STEPS = 8


def parts(net: SpikingNetwork) -> tuple[nn.Linear, LIF, nn.Linear]:
    """The layers of the network."""
    first, neurons, last = net.body.children()
    assert isinstance(first, nn.Linear)
    assert isinstance(neurons, LIF)
    assert isinstance(last, nn.Linear)
    return first, neurons, last


def network(time_steps: int = STEPS, units: int = UNITS) -> SpikingNetwork:
    """Two layers of weights from a formula, and neurons between them: one that never fires, one that always does."""
    net = SpikingNetwork(SpikingSequential(nn.Linear(6, units), LIF(5e-3, 1e-3), nn.Linear(units, 3)), time_steps)
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            parameter.copy_(2 * torch.sin(torch.arange(parameter.numel(), dtype=torch.float32) * (number + 1.3)).reshape(parameter.shape))
        first, _, last = parts(net)
        first.weight[:2] = 0.0
        first.bias[:2] = torch.tensor([-1.0, 40.0])
        last.weight[:, 1] = 0.0
        last.bias[:] = 0.0
    return net


def chip(profile: str = "bss2_spiking", **options: Any) -> nn.Module:
    """The network on a simulated chip."""
    return ns.to_neuromorphic(network(**options), profile, seed=5)


def data(samples: int = 40, batch: int = 16) -> list[tuple[Tensor, Tensor]]:
    """Inputs from a formula; the targets are what the network answers, but every fifth is wrong."""
    x = torch.cos(torch.arange(samples * 6, dtype=torch.float32) * 0.7).reshape(samples, 6)
    with torch.no_grad():
        y = network()(x).argmax(1)
    y[::5] = (y[::5] + 1) % 3
    return list(zip(x.split(batch), y.split(batch), strict=True))


def plan(**changes: Any) -> dict[str, Any]:
    """A plan in this process; ``changes`` replaces its keys."""
    axes = {"threshold mismatch": {"neuron.threshold.spread": [0.0, 0.5]}}
    return {"axes": axes, "chips": 3, "engine": {"kind": "serial"}, "accept": {"drop_at_most": 0.1, "yield_at_least": 0.2}, **changes}


def study(model: nn.Module | None = None, **options: Any) -> Report:
    """A study of the model on its chip."""
    changes = options.pop("plan", {})
    return ns.sensitivity(chip() if model is None else model, options.pop("data", data()), plan(**changes), **options)
