"""The neuron ops on kernels: memory is made here, and one packed call to the CPU's or the GPU's fills it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from neurosim.ops import cuda, native, neuron_cuda
from neurosim.ops.native import large_pages
from neurosim.ops.neuron_arguments import Parameters
from neurosim.ops.neuron_call import Call, Gradients, Outputs
from neurosim.ops.neuron_layout import Order, compute_dtype, memory_order, sequence_like, state_like, sums_like, unit_order
from neurosim.random import Stream
from neurosim.surrogate import SURROGATES

_COUNT: Final = len(Parameters._fields)
_PLAIN: Final = 6  #: settings of a run without noise
_STORAGE: Final = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
_ABSENT: Final = (0,) * _COUNT
_SILENT: Final = (0.0, 0.0, *(0,) * 12)
_FORWARD: Final = native.entry("neurons_forward", neuron_cuda.FORWARD)
_BACKWARD: Final = native.entry("neurons_backward", neuron_cuda.BACKWARD)


def usable(call: Call, backward: bool) -> bool:
    """Whether the kernels are to compute this.

    A surrogate of the user's own has its gradient in torch; with noise the forward run goes there too, for both must see the same numbers.
    """
    x = call.x
    if x.dtype not in _STORAGE or ((backward or len(call.settings) > _PLAIN) and SURROGATES[call.surrogate].code is None):
        return False
    return native.wanted() if x.is_cpu else cuda.available(x.device)


def forward(call: Call) -> Outputs:
    """As :func:`neurosim.ops.neuron_reference.forward`."""
    x, settings = call.x, call.settings
    if len(settings) > _PLAIN and _reordered(x):
        out = forward(call._replace(x=x.contiguous()))
        spikes, record = (None if part is None else sequence_like(x).copy_(part) for part in (out.spikes, out.record))
        return Outputs(spikes, None if out.current is None else state_like(x).copy_(out.current), state_like(x).copy_(out.v), record)
    spikes = large_pages(sequence_like(x)) if settings[3] else None
    record = large_pages(sequence_like(x)) if settings[4] else None
    current = state_like(x) if call.synapse else None
    v = state_like(x)
    if units := v.numel():
        alive: list[Tensor] = []
        start = _FORWARD if x.is_cpu else neuron_cuda.forward(x.device)
        start(
            *_run(call, units, None if x.is_contiguous() else unit_order(x), alive),
            _pointer(spikes),
            _pointer(record),
            _pointer(current),
            v.data_ptr(),
        )
    return Outputs(spikes, current, v, record)


def backward(grads: tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None], call: Call, needs: int) -> Gradients:
    """As :func:`neurosim.ops.neuron_run.backward`."""
    x = call.x
    if len(call.settings) > _PLAIN and _reordered(x):
        found = backward(grads, call._replace(x=x.contiguous()), needs)
        current, v = (None if part is None else state_like(x).copy_(part) for part in (found.current, found.v))
        sums = sums_like(x, needs.bit_count())
        if sums is not None and found.sums is not None:
            sums.copy_(found.sums)
        return Gradients(sequence_like(x).copy_(found.x), current, v, sums)
    grad_x = large_pages(sequence_like(x))
    grad_v = None if call.v is None else state_like(x)
    grad_current = None if call.current is None else state_like(x)
    sums = sums_like(x, needs.bit_count())
    if units := x.shape[1:].numel():
        order = None if x.is_contiguous() else unit_order(x)
        alive: list[Tensor] = []
        compute = compute_dtype(x.dtype)
        spikes, spikes_row = _rows(grads[0], units, order, alive)
        record, record_row = _rows(grads[3], units, order, alive)
        formula = SURROGATES[call.surrogate]
        first, second = (*call.numbers[_COUNT + 2 :], 0.0, 0.0)[:2]
        start = _BACKWARD if x.is_cpu else neuron_cuda.backward(x.device)
        start(
            *_run(call, units, order, alive),
            formula.code or 0,
            first,
            second,
            spikes,
            record,
            _state(grads[1], compute, order, alive),
            _state(grads[2], compute, order, alive),
            spikes_row,
            record_row,
            grad_x.data_ptr(),
            _pointer(grad_current),
            _pointer(grad_v),
            _pointer(sums),
            needs,
        )
    return Gradients(grad_x, grad_current, grad_v, sums)


def _pointer(memory: Tensor | None) -> int:
    return 0 if memory is None else memory.data_ptr()


def _reordered(x: Tensor) -> bool:
    """Whether the results lie in another order than noise is numbered in."""
    return not x.is_contiguous() and unit_order(x) is not None


def _run(call: Call, units: int, order: Order, alive: list[Tensor]) -> tuple[Any, ...]:
    """The fields that both directions begin with; tensors that they point into and nobody else holds go to ``alive``."""
    x, tensors, settings = call.x, call.tensors, call.settings
    if order is None and not x.is_contiguous():
        x = x.contiguous()
        alive.append(x)
    compute = compute_dtype(x.dtype)
    values = channels = inner = _ABSENT
    if tensors.count(None) != len(tensors):
        found = [_parameter(tensor, x.shape[1:], order, compute, alive) for tensor in tensors]
        found += [(0, 0, 0)] * (_COUNT - len(found))
        values, channels, inner = zip(*found, strict=True)
    reset, strict, detached, _, _, follows = settings[:_PLAIN]
    return (
        x.shape[0],
        units,
        _STORAGE[x.dtype],
        torch.get_num_threads(),
        reset,
        strict,
        not detached,
        follows,
        call.synapse,
        x.data_ptr(),
        _state(call.current, compute, order, alive),
        _state(call.v, compute, order, alive),
        *values,
        *call.numbers[:_COUNT],
        *channels,
        *inner,
        *(_SILENT if len(settings) == _PLAIN else _noise(call)),
    )


def _noise(call: Call) -> tuple[float, ...]:
    key0, key1, *place = call.settings[_PLAIN:]
    stream = Stream((key0, key1))
    *words, step = place or (0, 0, 0, 0)
    sources = (*stream.child("input").key, *words, *stream.child("membrane").key, *words)
    return (*call.numbers[_COUNT : _COUNT + 2], *sources, step, 0 if call.counter is None else call.counter.data_ptr())


def _state(state: Tensor | None, compute: torch.dtype, order: Order, alive: list[Tensor]) -> int:
    """Where a state or its gradient is, in memory order."""
    if state is None:
        return 0
    if order is not None:
        state = state.permute([axis - 1 for axis in order])
    if state.dtype != compute or not state.is_contiguous():
        state = state.to(compute).contiguous()
    alive.append(state)
    return state.data_ptr()


def _rows(grad: Tensor | None, units: int, order: Order, alive: list[Tensor]) -> tuple[int, int]:
    """Where a gradient of a sequence is, and how far apart its time steps are; if it is the same for all of them, it is not copied."""
    if grad is None:
        return 0, 0
    if order is not None:
        grad = grad.permute(0, *order)
    row = units
    if not grad.is_contiguous():
        if grad.shape[0] > 1 and grad.stride(0) == 0:
            grad, row = grad[0], 0
        grad = grad.contiguous()
    alive.append(grad)
    return grad.data_ptr(), row


def _parameter(value: Tensor | None, units: Sequence[int], order: Order, compute: torch.dtype, alive: list[Tensor]) -> tuple[int, int, int]:
    """A parameter as an array whose elements each hold for ``inner`` neighbouring neurons, over and over: where it is, length, inner."""
    if value is None:
        return 0, 0, 0
    value = value.to(compute)
    channels = inner = 1
    if value.numel() != 1:
        value = value.reshape((1,) * (len(units) - value.dim()) + value.shape)
        if order is not None:
            units, value = memory_order(units, order), value.permute([axis - 1 for axis in order])
        own = [axis for axis, size in enumerate(value.shape) if size != 1]
        first, end = own[0], own[-1] + 1
        value = value.expand(*value.shape[:first], *units[first:end], *value.shape[end:]).contiguous()
        channels, inner = value.numel(), math.prod(units[end:])
    alive.append(value)
    return value.data_ptr(), channels, inner
