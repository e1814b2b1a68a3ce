r"""Where membranes start, such that every channel fires at the mean rate that the digital network asks of it.

A neuron under a constant drive rounds best from half its threshold. Behind the first layer drives come in spikes, unevenly: a neuron
whose drive sums to nothing may have fired before the inhibition arrived, and a channel errs in one direction. With the mean error of a
channel's rates r over the calibration data, in T steps from 1/2,

.. math:: v_c = 1/2 + T \operatorname{mean}(a_c / s_c - r_c),

for with a soft reset every threshold of charge is a spike. Layers are taken in order, each under the spikes of those before it, whose
starts are found. A start is charge that is given once: its share in the rate falls as 1/T, so that the spiking network still tends to the
digital one.

Source:
    Y. Li, S. Deng, X. Dong, R. Gong, S. Gu, "A free lunch from ANN: towards efficient, accurate spiking neural networks calibration",
    ICML 2021, arXiv:2106.06984 (calibration of the initial potential, layer by layer; here by channel).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from neurosim.convert.spiking_scale import forward
from neurosim.convert.spiking_trace import Layer, Traced
from neurosim.neurons import IF
from neurosim.nn.graph import INPUT
from neurosim.nn.time import step_through

Start = float | Literal["calibrated"]  #: in thresholds; or by channel, from the calibration data

SAMPLED: Final = 256  #: inputs that starts are calibrated on, at most
CHUNK: Final = 32  #: of them are run at a time, for the currents of a layer are held for all steps


def calibrated_starts(
    layers: list[Layer], digital: Traced, scales: dict[str, Tensor], inputs: Iterable[Tensor], time_steps: int
) -> dict[str, Tensor]:
    """Starts in thresholds by activation, ``(channels, 1, …)`` as a neuron takes them.

    They stay in 0 … 1: from 0 the number of spikes is the floor of the charge, from 1/2 it is rounded, and from 1 on a spike would come
    without a drive.

    Args:
        layers: Of the spiking network, each after its sources; activations are integrate-and-fire neurons with threshold 1.
        digital: The network whose activations the rates are to follow, with a layer of the same name for each activation.
        scales: By activation, what a spike at every step stands for, ``(channels,)`` or ``(1,)``.
        inputs: Batches, of which the first ``SAMPLED`` inputs are used.
        time_steps: How long an input is shown.
    """
    chunks = list(_first(inputs))
    count = sum(len(x) for x in chunks)
    sites = [layer.name for layer in layers if layer.kind == "activation"]
    starts: dict[str, Tensor] = {}
    bar = tqdm(total=2 * len(sites) * len(chunks), desc="calibrating membranes", leave=False, delay=2)
    with torch.no_grad(), bar:
        targets = {name: total / count for name, total in _rates(digital, scales, sites, chunks).items()}
        network = _Network(layers, chunks, time_steps, bar)
        for at, name in enumerate(sites):
            fired = _total(_over_places(spikes.mean(0)) for spikes in network.fire(name, 0.5)) / count
            starts[name] = (0.5 + time_steps * (targets[name] - fired)).clamp(0, 1).to(chunks[0].dtype)
            network.spikes[name] = [spikes.bool() for spikes in network.fire(name, starts[name])]
            network.forget(sites[at + 1 :])
    return starts


class _Network:
    """The spiking network as far as its starts are known: what its neurons fire on every chunk of the inputs.

    Args:
        layers: Of the whole network.
        chunks: The inputs.
        time_steps: How long each is shown.
        bar: Told of every chunk.
    """

    def __init__(self, layers: list[Layer], chunks: list[Tensor], time_steps: int, bar: tqdm[Any]) -> None:
        self.layers = {layer.name: layer for layer in layers}
        self.chunks, self.time_steps, self.bar = chunks, time_steps, bar
        self.spikes: dict[str, list[Tensor]] = {}  #: by layer of neurons and chunk; a byte each

    def fire(self, name: str, start: float | Tensor) -> Iterator[Tensor]:
        """What a layer of neurons fires on each chunk, ``(time, batch, *units)``, from a start."""
        neuron = IF(1.0, v_start=start)
        for at in range(len(self.chunks)):
            yield neuron(self._drive(name, at))
            self.bar.update()

    def forget(self, sites: list[str]) -> None:
        """Drop the spikes that none of these layers is driven by."""
        needed = {source for name in sites for source in self._neurons_before(name)}
        self.spikes = {name: kept for name, kept in self.spikes.items() if name in needed}

    def _drive(self, name: str, at: int) -> Tensor:
        parts = [self._output(source, at) for source in self.layers[name].sources]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]

    def _output(self, name: str, at: int) -> Tensor:
        x = self.chunks[at]
        if name == INPUT:
            return x.expand(self.time_steps, *x.shape)
        if self.layers[name].kind == "activation":
            return self.spikes[name][at].to(x.dtype)
        return step_through(self.layers[name].module, self._drive(name, at), None, None, name)[0]

    def _neurons_before(self, name: str) -> set[str]:
        """The layers of neurons that drive a layer, without others between."""
        sources = [self.layers[source] for source in self.layers[name].sources if source != INPUT]
        return {one for layer in sources for one in ([layer.name] if layer.kind == "activation" else self._neurons_before(layer.name))}


def _first(inputs: Iterable[Tensor]) -> Iterator[Tensor]:
    """The first of the inputs, in small chunks."""
    left = SAMPLED
    for x in inputs:
        yield from torch.split(x[:left], CHUNK)
        left -= len(x[:left])
        if not left:
            return


def _rates(digital: Traced, scales: dict[str, Tensor], sites: list[str], chunks: list[Tensor]) -> dict[str, Tensor]:
    """What rates would stand for the activations exactly, summed over the inputs."""
    found: dict[str, list[Tensor]] = {name: [] for name in sites}
    for x in chunks:
        activations = forward(digital, x)
        for name in sites:
            found[name].append(_over_places(activations[name]))
    return {name: _total(parts) / scales[name].reshape(-1, *(1,) * (parts[0].dim() - 1)) for name, parts in found.items()}


def _over_places(y: Tensor) -> Tensor:
    """Summed over the inputs and averaged over the places of a channel, ``(channels, 1, …)``, of ``(batch, channels, *)``."""
    total = y.sum(0, dtype=torch.float64)
    return total.mean(tuple(range(1, total.dim())), keepdim=True) if total.dim() > 1 else total


def _total(parts: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(parts)).sum(0)
