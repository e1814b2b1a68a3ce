r"""Norms of channels ``(batch, C, *)``: what those share that are no batch norms of sequences.

.. math:: y = \gamma \odot f(x) + \beta
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, NoReturn

import torch
from torch import Tensor, nn

from neurosim.checks import flag, number, whole
from neurosim.errors import ConfigError, ConversionError
from neurosim.neurons.parameters import StaysWide, state_dtype
from neurosim.norms.base import Affine, Norm
from neurosim.norms.time_norm import features_shape


class ChannelNorm(StaysWide, Norm):
    """Scale, shift and checks of a norm of channels, around what it computes: ``standardize``.

    Parameters keep at least 32 bits, and inputs of 16 bits are computed with 32: ``norm.half()`` changes nothing.

    Args:
        features: Channels; or, where the norm allows it, the shape of the last axes, whose elements then have values of their own.
        channel_dim: Axis of the channels, where ``features`` is a number: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.
        scale, shift: Whether there is a γ and a β.
    """

    whole_units: ClassVar[bool] = False  #: whether ``features`` may be a shape of more than one axis
    needs_space: ClassVar[bool] = False  #: whether there must be axes beside batch and channels
    own_precision: ClassVar[bool] = False  #: whether inputs of 16 bits are computed with 16
    affine_last: bool = True  #: whether γ and β are the last thing that it does, so that the next layer can take them over
    dims: int | None = None  #: of inputs, once a layer has taken a part over that works on the last axis

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, features: int | Sequence[int], channel_dim: int = 1, *, scale: bool = True, shift: bool = True) -> None:
        super().__init__()
        self.features = features_shape(f"{self._where}.features", features)
        if len(self.features) > 1 and not self.whole_units:
            raise ConfigError(f"{self._where}.features: must be a number of channels, got {features!r:.60}")
        self.channel_dim = channel_axis(self._where, channel_dim)
        self.register_parameter("weight", nn.Parameter(torch.ones(self._parameter_shape)) if scale else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(self._parameter_shape)) if shift else None)

    @property
    def channel_axis(self) -> int:
        """Axis of the channels; of whole units, the first of theirs."""
        return self.channel_dim if len(self.features) == 1 else -len(self.features)

    @abstractmethod
    def standardize(self, x: Tensor) -> Tensor:
        """The result before γ and β, in the precision of ``x``: 32 bits or more."""

    def finish(self, y: Tensor) -> Tensor:
        """What happens after γ and β; here nothing."""
        return y

    def standard_bounds(self) -> tuple[float, float]:
        """The range of :meth:`standardize` in evaluation."""
        return -math.inf, math.inf

    def forward(self, x: Tensor) -> Tensor:
        """The normalised input, in its shape and precision."""
        self._check(x)
        wide = x.to(state_dtype(x))
        return self.finish(self.scaled(wide, self.standardize(wide))).to(x.dtype)

    def scaled(self, x: Tensor, y: Tensor) -> Tensor:
        """What is made of the input and of what :meth:`standardize` gives for it: γ y + β."""
        if self.weight is not None:
            y = y * self._spread(self.weight, y)
        return y if self.bias is None else y + self._spread(self.bias, y)

    def last_affine(self) -> Affine | None:
        """γ and β, a value for each channel, where there are any and they come last."""
        like = self.bias if self.weight is None else self.weight
        if not self.affine_last or like is None:
            return None
        ones = torch.ones(self.features, dtype=like.dtype, device=like.device)
        scale = ones if self.weight is None else self.weight.detach().expand(self.features)
        return Affine(scale, torch.zeros_like(scale) if self.bias is None else self.bias.detach())

    def drop_affine(self) -> None:
        """Leave out what :meth:`last_affine` gives, which someone else does from now on."""
        self.weight = self.bias = None

    def fold(self) -> Affine:
        """Refused, unless a norm has one scale and one shift for all samples."""
        self._refuse("it takes statistics of every sample")

    @torch.no_grad()
    def bounds(self) -> tuple[float, float]:
        """The range of its outputs in evaluation, with the γ and β that it has."""
        gamma = torch.ones(1) if self.weight is None else self.weight.detach().double()
        beta = torch.zeros(()) if self.bias is None else self.bias.detach().double()
        ends = torch.stack([torch.where(gamma == 0, 0.0, gamma * end) + beta for end in self.standard_bounds()])
        ends = self.finish(ends.reshape(self._places(2)) if ends[0].numel() > 1 else ends)
        return float(ends.min()), float(ends.max())

    def extra_repr(self) -> str:
        """For ``print``."""
        shown = f"{self.features[0] if len(self.features) == 1 else self.features}"
        return shown if self.channel_dim == 1 or len(self.features) > 1 else f"{shown}, channel_dim={self.channel_dim}"

    @property
    def _parameter_shape(self) -> tuple[int, ...]:
        return self.features

    def _places(self, count: int) -> tuple[int, ...]:
        """The shape of so many samples of a single place."""
        axis = self.channel_axis
        return (count, *(1,) * max(axis - 1, 0), *self.features, *(1,) * max(-axis - len(self.features), 0))

    def _axes(self, x: Tensor) -> list[int]:
        """The axes of the features."""
        return [self.channel_dim % x.dim()] if len(self.features) == 1 else list(range(x.dim() - len(self.features), x.dim()))

    def _space(self, x: Tensor) -> list[int]:
        """All axes but those of the batch and of the channels."""
        return [axis for axis in range(1, x.dim()) if axis not in self._axes(x)]

    def _over(self, x: Tensor) -> list[int]:
        """All axes but that of the channels, for statistics of a batch in training: of more than one value."""
        over = [axis for axis in range(x.dim()) if axis not in self._axes(x)]
        count = math.prod(x.shape[axis] for axis in over)
        if count < 2:
            raise ConfigError(
                f"{self._where}: statistics in training need more than one value each, got {count} in shape {tuple(x.shape)}; "
                "give larger batches, or call eval()"
            )
        return over

    def _folded(self, scale: Tensor, mean: Tensor | None = None) -> Affine:
        """The affine map of a norm that multiplies by ``scale`` what is left of x without ``mean``, with γ and β."""
        if self.weight is not None:
            scale = scale * self.weight.detach()
        shift = torch.zeros_like(scale) if mean is None else -mean * scale
        return Affine(scale, shift if self.bias is None else shift + self.bias.detach())

    def _spread(self, value: Tensor, x: Tensor) -> Tensor:
        """One value a channel as one that broadcasts to ``x``; a single value stays."""
        if value.numel() == 1:
            return value.reshape(())
        return value.reshape(*value.shape, *(1,) * (x.dim() - 1 - self._axes(x)[-1])).to(state_dtype(x))

    def _check(self, x: object) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise ConfigError(f"{self._where}: x must be a floating-point tensor, got {getattr(x, 'dtype', type(x).__name__)}")
        least = max(2, 1 + len(self.features), self.channel_dim + 1, -self.channel_dim + 1)
        if x.dim() < least or tuple(x.shape[axis] for axis in self._axes(x)) != self.features:
            at = f"{self.features[0]} channels on axis {self.channel_dim}" if len(self.features) == 1 else f"units {self.features}"
            raise ConfigError(f"{self._where}: x must be (batch, *) with {at}, got shape {tuple(x.shape)}")
        if self.needs_space and not self._space(x):
            raise ConfigError(f"{self._where}: x must have axes beside batch and channels, for statistics, got shape {tuple(x.shape)}")
        if self.dims is not None and x.dim() != self.dims:
            raise ConfigError(
                f"{self._where}: x must have {self.dims} axes since a linear layer took a part over, got shape {tuple(x.shape)}"
            )
        check_type(self._where, x, self.parameters(recurse=False))

    def _refuse_empty(self, x: Tensor) -> None:
        """Before statistics of it are kept: those of nothing are NaN, and would stay it."""
        if not x.numel():
            raise ConfigError(f"{self._where}: x must hold a sample in training, got shape {tuple(x.shape)}")

    def _refuse(self, reason: str) -> NoReturn:
        raise ConversionError(f"{self._where}: {reason}, so no constant scale and shift can replace it")

    def _number(self, name: str, value: object, *, ge: float = -math.inf, gt: float = -math.inf, lt: float = math.inf) -> float:
        return number(f"{self._where}.{name}", value, ge=ge, gt=gt, lt=lt)

    def _share(self, name: str, value: object) -> float:
        found = self._number(name, value, gt=0)
        if found > 1:
            raise ConfigError(f"{self._where}.{name}: must be more than 0 and at most 1, got {value!r:.60}")
        return found

    def _flag(self, name: str, value: object) -> bool:
        return flag(f"{self._where}.{name}", value)

    @property
    def _where(self) -> str:
        return type(self).__name__


def check_type(where: str, x: Tensor, held: Iterable[Tensor]) -> None:
    """Refuse an input that does not go with what a norm holds.

    Raises:
        ConfigError: It lies on another device, or has another precision of 32 bits or more.
    """
    wrong = next((one for one in held if one.device != x.device or one.dtype != state_dtype(x)), None)
    if wrong is not None:
        got = f"{x.dtype} on {x.device}"
        raise ConfigError(f"{where}: x must be {wrong.dtype} on {wrong.device} like the norm, or of 16 bits there, got {got}")


def channel_axis(where: str, channel_dim: object) -> int:
    """An axis of channels, which is not that of the batch.

    Raises:
        ConfigError: It is none.
    """
    if channel_dim == 0:
        raise ConfigError(f"{where}.channel_dim: must be another axis than that of the batch, got 0")
    return whole(f"{where}.channel_dim", channel_dim, -8, 8)


class MeasuredNorm(ChannelNorm):
    """Base of the norms by statistics of every sample, in parts: with others in the place of the statistics, each is affine.

    Args:
        features, channel_dim, scale, shift: As of a :class:`ChannelNorm`.
    """

    measured: ClassVar[tuple[bool, ...]] = (False,)  #: for each statistic whether it has a value a channel, or one for all

    @property
    def centers(self) -> bool:
        """Whether :meth:`prepare` takes the mean over the features away, which no scale a channel can."""
        return False

    @property
    def measures(self) -> bool:
        """Whether it takes statistics of every sample, as it was made."""
        return True

    def prepare(self, x: Tensor) -> Tensor:
        """What is done to the input before anything is measured: nothing, or centring over the features."""
        return x

    def check_values(self, x: Tensor) -> None:
        """Refuse an input with a single value for a statistic that needs more; here none does."""

    @abstractmethod
    def measure(self, x: Tensor) -> tuple[Tensor, ...]:
        """The statistics of what :meth:`prepare` gives, in shapes that broadcast to it."""

    @abstractmethod
    def standardize_by(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """What :meth:`prepare` gives, normalised by these statistics: affine in it."""

    def standardize(self, x: Tensor) -> Tensor:
        """By the statistics of each sample."""
        x = self.prepare(x)
        return self.standardize_by(x, *self.measure(x))
