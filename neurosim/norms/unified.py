"""Unified normalization: the mean squares of the last batches, smoothed, forward and backward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from neurosim.checks import whole
from neurosim.neurons.parameters import state_dtype
from neurosim.norms.gradients import with_backward
from neurosim.norms.registry import register
from neurosim.norms.running import RunningNorm


class _Batch(NamedTuple):
    """What a training batch is normalised by."""

    square: Tensor  #: ψ²
    ratio: Tensor  #: of the gradients
    slot: Tensor  #: of the window
    skipped: Tensor
    fresh: Tensor  #: whether ψ² is that of the batch alone


@register("unified", "B6", formula="y = γ x / √(ψ² + ε) + β, ψ² of training", fold="F0")
class UnifiedNorm(RunningNorm):
    r"""Unified normalization: channels by the geometric mean of the mean squares of the last batches.

    .. math:: y = \gamma\,x / \sqrt{\psi_t^2 + \varepsilon} + \beta, \qquad \psi_t^2 = \Bigl(\prod_{i=0}^{M-1} \mathrm{mean}\,x_{t-i}^2
        \Bigr)^{1/M}

    No mean is subtracted. Each batch moves the running value that evaluation uses, :math:`\psi^2 \leftarrow m \psi^2 + (1 - m) \psi_t^2`.
    During warm-up, and for a batch that is skipped, ψ_t² is that of the batch alone. A batch is skipped, with ``filter_outliers``, if for
    any channel the arithmetic mean of the window exceeds the geometric one by more than M times the variance of the roots of all its
    entries; the running value takes its place in the window. Backward, with z the normalised values and g the gradient of y:

    .. math:: \tilde g = r \gamma g, \quad \nu \leftarrow m \nu + (1 - m)\,\mathrm{mean\ over\ window}(\overline{\tilde g z}), \quad
        \partial x = (\tilde g - \nu z) / \sqrt{\psi_t^2 + \varepsilon}, \quad \partial\gamma = \textstyle\sum r g z

    with r the ratio of ψ_t to the running ψ of before, limited to [1/5, 5], and 1 in warm-up and for skipped batches. As in the authors'
    code, r is 1 for the first 1000 batches however short the warm-up.

    Args:
        features: Channels.
        window: M, batches, ≥ 1; of one, every batch counts as skipped.
        eps: ε, > 0.
        momentum: m, in (0, 1).
        warmup: Batches before the window is used.
        filter_outliers: Whether batches are skipped; the authors do so for images and not for text.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        Q. Yang et al., "Unified normalization for accelerating and stabilizing transformers", ACM Multimedia 2022, and the authors' code.
    """

    squares: Tensor
    products: Tensor
    skips: Tensor

    def __init__(
        self,
        features: int,
        window: int = 4,
        eps: float = 1e-5,
        *,
        momentum: float = 0.9,
        warmup: int = 4000,
        filter_outliers: bool = False,
        channel_dim: int = 1,
    ) -> None:
        super().__init__(features, eps, warmup, channel_dim)
        self.window = whole(f"{self._where}.window", window, 1)
        self.momentum = self._number("momentum", momentum, gt=0, lt=1)
        self.filter_outliers = self._flag("filter_outliers", filter_outliers)
        self.register_buffer("squares", torch.zeros(self.window, *self.features))
        self.register_buffer("products", torch.zeros(self.window, *self.features))
        self.register_buffer("skips", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """The normalised input."""
        if not self.training:
            return super().forward(x)
        self._check(x)
        self._refuse_empty(x)
        wide = x.to(state_dtype(x))
        batch = self._follow(wide.detach())
        y = self._standardized(wide, batch) * self._spread(self.weight, wide)
        ratio = self._spread(batch.ratio, wide)
        y = with_backward(y, y.detach(), lambda grad: grad * ratio)
        return (y + self._spread(self.bias, wide)).to(x.dtype)

    def standardize(self, x: Tensor) -> Tensor:
        """By the running value, as in evaluation."""
        return self._evaluate(x)

    @torch.no_grad()
    def _follow(self, x: Tensor) -> _Batch:
        """What the batch is normalised by, and the running values moved on by it."""
        self.batches.add_(1)
        n, running, square = self.batches, self.running_square, x.square().mean(self._beside(x))
        slot = (n % self.window).reshape(1)
        spread = self.squares.sqrt().var()
        self.squares.index_copy_(0, slot, square.unsqueeze(0))
        skipped = torch.full_like(n, self.window == 1, dtype=torch.bool)
        if self.filter_outliers:
            apart = self.squares.mean(0) - self._geometric() > spread * self.window
            outlier = (n >= self.warmup) & apart.any()
            self.squares.index_copy_(0, slot, torch.where(outlier, running, square).unsqueeze(0))
            self.skips.add_(outlier)
            skipped = skipped | outlier
        fresh = (n <= self.window) | (n < self.warmup) | skipped
        used = torch.where(fresh, square, self._geometric())
        ratio = ((used + self.eps).sqrt() / (running + self.eps).sqrt()).clamp(0.2, 5.0)
        ratio = torch.where((n <= max(1000, self.warmup)) | skipped, 1.0, ratio)
        running.copy_(self.momentum * running + (1 - self.momentum) * used)
        return _Batch(used, ratio, slot, skipped, fresh)

    def _standardized(self, x: Tensor, batch: _Batch) -> Tensor:
        root = self._spread((batch.square + self.eps).sqrt(), x)
        z, over = x.detach() / root, self._beside(x)

        def backward(grad: Tensor) -> Tensor:
            product = (grad * z).mean(over)
            self.products.index_copy_(0, batch.slot, torch.where(batch.skipped, self.following, product).unsqueeze(0))
            mean = torch.where(batch.fresh, product, self.products.mean(0))
            self.following.copy_(self.momentum * self.following + (1 - self.momentum) * mean)
            return (grad - self._spread(torch.where(batch.skipped, mean, self.following), grad) * z) / root

        return with_backward(x, z, backward)

    def _geometric(self) -> Tensor:
        return self.squares.log().mean(0).exp()

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, window={self.window}, momentum={self.momentum:g}"
