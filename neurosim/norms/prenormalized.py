"""Layer norm in low precision: divided by a cheap scale first, so that no square overflows or vanishes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from neurosim.checks import one_of
from neurosim.norms.base import Cost, Operations
from neurosim.norms.layer import SampleNorm, center, rms
from neurosim.norms.registry import register

PreScale = Literal["mad", "max", "pow2"]


def prescale(x: Tensor, axes: Sequence[int], by: PreScale, centring: bool = True) -> Tensor:
    r"""Deviations of ``x`` from its mean, divided by their own size, in the precision of ``x``; zeros stay zeros.

    .. math:: z = (u - \bar u) / s(u - \bar u), \qquad u = x / \max |x|

    The first division, for ``pow2`` by a power of two as well, keeps the sum of the mean from overflowing. The second one is by the
    deviations alone: beside a large mean, those of u are as small as ε. Without ``centring`` the mean is taken to be 0.

    >>> prescale(torch.tensor([[3.0, -6.0]]), [1], "pow2")
    tensor([[ 1.1250, -1.1250]])
    """
    u = _by_size(x, axes, "pow2" if by == "pow2" else "max")
    return _by_size(center(u, axes) if centring else u, axes, by)


def _by_size(x: Tensor, axes: Sequence[int], by: PreScale) -> Tensor:
    size = x.abs().mean(list(axes), keepdim=True) if by == "mad" else x.abs().amax(list(axes), keepdim=True)
    if by == "pow2":
        return x / torch.exp2((torch.frexp(size.detach()).exponent - 1).to(x.dtype))
    return x / torch.where(size > 0, size, 1)


@register("prenormalized_layer", "B41", formula="y = γ (z − µ) / √(σ² + ε) + β, z = x / mean|x − µ|, all in the precision of x", fold="F2")
class PrenormalizedLayerNorm(SampleNorm):
    r"""Layer norm that computes in the precision of its input, of values that are divided by a cheap scale first.

    .. math:: y = \gamma\,\frac{z - \mu_z}{\sqrt{\sigma_z^2 + \varepsilon}} + \beta, \qquad z = x / s(x)

    The layer norm of c·x is that of x, but in 16 bits the squares of a large x overflow and those of a small one vanish; those of z do
    neither: its largest magnitude is 1, or below 2, and with ``mad`` it is the share of the mean deviation, which must be below 255. s is a
    size of the deviations from the mean, so that ε counts beside these alone, however large the mean is.

    Args:
        features: Channels, d; or the shape of the last axes.
        by: Size of the deviations: ``mad``, their mean magnitude; ``max``, the largest one; ``pow2``, that rounded down to a power of two,
            a shift.
        eps: ε, > 0, of the scaled values.
        affine: Whether there are γ and β.
        channel_dim: Axis of the channels, where ``features`` is a number: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        M. Xu et al., "Conformer-based speech recognition on extreme edge-computing devices" (2023), on pre-normalizers.

    >>> x = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float16)
    >>> PrenormalizedLayerNorm(4)(10000 * x).detach().float().round(decimals=2)
    tensor([[-1.3400, -0.4500,  0.4500,  1.3400]])
    """

    own_precision: ClassVar[bool] = True
    center = True

    def __init__(
        self, features: int | Sequence[int], by: PreScale = "mad", eps: float = 1e-5, *, affine: bool = True, channel_dim: int = 1
    ) -> None:
        affine = self._flag("affine", affine)
        super().__init__(features, eps, channel_dim, scale=affine, shift=affine)
        self.by: PreScale = one_of(f"{self._where}.by", by, get_args(PreScale))

    def forward(self, x: Tensor) -> Tensor:
        """The normalised input; nothing has more bits than it, but what a :class:`FreezingNorm` around it computes."""
        self._check(x)
        y = self.standardize(x)
        for name in ("weight", "bias"):
            value = getattr(self, name)
            if value is not None:
                value = self._spread(value, y).to(y.dtype)
                y = y * value if name == "weight" else y + value
        return y

    def measure(self, x: Tensor) -> tuple[Tensor, ...]:
        """The spread of the scaled values, times what they were divided by."""
        axes = self._axes(x)
        z = prescale(x, axes, self.by, self.center)
        before, after = (value.abs().amax(axes, keepdim=True) for value in (x, z))
        return (rms(z, axes, self.eps) * torch.where(after > 0, before / after, 1),)

    def standardize_by(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """Divided by it."""
        return x / statistics[0]

    def standardize(self, x: Tensor) -> Tensor:
        """Scaled, centred and scaled, so that no sum overflows in the precision of x."""
        axes = self._axes(x)
        z = self.prepare(prescale(x, axes, self.by, self.center))
        return z / rms(z, axes, self.eps)

    def standard_bounds(self) -> tuple[float, float]:
        """±√(d − 1), as of a layer norm."""
        largest = math.sqrt(math.prod(self.features) - self.center)
        return -largest, largest

    def hw_ops(self) -> Cost:
        """A layer norm; comparisons for the largest magnitude, the mean, the size of the deviations, and divisions or shifts by both."""
        affine, divided = int(self.weight is not None), 2 * (self.by != "pow2")
        each = Operations(3 + 4 * self.center + affine, 2 + affine + divided)
        return Cost(each, Operations(1, 1 + 2 * self.center + (self.by == "mad"), 1 + divided, 1))
