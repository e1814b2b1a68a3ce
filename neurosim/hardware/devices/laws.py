r"""Laws: how one number of a memory cell depends on its conductance, and on the time since it was written.

A fit in a paper becomes a law in a profile: a mapping with a ``kind`` and the printed numbers. A law is a function of
:math:`\hat g = G / g_\mathrm{ref}` and of time; its result has the unit of the field that holds it.

==================  ====================================================================================================
``polynomial``      :math:`\sum_k c_k \hat g^k`; one coefficient is a constant, ``[0, c]`` is proportional
``logarithmic``     :math:`a \ln\hat g + b`
``power``           :math:`c\,\hat g^p`; an exponent of −1 is inverse proportional
``saturating``      :math:`A (1 - e^{-\hat g / B})`
``table``           straight lines between measured points
``split``           one law below a conductance, another from there on
``log_time``        :math:`a \ln(t / 1\,\mathrm{s}) + b`, whatever the conductance
``over_time``       a law for each of several times, and between them a weighted mean of its neighbours
==================  ====================================================================================================

Below :math:`\hat g = 10^{-7}` logarithm and power stay what they are there.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Final, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from neurosim.hardware.stage import RESULT, Spec

FLOOR: Final = 1e-7  #: smallest conductance, in units of the reference, that a logarithm or a power sees
Numbers = Annotated[tuple[float, ...], Field(min_length=1, strict=False)]
Value = Annotated[float, RESULT]


class _Limited(Spec):
    """A law that is held within limits."""

    low: Annotated[float | None, RESULT] = None
    """Smallest result; null: no limit."""
    high: Annotated[float | None, RESULT] = None
    """Largest result; null: no limit."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low must not be above high, got low {self.low} and high {self.high}")
        return self

    def _limited(self, value: Tensor) -> Tensor:
        return value if self.low is None and self.high is None else value.clamp(self.low, self.high)


class Polynomial(_Limited):
    """A polynomial of the conductance."""

    kind: Literal["polynomial"] = "polynomial"
    coefficients: Annotated[Numbers, RESULT]
    """The coefficients, from the constant upwards."""

    def __call__(self, ratio: Tensor, seconds: float = 0.0) -> Tensor:
        """The value at a conductance in units of the reference; same shape."""
        value = torch.full_like(ratio, self.coefficients[-1])
        for coefficient in self.coefficients[-2::-1]:
            value = value * ratio + coefficient
        return self._limited(value)


class Logarithmic(_Limited):
    """A straight line over the logarithm of the conductance."""

    kind: Literal["logarithmic"] = "logarithmic"
    slope: Value
    """Change per factor e."""
    offset: Value
    """Value at the reference."""

    def __call__(self, ratio: Tensor, seconds: float = 0.0) -> Tensor:
        """The value at a conductance in units of the reference; same shape."""
        return self._limited(self.slope * ratio.clamp(min=FLOOR).log() + self.offset)


class Power(_Limited):
    """A power of the conductance."""

    kind: Literal["power"] = "power"
    factor: Value
    """Value at the reference."""
    exponent: float
    """Exponent of the conductance."""

    def __call__(self, ratio: Tensor, seconds: float = 0.0) -> Tensor:
        """The value at a conductance in units of the reference; same shape."""
        return self._limited(self.factor * ratio.clamp(min=FLOOR).pow(self.exponent))


class Saturating(_Limited):
    """Grows with the conductance towards a limit."""

    kind: Literal["saturating"] = "saturating"
    amplitude: Value
    """The limit."""
    scale: Annotated[float, Field(gt=0)]
    """The conductance, in units of the reference, at which 63 % of it are reached."""

    def __call__(self, ratio: Tensor, seconds: float = 0.0) -> Tensor:
        """The value at a conductance in units of the reference; same shape."""
        return self._limited(-self.amplitude * torch.expm1(-ratio / self.scale))


class Table(Spec):
    """Straight lines between measured points; the first and the last value hold beyond them."""

    kind: Literal["table"] = "table"
    at: Numbers
    """The conductances, in units of the reference, ascending."""
    values: Annotated[Numbers, RESULT]
    """The value at each of them."""

    @model_validator(mode="after")
    def _points(self) -> Self:
        _ascending("at", self.at, "values", len(self.values))
        return self

    def __call__(self, ratio: Tensor, seconds: float = 0.0) -> Tensor:
        """The value at a conductance in units of the reference; same shape."""
        value = torch.full_like(ratio, self.values[0])
        for (start, first), (end, last) in pairwise(zip(self.at, self.values, strict=True)):
            value = value + (last - first) * ((ratio - start) / (end - start)).clamp(0, 1)
        return value


class Split(Spec):
    """One law below a conductance, another from there on."""

    kind: Literal["split"] = "split"
    at: Annotated[float, Field(gt=0)]
    """Where the second law begins, in units of the reference."""
    below: Law
    """The law below."""
    above: Law
    """The law from there on."""

    def __call__(self, ratio: Tensor, seconds: float = 0.0) -> Tensor:
        """The value at a conductance in units of the reference; same shape."""
        return torch.where(ratio < self.at, self.below(ratio, seconds), self.above(ratio, seconds))


class LogTime(_Limited):
    """A straight line over the logarithm of the time since writing; the conductance does not matter."""

    kind: Literal["log_time"] = "log_time"
    slope: Value
    """Change per factor e of time."""
    offset: Value = 0.0
    """Value at 1 s."""
    from_s: Annotated[float, Field(gt=0)] = 1.0
    """First time of the fit, s; before it the value is the one of that time."""

    def __call__(self, ratio: Tensor, seconds: float = 0.0) -> Tensor:
        """The value at a time in seconds, in the shape of ``ratio``."""
        return self._limited(torch.full_like(ratio, self.slope * math.log(max(seconds, self.from_s)) + self.offset))


class OverTime(Spec):
    """A law for each of several times. The first and the last hold beyond them."""

    kind: Literal["over_time"] = "over_time"
    times_s: Numbers
    """The times since writing, s, ascending."""
    laws: Annotated[tuple[Law, ...], Field(min_length=1, strict=False)]
    """The law at each of them."""
    interpolation: Literal["linear", "logarithmic"] = "linear"
    """Whether values between two times are weighted by time or by its logarithm."""

    @model_validator(mode="after")
    def _times(self) -> Self:
        if self.interpolation == "logarithmic" and self.times_s[0] <= 0:
            raise ValueError(f"logarithmic interpolation needs times_s above 0, got {self.times_s[0]}")
        _ascending("times_s", self.times_s, "laws", len(self.laws))
        return self

    def __call__(self, ratio: Tensor, seconds: float = 0.0) -> Tensor:
        """The value at a conductance in units of the reference and a time in seconds; same shape."""
        time = min(max(seconds, self.times_s[0]), self.times_s[-1])
        later = next(at for at, known in enumerate(self.times_s) if time <= known)
        if self.times_s[later] == time:
            return self.laws[later](ratio, seconds)
        start, end = self.times_s[later - 1 : later + 1]
        share = (time - start) / (end - start) if self.interpolation == "linear" else math.log(time / start) / math.log(end / start)
        return torch.lerp(self.laws[later - 1](ratio, seconds), self.laws[later](ratio, seconds), share)


Law = Annotated[
    Polynomial | Logarithmic | Power | Saturating | Table | Split | LogTime | OverTime,
    Field(discriminator="kind"),
]
LAWS: Final[tuple[type[Spec], ...]] = (Polynomial, Logarithmic, Power, Saturating, Table, Split, LogTime, OverTime)  #: every law
for _law in (Split, OverTime):
    _law.model_rebuild()


def _ascending(name: str, points: tuple[float, ...], other: str, count: int) -> None:
    if len(points) != count:
        raise ValueError(f"{name} and {other} must be of one length, got {len(points)} and {count}")
    if any(second <= first for first, second in pairwise(points)):
        raise ValueError(f"{name} must ascend, got {list(points)}")
