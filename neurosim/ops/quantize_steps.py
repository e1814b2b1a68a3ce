"""The four steps of :func:`neurosim.ops.quantize.convert`, each with its own gradient rule."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from torch import Tensor

from neurosim.random import Stream

Rounding = Literal["half_even", "half_to_zero", "to_zero", "away_from_zero", "floor", "ceil", "stochastic"]
Clip = Literal["before", "after", "none"]
Distribution = Literal["gaussian", "laplacian", "uniform"]
Growth = Literal["additive", "proportional", "shot"]


class Limits(NamedTuple):
    """Saturation to [low, high].

    Args:
        low, high: In units of the signal; a tensor (one element, or one per channel) receives the gradient of what it clips.
        grad: ``through`` is 1 inside the limits, the limits included, and 0 outside (with a tensor, a tie is shared by signal and limit);
            ``ste`` is 1 everywhere.
    """

    low: float | Tensor = -math.inf
    high: float | Tensor = math.inf
    grad: Literal["through", "ste"] = "through"


class Levels(NamedTuple):
    """Levels at fixed places: ``origin + k / steps_per_unit``.

    Args:
        steps_per_unit: Levels per unit of the signal, > 0; need not be an integer.
        origin: Any one level. ``half_even`` counts levels from the one next to zero.
        low, high: Limits used by ``clip`` and by ``ste_masked``.
        rounding: Ties and ``to_zero`` look at the sign of the signal. ``stochastic`` rounds up with the probability of the remainder.
        clip: Limit to [low, high] before rounding, after it, or never.
        grad: ``through`` (the true derivative, 0), ``ste`` (1), ``ste_masked`` (1 inside [low, high], 0 outside).
        stream: Random numbers for ``stochastic``; ``None`` rounds half to even instead.
    """

    steps_per_unit: float
    origin: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    rounding: Rounding = "half_even"
    clip: Clip = "none"
    grad: Literal["through", "ste", "ste_masked"] = "ste"
    stream: Stream | None = None


class LearnedLevels(NamedTuple):
    r"""Equally spaced levels between two tensors, the signal limited to them first; where they have crossed the result is NaN.

    With n = levels − 1, u = (x − low)/(high − low) and k the level (0 … n), the gradients to (x, low, high) are

    ============== ==================================================================================================
    ``through``    (0, 1 − k/n, k/n), the true derivative
    ``ste``        (1, 0, 0)
    ``ste_masked`` those of the limits alone: (1, 0, 0) inside, (0, 1, 0) below, (0, 0, 1) above
    ``lsq``        (1, u − k/n, k/n − u) inside, (0, 1, 0) below, (0, 0, 1) above
    ============== ==================================================================================================

    Args:
        levels: Number of levels, both ends included, from 2 to 2²⁴.
        low, high: Tensors of one element or of one per channel.
        rounding, stream: As for :class:`Levels`.
        grad: As above.

    Source:
        S. K. Esser et al., "Learned step size quantization", ICLR 2020, equation 3, here for two bounds instead of one step.
    """

    levels: int
    low: Tensor
    high: Tensor
    rounding: Rounding = "half_even"
    grad: Literal["through", "ste", "ste_masked", "lsq"] = "lsq"
    stream: Stream | None = None


class Error(NamedTuple):
    r"""Noise: :math:`y = x + s\,\xi\,m(x)` with m = 1 (``additive``), \|x\| (``proportional``) or √\|x\| (``shot``).

    Args:
        distribution: Of ξ, of scale 1: standard deviation (gaussian), b (laplacian), full width (uniform).
        growth: How it grows with the signal.
        scale: s; a tensor (one element, or one per channel) has a gradient.
        source: A stream draws ξ anew for every element; a tensor is ξ itself (a chip's frozen error) and broadcasts against the signal.
        grad: ``through`` (the derivative of the noisy value; 1 where shot noise has an infinite one, at zero) or ``ste`` (1).
    """

    distribution: Distribution
    growth: Growth
    scale: float | Tensor
    source: Stream | Tensor
    grad: Literal["through", "ste"] = "through"
