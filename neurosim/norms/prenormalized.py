"""Layer norm in low precision: divided by a cheap scale first, so that no square overflows or vanishes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Final, Literal, get_args

import torch
from torch import Tensor

from neurosim.checks import one_of
from neurosim.norms.base import Cost, Operations
from neurosim.norms.layer import SampleNorm, center, rms
from neurosim.norms.registry import register

PreScale = Literal["mad", "max", "pow2"]
_TINY: Final = 1e-4  #: a normal number of 16 bits, below the largest magnitude of any scaled input that is not 0


def prescale(x: Tensor, axes: Sequence[int], by: PreScale) -> Tensor:
    r"""``x`` divided by a scale of its own, in its own precision; zeros stay zeros.

    .. math:: z = x / \max |x|,\ \ x / 2^{\lfloor \log_2 \max |x| \rfloor} \ \text{ or }\ z / \tfrac{1}{d}\textstyle\sum |z - \bar z|

    >>> prescale(torch.tensor([[3.0, -6.0]]), [1], "pow2")
    tensor([[ 0.7500, -1.5000]])
    """
    largest = x.abs().amax(list(axes), keepdim=True)
    if by == "pow2":
        return x / torch.exp2((torch.frexp(largest.detach()).exponent - 1).to(x.dtype))
    z = x / torch.where(largest > 0, largest, 1)
    if by == "max":
        return z
    deviation = center(z, axes).abs().mean(list(axes), keepdim=True)
    return z / torch.where(deviation > _TINY, deviation, 1)


@register("prenormalized_layer", "B41", formula="y = γ (z − µ) / √(σ² + ε) + β, z = x / mean|x − µ|, all in the precision of x", fold="F2")
class PrenormalizedLayerNorm(SampleNorm):
    r"""Layer norm that computes in the precision of its input, of values that are divided by a cheap scale first.

    .. math:: y = \gamma\,\frac{z - \mu_z}{\sqrt{\sigma_z^2 + \varepsilon}} + \beta, \qquad z = x / s(x)

    The layer norm of c·x is that of x, but in 16 bits the squares of a large x overflow and those of a small one vanish; those of z do
    neither: its largest magnitude is 1, or below 2, and with ``mad`` it is the share of the mean deviation, which must be below 255.

    Args:
        features: Channels, d; or the shape of the last axes.
        by: ``mad``, the mean absolute deviation; ``max``, the largest magnitude; ``pow2``, that rounded down to a power of two: a shift.
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
        z = prescale(x, axes, self.by)
        before, after = (value.abs().amax(axes, keepdim=True) for value in (x, z))
        return (rms(z, axes, self.eps) * torch.where(after > 0, before / after, 1),)

    def standardize_by(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """Divided by it."""
        return x / statistics[0]

    def standardize(self, x: Tensor) -> Tensor:
        """Scaled, centred and scaled, so that no sum overflows in the precision of x."""
        axes = self._axes(x)
        z = self.prepare(prescale(x, axes, self.by))
        return z / rms(z, axes, self.eps)

    def standard_bounds(self) -> tuple[float, float]:
        """±√(d − 1), as of a layer norm."""
        largest = math.sqrt(math.prod(self.features) - self.center)
        return -largest, largest

    def hw_ops(self) -> Cost:
        """A layer norm, the comparisons for the largest magnitude, and the division or shift by it; for ``mad`` the deviation as well."""
        affine, mad = int(self.weight is not None), int(self.by == "mad")
        each = Operations(2 * self.center + 2 + 3 * mad + affine, 2 + affine + (self.by != "pow2") + mad)
        return Cost(each, Operations(1, 1 + self.center + 2 * mad, 1 + (self.by != "pow2") + mad, 1))
