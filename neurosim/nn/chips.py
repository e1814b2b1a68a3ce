"""One layer of several chips: their signals pass through the chains in one call, their products are one product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from neurosim.nn.analog import AnalogLayer
from neurosim.nn.array import multiplied, programmed
from neurosim.nn.array_layer import Programmed
from neurosim.nn.chain import AnalogChain
from neurosim.nn.chips_chain import ChipsChain, alike
from neurosim.nn.kept import Kept, once, steady

ELEMENTS: Final[dict[str, int]] = {"cpu": 1 << 21}  #: signals of the chips that pass arrays at once: eight mebibytes
_ELSEWHERE: Final = 1 << 27
_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Together(NamedTuple):
    """A layer of several chips as their arrays see it: inputs and outputs have an axis of chips first."""

    layer: Any
    chain: ChipsChain

    def mvm(self, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        """The product of every chip."""
        return products(self.layer, x, weight, bias)

    def vectors(self, x: Tensor) -> Tensor:
        """``(chips, products, groups, inputs)``."""
        vectors: Tensor = self.layer.vectors(x.flatten(0, 1))
        return torch.unflatten(vectors, 0, (len(x), -1))

    def fold(self, y: Tensor, x: Tensor, *how: Any) -> Tensor:
        """``(chips, samples, …)``."""
        outputs: Tensor = self.layer.fold(y.flatten(0, 1), x.flatten(0, 1))
        return torch.unflatten(outputs, 0, (len(x), -1))


class ChipsLayer(nn.Module):
    """The same layer of n chips, whose samples are one batch, chip after chip.

    Each chip draws exactly what it draws alone. Linear layers and convolutions are computed together, transposed ones too where they are
    split over arrays. Other layers, 16-bit signals, measured chips and chips in different modes go chip by chip.

    Args:
        layers: The layer of every chip, at least one; their clean parameters are the same.

    Shapes:
        x ``(n · batch, …)``; result ``(n · batch, …)``. Without gradient.
    """

    def __init__(self, layers: Sequence[AnalogLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.kept: Kept = {}  #: what the arrays of all chips hold
        self.kept_of: object = None  #: of which chips

    def forward(self, x: Tensor, *how: Any) -> Tensor:
        """Inputs and outputs as in the layer, for all chips."""
        layers: list[Any] = list(self.layers)
        layer: AnalogLayer = layers[0]
        chains = [one.chain for one in layers]
        if all(chain.bypassed for chain in chains):
            same: Tensor = layer(x, *how)
            return same
        samples = x.reshape(len(layers), -1, *x.shape[1:])
        if how or not self._batched(x) or not alike(chains) or any(chain.maps for chain in chains):
            return torch.cat([one(own, *how) for one, own in zip(layers, samples, strict=True)])
        samples = samples.flatten(1, -2) if isinstance(layer, nn.Linear) else samples
        chain = ChipsChain(chains)
        call = chain.begin()
        if layer.chain.layout is not None:
            y = self._on_arrays(samples, chains, call)
        else:
            weight, bias = self._held(chain, lambda: _written(layer, chain, call))
            y = chain.decode(products(layer, chain.encode(samples, call), weight, bias), call)
        if layer.bias is not None and layer.chain.digital_bias:
            y = y + layer.bias.reshape(-1, *layer.chain.shapes["output"][1:])
        return y.reshape(*x.shape[:-1], -1) if isinstance(layer, nn.Linear) else y.flatten(0, 1)

    def _batched(self, x: Tensor) -> bool:
        layer: Any = self.layers[0]
        lies = layer.chain.layout
        split = lies is not None and not lies.whole
        known = isinstance(layer, nn.Linear) or (isinstance(layer, _ConvNd) and (split or not isinstance(layer, _ConvTransposeNd)))
        axes = 2 if isinstance(layer, nn.Linear) else layer.weight.dim()  # or there is no axis of samples
        single = torch.is_autocast_enabled(x.device.type) or x.dtype.itemsize < 4 or x.dim() < axes
        return known and not single and x.is_complex() == layer.weight.is_complex() and (split or not x.is_complex())

    def _on_arrays(self, x: Tensor, chains: Sequence[AnalogChain], call: int) -> Tensor:
        """The outputs of every chip, of as many at once as memory has room for."""
        layer: Any = self.layers[0]
        lies = layer.chain.layout
        stored: Programmed = self._held(ChipsChain(chains), lambda: self._programmed(call))
        signals = lies.passes * max(lies.groups * lies.inputs, lies.tiles * lies.planes * lies.groups * (lies.outputs + lies.extra))
        each = max(1, len(layer.vectors(x[0, :1])) * x.shape[1] * signals)
        several = max(1, ELEMENTS.get(x.device.type, _ELSEWHERE) // each)
        outputs = []
        for at in range(0, len(chains), several):
            here = slice(at, at + several)
            part = Programmed(stored.held[here], stored.scale[here], None if stored.gain is None else stored.gain[here])
            outputs.append(multiplied(Together(layer, ChipsChain(chains[here])), x[here], part, call))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _held(self, chain: ChipsChain, make: Callable[[], Any]) -> Any:
        """What all chips hold, made once if no forward draws it anew."""
        made_of = [(one.spec, one.seed) for one in chain.chains]
        if self.kept_of != made_of:
            self.kept, self.kept_of = {}, made_of
        chain.kept = self.kept
        layer: Any = self.layers[0]
        return once(chain, "held", make, layer.weight, layer.bias)

    def _programmed(self, call: int) -> Programmed:
        layers: list[Any] = list(self.layers)
        lies = layers[0].chain.layout
        each = [programmed(one, one.weight, call) for one in layers]
        if steady(layers[0].chain):
            for one in layers:
                one.chain.kept = {}  # it is in what all of them hold
        held, scale = torch.stack([one.held for one in each]), torch.stack([one.scale for one in each])
        if lies.whole:
            return Programmed(held, scale.unsqueeze(1), None)
        in_order = held.permute(0, 4, 2, 1, 3, 5).contiguous()  # that of the products of all chips
        gains = [one.gain for one in each if one.gain is not None]
        return Programmed(in_order.permute(0, 3, 2, 4, 1, 5), scale, torch.stack(gains))


def _written(layer: Any, chain: ChipsChain, call: int) -> tuple[Tensor, Tensor | None]:
    """Weights and analog biases of all chips, where only elementwise stages make them."""
    n, bias = len(chain.chains), layer.bias
    written = chain.run("weight", layer.weight.expand(n, *layer.weight.shape), call)
    return written, None if bias is None or layer.chain.digital_bias else chain.run("bias", bias.expand(n, *bias.shape), call)


def products(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product of every chip, ``(chips, samples, …)``.

    Args:
        layer: A linear layer or a convolution.
        x: ``(chips, samples, …)``.
        weight: ``(chips, *weight)``.
        bias: ``(chips, outputs)`` or None.

    Convolutions are one convolution with the chips as groups, but on the CPU, where torch computes many groups more slowly than one
    chip after the other.
    """
    if not isinstance(layer, _ConvNd):
        inner = x.flatten(1, -2)
        y = inner @ weight.transpose(1, 2) if bias is None else torch.baddbmm(bias.unsqueeze(1), inner, weight.transpose(1, 2))
        return y.reshape(*x.shape[:-1], y.shape[-1])
    axes, around = len(layer.kernel_size), list(layer._reversed_padding_repeated_twice)
    if any(around):
        folded = F.pad(x.flatten(0, 1), around, "constant" if layer.padding_mode == "zeros" else layer.padding_mode)
        x = folded.reshape(*x.shape[:2], *folded.shape[1:])
    convolve, how = _CONVOLUTIONS[axes], (layer.stride, 0, layer.dilation)
    if x.is_cpu:
        each = zip(x, weight, [None] * len(x) if bias is None else bias, strict=True)
        return torch.stack([convolve(own, kernel, offset, *how, layer.groups) for own, kernel, offset in each])
    chips, samples = x.shape[:2]
    side_by_side = x.transpose(0, 1).flatten(1, 2)
    grouped: Tensor = convolve(side_by_side, weight.flatten(0, 1), None if bias is None else bias.flatten(), *how, chips * layer.groups)
    return grouped.reshape(samples, chips, -1, *grouped.shape[2:]).transpose(0, 1)
