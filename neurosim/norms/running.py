"""What the norms share that keep a running mean square, and whose backward pass keeps a state of its own.

Their gradients are not those of what they compute: a running statistic does not depend on the batch, and a state that follows the gradients
takes the place of what the batch would have contributed. That state is a buffer, changed by every backward pass; a checkpoint between two
steps holds all of it. Under data-parallel training every replica has its own batch, and the buffers are those of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from neurosim.checks import whole
from neurosim.norms.base import Affine, Cost, Operations, Stats
from neurosim.norms.calibrated import CalibratedNorm
from neurosim.norms.moments import ChannelMoments


class RunningNorm(CalibratedNorm):
    """Base of the norms by a running mean square: without a mean, with γ and β.

    Args:
        features: Channels.
        eps: ε, > 0.
        warmup: Batches before the running value is used in training.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.
    """

    stats: ClassVar[Stats] = "running"

    weight: nn.Parameter
    bias: nn.Parameter
    running_square: Tensor
    following: Tensor
    batches: Tensor

    def __init__(self, features: int, eps: float, warmup: int, channel_dim: int) -> None:
        super().__init__(features, channel_dim)
        self.eps = self._number("eps", eps, gt=0)
        self.warmup = whole(f"{self._where}.warmup", warmup, 0)
        self.register_buffer("running_square", torch.ones(self.features))
        self.register_buffer("following", torch.zeros(self.features))  # of the gradient: follows mean(g z)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def set_statistics(self, seen: Sequence[ChannelMoments]) -> None:
        """The mean square."""
        self.running_square.copy_(seen[0].mean.square() + seen[0].squares / seen[0].n)

    def fold(self) -> Affine:
        """Scale γ/√(ψ² + ε) and shift β."""
        return self._folded(1 / (self.running_square.double() + self.eps).sqrt())

    def hw_ops(self) -> Cost:
        """One multiplication and one addition."""
        return Cost(Operations(1, 1))

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, eps={self.eps:g}, warmup={self.warmup}"

    def _beside(self, x: Tensor) -> list[int]:
        return [axis for axis in range(x.dim()) if axis not in self._axes(x)]

    def _evaluate(self, x: Tensor) -> Tensor:
        return x / self._spread((self.running_square + self.eps).sqrt(), x)
