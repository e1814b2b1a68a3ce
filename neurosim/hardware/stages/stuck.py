"""Stuck devices: some cells of an array cannot be programmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from neurosim.hardware.devices import stuck
from neurosim.hardware.gradient import straight_through
from neurosim.hardware.stage import STAGES, Context, Params, Spec, Stage, Unit
from neurosim.random import Stream

Share = Annotated[float, Field(ge=0, le=1), Unit("1")]


class Stuck(Spec):
    """Holds some devices at the end of their range, or open, whatever was written. The others are the yield."""

    kind: Literal["stuck"] = "stuck"
    at_low: Share = 0.0
    """Share of devices that are stuck at the lowest conductance."""
    at_high: Share = 0.0
    """Share of devices that are stuck at the highest conductance."""
    missing: Share = 0.0
    """Share of devices that conduct nothing."""
    low_siemens: Annotated[float, Field(ge=0)] = 0.0
    """The lowest conductance."""
    high_siemens: Annotated[float | None, Field(gt=0)] = None
    """The highest conductance."""
    scope: Literal["device"] = "device"
    """How long a fault lives: with the chip."""
    grad: Literal["through", "ste"] = "through"
    """Gradient rule: nothing passes a stuck device, or everything does."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.yield_ < -1e-12:
            raise ValueError(f"at_low, at_high and missing must together be at most 1, got {1 - self.yield_:g}")
        if self.at_high > 0 and self.high_siemens is None:
            raise ValueError("devices stuck at the highest conductance need high_siemens")
        return self

    @property
    def yield_(self) -> float:
        """Share of devices that work."""
        return 1 - self.at_low - self.at_high - self.missing


class FrozenFaults(NamedTuple):
    """What a chip keeps."""

    uniform: Tensor  #: numbers in (0, 1), in the shape that was programmed: the smallest belong to stuck devices


def _program(spec: Stuck, params: Params, shape: Sequence[int], stream: Stream) -> FrozenFaults:
    return FrozenFaults(stream.uniform(shape, like=torch.empty(0)))


def _apply(x: Tensor, spec: Stuck, params: Params, device: FrozenFaults, ctx: Context) -> Tensor:
    if ctx.stream is None or ctx.strength == 0:
        return x
    shares = (ctx.strength * share for share in (spec.at_low, spec.at_high, spec.missing))
    y = stuck(x, device.uniform, *shares, low=spec.low_siemens, high=spec.high_siemens or 0.0)
    return y if spec.grad == "through" else straight_through(x, y)


def _describe(spec: Stuck) -> str:
    shares = {"at the lowest conductance": spec.at_low, "at the highest": spec.at_high, "open": spec.missing}
    faults = ", ".join(f"{100 * share:.3g} % {where}" for where, share in shares.items() if share)
    return f"a yield of {100 * spec.yield_:.5g} %: {faults}" if faults else "every device works"


STAGES.add("stuck", Stage(Stuck, _apply, _describe, program=_program, device=FrozenFaults, random=lambda spec: spec.yield_ < 1))
