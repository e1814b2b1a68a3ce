"""Means and variances that are gathered batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Mean and spread of the values seen so far, float64."""

    count: int  #: values behind every mean
    mean: Tensor
    squares: Tensor  #: sum of squared distances from the mean

    @property
    def variance(self) -> Tensor:
        """Unbiased, as running statistics of batch norms are; of a single value, 0."""
        return self.squares / max(self.count - 1, 1)

    def merge(self, other: Moments) -> Moments:
        """Those of both together, by the formula of Chan, Golub and LeVeque, which does not cancel."""
        count = self.count + other.count
        if count == 0:
            return self
        distance = other.mean - self.mean
        mean = self.mean + distance * (other.count / count)
        return Moments(count, mean, self.squares + other.squares + distance.square() * (self.count * other.count / count))


def moments(x: Tensor, kept: Sequence[int]) -> Moments:
    """Moments over all axes but those that are kept.

    Args:
        x: Any floating-point tensor.
        kept: Axes that stay, ascending.

    >>> moments(torch.tensor([[1.0, 2.0], [3.0, 6.0]]), kept=[1])
    Moments(count=2, mean=tensor([2., 4.], dtype=torch.float64), squares=tensor([2., 8.], dtype=torch.float64))
    """
    over = [axis for axis in range(x.dim()) if axis not in kept]
    values = x.detach().double()
    count = 1
    for axis in over:
        count *= x.shape[axis]
    if count == 0:
        empty = torch.zeros([x.shape[axis] for axis in kept], dtype=torch.float64, device=x.device)
        return Moments(0, empty, empty)
    mean = values.mean(over, keepdim=True) if over else values
    squares = (values - mean).square()
    kept_shape = [x.shape[axis] for axis in kept]
    return Moments(count, mean.reshape(kept_shape), (squares.sum(over) if over else squares).reshape(kept_shape))
