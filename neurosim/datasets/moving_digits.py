"""Digits that move: short videos, made from the shipped digits."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from neurosim.datasets.base import DATASETS, Dataset, Split
from neurosim.datasets.digits import digits
from neurosim.errors import ConfigError
from neurosim.random import Stream, stream

_SIDE = 8  #: of a digit


@DATASETS.register("moving_digits")
def moving_digits(
    frames: PositiveInt = 12,
    speed: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.25,
    size: Annotated[int, Field(ge=8, le=256)] = 12,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Dataset:
    r"""Videos of the digits of :func:`digits`, each moving over a dark square and turning back at its edges.

    A digit begins anywhere and moves in any direction, both uniform and functions of the seed and its index alone. Positions are real
    numbers: a pixel of a frame is the bilinear mean of the digit's four that lie nearest, rounded to one of 256 values.

    Args:
        frames: Of a video; they take the place of the channels.
        speed: Pixels per frame. At the side of the square or more, one frame tells little of the next.
        size: Side of the square, pixels.
        seed: Where digits begin and where they go.

    Raises:
        ConfigError: The square is smaller than a digit, or the speed is negative.

    >>> data = moving_digits(frames=5)
    >>> data.train.images.shape, data.test.images.shape
    (torch.Size([1437, 5, 12, 12]), torch.Size([360, 5, 12, 12]))
    """
    if size < _SIDE or not 0 <= speed < float("inf"):
        raise ConfigError(f"moving_digits: size must be at least {_SIDE} and speed finite and not negative, got {size} and {speed:g}")
    still = digits()
    source = stream(seed, "moving_digits")
    train, test = (
        Split(_videos(split.images, frames, speed, size, source.child(name)), split.labels)
        for name, split in (("train", still.train), ("test", still.test))
    )
    return Dataset("moving_digits", train=train, test=test, classes=still.classes, source=f"{still.source}; moved")


def _videos(images: Tensor, frames: int, speed: float, size: int, source: Stream) -> Tensor:
    """Frames uint8 ``(n, frames, size, size)`` of images uint8 ``(n, 1, 8, 8)``."""
    room = float(size - _SIDE)
    across, down, angle = source.uniform((len(images), 3), like=torch.empty(0, dtype=torch.float64)).unbind(1)
    time = torch.arange(frames, dtype=torch.float64)
    places = [
        reflect(start[:, None] * room + speed * time * direction[:, None], room)
        for start, direction in ((down, torch.sin(2 * torch.pi * angle)), (across, torch.cos(2 * torch.pi * angle)))
    ]
    rows, columns = (_shift(place, size) for place in places)  # (n, frames, size, 8)
    moved = torch.einsum("ntyi,nij,ntxj->ntyx", rows, images[:, 0].double(), columns)
    return moved.round().clamp(0, 255).to(torch.uint8)


def reflect(position: Tensor, room: float) -> Tensor:
    """Where something is that turns back at 0 and at ``room``, if it would be at ``position`` without walls."""
    if room == 0:
        return torch.zeros_like(position)
    return room - (position.remainder(2 * room) - room).abs()


def _shift(place: Tensor, size: int) -> Tensor:
    """Weights of the 8 pixels of a digit at a real place in each of ``size`` pixels, ``(*place.shape, size, 8)``: linear interpolation."""
    distance = torch.arange(size)[:, None] - torch.arange(_SIDE) - place[..., None, None]
    return (1 - distance.abs()).clamp(min=0)
