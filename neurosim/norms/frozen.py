"""Norms of samples whose statistics become constants after a number of training batches: what is left of them is affine."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from neurosim.checks import number, whole
from neurosim.errors import ConfigError, ConversionError
from neurosim.neurons.parameters import StaysWide, state_dtype
from neurosim.norms.base import Affine, Cost, Norm, Operations, Stats
from neurosim.norms.channels import MeasuredNorm


class FreezingNorm(StaysWide, Norm):
    r"""A norm by statistics of every sample, until it has seen so many batches in training; from then on by their averages.

    .. math:: y = \gamma\,\frac{P x}{\sigma(x)} + \beta \quad\longrightarrow\quad y = \gamma\,\frac{P x}{\bar\sigma} + \beta

    All statistics are averaged: the spread, the mean of norms that take one over space, the share of channels. Centring over the features
    of one place is not a statistic to be frozen but a projection P, and stays, as in the authors' code: :func:`neurosim.fold` takes it
    into weights together with γ/σ̄ and β.

    Averages, the number of batches and the one from which it is frozen are buffers: a checkpoint between two batches holds all of it.
    Under data-parallel training they are those of the first replica.

    Args:
        norm: What to freeze; its parameters go on being trained.
        after: Batches in training before it is frozen, ≥ 0. With 0 it is frozen once it has averages: those of :meth:`set_averages`, or of
            its first batch in training.
        momentum: How far a batch moves the averages, in (0, 1]; the first ones count alike until that is more.

    Shapes:
        As of the norm.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        L. Baroni et al., "Transformers don't need LayerNorm at inference time" (2025), and the authors' code, whose average is that of the
        last batches, and which has averages of their own for first positions of texts.
    """

    stats: ClassVar[Stats] = "sample"

    passes: Tensor
    after: Tensor
    known: Tensor

    def __init__(self, norm: MeasuredNorm, after: int, momentum: float = 0.1) -> None:
        super().__init__()
        given: Any = norm
        if not (isinstance(given, MeasuredNorm) and given.measures):
            other = ", made to take none" if isinstance(given, MeasuredNorm) else "; neurosim.freeze_statistics takes those of torch"
            raise ConfigError(
                "FreezingNorm.norm: must be a norm of this package by statistics of every sample, "
                f"got {type(norm).__module__}.{type(norm).__name__}{other}"
            )
        self.norm = norm
        self.momentum = number("FreezingNorm.momentum", momentum, gt=0)
        if self.momentum > 1:
            raise ConfigError(f"FreezingNorm.momentum: must be more than 0 and at most 1, got {momentum!r:.60}")
        self.register_buffer("after", torch.tensor(whole("FreezingNorm.after", after, 0)))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        self.register_buffer("known", torch.zeros((), dtype=torch.int64))  # batches behind the averages
        like = next(iter(norm.parameters()), torch.empty(0))
        wide = torch.float64 if like.dtype == torch.float64 else torch.float32
        for at, of_channels in enumerate(norm.measured):
            shape = norm.features if of_channels else (1,)
            self.register_buffer(f"average{at}", torch.ones(shape, dtype=wide, device=like.device))

    @property
    def averages(self) -> list[Tensor]:
        """Of each statistic: one value a channel, or one."""
        return [self.get_buffer(f"average{at}") for at in range(len(self.norm.measured))]

    @property
    def frozen(self) -> bool:
        """Whether it has seen all its batches, and has averages."""
        return bool(self._fixed())

    @property
    def channel_axis(self) -> int:
        """That of the norm."""
        return self.norm.channel_axis

    @property
    def centers(self) -> bool:
        """Whether it takes the mean over the features away first, frozen or not."""
        return self.norm.centers

    def forward(self, x: Tensor) -> Tensor:
        """Normalised by the statistics of every sample, or by their averages."""
        norm = self.norm
        norm._check(x)
        if self.training:
            norm._refuse_empty(x)
        try:
            norm.check_values(x)
        except ConfigError:
            if not self.frozen:
                raise
        wide = x.to(state_dtype(x))
        ready = norm.prepare(wide)
        measured = norm.measure(ready)
        fixed = self._fixed()
        if self.training:
            self._follow(measured, fixed)
        used = [torch.where(fixed, norm._spread(kept, wide).to(one.dtype), one) for kept, one in zip(self.averages, measured, strict=True)]
        return norm.finish(norm.scaled(wide, norm.standardize_by(ready, *used))).to(x.dtype)

    @torch.no_grad()
    def average_of(self, x: Tensor) -> list[Tensor]:
        """The statistics of a batch, averaged over its samples and places, in the shapes of :attr:`averages`."""
        self.norm._check(x)
        self.norm.check_values(x)
        ready = self.norm.prepare(x.to(state_dtype(x)))
        return self._averaged(self.norm.measure(ready))

    @torch.no_grad()
    def set_averages(self, values: list[Tensor], batches: int) -> None:
        """Take these averages, which stand for so many batches.

        Raises:
            ConfigError: One is not finite.
        """
        if not all(bool(value.isfinite().all()) for value in values):
            raise ConfigError("FreezingNorm.set_averages: all averages must be finite; the inputs of the norm are not, or overflow")
        for kept, value in zip(self.averages, values, strict=True):
            kept.copy_(value.reshape(kept.shape))
        self.known.fill_(batches)

    def fold(self) -> Affine:
        """Scale and shift once it is frozen, of norms that do not centre."""
        if self.centers and self.frozen:
            raise ConversionError(
                "FreezingNorm: it takes the mean of every sample away first, so no constant scale and shift alone can replace it; "
                "neurosim.fold gives that to the neighbouring weights as well"
            )
        return self.fold_centered()

    @torch.no_grad()
    def fold_centered(self) -> Affine:
        """Scale and shift once it is frozen, of the input without its mean over the features if it :attr:`centers`.

        Raises:
            ConversionError: It is not frozen, or an average is not finite.
        """
        norm = self.norm
        if not self.frozen:
            until = max(int(self.after), 1)
            still = f"it takes statistics of every sample until {until} batches of training, of which {int(self.passes)} are over"
            raise ConversionError(f"FreezingNorm: {still}, so no constant scale and shift can replace it")
        if not all(bool(kept.isfinite().all()) for kept in self.averages):
            raise ConversionError("FreezingNorm: its averages are not all finite, for a batch of training was not")
        x = torch.zeros(norm._places(1), dtype=torch.float64, device=self.passes.device)
        used = [norm._spread(kept, x).double() for kept in self.averages]
        training = norm.training
        shift, ends = (norm.train(False).scaled(at, norm.standardize_by(at, *used)) for at in (x, x + 1))
        norm.train(training)
        return Affine((ends - shift).reshape(norm.features), shift.reshape(norm.features))

    def rest(self) -> nn.Module:
        """What comes after scale and shift: of an FRN its threshold."""
        return self.norm.rest()

    def hw_ops(self) -> Cost:
        """That of the norm; frozen, a product and an addition, and a mean for the centring that is not folded."""
        if not self.frozen:
            return self.norm.hw_ops()
        return Cost(Operations(1 + 2 * self.centers, 1), Operations(0, int(self.centers)))

    def bounds(self) -> tuple[float, float]:
        """Those of the norm; frozen, all numbers."""
        return (-math.inf, math.inf) if self.frozen else self.norm.bounds()

    def extra_repr(self) -> str:
        """For ``print``."""
        return "frozen" if self.frozen else f"frozen after {int(self.after)} batches, {int(self.passes)} seen"

    def _fixed(self) -> Tensor:
        return (self.passes >= self.after) & (self.known > 0)

    @torch.no_grad()
    def _follow(self, measured: tuple[Tensor, ...], fixed: Tensor) -> None:
        live = ~fixed
        self.known.add_(live)
        share = (1 / self.known.clamp(min=1)).clamp(min=self.momentum)
        for kept, found in zip(self.averages, self._averaged(measured), strict=True):
            kept.copy_(torch.where(live, kept + share.to(kept.dtype) * (found.to(kept.dtype) - kept), kept))
        self.passes.add_(live)

    def _averaged(self, measured: tuple[Tensor, ...]) -> list[Tensor]:
        norm = self.norm
        found = []
        for one, of_channels in zip(measured, norm.measured, strict=True):
            over = [axis for axis in range(one.dim()) if not of_channels or axis != norm.channel_axis % one.dim()]
            found.append(one.mean(over).reshape(norm.features if of_channels else (1,)))
        return found
