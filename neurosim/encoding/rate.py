"""Rate codes: the value is how often there is a spike. At random, from a stream."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from neurosim.checks import number, whole
from neurosim.encoding.base import ENCODERS, Encoder, at_least_32_bits, source, values
from neurosim.errors import ConfigError
from neurosim.random import Stream


def rate(x: Tensor, steps: int, *, gain: float = 1.0, stream: Stream | None) -> Tensor:
    r"""Independent spikes whose probability is the value.

    .. math:: P(s_t = 1) = p = \min(\max(g\,x, 0), 1), \qquad \partial s_t/\partial x := g \text{ where } 0 \le g\,x \le 1

    The gradient is that of the mean: backpropagated through anything linear in the spikes it is exact on average.

    Args:
        x: Values; with the default gain, probabilities from 0 to 1. What lies outside counts as 0 or 1.
        steps: Length of the sequence, ≥ 1.
        gain: g, spikes per step for a value of 1, > 0.
        stream: Where the numbers come from, element by element of the result in its order: more steps go on where fewer ended.

    Shapes:
        x ``(batch, *units)``; result ``(steps, batch, *units)``, 0 or 1. A probability counts to 2⁻²⁴, whatever the type of ``x``.

    Raises:
        ConfigError: An argument is not as above, or there is no stream.

    Source:
        Equality in distribution with ``spikegen.rate`` of snnTorch (J. K. Eshraghian et al., Proc. IEEE 111 (2023) 1016-1054),
        which draws from torch's global generator and returns float32 whatever it was given.

    >>> from neurosim.random import stream
    >>> rate(torch.tensor([[0.0, 0.5, 1.0]]), steps=4, stream=stream(0, "input"))[:, 0, ::2]
    tensor([[0., 1.],
            [0., 1.],
            [0., 1.],
            [0., 1.]])
    """
    length, factor = whole("rate: steps", steps, 1), number("rate: gain", gain, gt=0)
    p = (at_least_32_bits(values("rate", x)) * factor).clamp(0, 1)
    fired = source("rate", stream).uniform((length, *x.shape), like=p) < p
    return _with_mean_gradient(fired, p, x)


def poisson(x: Tensor, steps: int, *, rate_hz: float, dt: float, stream: Stream | None) -> Tensor:
    r"""Spike counts of a Poisson process: a step may hold more than one spike.

    .. math:: P(n_t = k) = \frac{\lambda^k e^{-\lambda}}{k!}, \qquad \lambda = x\,f\,\Delta t, \qquad
        \partial n_t/\partial x := f\,\Delta t

    Where λ is small this is :func:`rate`, but the mean stays λ where it is not.

    Args:
        x: Values from 0 to 1; what lies outside counts as 0 or 1.
        steps: Length of the sequence, ≥ 1.
        rate_hz: f, rate of a value of 1, spikes per second, > 0.
        dt: Step, seconds, > 0; ``rate_hz * dt`` may be at most 64 spikes per step.
        stream: Where the numbers come from, element by element of the result in its order.

    Shapes:
        x ``(batch, *units)``; result ``(steps, batch, *units)``, whole numbers.

    Raises:
        ConfigError: An argument is not as above, or there is no stream.

    Source:
        P. Dayan, L. F. Abbott, "Theoretical Neuroscience", MIT Press 2001, section 1.4. Drawn by inversion of the distribution function,
        one uniform number per element, which resolves probabilities of 2⁻²⁴.

    >>> from neurosim.random import stream
    >>> poisson(torch.ones(1, 2), steps=1000, rate_hz=500.0, dt=1e-3, stream=stream(0, "input")).mean(0).round(decimals=1)
    tensor([[0.5000, 0.5000]])
    """
    length, most = whole("poisson: steps", steps, 1), _per_step("poisson", rate_hz, dt)
    mean = at_least_32_bits(values("poisson", x)).clamp(0, 1) * most
    u = source("poisson", stream).uniform((length, *x.shape), like=mean)
    probability = torch.exp(-mean)
    reached, count = probability, (u > probability).to(mean.dtype)
    for k in range(1, _highest_count(most)):
        probability = probability * mean / k
        reached = reached + probability
        count = count + (u > reached)
    return _with_mean_gradient(count, mean, x)


def _per_step(where: str, rate_hz: object, dt: object) -> float:
    """Mean count of a value of 1."""
    most = number(f"{where}: rate_hz, spikes per second", rate_hz, gt=0) * number(f"{where}: dt, seconds", dt, gt=0)
    if most > 64:  # beyond, exp(−λ) loses the digits that the sum needs
        raise ConfigError(f"{where}: rate_hz * dt must be at most 64 spikes per step, got {most:g}")
    return most


def _highest_count(mean: float) -> int:
    """The count beyond which there is less than 2⁻²⁵ left: no uniform number gets there."""
    probability = reached = math.exp(-mean)
    count = 0
    while 1 - reached > 2**-26 and count < 1000:
        count += 1
        probability *= mean / count
        reached += probability
    return count


def _with_mean_gradient(drawn: Tensor, mean: Tensor, x: Tensor) -> Tensor:
    """What was drawn, with the gradient of its mean."""
    found = drawn.to(mean.dtype)
    if mean.requires_grad:
        found = found + (mean - mean.detach())  # adds an exact 0
    return found.to(x.dtype)


@ENCODERS.register("rate")
class Rate(Encoder):
    """Independent spikes whose probability is the value: :func:`rate` with its settings.

    Args:
        steps: Length of the sequence, ≥ 1.
        gain: Spikes per step for a value of 1, > 0.
    """

    def __init__(self, steps: Annotated[int, Field(ge=1)], gain: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__()
        self.steps, self.gain = whole("Rate.steps", steps, 1), number("Rate.gain", gain, gt=0)

    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """See :func:`rate`."""
        return rate(x, self.steps, gain=self.gain, stream=stream)


@ENCODERS.register("poisson")
class Poisson(Encoder):
    """Spike counts of a Poisson process: :func:`poisson` with its settings.

    Args:
        steps: Length of the sequence, ≥ 1.
        rate_hz: Rate of a value of 1, spikes per second, > 0.
        dt: Step, seconds, > 0.
    """

    def __init__(
        self, steps: Annotated[int, Field(ge=1)], rate_hz: Annotated[float, Field(gt=0)], dt: Annotated[float, Field(gt=0)]
    ) -> None:
        super().__init__()
        self.steps = whole("Poisson.steps", steps, 1)
        _per_step("Poisson", rate_hz, dt)
        self.rate_hz, self.dt = float(rate_hz), float(dt)

    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """See :func:`poisson`."""
        return poisson(x, self.steps, rate_hz=self.rate_hz, dt=self.dt, stream=stream)
