"""Means and variances that are gathered batch by batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class ChannelMoments(NamedTuple):
    """Mean and spread of the values seen so far, float64."""

    n: int  #: values behind every mean
    mean: Tensor
    squares: Tensor  #: sum of squared distances from the mean

    @property
    def variance(self) -> Tensor:
        """Unbiased, as running statistics of batch norms are; of a single value, 0."""
        return self.squares / max(self.n - 1, 1)

    def merge(self, other: ChannelMoments) -> ChannelMoments:
        """Those of both together, by the formula of Chan, Golub and LeVeque, which does not cancel."""
        n = self.n + other.n
        if n == 0:
            return self
        distance = other.mean - self.mean
        mean = self.mean + distance * (other.n / n)
        return ChannelMoments(n, mean, self.squares + other.squares + distance.square() * (self.n * other.n / n))


def moments(x: Tensor, kept: Sequence[int]) -> ChannelMoments:
    """Moments over all axes but those that are kept.

    Args:
        x: Any floating-point tensor.
        kept: Axes that stay, ascending.

    >>> import torch
    >>> moments(torch.tensor([[1.0, 2.0], [3.0, 6.0]]), kept=[1])
    ChannelMoments(n=2, mean=tensor([2., 4.], dtype=torch.float64), squares=tensor([2., 8.], dtype=torch.float64))
    """
    over = [axis for axis in range(x.dim()) if axis not in kept]
    values = x.detach().double()
    shape = [x.shape[axis] for axis in kept]
    n = math.prod(x.shape[axis] for axis in over)
    if n == 0:
        nothing = values.new_zeros(shape)
        return ChannelMoments(0, nothing, nothing)
    mean = values.mean(over, keepdim=True) if over else values  # torch takes an empty list of axes for all of them
    squares = (values - mean).square()
    return ChannelMoments(n, mean.reshape(shape), (squares.sum(over) if over else squares).reshape(shape))
