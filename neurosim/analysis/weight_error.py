"""What a chip holds instead of the weights that it was given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neurosim.nn.analog import AnalogLayer
from neurosim.nn.array import product
from neurosim.nn.chain import AnalogChain
from neurosim.nn.quadratures import joined, linear_part

_AT_ONCE = 256  #: unit vectors that are sent together


class Held(NamedTuple):
    """Weight and bias as the hardware computes with them, in the shapes of the layer's own."""

    weight: Tensor
    bias: Tensor | None


@torch.no_grad()
def effective_weight(layer: AnalogLayer) -> Held:
    """The weight and bias that this chip really computes with at this time: levels, limits and frozen errors of its cells included.

    Measured as on a chip: one input at a time is sent, without converters, through arrays, scales and compensation. Noise that is new at
    every read has no part in it. A digital path beside the array (:func:`neurosim.add_side_paths`) is counted in.

    Args:
        layer: On hardware; it is left as it was.

    Returns:
        Detached tensors; of a complex layer the complex-linear part, :func:`neurosim.nn.quadratures.linear_part`.

    >>> import neurosim as ns
    >>> from torch import nn
    >>> chip = ns.to_analog(nn.Sequential(nn.Linear(4, 2)), "photonic_avnn", seed=0)
    >>> error = effective_weight(chip[0]).weight - chip[0].weight
    >>> bool((error.abs() <= 1 / 32).all())  # half a step of 33 levels
    True
    """
    held, side = _held(layer), layer._modules.get("side_path")
    if side is None or layer.chain.bypassed:
        return held
    return held._replace(weight=held.weight + layer.native(side()))


def _held(layer: AnalogLayer) -> Held:
    """What the array computes with."""
    chain = layer.chain
    if chain.bypassed:
        return Held(layer.weight.detach().clone(), None if layer.bias is None else layer.bias.detach().clone())
    with _frozen_errors_only(chain):
        if chain.layout is None:
            weight, bias = layer.held(layer.weight, layer.bias, 0)
            if layer.weight.is_complex():
                weight, bias = linear_part(weight, *layer.axes), None if bias is None else joined(bias)
            return Held(weight, layer.bias.detach().clone() if bias is None and layer.bias is not None else bias)
        units = torch.eye(chain.layout.inputs, dtype=layer.weight.real.dtype, device=layer.weight.device).unsqueeze(1)
        answers = [
            product(_Probe(layer), some.expand(-1, chain.layout.groups, -1), layer.weight, 0) for some in torch.split(units, _AT_ONCE)
        ]
    matrix = torch.cat(answers).reshape(len(units), chain.layout.groups, -1).permute(1, 2, 0)
    matrix = linear_part(matrix) if layer.weight.is_complex() else matrix.contiguous()
    return Held(layer.native(matrix), None if layer.bias is None else layer.bias.detach().clone())


class _Probe:
    """The arrays of a layer, given vectors as they enter them: ``(vectors, groups, inputs)``."""

    def __init__(self, layer: AnalogLayer) -> None:
        self.layer, self.chain, self.weight = layer, layer.chain, layer.weight.detach()

    def matrix(self, weight: Tensor) -> Tensor:
        return self.layer.matrix(weight)

    def native(self, matrix: Tensor) -> Tensor:
        return self.layer.native(matrix)

    def vectors(self, x: Tensor) -> Tensor:
        return x

    def fold(self, y: Tensor, x: Tensor, *how: Any) -> Tensor:
        return y

    def mvm(self, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        """In the shape of the layer's outputs at one position."""
        return torch.einsum("ngi,goi->ngo", x, self.matrix(weight)).reshape(len(x), *self.chain.shapes["output"])


@contextmanager
def _frozen_errors_only(chain: AnalogChain) -> Iterator[None]:
    """Signals pass unchanged, and what is drawn anew at every use is left out."""
    before = chain.modes
    fresh = {step.slot for steps in chain.steps.values() for step in steps if step.stream is not None and step.scope in ("batch", "read")}
    chain.modes = {
        slot: "ideal" if mode == "ideal" or slot.split(".")[0] in ("input", "output") else "off" if slot in fresh else mode
        for slot, mode in before.items()
    }
    try:
        yield
    finally:
        chain.modes = before
