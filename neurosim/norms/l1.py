"""Norms by mean magnitudes instead of mean squares: adders and one division, no square and no root."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from neurosim.norms.base import Affine, Cost, Operations, Stats
from neurosim.norms.calibrated import CalibratedNorm
from neurosim.norms.layer import SampleNorm
from neurosim.norms.moments import ChannelMoments, moments
from neurosim.norms.registry import register

_GAUSSIAN = math.sqrt(math.pi / 2)  #: standard deviation of normal numbers per mean magnitude


def mean_magnitude(x: Tensor, axes: Sequence[int], eps: float, *, match_sigma: bool = False, power_of_two: bool = False) -> Tensor:
    r"""``mean |x| + ε`` over those axes, which stay with length 1.

    .. math:: \sigma_1 = \tfrac{1}{d} \textstyle\sum |x| + \varepsilon, \qquad \partial \sigma_1 / \partial x = \mathrm{sgn}(x) / d

    Args:
        x: The deviations from a centre.
        axes: What the mean is over.
        eps: ε.
        match_sigma: Times √(π/2): the standard deviation, if the values are normal.
        power_of_two: Rounded to the nearest power of two, on the scale of logarithms; the gradient is that of what was rounded.
    """
    found = x.abs().mean(list(axes), keepdim=True) * (_GAUSSIAN if match_sigma else 1.0) + eps
    if power_of_two:
        found = found * torch.exp2(found.detach().log2().round()) / found.detach()
    return found


class _Magnitudes:
    """The settings that the three share."""

    eps: float
    match_sigma: bool
    power_of_two: bool

    def _spread_of(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        return mean_magnitude(x, axes, self.eps, match_sigma=self.match_sigma, power_of_two=self.power_of_two)

    def _shown(self) -> str:
        return "".join(f", {name}=True" for name in ("match_sigma", "power_of_two") if getattr(self, name))


class _L1Sample(_Magnitudes, SampleNorm):
    def __init__(
        self,
        features: int | Sequence[int],
        eps: float = 1e-5,
        *,
        match_sigma: bool = False,
        power_of_two: bool = False,
        affine: bool = True,
        channel_dim: int = 1,
    ) -> None:
        affine = self._flag("affine", affine)
        super().__init__(features, eps, channel_dim, scale=affine, shift=affine and self.center)
        self.match_sigma, self.power_of_two = self._flag("match_sigma", match_sigma), self._flag("power_of_two", power_of_two)

    def measure(self, x: Tensor) -> tuple[Tensor, ...]:
        """The mean magnitude."""
        return (self._spread_of(x, self._axes(x)),)

    def standardize_by(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """Divided by it."""
        return x / statistics[0]

    def standard_bounds(self) -> tuple[float, float]:
        """A single feature that stands out has d/2 mean deviations, or d mean magnitudes; powers of two are at most √2 less."""
        largest = math.prod(self.features) / (2 if self.center else 1)
        largest *= math.sqrt(2) if self.power_of_two else 1
        largest /= _GAUSSIAN if self.match_sigma else 1
        return -largest, largest

    def hw_ops(self) -> Cost:
        """The sum of magnitudes, with the mean's sum and subtraction where there is one; a power of two divides by a shift."""
        shift, affine = int(self.power_of_two), int(self.weight is not None)
        each = Operations(1 + 2 * self.center + (self.bias is not None), 1 - shift + affine)
        return Cost(each, Operations(1, 1 + self.center, 1 - shift))

    def extra_repr(self) -> str:
        """For ``print``."""
        return super().extra_repr() + self._shown()


@register("l1_layer", "B12", formula="y = γ (x − µ) / (mean|x − µ| + ε) + β, of a sample's channels", fold="F2")
class L1LayerNorm(_L1Sample):
    r"""Layer norm by the mean absolute deviation.

    .. math:: y = \gamma\,\frac{x - \mu}{\sigma_1} + \beta, \qquad \sigma_1 = \tfrac{1}{d} \textstyle\sum |x - \mu| + \varepsilon

    Args:
        features: Channels, d; or the shape of the last axes.
        eps: ε, > 0.
        match_sigma: Whether σ₁ is multiplied by √(π/2), to be the standard deviation of normal numbers.
        power_of_two: Whether σ₁ is rounded to a power of two, so that a shift divides; the gradient is that of what was rounded.
        affine: Whether there are γ and β.
        channel_dim: Axis of the channels, where ``features`` is a number: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        W. Guo et al., "Towards accurate and efficient sub-8-bit integer training" (2024), on L1 normalization layers.

    >>> L1LayerNorm(4)(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).detach().round(decimals=2)
    tensor([[-1.5000, -0.5000,  0.5000,  1.5000]])
    """

    center = True


@register("l1_rms", "B12", formula="y = γ x / (mean|x| + ε), of a sample's channels", fold="F2")
class L1RMSNorm(_L1Sample):
    r"""Norm by the mean magnitude, the counterpart of RMS norm.

    .. math:: y = \gamma\,x / (\tfrac{1}{d} \textstyle\sum |x| + \varepsilon)

    Args:
        features: Channels, d; or the shape of the last axes.
        eps: ε, > 0.
        match_sigma: Whether the mean is multiplied by √(π/2), to be the standard deviation of normal numbers.
        power_of_two: Whether it is rounded to a power of two, so that a shift divides; the gradient is that of what was rounded.
        affine: Whether there is a γ.
        channel_dim: Axis of the channels, where ``features`` is a number: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        W. Guo et al., "Towards accurate and efficient sub-8-bit integer training" (2024), on L1 normalization layers.
    """


@register("l1_batch", "B12", formula="y = γ (x − µ) / (σ₁ + ε) + β, µ and σ₁ = mean|x − µ| of training", fold="F0")
class L1BatchNorm(_Magnitudes, CalibratedNorm):
    r"""Batch norm by the mean absolute deviation.

    .. math:: y = \gamma\,\frac{x - \mu}{\sigma_1} + \beta, \qquad \sigma_1 = \mathrm{mean}\,|x - \mu| + \varepsilon

    Training takes both from the batch, over all axes but that of the channels, and moves the running values towards them; evaluation uses
    those.

    Args:
        features: Channels.
        eps: ε, > 0.
        momentum: How far a batch moves the running statistics, in (0, 1].
        match_sigma: Whether the deviation is multiplied by √(π/2), to be the standard deviation of normal numbers.
        power_of_two: Whether it is rounded to a power of two, so that a shift divides; the gradient is that of what was rounded.
        affine: Whether there are γ and β.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above, or a statistic in training would be of a single value.

    Source:
        W. Guo et al., "Towards accurate and efficient sub-8-bit integer training" (2024), on L1 normalization layers.
    """

    stats: ClassVar[Stats] = "running"

    running_mean: Tensor
    running_deviation: Tensor

    def __init__(
        self,
        features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        match_sigma: bool = False,
        power_of_two: bool = False,
        affine: bool = True,
        channel_dim: int = 1,
    ) -> None:
        affine = self._flag("affine", affine)
        super().__init__(features, channel_dim, scale=affine, shift=affine)
        self.eps = self._number("eps", eps, gt=0)
        self.momentum = self._share("momentum", momentum)
        self.match_sigma, self.power_of_two = self._flag("match_sigma", match_sigma), self._flag("power_of_two", power_of_two)
        self.register_buffer("running_mean", torch.zeros(self.features))
        self.register_buffer("running_deviation", torch.ones(self.features))

    def standardize(self, x: Tensor) -> Tensor:
        """By the batch in training, by the running values in evaluation."""
        if not self.training:
            return (x - self._spread(self.running_mean, x)) / self._spread(self._divisor(), x)
        over = self._over(x)
        mean = x.mean(over, keepdim=True)
        z = x - mean
        with torch.no_grad():
            deviation = z.abs().mean(over)
            for kept, found in ((self.running_mean, mean.reshape(-1)), (self.running_deviation, deviation)):
                kept.lerp_(found.to(kept.dtype), self.momentum)
        return z / self._spread_of(z, over)

    def moments_of(self, x: Tensor, *, own: bool) -> list[ChannelMoments]:
        """Moments of an input, and of the magnitudes of its distances from its own mean, or from the running one."""
        found = super().moments_of(x, own=own)
        wide = x.detach().double()
        z = wide - self._spread(found[0].mean if own else self.running_mean, wide)
        return [*found, moments(z.abs(), self._axes(x))]

    def set_statistics(self, seen: Sequence[ChannelMoments]) -> None:
        """Mean, and mean magnitude of the distances from it."""
        self.running_mean.copy_(seen[0].mean)
        self.running_deviation.copy_(seen[1].mean)

    def fold(self) -> Affine:
        """Scale γ/σ₁ and shift β − μ·scale, from the running statistics."""
        return self._folded(1 / self._divisor().double(), self.running_mean)

    def hw_ops(self) -> Cost:
        """A subtraction, a multiplication and an addition."""
        return Cost(Operations(1 + (self.bias is not None), 1))

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, eps={self.eps:g}, momentum={self.momentum:g}{self._shown()}"

    def _divisor(self) -> Tensor:
        return self._spread_of(self.running_deviation.unsqueeze(0), [0]).squeeze(0)
