"""A branch whose output is brought to the length of the stream that it is added to."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from neurosim.checks import number, whole
from neurosim.errors import ConfigError, ConversionError
from neurosim.neurons.parameters import state_dtype
from neurosim.norms.base import Affine, Cost, Operations
from neurosim.norms.length import length
from neurosim.norms.registry import register


@register(
    "message",
    "B20",
    kind="wrapper",
    formula="y = x + s ‖x‖ f(x) / ‖f(x)‖",
    stats="sample",
    fold="F2",
    usage="ns.norms.MessageNorm(branch) around a branch",
    example=lambda: MessageNorm(nn.Linear(16, 16)),
)
class MessageNorm(nn.Module):
    r"""MsgNorm: a residual branch as long as the stream, times a learned share.

    .. math:: y = x + s\,\lVert x \rVert_2\,\frac{f(x)}{\sqrt{\lVert f(x) \rVert_2^2 + \varepsilon^2}}

    Args:
        branch: f, a module that keeps the shape.
        share: s at the start, > 0.
        eps: ε, > 0, a length.
        channel_dim: Axis of the channels, over which lengths are taken.

    Shapes:
        x ``(batch, C, *)``; result the same. ``share`` is ``(1,)``.

    Raises:
        ConfigError: An argument or an input is not as above, or the branch does not keep the shape.

    Source:
        G. Li, C. Xiong, A. Thabet, B. Ghanem, "DeeperGCN: all you need to train deeper GCNs", arXiv 2006.07739 (2020), equation 7, for
        messages of graphs.

    >>> MessageNorm(nn.Identity())(torch.tensor([[3.0, 4.0]])).detach()
    tensor([[6., 8.]])
    """

    def __init__(self, branch: nn.Module, share: float = 1.0, eps: float = 1e-5, *, channel_dim: int = 1) -> None:
        super().__init__()
        if not isinstance(branch, nn.Module):
            raise ConfigError(f"MessageNorm.branch: must be a torch.nn.Module, got {type(branch).__name__}")
        self.branch = branch
        self.share = nn.Parameter(torch.tensor([number("MessageNorm.share", share, gt=0)]))
        self.eps = number("MessageNorm.eps", eps, gt=0)
        self.channel_dim = whole("MessageNorm.channel_dim", channel_dim, -8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """The stream and its branch."""
        self._check(x)
        message: Tensor = self.branch(x)
        if message.shape != x.shape:
            raise ConfigError(f"MessageNorm: the branch must keep the shape {tuple(x.shape)}, got {tuple(message.shape)}")
        wide, share, axis = state_dtype(x), self.share, self.channel_dim
        here, there = x.to(wide), message.to(wide)  # squares of 16 bits overflow
        stream = here.square().sum(axis, keepdim=True)
        reach = torch.where(stream > 0, stream, 1).sqrt() * (stream > 0)  # no gradient of a root at 0
        return (here + share.to(wide) * reach * there / length(there, [axis], self.eps)).to(x.dtype)

    def _check(self, x: object) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point() or not -x.dim() <= self.channel_dim < x.dim():
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ConfigError(f"MessageNorm: x must be floating-point with channels on axis {self.channel_dim}, got {got}")

    def fold(self) -> Affine:
        """Refused: lengths are those of every sample."""
        raise ConversionError("MessageNorm: it takes statistics of every sample, so no constant scale and shift can replace it")

    def hw_ops(self) -> Cost:
        """Two squares and their sums, a product and the sum with the stream; two roots, a quotient and s. The branch is not counted."""
        return Cost(Operations(3, 3), Operations(1, 1, 1, 2))

    def bounds(self) -> tuple[float, float]:
        """All numbers."""
        return -math.inf, math.inf
