"""Random changes to training images that do not depend on how the samples are batched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

from neurosim.checks import number
from neurosim.errors import ConfigError, nearest
from neurosim.random import Stream, philox4x32, stream

Augment = Callable[[Tensor, Tensor], Tensor]  #: images ``(B, C, H, W)`` and their indices in the split ``(B,)`` → images
AugmentName = Literal["none", "flip", "crop_flip"]

_NAMES: tuple[AugmentName, ...] = ("none", "flip", "crop_flip")


class Outliers(Protocol):
    """Samples that are too large: what ``data.augment`` of a config is with ``kind: outliers``."""

    @property
    def share(self) -> float:
        """Probability that a sample is one, 0 … 1."""

    @property
    def factor(self) -> float:
        """What it is multiplied by, > 0."""


def augmentation(name: AugmentName | Outliers, *, seed: int, epoch: int) -> Augment | None:
    """What to hand to :func:`neurosim.datasets.batches` as ``augment``.

    The random numbers of a sample come from block ``index`` of the stream ``(seed, "data", "augment")`` at ``draw=epoch``: they are the
    same in whatever batch, order or run the sample comes, and others in the next epoch.

    Args:
        name: ``none``; ``flip``: each image mirrored left to right with probability ½; ``crop_flip``: moved as well by up to an eighth of
            its size in each direction, zeros coming in at the edges (at 32 × 32 the usual crop after a padding of 4). Or a share and a
            factor: see :func:`multiply_some`.
        seed: Of the run.
        epoch: Counted from 0.

    Returns:
        The function, ``None`` for ``none``.

    Raises:
        ConfigError: No such augmentation, a share or factor that is none, or (from the function) the samples are not ``(C, H, W)`` images.

    Source:
        The padding of 4 with random crops and flips: K. He et al., "Deep residual learning", CVPR 2016, section 4.2.

    >>> images = torch.arange(4.0).reshape(1, 1, 1, 4).repeat(6, 1, 1, 1)
    >>> flip = augmentation("flip", seed=0, epoch=0)
    >>> torch.equal(flip(images, torch.arange(6))[4:], flip(images[4:], torch.tensor([4, 5])))
    True
    """
    source = stream(seed, "data", "augment", draw=epoch)
    if not isinstance(name, str):
        share, factor = number("augment.share", name.share, ge=0), number("augment.factor", name.factor, gt=0)
        if share > 1:
            raise ConfigError(f"augment.share: must be at most 1, got {share!r}")
        return lambda images, indices: multiply_some(images, indices, source, share, factor)
    if name not in _NAMES:
        raise ConfigError(f"augment: no augmentation is named {name!r}{nearest(name, _NAMES)}")
    if name == "none":
        return None
    shift = name == "crop_flip"
    return lambda images, indices: crop_flip(images, indices, source, shift=shift)


def multiply_some(images: Tensor, indices: Tensor, source: Stream, share: float, factor: float) -> Tensor:
    """Outliers: each sample multiplied with a probability, as by a wrong exposure or a transmission error.

    Args:
        images: Any dtype. Numbers of bytes are divided by 255 first, as :func:`neurosim.datasets.batches` does; others keep their units.
        indices: Which block of ``source`` belongs to each sample, int64, ≥ 0.
        source: Where the random numbers come from.
        share: The probability, 0 … 1.
        factor: What is multiplied by, > 0.

    Shapes:
        images ``(B, *)``; indices ``(B,)``; result as images, float32 or float64.

    >>> from neurosim.random import stream
    >>> multiply_some(torch.full((4, 1), 51, dtype=torch.uint8), torch.arange(4), stream(0, "x"), 0.5, 10.0).flatten()
    tensor([0.2000, 2.0000, 0.2000, 2.0000])
    """
    first = philox4x32((indices.to(images.device), source.chip, source.draw, source.call), source.key)[0]
    values = images if images.dtype == torch.float64 else images.to(torch.float32)
    values = values / 255 if images.dtype == torch.uint8 else values
    hit = (first < round(share * 2**32)).reshape(-1, *(1,) * (images.ndim - 1))
    return torch.where(hit, factor * values, values)


def crop_flip(images: Tensor, indices: Tensor, source: Stream, *, shift: bool) -> Tensor:
    """Each image mirrored with probability ½ and, with ``shift``, moved; see :func:`augmentation`.

    Args:
        images: Any dtype.
        indices: Which block of ``source`` belongs to each image, int64, ≥ 0.
        source: Where the random numbers come from.
        shift: Whether to move as well.

    Shapes:
        images ``(B, C, H, W)``; indices ``(B,)``; result as images.

    Raises:
        ConfigError: The images have other dimensions.
    """
    if images.ndim != 4:
        raise ConfigError(f"augment: the samples must be (C, H, W) images, got a batch of shape {tuple(images.shape)}")
    batch, channels, height, width = images.shape
    flip, down, right, _ = philox4x32((indices.to(images.device), source.chip, source.draw, source.call), source.key)
    columns = torch.arange(width, device=images.device).expand(batch, width)
    columns = torch.where((flip >> 31).bool()[:, None], columns.flip(1), columns)
    rows = torch.arange(height, device=images.device).expand(batch, height)
    if shift:
        pad_rows, pad_columns = height // 8, width // 8
        images = torch.nn.functional.pad(images, (pad_columns, pad_columns, pad_rows, pad_rows))
        rows = rows + ((down * (2 * pad_rows + 1)) >> 32)[:, None]
        columns = columns + ((right * (2 * pad_columns + 1)) >> 32)[:, None]
    which = torch.arange(batch, device=images.device)[:, None, None, None]
    planes = torch.arange(channels, device=images.device)[None, :, None, None]
    return images[which, planes, rows[:, None, :, None], columns[:, None, None, :]]
