"""Batches of a split, in an order that is given: the same ones again after a resume."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from neurosim.checks import whole
from neurosim.datasets.augment import Augment
from neurosim.datasets.base import Split
from neurosim.errors import ConfigError


def batches(
    split: Split,
    batch_size: int,
    *,
    order: Tensor | None = None,
    skip: int = 0,
    augment: Augment | None = None,
    dtype: torch.dtype = torch.float32,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> Iterator[tuple[Tensor, Tensor]]:
    r"""Images and labels, a batch at a time, the last one as large as what is left.

    A value :math:`x` becomes :math:`l + (h - l) x`, where uint8, and nothing else, is first divided by 255. Everything is a function of the
    arguments: no worker, no state, no random number of its own.

    Args:
        split: What to go through; the batches lie on its device.
        batch_size: Samples a batch, ≥ 1.
        order: Indices of the samples to go through, int64 ``(n,)``; by default all, as they lie.
        skip: Batches to leave out at the beginning, ≥ 0: those done before an interruption.
        augment: Changes images before they are scaled; see :func:`neurosim.datasets.augmentation`.
        dtype: Of the images that come out; the arithmetic is float32, or float64 for float64.
        value_range: :math:`(l, h)`: what 0 and 1 (of uint8, 0 and 255) become.

    Returns:
        An iterator over images ``(B, C, H, W)`` and labels int64 ``(B,)``.

    Raises:
        ConfigError: An argument is out of range; raised by the call, not by the first batch.

    >>> split = Split(torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1), torch.tensor([0, 1, 2]))
    >>> [(x.flatten().tolist(), y.tolist()) for x, y in batches(split, 2, value_range=(-1, 1), order=torch.tensor([2, 0, 1]))]
    [([1.0, -1.0], [2, 0]), ([-0.6000000238418579], [1])]
    """
    count = len(split.labels)
    low, high = value_range
    whole("batches: batch_size", batch_size, 1)
    whole("batches: skip", skip, 0)
    if not dtype.is_floating_point:
        raise ConfigError(f"batches: dtype must be a floating point type, got {dtype}")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"batches: value_range must be two finite numbers, the lower one first, got {value_range!r}")
    if order is None:
        order = torch.arange(count)
    elif not isinstance(order, Tensor):
        raise ConfigError(f"batches: order must be a tensor of int64 indices, got {type(order).__name__}")
    elif order.dtype != torch.int64 or order.ndim != 1 or (len(order) and not 0 <= int(order.min()) <= int(order.max()) < count):
        raise ConfigError(f"batches: order must be int64 indices from 0 to {count - 1}, got {order.dtype} {tuple(order.shape)}")
    return _batches(split, batch_size, order.to(split.labels.device), skip, augment, dtype, (float(low), float(high)))


def _batches(
    split: Split,
    batch_size: int,
    order: Tensor,
    skip: int,
    augment: Augment | None,
    dtype: torch.dtype,
    value_range: tuple[float, float],
) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(skip * batch_size, len(order), batch_size):
        indices = order[start : start + batch_size]
        images = split.images[indices.to(split.images.device)]
        if augment is not None:
            images = augment(images, indices)
        yield _scaled(images, dtype, value_range), split.labels[indices]


def _scaled(images: Tensor, dtype: torch.dtype, value_range: tuple[float, float]) -> Tensor:
    low, high = value_range
    values = images.to(torch.float64 if dtype == torch.float64 else torch.float32)
    if images.dtype == torch.uint8:
        values = values / 255
    if value_range != (0.0, 1.0):
        values = values * (high - low) + low
    return values.to(dtype)
