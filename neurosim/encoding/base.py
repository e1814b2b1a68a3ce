"""What every encoder answers, and the checks they share."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Final

import torch
from torch import Tensor, nn

from neurosim.errors import ConfigError
from neurosim.random import Stream
from neurosim.registry import Registry


class Encoder(nn.Module, ABC):
    """Base of the encoders: settings and one method, nothing that is learned or remembered."""

    @abstractmethod
    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """The values of ``x`` as a sequence ``(time, batch, *units)`` of the dtype of ``x``.

        Args:
            x: What to encode.
            stream: Where random encoders draw from; the others ignore it.
        """

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in inspect.signature(type(self)).parameters)


ENCODERS: Final[Registry[type[Encoder]]] = Registry("encoder")


def values(where: str, x: object, axes: str = "(batch, *units)", least: int = 2) -> Tensor:
    """A floating-point tensor with enough axes.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(x, Tensor):
        raise ConfigError(f"{where}: x must be a tensor, got {type(x).__name__}")
    if x.dim() < least:
        raise ConfigError(f"{where}: x must be {axes}, with at least one axis of units, got shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ConfigError(f"{where}: x must be floating point, got {x.dtype}; 8-bit images are x.float() / 255")
    return x


def source(where: str, stream: object) -> Stream:
    """The stream that a random encoder needs.

    Raises:
        ConfigError: There is none.
    """
    if isinstance(stream, Stream):
        return stream
    raise ConfigError(
        f"{where}: it draws at random and needs a stream at every call, stream=neurosim.random.stream(seed, 'a name'), or a "
        f"spiking network with a seed, neurosim.nn.give_clocks(model, seed=0), got {stream!r:.60}"
    )


def at_least_32_bits(x: Tensor) -> Tensor:
    """``x`` in a type that resolves times and probabilities: 16 bits do not."""
    return x.float() if x.dtype.itemsize < 4 else x


def fires_at(step: Tensor, fires: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """One spike per value, or none.

    Args:
        step: Whole numbers, any shape.
        fires: Where there is a spike at all; the same shape.
        steps: Length of the result.
        dtype: Its type.

    Returns:
        ``(steps, *shape)``, 1 at ``step`` where ``fires`` and 0 elsewhere; steps out of range do not appear.
    """
    time = torch.arange(steps, device=step.device, dtype=step.dtype).view(-1, *[1] * step.dim())
    return ((time == step) & fires).to(dtype)
