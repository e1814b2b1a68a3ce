"""Saturation: nothing leaves the signal range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import model_validator
from torch import Tensor

from neurosim.hardware.fuse import run
from neurosim.hardware.stage import STAGES, Context, Params, Spec, Stage, Unit
from neurosim.ops.quantize import Limits, convert


class Clamp(Spec):
    """Limits a signal to [low, high]."""

    kind: Literal["clamp"] = "clamp"
    low: Annotated[float, Unit("fs")] = -1.0
    """Lower limit, in units of full scale."""
    high: Annotated[float, Unit("fs")] = 1.0
    """Upper limit, in units of full scale."""
    learned: bool = False
    """Whether training moves the two limits; they start at ``low`` and ``high``."""
    grad: Literal["through", "ste"] = "through"
    """Gradient rule: ``through`` is 1 inside the limits, the limits included, and 0 outside; ``ste`` is 1 everywhere."""

    @model_validator(mode="after")
    def _ordered(self) -> Clamp:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got low {self.low} and high {self.high}")
        return self


def clamp(x: Tensor, low: float | Tensor, high: float | Tensor, *, grad: Literal["through", "ste"] = "through") -> Tensor:
    r"""Saturate a signal.

    .. math:: y = \min(\max(x, l), h)

    Args:
        x: Signal, any shape.
        low, high: Limits, in units of ``x``; numbers, or tensors that receive the gradient of what they clip (PACT).
        grad: See :class:`Clamp`.

    Returns:
        Same shape and dtype as ``x``.

    Source:
        J. Choi et al., "PACT: Parameterized clipping activation for quantized neural networks", arXiv 1805.06085 (2018), section 3, for
        learned limits.

    >>> clamp(torch.tensor([-3.0, 0.5, 3.0]), -1.0, 1.0)
    tensor([-1.0000,  0.5000,  1.0000])
    """
    return convert(x, limits=Limits(low, high, grad))


def _init(spec: Clamp, shape: Sequence[int]) -> dict[str, Tensor]:
    return {"low": torch.tensor(spec.low), "high": torch.tensor(spec.high)} if spec.learned else {}


def _pieces(spec: Clamp, params: Params, device: None, ctx: Context) -> tuple[Limits]:
    if spec.learned:
        return (Limits(params["low"], params["high"], spec.grad),)
    return (Limits(spec.low, spec.high, spec.grad),)


def _apply(x: Tensor, spec: Clamp, params: Params, device: None, ctx: Context) -> Tensor:
    return run(x, _pieces(spec, params, device, ctx))


def _describe(spec: Clamp) -> str:
    return f"clamp to [{spec.low:g}, {spec.high:g}]{' (learned limits)' if spec.learned else ''}"


STAGES.add("clamp", Stage(Clamp, _apply, _describe, init=_init, pieces=_pieces))
