"""Latency codes: the larger the value, the earlier its one spike."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from neurosim.checks import number, whole
from neurosim.encoding.base import ENCODERS, Encoder, at_least_32_bits, fires_at, values
from neurosim.random import Stream


def latency(x: Tensor, steps: int, *, threshold: float = 0.0) -> Tensor:
    r"""One spike, at a time that falls linearly with the value.

    .. math:: t = \mathrm{round}((T - 1)(1 - x)) \quad\text{where } x > \theta, \text{ else never}

    Args:
        x: Values from 0 to 1; what is larger counts as 1. No gradient.
        steps: T, length of the sequence, ≥ 1.
        threshold: θ, 0 ≤ θ < 1: values up to it do not fire. Zeros never do.

    Shapes:
        x ``(batch, *units)``; result ``(steps, batch, *units)``, 0 or 1.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        S. Thorpe, A. Delorme, R. Van Rullen, "Spike-based strategies for rapid processing", Neural Networks 14 (2001) 715-725. Equals
        ``spikegen.latency(..., linear=True, normalize=True, clip=True)`` of snnTorch for values from its threshold on; that function waits
        for the device to check ranges, refuses a threshold of 0, and returns float32 only.

    >>> latency(torch.tensor([[0.0, 0.5, 1.0]]), steps=3)[:, 0]
    tensor([[0., 0., 1.],
            [0., 1., 0.],
            [0., 0., 0.]])
    """
    last, least = whole("latency: steps", steps, 1) - 1, number("latency: threshold", threshold, ge=0, lt=1)
    x, dtype = at_least_32_bits(values("latency", x)), x.dtype
    return fires_at((last * (1 - x.clamp(0, 1))).round(), x > least, steps, dtype)


def rc_latency(x: Tensor, steps: int, *, tau: float, dt: float, threshold: float = 0.01) -> Tensor:
    r"""One spike, when a leaky membrane that the value charges reaches its threshold.

    .. math:: \tau \dot v = x - v, \quad v(0) = 0, \qquad v(t) = \theta \text{ at } t = \tau \ln\frac{x}{x - \theta}
        \quad\text{where } x > \theta, \text{ else never}

    The spike is in the step within which that happens, ⌈t/Δt⌉ − 1: the first spike of ``LIF(tau, dt, r=1, v_threshold=threshold)`` under
    the constant current x. Values whose time lies beyond the sequence do not fire: one sample's code does not depend on the others.

    Args:
        x: Values, currents in units of the potential they lead to. No gradient.
        steps: Length of the sequence, ≥ 1.
        tau: τ, seconds, > 0.
        dt: Step, seconds, > 0.
        threshold: θ, in the unit of x, > 0.

    Shapes:
        x ``(batch, *units)``; result ``(steps, batch, *units)``, 0 or 1.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        W. Gerstner, W. M. Kistler, R. Naud, L. Paninski, "Neuronal Dynamics", Cambridge 2014, section 1.3. The time is that of snnTorch's
        ``spikegen.latency``, which rounds it to the nearest step; its ``normalize=True`` divides by the latest time *of the batch*.

    >>> rc_latency(torch.tensor([[0.4, 0.6, 2.0]]), steps=4, tau=2e-3, dt=1e-3, threshold=0.5)[:, 0]
    tensor([[0., 0., 1.],
            [0., 0., 0.],
            [0., 0., 0.],
            [0., 1., 0.]])
    """
    length, level = whole("rc_latency: steps", steps, 1), number("rc_latency: threshold", threshold, gt=0)
    per_step = number("rc_latency: tau, seconds", tau, gt=0) / number("rc_latency: dt, seconds", dt, gt=0)
    x, dtype = at_least_32_bits(values("rc_latency", x)), x.dtype
    fires = x > level
    step = (-per_step * torch.log1p(-level / torch.where(fires, x, 2 * level))).ceil() - 1  # log1p keeps the digits of large x
    return fires_at(step.clamp(min=0), fires, length, dtype)


@ENCODERS.register("latency")
class Latency(Encoder):
    """One spike, the earlier the larger the value: :func:`latency` with its settings.

    Args:
        steps: Length of the sequence, ≥ 1.
        threshold: Values up to it do not fire, 0 ≤ threshold < 1.
    """

    def __init__(self, steps: Annotated[int, Field(ge=1)], threshold: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> None:
        super().__init__()
        self.steps, self.threshold = whole("Latency.steps", steps, 1), number("Latency.threshold", threshold, ge=0, lt=1)

    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """See :func:`latency`."""
        return latency(x, self.steps, threshold=self.threshold)


@ENCODERS.register("rc_latency")
class RCLatency(Encoder):
    """One spike, when the value has charged a leaky membrane: :func:`rc_latency` with its settings.

    Args:
        steps: Length of the sequence, ≥ 1.
        tau: Time constant of the membrane, seconds, > 0.
        dt: Step, seconds, > 0.
        threshold: Potential of the spike, in the unit of the values, > 0.
    """

    def __init__(
        self,
        steps: Annotated[int, Field(ge=1)],
        tau: Annotated[float, Field(gt=0)],
        dt: Annotated[float, Field(gt=0)],
        threshold: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        super().__init__()
        self.steps, self.threshold = whole("RCLatency.steps", steps, 1), number("RCLatency.threshold", threshold, gt=0)
        self.tau, self.dt = number("RCLatency.tau, seconds", tau, gt=0), number("RCLatency.dt, seconds", dt, gt=0)

    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """See :func:`rc_latency`."""
        return rc_latency(x, self.steps, tau=self.tau, dt=self.dt, threshold=self.threshold)
