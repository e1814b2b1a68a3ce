"""Spiking networks: digital inputs shown for some steps, neurons between the layers."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from neurosim.models.base import MODELS
from neurosim.neurons import LIF, CubaLIF, Neuron
from neurosim.nn.spiking import SpikingNetwork
from neurosim.nn.time import SpikingSequential

SpikingNeuron = Literal["lif", "if", "cuba_lif"]


@MODELS.register("spiking_mlp")
def spiking_mlp(
    sizes: Annotated[list[PositiveInt], Field(min_length=2)],
    neuron: SpikingNeuron = "lif",
    time_steps: PositiveInt = 8,
    tau_mem: PositiveFloat = 5e-3,
    tau_syn: PositiveFloat = 5e-3,
    dt: PositiveFloat = 1e-3,
    v_threshold: PositiveFloat = 1.0,
    reset: Literal["soft", "hard"] = "soft",
    bias: bool = True,
) -> SpikingNetwork:
    """Linear layers ``fc1``, ``fc2``, … with neurons between them; the mean of the last layer's outputs over time are the logits.

    Args:
        sizes: Features from the input to the classes.
        neuron: ``lif``, ``if`` (no leak) or ``cuba_lif``.
        time_steps: How long an input is shown.
        tau_mem: Membrane time constant, seconds.
        tau_syn: Synaptic time constant of ``cuba_lif``, seconds.
        dt: Length of a step, seconds.
        v_threshold: Potential from which neurons fire.
        reset: ``soft`` subtracts the threshold, ``hard`` leads back to 0, as circuits do.
        bias: Whether the layers have biases.

    Shapes:
        x ``(batch, *)`` with ``sizes[0]`` elements a sample; result ``(batch, sizes[-1])``.

    >>> import torch
    >>> spiking_mlp([64, 32, 10])(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    last = len(sizes) - 1
    for at in range(1, len(sizes)):
        layers[f"fc{at}"] = nn.Linear(sizes[at - 1], sizes[at], bias)
        if at < last:
            layers[f"neuron{at}"] = _neuron(neuron, tau_mem, tau_syn, dt, v_threshold, reset)
    return SpikingNetwork(SpikingSequential(layers), time_steps)


def _neuron(
    kind: SpikingNeuron, tau_mem: float, tau_syn: float, dt: float, v_threshold: float, reset: Literal["soft", "hard"]
) -> Neuron[Any]:
    if kind == "cuba_lif":
        return CubaLIF(tau_mem, tau_syn, dt, v_threshold=v_threshold, reset=reset)
    return LIF(math.inf if kind == "if" else tau_mem, dt, v_threshold=v_threshold, reset=reset)
