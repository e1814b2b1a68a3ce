"""Filter response norm with its learned threshold."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from neurosim.norms.base import Cost, Operations
from neurosim.norms.channels import MeasuredNorm
from neurosim.norms.group import SpaceNorm
from neurosim.norms.layer import rms
from neurosim.norms.registry import register


class Floor(nn.Module):
    r"""Thresholded linear unit: ``y = max(x, τ)``.

    Args:
        tau: τ, ``(C,)``.
        channel_dim: Axis of the channels.
    """

    def __init__(self, tau: nn.Parameter, channel_dim: int = 1) -> None:
        super().__init__()
        self.tau = tau
        self.channel_dim = channel_dim

    def forward(self, x: Tensor) -> Tensor:
        """At least τ."""
        return torch.maximum(x, self.tau.reshape(-1, *(1,) * (x.dim() - 1 - self.channel_dim % x.dim())).to(x.dtype))


@register("frn", "B22", formula="y = max(γ x / √(mean_hw x² + ε) + β, τ)", fold="F2")
class FilterResponseNorm(MeasuredNorm, SpaceNorm):
    r"""Filter response norm and thresholded linear unit: no means, no batch, and a floor that is learned.

    .. math:: y = \max\Bigl(\gamma\,\frac{x}{\sqrt{\mathrm{mean}_{hw}\,x^2 + \varepsilon}} + \beta,\ \tau\Bigr)

    Args:
        features: Channels.
        eps: ε, > 0.
        threshold: Whether there is a τ, 0 at the start; without, the norm alone.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says, with places in space; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        S. Singh, S. Krishnan, "Filter response normalization layer: eliminating batch dependence in the training of deep neural networks",
        CVPR 2020, equations 1 to 4; ε as in timm.
    """

    needs_space: ClassVar[bool] = True
    measured: ClassVar[tuple[bool, ...]] = (True,)

    tau: nn.Parameter | None

    def __init__(self, features: int, eps: float = 1e-5, *, threshold: bool = True, channel_dim: int = 1) -> None:
        super().__init__(features, eps, True, channel_dim)
        threshold = self._flag("threshold", threshold)
        self.register_parameter("tau", nn.Parameter(torch.zeros(self.features)) if threshold else None)
        self.affine_last = not threshold

    def measure(self, x: Tensor) -> tuple[Tensor, ...]:
        """The root mean square over space."""
        return (rms(x, self._space(x), self.eps),)

    def standardize_by(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """Divided by it."""
        return x / statistics[0]

    def finish(self, y: Tensor) -> Tensor:
        """At least τ."""
        return y if self.tau is None else torch.maximum(y, self._spread(self.tau, y))

    def rest(self) -> nn.Module:
        """The threshold."""
        return nn.Identity() if self.tau is None else Floor(self.tau, self.channel_dim)

    def hw_ops(self) -> Cost:
        """A square and its sum, the products with the inverse of the root and γ, β, and a comparison."""
        return Cost(Operations(2 + (self.tau is not None), 3), Operations(1, 1, 1, 1))
