"""The ops ``neurosim::quantize``, ``neurosim::quantize_mask_backward`` and ``neurosim::quantize_backward``.

Their arguments are those of :mod:`neurosim.ops.quantize_plan` and the operands of :mod:`neurosim.ops.quantize_reference`. Results are
row-major whatever the layout of ``x``, since random numbers are counted in that order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from neurosim.ops import cuda, native, quantize_cuda
from neurosim.ops import quantize_reference as reference
from neurosim.ops.library import define, in_turn, ordinary
from neurosim.ops.philox import STORAGE
from neurosim.ops.quantize_plan import GENERAL, KEEP, MASKED

_OPERANDS = "".join(
    f"Tensor? {name}, "
    for name in ("limit_low", "limit_high", "level_low", "level_high", "before_scale", "after_scale", "before_noise", "after_noise")
)
_SETTINGS = "Tensor[] counters, int[] plan, float[] numbers"
_forward_kernel = native.entry("quantize_forward", quantize_cuda.FORWARD)
_mask_kernel = native.entry("quantize_mask_backward", "PPPqqq")
_general_kernel = native.entry("quantize_backward", quantize_cuda.BACKWARD)
_AFTER_X = 11  #: arguments of ``quantize`` after the first


def _forward(
    x: Tensor,
    limit_low: Tensor | None,
    limit_high: Tensor | None,
    level_low: Tensor | None,
    level_high: Tensor | None,
    before_scale: Tensor | None,
    after_scale: Tensor | None,
    before_noise: Tensor | None,
    after_noise: Tensor | None,
    counters: list[Tensor],
    plan: list[int],
    numbers: list[float],
) -> tuple[Tensor, Tensor | None]:
    operands = limit_low, limit_high, level_low, level_high, before_scale, after_scale, before_noise, after_noise
    on_cpu = x.is_cpu
    if not x.numel() or not (native.wanted() if on_cpu else cuda.available(x.device)):
        return reference.forward(x, operands, counters, plan, numbers)
    x = x.contiguous()
    y = torch.empty_like(x)
    mask = torch.empty_like(x, dtype=torch.bool) if plan[0] & KEEP else None
    place = 0 if mask is None else mask.data_ptr()
    if on_cpu and limit_low is limit_high is level_low is level_high is before_scale is after_scale is before_noise is after_noise is None:
        places = [counter.data_ptr() for counter in counters]
        size = x.numel(), STORAGE[x.dtype], torch.get_num_threads()
        _without_operands(len(places), len(plan))(x.data_ptr(), *places, *size, *plan, *numbers, y.data_ptr(), place)
        return y, mask
    fields, _kept = _fields(x, operands, counters, plan, numbers)
    if on_cpu:
        _forward_kernel(*fields, y.data_ptr(), place)
    else:
        quantize_cuda.forward(x.device, [*fields, y.data_ptr(), place])
    return y, mask


@cache
def _without_operands(counters: int, plan: int) -> Callable[..., None]:
    """The kernel for so many counters and integers, everything about operands being zero."""
    layout = f"P{8 * 8}x{'P' * counters}{8 * (9 - counters)}xqqq{8 * 7}x{'q' * plan}{8 * (18 - plan)}x{'d' * 11}PP"
    return native.entry("quantize_forward", layout)


def _fields(
    x: Tensor, operands: Sequence[Tensor | None], counters: list[Tensor], plan: list[int], numbers: list[float]
) -> tuple[list[float], list[Tensor]]:
    """``QuantizeFields`` of csrc/quantize_fields.h, and the tensors that must live until they have been used."""
    kept: list[Tensor] = []
    pointers, layout = _operand_fields(x, operands, plan[1], kept)
    fields = [x.data_ptr(), *pointers, *[counter.data_ptr() for counter in counters], *[0] * (9 - len(counters))]
    fields += (x.numel(), STORAGE[x.dtype], torch.get_num_threads(), *layout, *plan)
    return fields + [0] * (18 - len(plan)) + numbers, kept


def _operand_fields(x: Tensor, operands: Sequence[Tensor | None], axis: int, kept: list[Tensor]) -> tuple[list[int], list[int]]:
    pointers, layout, along = [0] * 8, [1] * 4, 0
    for index, operand in enumerate(operands):
        if operand is None:
            continue
        if index >= reference.GRADIENTS:
            operand, layout[index - 6], layout[index - 4] = _periodic(operand, x)
        elif operand.numel() > 1:
            along |= 1 << index
        kept.append(operand.contiguous())
        pointers[index] = kept[-1].data_ptr()
    inner, channels = (math.prod(x.shape[axis + 1 :]) if axis < -1 else 1, x.shape[axis]) if axis else (1, 1)
    return pointers, [inner, channels, along, *layout]


def _periodic(noise: Tensor, x: Tensor) -> tuple[Tensor, int, int]:
    """A noise tensor of which element ``i // inner % count`` belongs to element ``i`` of the signal, with those two numbers."""
    if noise.shape == x.shape:
        return noise, 1, noise.numel()
    shape = [1] * (x.dim() - noise.dim()) + list(noise.shape)
    own = [axis for axis, size in enumerate(shape) if size > 1] or [0]
    first, end = own[0], own[-1] + 1
    if noise.numel() == 1 or shape[first:end] == list(x.shape[first:end]):
        return noise, math.prod(x.shape[end:]), noise.numel()
    return noise.expand(x.shape), 1, x.numel()


def _forward_fake(x: Tensor, *args: Any) -> tuple[Tensor, Tensor | None]:
    return _like(x), x.new_empty(x.shape, dtype=torch.bool) if args[9][0] & KEEP else None


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _masked(grad: Tensor, mask: Tensor) -> Tensor:
    if not grad.is_cpu or not native.wanted():
        return torch.where(mask, grad, 0.0).contiguous()
    grad, mask = grad.contiguous(), mask.contiguous()
    out = torch.empty_like(grad)
    _mask_kernel(grad.data_ptr(), mask.data_ptr(), out.data_ptr(), grad.numel(), grad.element_size(), torch.get_num_threads())
    return out


def _masked_fake(grad: Tensor, mask: Tensor) -> Tensor:
    return _like(grad)


def _general(grad: Tensor, x: Tensor, *args: Any) -> tuple[Tensor | None, Tensor]:
    *operands, counters, plan, numbers, needs = args
    on_cuda = cuda.available(x.device)
    if not x.numel() or not (on_cuda or (x.is_cpu and native.wanted())):
        return reference.backward(grad, x, operands, counters, plan, numbers, needs)
    x, grad = x.contiguous(), grad.contiguous()
    to_x, sums = _general_fake(grad, x, *args)
    fields, _kept = _fields(x, operands, counters, plan, numbers)
    fields += (grad.data_ptr(), 0 if to_x is None else to_x.data_ptr(), sums.data_ptr(), sums.shape[1], needs)
    if on_cuda:
        quantize_cuda.backward(x.device, fields, sums)
    else:
        _general_kernel(*fields)
    return to_x, sums


def _general_fake(grad: Tensor, x: Tensor, *args: Any) -> tuple[Tensor | None, Tensor]:
    sums = x.new_empty((reference.GRADIENTS, reference.columns(args[:8])), dtype=reference.compute_dtype(x.dtype))
    return (_like(x) if args[11] & 1 else None), sums


def _setup(ctx: Any, args: tuple[Any, ...], result: tuple[Tensor, Tensor | None]) -> None:
    flags = args[10][0]
    ctx.flags = flags
    ctx.set_materialize_grads(False)  # the mask, of a type without derivatives, would get zeros
    if flags & KEEP:
        ctx.save_for_backward(result[1])
    elif flags & (MASKED | GENERAL):
        ctx.save_for_backward(*args[:9])
        # counters are advanced in place, perhaps before the backward pass comes
        ctx.settings = [counter.clone() for counter in args[9]], args[10], args[11]


def _backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    rest = (None,) * _AFTER_X
    if grad is None or not ctx.flags & (MASKED | GENERAL):
        return grad, *rest
    if ctx.flags & KEEP:
        return _mask_backward(grad, *ctx.saved_tensors), *rest
    wanted = ctx.needs_input_grad[: 1 + reference.GRADIENTS]
    needs = sum(1 << bit for bit, needed in enumerate(wanted) if needed)
    x, *operands = ctx.saved_tensors
    to_x, sums = _general_backward(grad, x, *operands, *ctx.settings, needs)
    found = [to_x if wanted[0] else None]
    for row, operand in enumerate(operands[: reference.GRADIENTS]):
        found.append(sums[row, : operand.numel()].reshape(operand.shape) if operand is not None and wanted[row + 1] else None)
    return *found, *rest[reference.GRADIENTS :]


_mask_backward = define("quantize_mask_backward(Tensor grad, Tensor mask) -> Tensor", _masked, _masked_fake)
_general_backward = define(
    f"quantize_backward(Tensor grad, Tensor x, {_OPERANDS}{_SETTINGS}, int needs) -> (Tensor, Tensor)", _general, _general_fake
)


def _batched(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
    """One call for all instances where only the signal differs and no number is drawn by its index; else one call each."""
    if all(dim is None for dim in in_dims[1:9]) and len(args[10]) == 3:
        y, mask = quantize(args[0].movedim(in_dims[0], 0), *args[1:])
        return (y, y.new_empty((info.batch_size, 0), dtype=torch.bool) if mask is None or not mask.numel() else mask), (0, 0)
    return in_turn(torch.ops.neurosim.quantize.default)(info, in_dims, *args)


quantize = define(
    f"quantize(Tensor x, {_OPERANDS}{_SETTINGS}) -> (Tensor, Tensor)",
    _forward,
    _forward_fake,
    setup_context=_setup,
    backward=_backward,
    vmap=_batched,
)


def quantize_rows(x: Tensor, rows: Sequence[tuple[list[Tensor], list[int]]], numbers: list[float]) -> Tensor:
    """What ``quantize`` without operands gives for every ``x[i]`` with counters and plan of its own, without gradient."""
    first = x[0]
    if not first.numel() or not x.is_cpu or not native.wanted() or ordinary((x,)) is not False:
        return torch.stack([quantize(row, *(None,) * 8, counters, plan, numbers)[0] for row, (counters, plan) in zip(x, rows, strict=True)])
    x = x if first.is_contiguous() else x.contiguous()
    y = torch.empty(x.shape, dtype=x.dtype)
    size = first.numel(), STORAGE[x.dtype], torch.get_num_threads()
    here, there = x.data_ptr(), y.data_ptr()
    step, width = x.stride(0) * x.element_size(), first.numel() * x.element_size()  # rows of an expanded tensor are one and the same
    for at, (counters, plan) in enumerate(rows):
        places = [counter.data_ptr() for counter in counters]
        kernel = _without_operands(len(places), len(plan))
        kernel(here + at * step, *places, *size, *plan, *numbers, there + at * width, 0)
    return y
