"""A factor, or an offset, for every unit or every channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neurosim.errors import ConfigError


class _PerUnit(nn.Module):
    """One number a unit, learned or not."""

    value: Tensor

    def __init__(self, value: float | Tensor, learn: bool = False) -> None:
        super().__init__()
        kept = value.detach().clone() if isinstance(value, Tensor) else torch.tensor(float(value))
        if not kept.is_floating_point() or not bool(kept.isfinite().all()):
            raise ConfigError(f"{type(self).__name__}: the value must be finite and floating point in every element, got {value!r:.60}")
        if learn:
            self.value = nn.Parameter(kept)
        else:
            self.register_buffer("value", kept)

    def extra_repr(self) -> str:
        """For ``print``."""
        value = self.value
        return f"{value.item():g}" if value.numel() == 1 else f"{tuple(value.shape)}"


class Scale(_PerUnit):
    """A factor: ``y = value · x``.

    Args:
        value: Finite; broadcasts to one sample.
        learn: Whether it is a parameter; else it is a buffer.

    Shapes:
        x ``(batch, *units)``; result the same.

    Raises:
        ConfigError: The value is not finite.

    >>> Scale(2.0)(torch.ones(1, 3))
    tensor([[2., 2., 2.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        return x * self.value


class Shift(_PerUnit):
    """An offset: ``y = x + value``; arguments, shapes and errors as for :class:`Scale`.

    >>> Shift(torch.tensor([1.0, -1.0]))(torch.zeros(1, 2))
    tensor([[ 1., -1.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        return x + self.value
