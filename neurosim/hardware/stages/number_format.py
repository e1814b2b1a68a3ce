"""A converter, or the levels of a cell, in any number format: small floating-point numbers, powers of two, integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.ranges import Code
from neurosim.hardware.stage import STAGES, Context, Params, Spec, Stage, Unit
from neurosim.ops.quantize import Rounding
from neurosim.quantizers import FORMATS, Format
from neurosim.quantizers.rounding import in_format


class NumberFormat(Spec):
    """Rounds a signal to the numbers of a format, scaled so that the largest is ``limit``; what is beyond saturates."""

    kind: Literal["number_format"] = "number_format"
    format: str
    """Name of the format: ``e2m1``, ``int4``, ``uint8``, ``dint4``, ``pow2_4``, … (:data:`neurosim.quantizers.FORMATS`)."""
    limit: Annotated[float, Field(gt=0), Unit("fs")] = 1.0
    """Largest magnitude, in units of full scale."""
    rounding: Rounding = "half_even"
    """As in ``quantize``; of two numbers that are equally near, ``half_even`` takes the one with the even code."""
    learned: bool = False
    """Whether training moves the limit, which starts at ``limit``."""
    grad: Literal["ste", "ste_masked", "through", "lsq"] = "ste"
    """Gradient rule. ``through`` is the true derivative, zero; ``lsq`` is ``ste_masked`` and differentiates the learned limit as well."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        try:
            _ = self.numbers
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if self.learned != (self.grad == "lsq"):
            raise ValueError(f"a learned limit needs grad 'lsq', and it one, got learned {self.learned} and grad '{self.grad}'")
        return self

    @property
    def numbers(self) -> Format:
        """The format itself."""
        return FORMATS[self.format]


def _init(spec: NumberFormat, shape: Sequence[int]) -> dict[str, Tensor]:
    return {"limit": torch.tensor(spec.limit)} if spec.learned else {}


def _apply(x: Tensor, spec: NumberFormat, params: Params, device: None, ctx: Context) -> Tensor:
    limit = params["limit"].abs() if spec.learned else spec.limit
    return in_format(x, spec.numbers, limit, rounding=spec.rounding, grad=spec.grad, stream=ctx.stream)


def _code(spec: NumberFormat, params: Params) -> Code:
    limit = float(params["limit"].detach().abs()) if "limit" in params else spec.limit
    return Code(spec.numbers, -limit if spec.numbers.signed else 0.0, limit)


def _describe(spec: NumberFormat) -> str:
    numbers = spec.numbers
    low = f"-{spec.limit:g}" if numbers.signed else "0"
    learned = " (learned limit)" if spec.learned else ""
    return f"{spec.format}: {len(numbers.values)} levels on [{low}, {spec.limit:g}], rounding {spec.rounding.replace('_', ' ')}{learned}"


STAGES.add(
    "number_format",
    Stage(
        NumberFormat,
        _apply,
        _describe,
        init=_init,
        random=lambda spec: spec.rounding == "stochastic",
        code=_code,
        fit=lambda spec, low, high: {"limit": high},
    ),
)
