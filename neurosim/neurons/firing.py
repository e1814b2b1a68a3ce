r"""When a neuron fires, and what a spike does to its potential: the parts that steps in plain torch are made of."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from neurosim.neurons.spike import spike
from neurosim.surrogate import Surrogate

Value = float | Tensor
PlainReset = Literal["soft", "hard", "none"]

PLAIN_RESETS: Final[tuple[PlainReset, ...]] = ("soft", "hard", "none")


class Firing(NamedTuple):
    """The rule; a value is a number or broadcasts to the units."""

    threshold: Value = 1.0  #: potential θ from which the neuron fires
    reset_by: Value | None = None  #: what a soft reset subtracts, ρ; None is the threshold
    v_reset: Value = 0.0  #: where a hard reset leads
    sign: Value = 1.0  #: −1 fires at or below the threshold
    reset: PlainReset = "soft"
    strict: bool = False  #: fire above the threshold only, not at it
    detach_reset: bool = True  #: whether gradients ignore that a spike changes the potential
    surrogate: Surrogate | str = "arctan"


def fires(h: Tensor, rule: Firing, raised_by: Value = 0.0) -> Tensor:
    r"""The spikes, 0 or 1, of potentials.

    .. math:: s = \Theta(\sigma\,(h - \theta) - \delta)

    Args:
        h: Potential before the spike.
        rule: Threshold, side of it that fires, and surrogate.
        raised_by: δ, how much farther than the threshold the potential must go.
    """
    beyond = h - rule.threshold
    if isinstance(rule.sign, Tensor) or rule.sign != 1:
        beyond = rule.sign * beyond
    if isinstance(raised_by, Tensor) or raised_by != 0:
        beyond = beyond - raised_by
    return spike(beyond, rule.surrogate, strict=rule.strict)


def after_spike(h: Tensor, spikes: Tensor, rule: Firing) -> Tensor:
    r"""The potential after the reset.

    .. math:: v = h - \rho\,s \text{ (soft)}, \qquad v = v_\mathrm{reset} \text{ where } s > 0 \text{, else } h \text{ (hard)}

    Args:
        h: Potential before the spike.
        spikes: How often it fires; a hard reset takes 0 or 1.
        rule: Kind and size of the reset.
    """
    if rule.reset == "none":
        return h
    if rule.reset == "soft":
        size = rule.threshold if rule.reset_by is None else rule.reset_by
        if rule.detach_reset:
            return torch.where(spikes > 0, h - size * spikes.detach(), h)  # an infinite threshold is not subtracted where none fires
        return h - size * spikes
    if rule.detach_reset:
        return torch.where(spikes > 0, rule.v_reset, h)
    return h * (1 - spikes) + rule.v_reset * spikes
