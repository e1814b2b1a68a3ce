"""What becomes of maximum pooling in a spiking network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from torch import nn

from neurosim.convert.spiking_trace import Layer
from neurosim.errors import ConversionError
from neurosim.nn.spike_pool import SpikingMaxPool2d

MaxPool = Literal["gate", "before", "spikes", "average"]


def spiking_max_pool(pool: Any, how: MaxPool) -> tuple[nn.Module, str]:
    """What stands for a maximum pooling among spikes, and what it does."""
    if how == "gate":
        return SpikingMaxPool2d(pool), "passes on the place with the most spikes so far"
    if how == "average":
        return average_pool(pool), "the mean is not the maximum: train on"
    return pool, "pools the spikes of each step" if how == "spikes" else "pools currents, before the neuron"


def average_pool(pool: Any) -> nn.Module:
    """The average pooling with the window of a maximum pooling."""
    if pool.dilation not in (1, (1, 1)):
        raise ConversionError(f"to_spiking: max_pool='average' needs a pooling without dilation, got dilation={pool.dilation}")
    return nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)


def pool_first(layers: list[Layer]) -> list[Layer]:
    """Poolings that follow a neuron moved before it; the two change places under their names."""
    found = list(layers)
    for at, layer in enumerate(found):
        if layer.kind != "max_pool":
            continue
        (source, *more) = layer.sources
        before = next((place for place, one in enumerate(found) if one.name == source and one.kind == "activation"), None)
        if more or before is None or sum(source in one.sources for one in found) > 1:
            raise ConversionError(
                f"to_spiking: {layer.path}: max_pool='before' needs a pooling that directly follows an activation which nothing else uses; "
                "max_pool='gate' works anywhere"
            )
        neuron = found[before]
        found[before] = replace(neuron, module=layer.module, kind="max_pool")
        found[at] = replace(layer, module=neuron.module, kind="activation")
    return found
