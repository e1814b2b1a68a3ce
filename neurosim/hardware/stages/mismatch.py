"""Mismatch: no two transistors are alike, so a value comes out larger or smaller by a factor of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from neurosim.hardware.stage import STAGES, Context, Params, Scope, Spec, Stage, Unit
from neurosim.random import Stream

Spread = Literal["lognormal", "gaussian"]
LEAST: Final = 0.01  #: smallest gaussian factor: a time constant or a gain keeps its sign


class Mismatch(Spec):
    """Multiplies each element by a factor of its own, with median 1."""

    kind: Literal["mismatch"] = "mismatch"
    spread: Annotated[float, Field(ge=0, le=3), Unit("1")]
    """Standard deviation of the factor (gaussian) or of its logarithm (lognormal)."""
    distribution: Spread = "lognormal"
    """``lognormal`` factors are exp(σξ); ``gaussian`` ones are 1 + σξ, and at least 0.01."""
    scope: Scope = "device"
    """How long a draw lives: ``device`` (the chip), ``hold`` (until time or temperature changes), ``batch`` (forward), ``read`` (use)."""


def mismatched(x: Tensor, standard: Tensor, spread: float, distribution: Spread = "lognormal") -> Tensor:
    r"""Every element times its factor.

    .. math:: y = x\,e^{\sigma\xi} \qquad\text{or}\qquad y = x\,\max(1 + \sigma\xi, 0.01)

    Args:
        x: Values, any shape.
        standard: ξ, standard normal numbers that broadcast to ``x``.
        spread: σ ≥ 0.
        distribution: See :class:`Mismatch`.

    Returns:
        Same shape and dtype as ``x``; the derivative is the factor.

    Source:
        M. J. M. Pelgrom, A. C. J. Duinmaijer, A. P. G. Welbers, "Matching properties of MOS transistors", IEEE J. Solid-State Circuits 24
        (1989) 1433–1439: differences of threshold voltages and current factors are normal; currents below threshold depend on the former
        exponentially, which makes them lognormal.

    >>> mismatched(torch.tensor([2.0, 2.0]), torch.tensor([0.0, -50.0]), 0.1, "gaussian")
    tensor([2.0000, 0.0200])
    """
    shift = spread * standard
    factor = shift.exp() if distribution == "lognormal" else (1 + shift).clamp(min=LEAST)
    return x * factor.to(x.dtype)


class FrozenFactors(NamedTuple):
    """What a chip keeps."""

    standard: Tensor  #: standard normal numbers, in the shape that was programmed


def _program(spec: Mismatch, params: Params, shape: Sequence[int], stream: Stream) -> FrozenFactors | None:
    return FrozenFactors(stream.normal(shape, like=torch.empty(0))) if spec.scope == "device" else None


def _apply(x: Tensor, spec: Mismatch, params: Params, device: FrozenFactors | None, ctx: Context) -> Tensor:
    if ctx.stream is None or ctx.strength * spec.spread == 0:
        return x
    standard = ctx.stream.normal(x.shape, like=x) if device is None else device.standard
    return mismatched(x, standard, spec.spread * ctx.strength, spec.distribution)


def _describe(spec: Mismatch) -> str:
    lives = {"device": "frozen in the chip", "hold": "redrawn when time or temperature changes"}
    life = lives.get(spec.scope, "redrawn at every forward" if spec.scope == "batch" else "fresh at every read")
    return f"{spec.distribution} factors with a spread of {100 * spec.spread:.3g} %, {life}" if spec.spread else "no mismatch"


STAGES.add(
    "mismatch",
    Stage(Mismatch, _apply, _describe, program=_program, device=FrozenFactors, random=lambda spec: spec.spread > 0),
)
