r"""Batch normalisation of sequences ``(time, batch, C, *)``: what its kinds share.

.. math:: y = \gamma\,\frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta

Training takes μ and the biased σ² from the batch, and moves the running values towards μ and the unbiased σ²; evaluation uses those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurosim.errors import ConfigError
from neurosim.neurons.parameters import StaysWide
from neurosim.norms.base import Affine, Cost, Norm, Operations, Stats
from neurosim.norms.moments import ChannelMoments, moments


class TooFewValues(ConfigError):
    """A statistic of a batch would be of a single value."""


def normalize(x: Tensor, mean: Tensor, scale: Tensor, shift: Tensor | None) -> Tensor:
    """``(x − mean) · scale + shift``, rounded after every operation, so that a larger x never gives less if the scale is positive."""
    y = (x - mean) * scale
    return y if shift is None else y + shift


class TimeNorm(StaysWide, Norm):
    """What the batch norms over time share: scale, shift, running statistics and their checks.

    Their names in a ``state_dict`` are those of ``torch.nn.BatchNorm2d``. Tensors keep at least 32 bits: ``norm.half()`` leaves them as
    they are, and inputs of 16 bits are normalised all the same.

    Args:
        features: Channels; or the whole shape of the units, for statistics of every element.
        eps: ε, > 0.
        momentum: How far an update moves the running statistics, in (0, 1].
        steps: How many sets of everything there are, one a step; 0 is one set for all.
        shift: Whether there is a β.
    """

    stats: ClassVar[Stats] = "running"
    takes_time: ClassVar = True
    stays_digital: ClassVar[str] = "norms run in the digital part; neurosim.fold makes weights or thresholds of them"

    weight: nn.Parameter
    bias: nn.Parameter | None
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, features: int | Sequence[int], eps: float, momentum: float, *, steps: int = 0, shift: bool = True) -> None:
        super().__init__()
        self.features = features_shape(f"{self._where}.features", features)
        self.eps = self._number("eps", eps, math.inf, "more than 0 and finite")
        self.momentum = self._number("momentum", momentum, math.nextafter(1, 2), "more than 0 and at most 1")
        shape = (steps, *self.features) if steps else self.features
        self.weight = nn.Parameter(torch.ones(shape))
        self.register_parameter("bias", nn.Parameter(torch.zeros(shape)) if shift else None)
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def coefficients(self, given: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean, scale and shift, as :func:`normalize` takes them, of a mean and variance, by default the running ones, as in evaluation."""
        mean, var = (self.running_mean, self.running_var) if given is None else given
        return mean, self._scale(var), self.bias

    @property
    def channel_axis(self) -> int:
        """Axis of the channels, after time and batch."""
        return 2

    def fold(self) -> Affine:
        """Scale γ/√(σ² + ε) and shift β − μ·scale, from the running statistics."""
        scale = self._scale(self.running_var)
        shift = -self.running_mean * scale
        return Affine(scale.detach(), (shift if self.bias is None else shift + self.bias).detach())

    def hw_ops(self) -> Cost:
        """One multiplication, and a subtraction and an addition (of which folding the mean leaves one)."""
        return Cost(Operations(adds=1 + (self.bias is not None), multiplies=1))

    def bounds(self) -> tuple[float, float]:
        """All numbers: no statistic of the past bounds an input to come."""
        return -math.inf, math.inf

    def moments_of(self, x: Tensor, *_: Any) -> list[ChannelMoments]:
        """Moments of an input, arranged as the running statistics are: one entry, or one a step. Other arguments of a call are ignored."""
        self._check(x)
        return [moments(x, self._kept(x))]

    def set_statistics(self, seen: Sequence[ChannelMoments]) -> None:
        """Take running statistics over from :meth:`moments_of`; those of which nothing was seen stay."""
        for mean, var, one in zip(self._sets(self.running_mean), self._sets(self.running_var), seen, strict=False):
            if one.n:
                mean.copy_(one.mean)
                var.copy_(one.variance)

    def mixed(self, x: Tensor, alpha: float, first: int = 0) -> tuple[Tensor, Tensor]:
        """Running mean and variance, mixed with those of a sequence: ``alpha`` of the former; with gradients.

        Args:
            x: ``(time, batch, C, *)``, not empty.
            alpha: In [0, 1].
            first: Of norms with a set for every step, the number of its first step; steps that are not in it keep theirs.
        """
        self._check(x)
        steps = self.running_mean.dim() > len(self.features)
        kept = [*([0] if steps else []), *self._kept(x)]
        var, mean = torch.var_mean(x.to(self.running_mean.dtype), [axis for axis in range(x.dim()) if axis not in kept], correction=0)
        of = slice(first, first + len(x)) if steps else slice(None)
        found = []
        for old, new in ((self.running_mean, mean), (self.running_var, var)):
            both = old[of].lerp(new, 1 - alpha)
            found.append(torch.cat([old[: of.start], both, old[of.stop :]]) if steps else both)
        return found[0], found[1]

    def extra_repr(self) -> str:
        """For ``print``."""
        shown = self.features[0] if len(self.features) == 1 else self.features
        return f"{shown}, eps={self.eps:g}, momentum={self.momentum:g}"

    def _sets(self, value: Tensor) -> tuple[Tensor, ...]:
        return (value,) if value.dim() == len(self.features) else value.unbind(0)

    def _gamma(self) -> Tensor:
        return self.weight

    def _scale(self, var: Tensor) -> Tensor:
        return self._gamma() / (var + self.eps).sqrt()  # both are rounded correctly: the same on every device

    def _kept(self, x: Tensor) -> Sequence[int]:
        return [2] if len(self.features) == 1 else range(2, x.dim())

    def _spread(self, value: Tensor, units: int) -> Tensor:
        """One value a channel as one that broadcasts to the axes of the units."""
        return value.reshape(*value.shape, *(1,) * (units - len(self.features)))

    def _evaluate(self, x: Tensor, mean: Tensor | None = None, var: Tensor | None = None) -> Tensor:
        """With given statistics, by default the running ones; x is ``(time, batch, *units)``."""
        units = x.dim() - 2
        centre = self._spread(self.running_mean if mean is None else mean, units)
        scale = self._spread(self._scale(self.running_var if var is None else var), units)
        return normalize(x, centre, scale, None if self.bias is None else self._spread(self.bias, units)).to(x.dtype)

    def _train(self, x: Tensor, at: int | None = None) -> Tensor:
        """With the statistics of ``(samples, *units)``, which update the running ones; ``at`` is the set, where there are several."""
        y = x if len(self.features) == 1 else x.flatten(1)
        self._refuse_single(y.numel() // y.shape[1], x)
        self.num_batches_tracked.add_(1)
        every = self.running_mean, self.running_var, self._gamma()
        mean, var, weight = ((value if at is None else value[at]).view(-1) for value in every)
        bias = None if self.bias is None else (self.bias if at is None else self.bias[at]).view(-1)
        return functional.batch_norm(y, mean, var, weight, bias, True, self.momentum, self.eps).reshape(x.shape)

    def _refuse_single(self, count: int, x: Tensor) -> None:
        if count < 2:
            raise TooFewValues(
                f"{self._where}: statistics in training need more than one value each, got {count} in shape {tuple(x.shape)}; "
                "give larger batches, or call eval()"
            )

    def _check(self, x: object) -> None:
        """Raise unless x is ``(time, batch, *units)`` with the features, the precision and the device that the norm has."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise ConfigError(f"{self._where}: x must be a floating-point tensor, got {getattr(x, 'dtype', type(x).__name__)}")
        if x.device != self.weight.device or (x.dtype.itemsize > 2 and x.dtype != self.weight.dtype):
            have = f"{self.weight.dtype} on {self.weight.device}"
            raise ConfigError(f"{self._where}: x must be {have} like the norm, or of 16 bits there, got {x.dtype} on {x.device}")
        units, channels = tuple(x.shape[2:]), len(self.features) == 1
        if (units[:1] if channels else units) != self.features:
            wanted = f"(time, batch, {self.features[0]}, *)" if channels else f"(time, batch, *units) with units {self.features}"
            raise ConfigError(f"{self._where}: x must be {wanted}, got shape {tuple(x.shape)}")

    def _number(self, name: str, value: Any, below: float, domain: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < below:
            raise ConfigError(f"{self._where}.{name}: must be {domain}, got {value!r}")
        return float(value)

    @property
    def _where(self) -> str:
        return type(self).__name__


def features_shape(where: str, features: object) -> tuple[int, ...]:
    """Channels, or a shape of units, as a tuple.

    Raises:
        ConfigError: It is neither.
    """
    given = tuple(features) if isinstance(features, Sequence) and not isinstance(features, str) else (features,)
    if not given or any(isinstance(one, bool) or not isinstance(one, int) or one < 1 for one in given):
        raise ConfigError(f"{where}: must be a number of channels > 0, or the shape of the units, got {features!r:.60}")
    return given
