"""Batch norms that treat every step by itself, and therefore must know which step it is: BNTT and TEBN."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from neurosim.checks import whole
from neurosim.errors import ConfigError, ConversionError
from neurosim.norms.base import Affine, Cost, Operations
from neurosim.norms.moments import ChannelMoments, moments
from neurosim.norms.registry import register
from neurosim.norms.time_norm import TimeNorm, normalize
from neurosim.random import Stream


class Elapsed(NamedTuple):
    """What a norm that counts hands from one chunk of a sequence to the next."""

    step: int  #: steps since the beginning


class SteppedNorm(TimeNorm):
    """Base of the norms that count steps. ``run`` goes on from a state, so that a sequence can be cut; ``forward`` starts at step 0."""

    steps: int

    def forward(self, x: Tensor, first: int = 0) -> Tensor:
        """The normalised sequence, whose first step is that number."""
        self._check(x)
        last = first + len(x)
        if last > self.steps:
            made = f"it was made for {self.steps} steps and knows nothing of later ones"
            raise ConfigError(f"{self._where}: {made}, got steps {first} to {last - 1}")
        return self._at(x, first) if len(x) else x

    def run(self, x: Tensor, state: Elapsed | None = None, *, stream: Stream | None = None) -> tuple[Tensor, Elapsed]:
        """The normalised sequence, and the state to hand to the next chunk.

        Args:
            x: ``(time, batch, C, *)``.
            state: What the chunk before returned; None is the beginning.
            stream: Ignored: nothing is random here.
        """
        if state is not None and not isinstance(state, Elapsed):
            raise ConfigError(f"{self._where}: state must be an Elapsed or None, got {type(state).__name__}")
        first = 0 if state is None else state.step
        y: Tensor = self(x, first)
        return y, Elapsed(first + len(x))

    @abstractmethod
    def _at(self, x: Tensor, first: int) -> Tensor:
        """The result for steps from ``first`` on."""

    def _same(self, affine: Affine) -> Affine:
        """Those of the only step, or of all if they are equal."""
        for name, value in affine._asdict().items():
            if not bool((value == value[:1]).all()):
                worst = (value - value[:1]).abs().max().item()
                raise ConversionError(
                    f"{self._where}: its {name} differs from step to step, by up to {worst:g}, so no constant can replace it"
                )
        return Affine(affine.scale[0], affine.shift[0])

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, steps={self.steps}"


@register(
    "bntt",
    formula="y_t = γ_t (x_t − µ_t) / √(σ_t² + ε), µ_t and σ_t² of training",
    fold="F0",
    example=lambda: BatchNormThroughTime(16, 4),
)
class BatchNormThroughTime(SteppedNorm):
    r"""BNTT: a batch norm of its own for every step, without shift; it folds where all steps came out alike.

    .. math:: y_t = \gamma_t\,(x_t - \mu_t) / \sqrt{\sigma_t^2 + \varepsilon}

    Args:
        features: Channels; or the whole shape of the units, for statistics of every element.
        steps: Steps that it is made for; sequences may be shorter, never longer.
        eps: ε, > 0.
        momentum: How far an update moves the running statistics, in (0, 1].

    Shapes:
        x ``(time, batch, C, *)``; result the same. ``weight`` and running statistics are ``(steps, *features)``.

    Raises:
        ConfigError: An argument or an input is not as above, or a statistic would be of a single value.

    Source:
        Y. Kim, P. Panda, "Revisiting batch normalization for training low-latency deep spiking neural networks from scratch", Frontiers in
        Neuroscience 15:773954 (2021). The authors' code has ε = 1e-4.

    >>> norm = BatchNormThroughTime(3, steps=5)
    >>> first, state = norm.run(torch.rand(2, 4, 3))
    >>> second, _ = norm.run(torch.rand(3, 4, 3), state)  # steps 2 to 4
    """

    def __init__(self, features: int | Sequence[int], steps: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(features, eps, momentum, steps=whole(f"{self._where}.steps", steps, 1), shift=False)
        self.steps = steps

    def fold(self) -> Affine:
        """Scale and shift, if all steps have the same."""
        return self._same(super().fold())

    def moments_of(self, x: Tensor, first: int = 0) -> list[ChannelMoments]:
        """Moments of every step of an input, whose first step is that number, and of none before."""
        self._check(x)
        kept = [axis - 1 for axis in self._kept(x)]
        return [moments(step, kept) for step in (*[x[0, :0]] * first, *x.unbind(0))]

    def _at(self, x: Tensor, first: int) -> Tensor:
        if self.training:
            return torch.stack([self._train(step, first + t) for t, step in enumerate(x.unbind(0))])
        of, units = slice(first, first + len(x)), x.dim() - 2
        mean, scale = (self._spread(value[of].unsqueeze(1), units) for value in (self.running_mean, self._scale(self.running_var)))
        return normalize(x, mean, scale, None).to(x.dtype)


@register(
    "tebn",
    formula="y_t = p_t (γ (x_t − µ) / √(σ² + ε) + β), µ and σ² of training",
    fold="F0",
    example=lambda: TemporalEffectiveBatchNorm(16, 4),
)
class TemporalEffectiveBatchNorm(SteppedNorm):
    r"""TEBN: one batch norm over time, batch and space, and a learned weight for every step; it folds where all steps have the same.

    .. math:: y_t = p_t\,\bigl(\gamma\,(x_t - \mu) / \sqrt{\sigma^2 + \varepsilon} + \beta\bigr)

    Args:
        features: Channels; or the whole shape of the units, for statistics of every element.
        steps: Steps that it is made for; sequences may be shorter, never longer.
        eps: ε, > 0.
        momentum: How far an update moves the running statistics, in (0, 1].

    Shapes:
        x ``(time, batch, C, *)``; result the same. ``p`` is ``(steps,)``, 1 at the start.

    Raises:
        ConfigError: An argument or an input is not as above, or a statistic would be of a single value.

    Source:
        C. Duan, J. Ding, S. Chen, Z. Yu, T. Huang, "Temporal effective batch normalization in spiking neural networks", NeurIPS 2022.
    """

    p: nn.Parameter

    def __init__(self, features: int | Sequence[int], steps: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(features, eps, momentum)
        self.steps = whole(f"{self._where}.steps", steps, 1)
        self.p = nn.Parameter(torch.ones(steps))

    def fold(self) -> Affine:
        """Scale and shift, if all steps have the same weight."""
        p = self.p.detach().reshape(-1, *(1,) * len(self.features))
        return self._same(Affine(*(p * value for value in super().fold())))

    def hw_ops(self) -> Cost:
        """One multiplication more than a batch norm."""
        return Cost(Operations(adds=2, multiplies=2))

    def _at(self, x: Tensor, first: int) -> Tensor:
        z = self._train(x.flatten(0, 1)).reshape(x.shape) if self.training else self._evaluate(x)
        p = self.p[first : first + len(x)].reshape(-1, *(1,) * (x.dim() - 1))
        return (z.to(p.dtype) * p).to(x.dtype)  # the gradient of p is a sum over all of a step
