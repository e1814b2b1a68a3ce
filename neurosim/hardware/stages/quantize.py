"""Uniform quantiser: the converter between digital numbers and signal levels, and the levels that a weight cell can hold."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.gradient import GradRule, straight_through, through_forward
from neurosim.hardware.stage import STAGES, Context, Params, Spec, Stage, Unit
from neurosim.random import Stream

Rounding = Literal["half_even", "half_to_zero", "to_zero", "away_from_zero", "floor", "ceil", "stochastic"]
Clip = Literal["before", "after", "none"]


class Quantize(Spec):
    """Rounds a signal to ``levels`` equally spaced values from ``low`` to ``high``."""

    kind: Literal["quantize"] = "quantize"
    levels: Annotated[int, Field(ge=2, le=1 << 24), Unit("levels")]
    """Number of levels, both ends included. Bits follow: log2(levels)."""
    low: Annotated[float, Unit("fs")] = -1.0
    """Lowest level, in units of full scale."""
    high: Annotated[float, Unit("fs")] = 1.0
    """Highest level, in units of full scale."""
    rounding: Rounding = "half_even"
    """``half_even`` and ``half_to_zero`` round to the nearest level and differ in ties; ``to_zero`` and ``away_from_zero`` round the
    magnitude down and up; ``stochastic`` rounds up with the probability of the remainder, so that the mean is exact."""
    clip: Clip = "before"
    """Limit to [low, high] before rounding, after it, or never (a separate clamp does it)."""
    grad: Literal["ste", "ste_masked", "through", "forward"] = "ste"
    """Gradient rule. ``through`` is the true derivative, zero."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got low {self.low} and high {self.high}")
        return self

    @property
    def steps_per_unit(self) -> float:
        """Levels per unit of the signal: AnalogVNN's ``precision``."""
        return (self.levels - 1) / (self.high - self.low)

    @property
    def bits(self) -> float:
        """log2 of the number of levels."""
        return math.log2(self.levels)


def quantize(
    x: Tensor,
    steps_per_unit: float,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    origin: float = 0.0,
    rounding: Rounding = "half_even",
    clip: Clip = "none",
    grad: GradRule = "ste",
    stream: Stream | None = None,
) -> Tensor:
    r"""Round a signal to the levels ``origin + k / p``.

    .. math:: y = o + \frac{1}{p}\,\mathrm{round}\big(p\,(x - o)\big)

    Args:
        x: Signal, any shape, a floating-point type.
        steps_per_unit: p > 0, levels per unit of ``x``; need not be an integer.
        low, high: Limits used by ``clip`` and by ``ste_masked``, in units of ``x``.
        origin: Any one level, in units of ``x``. ``half_even`` counts levels from the one next to zero.
        rounding, clip, grad: See :class:`Quantize`. Ties and ``to_zero`` look at the sign of ``x``, also where ``origin`` is not zero.
        stream: Random numbers for ``stochastic``; ``None`` rounds half to even instead: noiseless.

    Returns:
        Same shape and dtype as ``x``.

    Raises:
        ConfigError: ``steps_per_unit`` is not positive.

    Source:
        With p steps per unit, ``half_to_zero`` and no clip this is AnalogVNN 1.0.8's ``ReducePrecision`` bit for bit (``divide`` = 0.5).
        ``to_zero`` is its ``divide`` = 1 as documented; its code moves a value that already is on a level down by one. Stochastic rounding:
        S. Gupta et al., "Deep learning with limited numerical precision", ICML 2015, section 3.

    >>> quantize(torch.tensor([0.125, 0.13, 0.625]), 4, rounding="half_to_zero")
    tensor([0.0000, 0.2500, 0.5000])
    """
    if not steps_per_unit > 0:
        raise ConfigError(f"quantize: steps_per_unit must be > 0, got {steps_per_unit}")
    if grad == "forward":
        child = stream.child("backward") if stream is not None else None

        def again(g: Tensor) -> Tensor:
            return quantize(g, steps_per_unit, low=low, high=high, origin=origin, rounding=rounding, clip=clip, grad="ste", stream=child)

        return through_forward(x, _levels(x, steps_per_unit, low, high, origin, rounding, clip, stream), again)
    value = _levels(x, steps_per_unit, low, high, origin, rounding, clip, stream)
    if grad == "through":
        return value
    inside = x.clamp(low, high) if grad == "ste_masked" else x
    return straight_through(inside, value)


def _levels(x: Tensor, p: float, low: float, high: float, origin: float, rounding: Rounding, clip: Clip, stream: Stream | None) -> Tensor:
    with torch.no_grad():
        shift = origin * p - math.ceil(origin * p - 0.5)  # the levels are (k + shift) / p, with k = 0 next to zero and -1/2 < shift <= 1/2
        v = (x.clamp(low, high) if clip == "before" else x) * p
        if shift:
            v -= shift
        k = _round(v, rounding, stream) if not shift else _round_shifted(v, x, rounding, stream)
        if shift:
            k += shift
        k *= 1.0 / p  # as the peer does; a division would round once instead of twice and differ in the last bit
        return k.clamp_(low, high) if clip == "after" else k


def _round(v: Tensor, rounding: Rounding, stream: Stream | None) -> Tensor:
    """Round ``v`` in place; zero is a level, so that the sign of ``v`` is that of the signal."""
    if rounding == "stochastic" and stream is not None:
        below = v.floor()
        return below.add_(v.sub_(below) > stream.uniform(v.shape, like=v))
    if rounding == "half_to_zero":
        return v.abs().sub_(0.5).ceil_().copysign_(v)
    if rounding == "to_zero":
        return v.trunc_()
    if rounding == "away_from_zero":
        return v.abs().ceil_().copysign_(v)
    if rounding == "floor":
        return v.floor_()
    if rounding == "ceil":
        return v.ceil_()
    return v.round_()


def _round_shifted(v: Tensor, x: Tensor, rounding: Rounding, stream: Stream | None) -> Tensor:
    """The same where zero is not a level: rules that look at the sign look at that of the signal ``x``."""
    if rounding == "half_to_zero":
        return torch.where(x > 0, (v - 0.5).ceil_(), (v + 0.5).floor_())
    if rounding == "to_zero":
        return torch.where(x > 0, v.floor(), v.ceil())
    if rounding == "away_from_zero":
        return torch.where(x > 0, v.ceil(), v.floor())
    return _round(v, rounding, stream)


def _apply(x: Tensor, spec: Quantize, params: Params, device: None, ctx: Context) -> Tensor:
    return quantize(
        x,
        spec.steps_per_unit,
        low=spec.low,
        high=spec.high,
        origin=spec.low,
        rounding=spec.rounding,
        clip=spec.clip,
        grad=spec.grad,
        stream=ctx.stream,
    )


def _describe(spec: Quantize) -> str:
    return f"{spec.levels} levels on [{spec.low:g}, {spec.high:g}] ({spec.bits:.3g} bit), rounding {spec.rounding.replace('_', ' ')}"


STAGES.add("quantize", Stage(Quantize, _apply, _describe, random=lambda spec: spec.rounding == "stochastic"))
