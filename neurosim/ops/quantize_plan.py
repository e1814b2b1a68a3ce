"""What ``neurosim::quantize`` and ``neurosim::quantize_backward`` are told besides their tensors: a list of integers and one of numbers.

=================  ===============================================================================================
``plan[0]``        flags, as below
``plan[1]``        the channel axis of per-channel tensors, counted from the end (-1 is the last); 0 if there are none
``plan[2]``        number of levels, for learned ones
``plan[3:]``       five words (:func:`neurosim.ops.philox.encode`) for each source of random numbers, in the order in which they are used
``numbers``        :class:`Numbers`
=================  ===============================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

DISTRIBUTIONS: Final = ("gaussian", "laplacian", "uniform")
GROWTHS: Final = ("additive", "proportional", "shot")
NEAREST: Final = ("half_even", "half_to_zero")  #: these roundings take an end of the range to its level whatever a last bit says
ROUNDINGS: Final = ("half_even", "half_to_zero", "to_zero", "away_from_zero", "floor", "ceil", "stochastic")
CLIPS: Final = ("none", "before", "after")
LEVEL_GRADS: Final = ("through", "ste", "ste_masked", "lsq")

KEEP: Final = 1 << 0  #: the forward pass keeps a mask: the derivative to x is 1 where it is true and 0 elsewhere
MASKED: Final = 1 << 1  #: the derivative to x is 0 somewhere
GENERAL: Final = 1 << 2  #: the backward pass computes the derivatives anew
BEFORE: Final = 3  #: first bit of the error before: 3 bits distribution + 1 (4: a given tensor), 2 bits growth, 1 bit straight through
AFTER: Final = 9  #: the same of the error after
LIMITS: Final = 1 << 15  #: there are limits
LIMITS_STE: Final = 1 << 16  #: their gradient is the identity
FIXED: Final = 1 << 17  #: there are levels
LEARNED: Final = 1 << 18  #: there are levels between tensors
ROUNDING: Final = 19  #: first of 3 bits
CLIP: Final = 22  #: first of 2 bits
LEVEL_GRAD: Final = 24  #: first of 2 bits
GIVEN: Final = 4  #: in place of a distribution: the noise is a tensor
WORDS: Final = 5  #: of a source of random numbers


class Numbers(NamedTuple):
    """The numbers in their order; one that a tensor replaces, or nobody needs, is 0."""

    limit_low: float = 0.0
    limit_high: float = 0.0
    steps_per_unit: float = 0.0
    shift: float = 0.0  #: the levels are (k + shift) / steps_per_unit
    unit: float = 0.0  #: 1 / steps_per_unit
    low: float = 0.0
    high: float = 0.0
    first: float = math.nan  #: k of the level at low; NaN if there is none, or nobody needs it
    last: float = math.nan  #: the same at high
    before_scale: float = 0.0
    after_scale: float = 0.0


class ErrorPlan(NamedTuple):
    """What is done by one error."""

    kind: int  #: 0 none, 1 + index of the distribution, or GIVEN
    growth: str
    ste: bool
    words: Sequence[int]


class Plan(NamedTuple):
    """The integers, taken apart."""

    keep: bool
    channel: int
    levels: int
    before: ErrorPlan
    limits: bool
    limits_ste: bool
    fixed: bool
    learned: bool
    rounding: str
    clip: str
    grad: str
    words: Sequence[int]
    after: ErrorPlan


def decode(plan: Sequence[int]) -> Plan:
    """Take the integers of an op apart."""
    flags, at = plan[0], 3

    def words(needed: bool) -> Sequence[int]:
        nonlocal at
        at += WORDS if needed else 0
        return plan[at - WORDS : at] if needed else ()

    def error(first: int) -> ErrorPlan:
        kind = flags >> first & 7
        return ErrorPlan(kind, GROWTHS[flags >> first + 3 & 3], bool(flags >> first + 5 & 1), words(0 < kind < GIVEN))

    before = error(BEFORE)
    rounding = ROUNDINGS[flags >> ROUNDING & 7]
    return Plan(
        keep=bool(flags & KEEP),
        channel=plan[1],
        levels=plan[2],
        before=before,
        limits=bool(flags & LIMITS),
        limits_ste=bool(flags & LIMITS_STE),
        fixed=bool(flags & FIXED),
        learned=bool(flags & LEARNED),
        rounding=rounding,
        clip=CLIPS[flags >> CLIP & 3],
        grad=LEVEL_GRADS[flags >> LEVEL_GRAD & 3],
        words=words(rounding == "stochastic"),
        after=error(AFTER),
    )
