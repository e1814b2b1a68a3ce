"""The product of a layer on physical arrays: scales, conductances, tiles, passes, and the digital sum behind the converters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.layout import Layout
from neurosim.hardware.stage import STAGES
from neurosim.hardware.stages.compensation import Compensation, compensation
from neurosim.hardware.stages.mapping import Mapping, decoding, encode
from neurosim.hardware.stages.ranges import Ranges, widths
from neurosim.hardware.stages.scale import Scale, scale_of
from neurosim.hardware.stages.slices import Slices, factors, sliced
from neurosim.hardware.stages.tiles import Tiles
from neurosim.nn import blocks, measured
from neurosim.nn.array_layer import Chain, Multiplying, OnArray, Programmed
from neurosim.nn.chain import AnalogChain
from neurosim.nn.chips_chain import ChipsChain
from neurosim.nn.kept import once, steady
from neurosim.nn.quadratures import in_phase, joined, real_form, split

_Ends = tuple[float, float] | None  #: where the output converter reaches its last levels, where somebody asks which vectors do


def product(layer: OnArray, x: Tensor, weight: Tensor, call: int, *how: Any) -> Tensor:
    """The layer's output for that weight, without its bias; ``how`` is what else it was called with."""
    autocast = x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)
    with torch.autocast(x.device.type, enabled=False) if autocast else nullcontext():
        signal = x.float() if x.dtype.itemsize < 4 else x
        return multiplied(layer, signal, programmed(layer, weight, call), call, *how).to(x.dtype)


def multiplied(layer: Multiplying, x: Tensor, stored: Programmed, call: int, *how: Any) -> Tensor:
    """The layer's output for what its arrays hold, without its bias."""
    chain = layer.chain
    held, scale, gain = stored
    if gain is None:
        alpha = input_scale(chain, x)
        return chain.decode(layer.mvm(chain.encode(x / alpha, call), held, None, *how), call) * (alpha * scale)
    vectors = layer.vectors(x)
    numbers = split(vectors) if vectors.is_complex() else vectors
    if scale.shape[-1] != 1:  # of each input
        numbers, scale = numbers * scale.movedim(-2, -3), scale.new_ones(1, 1, 1)
    alpha = input_scale(chain, numbers)
    y = _sent(chain, numbers / alpha, held, gain, call) * (alpha * scale.movedim(-1, -3))
    return layer.fold(joined(y) if vectors.is_complex() else y, x, *how)


def programmed(layer: OnArray, weight: Tensor, call: int) -> Programmed:
    """What the arrays of one chip hold for that weight."""
    chain, lies = layer.chain, _layout(layer.chain)

    def store() -> tuple[Tensor, Tensor, Tensor]:
        matrix = _matrix(layer, weight.float() if weight.dtype.itemsize < 4 else weight)
        omega = _scale(chain, "weight.scale", _spec(chain).weight.scale, matrix)
        w = chain.weights((matrix / omega).flatten(0, 1), None, call)[0].reshape(matrix.shape)
        w = measured.effective(chain, w, lambda one: _matrix(layer, one) / omega)
        return omega, w, _stored(chain, w, call, None)

    def write() -> Programmed:
        if chain.kept is None or chain.maps or steady(chain):
            omega, w, cells = store()
        else:  # what is drawn anew comes behind what was written
            omega, w, cells = once(chain, "stored", store, weight, steps=[*chain.steps["weight"], *_lasting(chain)])
        held = _signed(chain, _read(chain, cells, call, None))
        gain = _compensation(chain, w, held, call)
        if not lies.whole:
            return Programmed(blocks.tiled(held, lies), omega, gain)
        digital = omega.expand(lies.groups, lies.outputs, 1) * gain.expand(1, lies.groups, lies.outputs).movedim(0, -1)
        return Programmed(layer.native(held[0]), digital.reshape(chain.shapes["output"]), None)

    return once(chain, "array", write, weight)


def input_scale(chain: Chain, x: Tensor) -> Tensor:
    """What inputs are divided by: one number, or one for each of the vectors ``(…, n)``; with chips, of each."""
    spec = _spec(chain).input.scale
    if isinstance(chain, ChipsChain) and isinstance(spec, Scale) and spec.per == "tensor":
        return torch.stack([input_scale(one, own).reshape((1,) * own.dim()) for one, own in zip(chain.chains, x, strict=True)])
    return _scale(chain, "input.scale", spec, x)


def conductances(layer: OnArray, weight: Tensor) -> Tensor | None:
    """What the cells of a layer hold for a weight, ``(planes, groups, outputs + extra, inputs)`` in S; None without a mapping."""
    chain = layer.chain
    if chain.layout is None or not isinstance(_spec(chain).array.mapping, Mapping):
        return None
    matrix = _matrix(layer, weight)
    w = (matrix / _scale(chain, "weight.scale", _spec(chain).weight.scale, matrix)).flatten(0, 1)
    return _cells(chain, chain.weights(w, None, 0)[0].reshape(matrix.shape), 0, None)


def planes(chain: AnalogChain, w: Tensor, call: int, seconds: float | None = None) -> Tensor:
    """What the arrays hold for a signed matrix, in ranges of a cell.

    Args:
        chain: The chip's chain around the layer.
        w: ``(groups, outputs, inputs)``, in full scales.
        call: Which use of the layer within the forward.
        seconds: When; None is the chain's time.

    Returns:
        ``(planes, groups, outputs + extra, inputs)``.
    """
    return _signed(chain, _cells(chain, w, call, seconds))


def _signed(chain: AnalogChain, cells: Tensor) -> Tensor:
    """The planes that are converted by themselves, in ranges of a cell, of what all cells hold."""
    array, lies = _spec(chain).array, _layout(chain)
    if isinstance(array.mapping, Mapping):
        held = cells / array.mapping.siemens
        held = held if lies.planes == lies.cells else held[0::2] - held[1::2]
    else:
        held = cells.unsqueeze(0)
    columns = array.tiles.columns if isinstance(array.tiles, Tiles) else None
    return measured.amplified(chain, held, held.shape[2] if columns is None else columns * lies.quadratures)


def _cells(chain: AnalogChain, w: Tensor, call: int, seconds: float | None) -> Tensor:
    """What the cells hold: conductances of all planes, or the signed matrix where there is no mapping."""
    return _read(chain, _stored(chain, w, call, seconds), call, seconds)


def _stored(chain: AnalogChain, w: Tensor, call: int, seconds: float | None) -> Tensor:
    """What the cells hold before the first error that does not last; complex in a coherent circuit."""
    mapping, extra = _spec(chain).array.mapping, _layout(chain).extra
    held = F.pad(w, (0, 0, 0, extra)) if extra else w
    if isinstance(mapping, Mapping):
        exact = chain.modes["array.mapping"] == "ideal" or "weight" in measured.acting(chain)
        held = encode(held, mapping, lossless=exact)
    held = in_phase(held) if _layout(chain).quadratures == 2 else held  # the circuit is the complex matrix
    return _behind(chain, held, _lasting(chain), call, seconds)


def _read(chain: AnalogChain, held: Tensor, call: int, seconds: float | None) -> Tensor:
    """What the cells hold in the end, for what is stored."""
    before, after = measured.remaining(chain, chain.steps["array"])
    held = _behind(chain, held, before[len(_lasting(chain)) :], call, seconds)
    held = measured.held(chain, real_form(held) if _layout(chain).quadratures == 2 else held)
    return _behind(chain, held, after, call, seconds)


def _lasting(chain: AnalogChain) -> list[Any]:
    """The first stages of the array: those whose errors stay until somebody changes something."""
    before, _ = measured.remaining(chain, chain.steps["array"])
    return list(itertools.takewhile(lambda step: steady(chain, steps=[step]), before))


def _behind(chain: AnalogChain, held: Tensor, steps: Sequence[Any], call: int, seconds: float | None) -> Tensor:
    for step in steps:
        held = chain.one(step, held, call, seconds) if chain.modes[step.slot] != "ideal" else held
    return held


def _sent(chain: Chain, vectors: Tensor, held: Tensor, gain: Tensor, call: int) -> Tensor:
    """The digital results of vectors ``(…, products, groups, inputs)``; those that saturate are sent again at half their size."""
    scale = _spec(chain).input.scale
    retries = scale.retries or 0 if isinstance(scale, Scale) and chain.modes["input.scale"] != "ideal" else 0
    ends = _ends(chain) if retries else None
    y, full = _attempt(chain, vectors, held, gain, call, ends)
    part = 1.0
    for retry in range(1, retries + 1):
        if not bool(full.any()):
            break
        part /= 2
        again, still = _attempt(chain, vectors * part, held, gain, call + (retry << 20), ends)
        y, full = torch.where(full.unsqueeze(-1), again / part, y), full & still
    return y


def _attempt(chain: Chain, vectors: Tensor, held: Tensor, gain: Tensor, call: int, ends: _Ends) -> tuple[Tensor, Tensor]:
    """The digital results of one sending, and which vectors reached the ends of the output converter's range."""
    spec, lies = _spec(chain), _layout(chain)
    codes = chain.encode(vectors, call)
    slices = spec.input.slices if isinstance(spec.input.slices, Slices) and chain.modes["input.slices"] != "ideal" else Slices()
    mapping, weights, zero = spec.array.mapping, [1.0], 0.0
    if isinstance(mapping, Mapping):
        weights, zero = decoding(mapping)
        weights = weights if lies.planes == lies.cells else weights[0::2]
    by_plane = torch.tensor(weights, dtype=codes.dtype, device=codes.device)
    by = None if _differentiated() else blocks.paths(chain, call)
    if by is not None:
        compensated = gain if isinstance(spec.array.compensation, Compensation) else None
        sent = blocks.send(codes, held, compensated, by_plane, lies=lies, slices=slices, by=by, ends=ends)
    else:
        sent = _at_once(chain, codes, held, gain, by_plane, slices, call, ends)
    if lies.extra:
        return sent.y[..., :-1] - sent.y[..., -1:], sent.full
    return sent.y - zero * sent.inputs if zero else sent.y, sent.full


def _at_once(
    chain: Chain, codes: Tensor, held: Tensor, gain: Tensor, by_plane: Tensor, slices: Slices, call: int, ends: _Ends
) -> blocks.Sent:
    """What :func:`neurosim.nn.blocks.send` computes, with its derivatives."""
    digits = sliced(codes, slices).movedim(0, -4)
    x = blocks.tiled(chain.send(digits, call), _layout(chain))
    y = _converted(chain, torch.einsum("...kngtr,...pgotr->...kntpgo", x, held), call)
    full = torch.zeros(codes.shape[:-1], dtype=torch.bool, device=y.device)
    if ends is not None:
        full = ((y <= ends[0]) | (y >= ends[1])).any(-1).any(-2).any(-2).any(-3)
    ranges = _spec(chain).output.ranges
    if isinstance(ranges, Ranges) and chain.modes["output.ranges"] != "ideal":
        y = y * widths(ranges, y)
    by_pass = torch.tensor(factors(slices), dtype=y.dtype, device=y.device)
    summed = chain.total((y * gain[..., None, None, :, None, :, :]).sum(-4), call)
    total = torch.einsum("...knpgo,k,p->...ngo", summed, by_pass, by_plane)
    return blocks.Sent(total, torch.einsum("...kngi,k->...ngi", digits.sum(-1, keepdim=True), by_pass), full)


def _converted(chain: Chain, y: Tensor, call: int) -> Tensor:
    """The partial sums ``(…, passes, products, tiles, planes, groups, outputs)`` behind their converters."""
    scale = _spec(chain).output.scale
    y = chain.run("detected", y, call) if "detected" in chain.steps else y
    if not isinstance(scale, Scale) or chain.modes["output.scale"] == "ideal":
        return chain.decode(y, call)
    if scale.per == "vector":
        size = scale_of(y, scale, *chain.context("output.scale"))
    else:  # of all products of one array
        together = y.movedim(-5, -2).flatten(-2)
        size = scale_of(together, scale.model_copy(update={"per": "vector"}), *chain.context("output.scale")).unsqueeze(-5)
    return chain.decode(y / size, call) * size


def _differentiated() -> bool:
    """Whether somebody may want derivatives, or the steps of the computation."""
    traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    return torch.is_grad_enabled() or traced or forward_ad._current_level >= 0


def _ends(chain: Chain) -> _Ends:
    """Between which results the output converter does not saturate, if it can."""
    adc = _spec(chain).output.adc
    if adc is None or chain.modes["output.adc"] == "ideal":
        return None
    code = STAGES[adc.kind].code(adc, chain.context("output.adc")[0])
    return None if code is None else code.inside


def _matrix(layer: OnArray, weight: Tensor) -> Tensor:
    """A weight as the real matrix ``(groups, outputs, inputs)`` of its arrays."""
    matrix = layer.matrix(weight)
    return real_form(matrix) if matrix.is_complex() else matrix


def _compensation(chain: AnalogChain, w: Tensor, held: Tensor, call: int) -> Tensor:
    """The digital factor of each tile and output that takes the mean of a drift back, ``(tiles, groups | 1, outputs | 1)``."""
    spec, lies = _spec(chain), _layout(chain)
    how = spec.array.compensation
    if not isinstance(how, Compensation) or chain.modes["array.compensation"] == "ideal" or chain.seconds == 0:
        return held.new_ones(lies.tiles, 1, 1)
    mapping = spec.array.mapping
    weights = decoding(mapping)[0] if isinstance(mapping, Mapping) else [1.0]
    by_plane = held.new_tensor(weights if lies.planes == lies.cells else weights[0::2])
    with torch.no_grad():
        before = planes(chain, w, call, 0.0)
        responses = (torch.tensordot(by_plane, F.pad(one, (0, lies.tiles * lies.rows - lies.inputs)), 1) for one in (held, before))
        now, programmed = (one.reshape(*one.shape[:-1], lies.tiles, lies.rows) for one in responses)
    return compensation(now, programmed, how.per)


def _scale(chain: Chain, slot: str, spec: Any, x: Tensor) -> Tensor:
    if not isinstance(spec, Scale) or chain.modes[slot] == "ideal":
        return x.new_ones((1,) * x.dim() if slot == "weight.scale" else ())
    if chain.rewritten and slot == "weight.scale" and spec.mode == "absmax" and spec.per == "tensor":  # each matrix is one by itself
        return scale_of(x.flatten(1), spec.model_copy(update={"per": "vector"}), *chain.context(slot)).unsqueeze(-1)
    scale = scale_of(x, spec, *chain.context(slot))
    return scale if scale.dim() or slot == "input.scale" else scale.reshape((1,) * x.dim())


def _spec(chain: Chain) -> ChainSpec:
    if not isinstance(chain.spec, ChainSpec):
        raise TypeError(f"{chain.path}: an array needs the chain of a product, got {type(chain.spec).__name__}")
    return chain.spec


def _layout(chain: Chain) -> Layout:
    if chain.layout is None:
        raise TypeError(f"{chain.path}: its chain has no array")
    return chain.layout
