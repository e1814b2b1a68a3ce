"""The ops ``neurosim::quantize``, ``neurosim::quantize_mask_backward`` and ``neurosim::quantize_backward``.

Their arguments are those of :mod:`neurosim.ops.quantize_plan` and the operands of :mod:`neurosim.ops.quantize_reference`. Results are
row-major whatever the layout of ``x``, since random numbers are counted in that order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurosim.ops import quantize_reference as reference
from neurosim.ops.library import define, in_turn
from neurosim.ops.quantize_plan import GENERAL, KEEP, MASKED

_OPERANDS = "".join(
    f"Tensor? {name}, "
    for name in ("limit_low", "limit_high", "level_low", "level_high", "before_scale", "after_scale", "before_noise", "after_noise")
)
_SETTINGS = "Tensor[] counters, int[] plan, float[] numbers"
_AFTER_X = 11  #: arguments of ``quantize`` after the first


def _forward(x: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    *operands, counters, plan, numbers = args
    return reference.forward(x, operands, counters, plan, numbers)


def _forward_fake(x: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    return _like(x), x.new_empty(x.shape if args[9][0] & KEEP else (0,), dtype=torch.bool)


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _masked(grad: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, grad, 0.0).contiguous()


def _masked_fake(grad: Tensor, mask: Tensor) -> Tensor:
    return _like(grad)


def _general(grad: Tensor, x: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    *operands, counters, plan, numbers, needs = args
    return reference.backward(grad, x, operands, counters, plan, numbers, needs)


def _general_fake(grad: Tensor, x: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    sums = x.new_empty((reference.GRADIENTS, reference.columns(args[:8])), dtype=reference.compute_dtype(x.dtype))
    return (_like(x) if args[11] & 1 else x.new_empty(0)), sums


def _setup(ctx: Any, args: tuple[Any, ...], result: tuple[Tensor, Tensor]) -> None:
    flags = args[10][0]
    ctx.flags = flags
    ctx.mark_non_differentiable(result[1])
    ctx.set_materialize_grads(False)
    if flags & KEEP:
        ctx.save_for_backward(result[1])
    elif flags & (MASKED | GENERAL):
        ctx.save_for_backward(*args[:9])
        ctx.settings = (
            [counter.clone() for counter in args[9]],
            args[10],
            args[11],
        )  # counters are advanced in place before the next forward


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
        return (y, mask if mask.numel() else mask.new_empty(info.batch_size, 0)), (0, 0)
    return in_turn(quantize)(info, in_dims, *args)


quantize = define(
    f"quantize(Tensor x, {_OPERANDS}{_SETTINGS}) -> (Tensor, Tensor)",
    _forward,
    _forward_fake,
    setup_context=_setup,
    backward=_backward,
    vmap=_batched,
)
