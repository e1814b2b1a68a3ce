"""Spiking multilayer perceptron."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveInt
from torch import nn

from neurosim.initialisers import Init
from neurosim.models.base import MODELS, layer_sizes
from neurosim.models.made import NEURON
from neurosim.models.spiking_norms import NormName
from neurosim.models.spiking_parts import Layers, Parts, SpikeOrActivation, check_parts
from neurosim.models.weight_norm import WeightNormName
from neurosim.nn import SpikingNetwork


def _check(arguments: Mapping[str, Any]) -> None:
    check_parts(arguments, [(features, ()) for features in arguments["sizes"][1:-1]])


@MODELS.register("spiking_mlp", check=_check)
def spiking_mlp(
    sizes: Annotated[list[PositiveInt], Field(min_length=2)],
    time_steps: PositiveInt = 4,
    norm: NormName = "none",
    neuron: Mapping[str, Any] = NEURON,
    activation: SpikeOrActivation = "spike",
    layers: Layers = "plain",
    ei: Mapping[str, Any] = {},
    encoder: Mapping[str, Any] | None = None,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    bias: bool = True,
    init: Init = "torch",
    weight_norm: WeightNormName = None,
) -> SpikingNetwork:
    """Linear layers ``fc1``, ``fc2``, … with neurons between them; images are flattened first.

    Args:
        sizes: Features from the input to the classes.
        time_steps: How long an image is shown.
        norm, neuron, activation, layers, ei, bias: See :class:`~neurosim.models.spiking_parts.Parts`.
        init: First weights: a name in ``INITIALISERS``, or ``kind`` and settings, with an activation for the neurons where they need one.
        weight_norm: Parametrization of the weights of all layers but the last: its name in ``NORMS``, or ``kind`` and its arguments; null:
            none.
        encoder: ``kind`` and arguments of an entry of ``ENCODERS``, but for its ``steps``; ``null`` shows the image as it is at every step.
        dropout: Probability after every neuron.

    Shapes:
        x ``(batch, *)`` with ``sizes[0]`` elements a sample; result ``(batch, sizes[-1])``.

    Raises:
        ConfigError: The choices do not go together.

    >>> spiking_mlp([64, 32, 10], norm="bn")
    SpikingNetwork(
      time_steps=4
      (body): SpikingSequential(
        (flatten): Flatten(start_dim=1, end_dim=-1)
        (fc1): Linear(in_features=64, out_features=32, bias=True)
        (norm1): BatchNormOverTime(32, eps=1e-05, momentum=0.1, statistics='merged')
        (fire1): LIF(tau_mem=0.002, dt=0.001)
        (fc2): Linear(in_features=32, out_features=10, bias=True)
      )
    )
    """
    parts = Parts(norm, neuron, time_steps, bias, activation, layers, ei, encoder, init, weight_norm)
    body: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    last = len(layer_sizes("spiking_mlp", sizes)) - 1
    for at in range(1, last):
        body[f"fc{at}"] = parts.linear(sizes[at - 1], sizes[at])
        body |= parts.normed(f"norm{at}", sizes[at], (), depth=at)
        body[f"fire{at}"] = parts.firing(sizes[at], axes=1)
        if dropout:
            body[f"drop{at}"] = nn.Dropout(dropout)
    body[f"fc{last}"] = parts.linear(sizes[last - 1], sizes[last], last=True)
    return parts.network(body)
