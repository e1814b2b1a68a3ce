"""How sequences lie in memory: time outermost, the units of a step in whatever order the input has them.

An input in channels-last order gives spikes in channels-last order, so that the convolutions around a neuron convert nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

Order = tuple[int, ...] | None  #: of the axes after time in memory; None is their own


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """What the state is kept and computed in: float32 for 16-bit storage."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def unit_order(x: Tensor) -> tuple[int, ...] | None:
    """The axes after time from the outermost in memory to the innermost, if a step fills its memory without gaps; else None.

    Args:
        x: A sequence, ``(T, *units)``.

    >>> unit_order(torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last))
    (2, 3, 1)
    """
    sizes, strides = x.shape, x.stride()
    axes = sorted((axis for axis in range(1, x.dim()) if sizes[axis] != 1), key=lambda axis: -strides[axis])
    if axes and strides[axes[-1]] != 1:
        return None
    if any(strides[outer] != strides[inner] * sizes[inner] for outer, inner in pairwise(axes)):
        return None
    if len(x) > 1 and strides[0] != (strides[axes[0]] * sizes[axes[0]] if axes else 1):
        return None
    return (*(axis for axis in range(1, x.dim()) if sizes[axis] == 1), *axes)


def sequence_like(x: Tensor) -> Tensor:
    """Memory for a result of the shape and type of ``x``, in its order if it is dense and time is outermost, else contiguous."""
    if x.is_contiguous():
        return torch.empty_like(x)
    if (order := unit_order(x)) is None:
        return torch.empty_like(x, memory_format=torch.contiguous_format)
    return x.new_empty([len(x), *memory_order(x.shape[1:], order)]).permute(_back(order))


def state_like(x: Tensor) -> Tensor:
    """Memory for the state of one step of ``x``, likewise, in the type that it is computed in."""
    dtype = compute_dtype(x.dtype)
    if x.is_contiguous() or (order := unit_order(x)) is None:
        return x.new_empty(x.shape[1:]) if dtype == x.dtype else x.new_empty(x.shape[1:], dtype=dtype)
    return x.new_empty(memory_order(x.shape[1:], order), dtype=dtype).permute([axis - 1 for axis in _back(order)[1:]])


def sums_like(x: Tensor, count: int) -> Tensor | None:
    """Memory for ``count`` numbers for every unit of ``x``, likewise; None for none."""
    if not count:
        return None
    dtype = compute_dtype(x.dtype)
    if x.is_contiguous() or (order := unit_order(x)) is None:
        return x.new_empty((count, *x.shape[1:]), dtype=dtype)
    return x.new_empty((count, *memory_order(x.shape[1:], order)), dtype=dtype).permute(_back(order))


def memory_order(units: Sequence[int], order: tuple[int, ...]) -> list[int]:
    """The sizes of the axes after time, as they lie in memory."""
    return [units[axis - 1] for axis in order]


def state_of(x: Tensor, state: Tensor | None) -> Tensor:
    """The state before the first step of ``x``, in the type that it is computed in; None is rest."""
    dtype = compute_dtype(x.dtype)
    return x.new_zeros(x.shape[1:], dtype=dtype) if state is None else state.to(dtype)


def _back(order: tuple[int, ...]) -> list[int]:
    """The permutation that undoes putting time first and then ``order``."""
    back = [0] * (len(order) + 1)
    for position, axis in enumerate(order, start=1):
        back[axis] = position
    return back
