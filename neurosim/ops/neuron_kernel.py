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
from neurosim.ops.neuron_call import Call, Outputs
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
    if call.x.dtype not in _STORAGE:
        return False
    if (backward or len(call.settings) > _PLAIN) and SURROGATES[call.surrogate].code is None:
        return False
    return cuda.available(call.x.device) or (call.x.device.type == "cpu" and native.wanted())


def forward(call: Call) -> Outputs:
    """As :func:`neurosim.ops.neuron_reference.forward`."""
    x = call.x
    if len(call.settings) > _PLAIN and _reordered(x):
        out = forward(call._replace(x=x.contiguous()))
        v, current = state_like(x).copy_(out.v), state_like(x).copy_(out.current) if call.synapse else out.current
        spikes, record = (sequence_like(x).copy_(part) if part.dim() == x.dim() else part for part in (out.spikes, out.record))
        return Outputs(spikes, current, v, record)
    spikes = large_pages(sequence_like(x)) if call.settings[3] else x.new_empty(0)
    record = large_pages(sequence_like(x)) if call.settings[4] else x.new_empty(0)
    current = state_like(x) if call.synapse else x.new_empty(0)
    v = state_like(x)
    if units := v.numel():
        alive: list[Tensor] = []
        start = neuron_cuda.forward(x.device) if cuda.available(x.device) else _FORWARD
        start(
            *_run(call, units, None if x.is_contiguous() else unit_order(x), alive),
            spikes.data_ptr() if call.settings[3] else 0,
            record.data_ptr() if call.settings[4] else 0,
            current.data_ptr() if call.synapse else 0,
            v.data_ptr(),
        )
    return Outputs(spikes, current, v, record)


def backward(
    grads: tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None], call: Call, needs: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`neurosim.ops.neuron_run.backward`."""
    x = call.x
    if len(call.settings) > _PLAIN and _reordered(x):
        grad_x, grad_current, grad_v, sums = backward(grads, call._replace(x=x.contiguous()), needs)
        ordered = state_like(x).copy_(grad_current) if call.synapse else grad_current
        return sequence_like(x).copy_(grad_x), ordered, state_like(x).copy_(grad_v), sums_like(x, needs.bit_count()).copy_(sums)
    grad_x, grad_v = large_pages(sequence_like(x)), state_like(x)
    grad_current = state_like(x) if call.synapse else x.new_empty(0)
    sums = sums_like(x, needs.bit_count())
    if units := grad_v.numel():
        order = None if x.is_contiguous() else unit_order(x)
        alive: list[Tensor] = []
        spikes, spikes_row = _rows(grads[0], units, order, alive)
        record, record_row = _rows(grads[3], units, order, alive)
        into_current, into_v = (_state(grad, grad_v.dtype, order, alive) for grad in grads[1:3])
        first, second = (*call.numbers[_COUNT + 2 :], 0.0, 0.0)[:2]
        start = neuron_cuda.backward(x.device) if cuda.available(x.device) else _BACKWARD
        start(
            *_run(call, units, order, alive),
            SURROGATES[call.surrogate].code or 0,
            first,
            second,
            spikes,
            record,
            into_current,
            into_v,
            spikes_row,
            record_row,
            grad_x.data_ptr(),
            grad_current.data_ptr() if call.synapse else 0,
            grad_v.data_ptr(),
            sums.data_ptr(),
            needs,
        )
    return grad_x, grad_current, grad_v, sums


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
    if any(tensor is not None for tensor in tensors):
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
