r"""One pass over a signal: an error, limits, levels, an error.

.. math:: y = E_a\big(Q(\mathrm{clamp}(E_b(x)))\big)

It is what every converter, source, weight cell and detector of the analog chain does with a part of these four steps; read backwards it is
an analog-to-digital converter. The four are given as :class:`Error`, :class:`Limits`, :class:`Levels` or :class:`LearnedLevels`, and each
has its own gradient rule.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from neurosim.errors import ConfigError, nearest
from neurosim.ops import quantize_plan as codes
from neurosim.ops.philox import DRAWS, STORAGE, encode
from neurosim.ops.quantize_op import quantize, quantize_rows
from neurosim.ops.quantize_steps import Clip as Clip
from neurosim.ops.quantize_steps import Distribution as Distribution
from neurosim.ops.quantize_steps import Error as Error
from neurosim.ops.quantize_steps import Growth as Growth
from neurosim.ops.quantize_steps import LearnedLevels as LearnedLevels
from neurosim.ops.quantize_steps import Levels as Levels
from neurosim.ops.quantize_steps import Limits as Limits
from neurosim.ops.quantize_steps import Rounding as Rounding
from neurosim.random import Stream

_ERRORS = {
    (distribution, growth, grad): kind + 1 | at << 3 | (grad == "ste") << 5
    for kind, distribution in enumerate(codes.DISTRIBUTIONS)
    for at, growth in enumerate(codes.GROWTHS)
    for grad in ("through", "ste")
}
_DERIVATIVE = {"through": codes.GENERAL, "ste": 0, "ste_masked": codes.MASKED, "lsq": codes.GENERAL}
_LEVELS = {
    (rounding, clip, grad): at << codes.ROUNDING | where << codes.CLIP | rule << codes.LEVEL_GRAD | _DERIVATIVE[grad]
    for at, rounding in enumerate(codes.ROUNDINGS)
    for where, clip in enumerate(codes.CLIPS)
    for rule, grad in enumerate(codes.LEVEL_GRADS)
}
_OF_ROUNDING = 7 << codes.ROUNDING
_ROUNDED = 4 * sys.float_info.epsilon  #: relative: the range, p of it, the distance from the origin and its product with p
_NUMBERS = tuple(codes.Numbers())
_NO_TENSORS: tuple[None, ...] = (None,) * 8


def convert(
    x: Tensor,
    *,
    before: Error | None = None,
    limits: Limits | None = None,
    levels: Levels | LearnedLevels | None = None,
    after: Error | None = None,
    channel: int | None = None,
) -> Tensor:
    r"""Apply an error, limits, levels and an error to a signal, in this order and in one pass.

    Args:
        x: Signal, any shape, floating point; 16-bit types are computed in float32 and rounded at the end. NaN stays NaN.
        before: Error of the signal as it comes.
        limits: Saturation.
        levels: Rounding to levels.
        after: Error of the result.
        channel: The axis along which one-dimensional tensors (limits, bounds, scales) lie.

    Shapes:
        x any; the result the same, row-major.

    Returns:
        Same shape and dtype as ``x``. It can be differentiated once.

    Raises:
        ConfigError: A name is unknown, a number out of its domain, or a tensor fits neither the signal nor its channels.

    Source:
        The formulas and gradients of each step are in its class.

    >>> convert(torch.tensor([-3.0, 0.3, 0.6]), limits=Limits(-1.0, 1.0), levels=Levels(2.0))
    tensor([-1.0000,  0.5000,  0.5000])
    """
    _check_signal(x)
    if before is None and limits is None and levels is None and after is None:
        return x
    packed = _Packed(x, channel)
    flags = packed.steps(before, limits, levels, after)
    return _run(x, packed.tensors, (flags, *packed.layout), packed.numbers, packed.streams)


class Prepared(NamedTuple):
    """The steps of a pass, checked and packed once for any number of signals."""

    plan: tuple[int, int, int]
    numbers: list[float]
    draws: int  #: streams that it needs

    def __call__(self, x: Tensor, streams: Sequence[Stream]) -> Tensor:
        """The pass over ``x`` as :func:`convert` makes it, with other streams in the place of those that it was prepared with."""
        _check_signal(x)
        if len(streams) != self.draws:
            raise ConfigError(f"convert: {self.draws} streams are needed, got {len(streams)}")
        return _run(x, _NO_TENSORS, self.plan, self.numbers, streams)

    def rows(self, x: Tensor, streams: Sequence[Sequence[Stream]]) -> Tensor:
        """The pass over every ``x[i]``, with the streams ``streams[i]``; without gradient."""
        if not self.draws:
            return self(x, ())
        if len(streams) != len(x) or any(len(own) != self.draws for own in streams):
            raise ConfigError(f"convert: {self.draws} streams are needed for each of {len(x)} rows, got {[len(own) for own in streams]}")
        packed: list[tuple[list[Tensor], list[int]]] = []
        for own in streams:
            counters: list[Tensor] = []
            words = [word for key, *place in own for word in encode(key, place, counters, x.device)]
            packed.append((counters, [*self.plan, *words]))
        return quantize_rows(x.detach(), packed, self.numbers)


def prepare(
    *, before: Error | None = None, limits: Limits | None = None, levels: Levels | None = None, after: Error | None = None
) -> tuple[Prepared, list[Stream]]:
    """Check and pack the steps of :func:`convert`, none of which may hold a tensor but in a stream.

    Returns:
        The pass, and the streams that it draws from, in the order in which it takes them.

    Raises:
        ConfigError: As ``convert``.
    """
    packed = _Packed(None, None)
    flags = packed.steps(before, limits, levels, after)
    return Prepared((flags, 0, 0), packed.numbers, len(packed.streams)), packed.streams


def _check_signal(x: Tensor) -> None:
    if x.dtype not in STORAGE:
        raise ConfigError(f"convert: x must be floating point of 16 bits or more, got {x.dtype}")
    if x.layout is not torch.strided:
        raise ConfigError(f"convert: x must be dense, got {x.layout}")


def _run(x: Tensor, tensors: Sequence[Tensor | None], settings: Sequence[int], numbers: list[float], streams: Sequence[Stream]) -> Tensor:
    plan = list(settings)
    counters: list[Tensor] = []
    if plan[0] & (codes.MASKED | codes.GENERAL) == codes.MASKED and x.requires_grad and torch.is_grad_enabled():
        plan[0] |= codes.KEEP
    if streams and x.numel() > DRAWS:
        raise ConfigError(f"convert: one stream holds elements 0 to 2^34 - 1, got a signal of {x.numel()}")
    for key, *place in streams:
        plan += encode(key, place, counters, x.device)
    result: Tensor = quantize(x, *tensors, counters, plan, numbers)[0]
    return result


class _Packed:
    """The arguments of the op, while they are being gathered; a method returns the flags of its step."""

    __slots__ = ("layout", "numbers", "streams", "tensors", "x")

    def __init__(self, x: Tensor | None, channel: int | None) -> None:
        self.x = x
        self.layout = [0, 0]  #: ``plan[1:3]``
        self.numbers = [*_NUMBERS]
        self.tensors: list[Tensor | None] = [None] * 8
        self.streams: list[Stream] = []
        if x is not None and channel is not None:
            if not -x.dim() <= channel < x.dim():
                raise ConfigError(f"convert: channel must be an axis of a signal of shape {tuple(x.shape)}, got {channel}")
            self.layout[0] = channel - x.dim() if channel >= 0 else channel

    def steps(self, before: Error | None, limits: Limits | None, levels: Levels | LearnedLevels | None, after: Error | None) -> int:
        flags = self.error(before, "before", codes.BEFORE) if before is not None else 0
        if limits is not None:
            flags |= self.limits(limits)
        if levels is not None:
            flags |= self.learned(levels) if isinstance(levels, LearnedLevels) else self.levels(levels)
        return flags | self.error(after, "after", codes.AFTER) if after is not None else flags

    def error(self, error: Error, name: str, first: int) -> int:
        distribution, growth, scale, source, grad = error
        code = _ERRORS.get((distribution, growth, grad))
        if code is None:
            raise _unknown(name, error, distribution=codes.DISTRIBUTIONS, growth=codes.GROWTHS, grad=("through", "ste"))
        after = first == codes.AFTER
        general = growth != "additive"
        if isinstance(scale, Tensor):
            self.tensors[4 + after] = self._operand(scale, f"{name}.scale")
            general = general or scale.requires_grad or torch._C._are_functorch_transforms_active()  # which may want its gradient unseen
        else:
            self.numbers[9 + after] = scale
        if isinstance(source, Tensor):
            self.tensors[6 + after] = self._noise(source, f"{name}.source")
            code = code & ~7 | codes.GIVEN
        else:
            self.streams.append(source)
        return code << first | (codes.GENERAL if general and grad == "through" else 0)

    def limits(self, limits: Limits) -> int:
        low, high, grad = limits
        if grad not in ("through", "ste"):
            raise _unknown("limits", limits, grad=("through", "ste"))
        learned = False
        for at, bound in enumerate((low, high)):
            if isinstance(bound, Tensor):
                self.tensors[at] = self._operand(bound, f"limits.{limits._fields[at]}")
                learned = True
            elif math.isnan(bound):
                raise ConfigError(f"convert: limits.{limits._fields[at]} must be a number, got {bound}")
            else:
                self.numbers[at] = bound
        if grad == "ste":
            return codes.LIMITS | codes.LIMITS_STE
        return codes.LIMITS | (codes.GENERAL if learned else codes.MASKED)

    def levels(self, levels: Levels) -> int:
        p, origin, low, high, rounding, clip, grad, stream = levels
        flags = _LEVELS.get((rounding, clip, grad))
        if flags is None or grad not in codes.LEVEL_GRADS[:3]:
            raise _unknown("levels", levels, rounding=codes.ROUNDINGS, clip=codes.CLIPS, grad=codes.LEVEL_GRADS[:3])
        if not p > 0:
            raise ConfigError(f"convert: levels.steps_per_unit must be > 0, got {p}")
        if not (math.isfinite(p) and math.isfinite(origin)):
            raise ConfigError(f"convert: levels.steps_per_unit and levels.origin must be finite, got {p} and {origin}")
        if math.isnan(low) or math.isnan(high):
            raise ConfigError(f"convert: levels.low and levels.high must be numbers, got {low} and {high}")
        zero = math.ceil(origin * p - 0.5)  # k of the origin
        self.numbers[2:7] = p, origin * p - zero, 1.0 / p, low, high
        if clip != "none" and rounding not in codes.NEAREST:
            self.numbers[7:9] = (_steps_to(end, origin, p) + zero for end in (low, high))
        return codes.FIXED | self._rounding(flags, rounding, stream)

    def learned(self, levels: LearnedLevels) -> int:
        count, low, high, rounding, grad, stream = levels
        flags = _LEVELS.get((rounding, "before", grad))
        if flags is None:
            raise _unknown("levels", levels, rounding=codes.ROUNDINGS, grad=codes.LEVEL_GRADS)
        if not 2 <= count <= 1 << 24:
            raise ConfigError(f"convert: levels.levels must be from 2 to 2^24, got {count}")
        for at, bound in ((2, low), (3, high)):
            if not isinstance(bound, Tensor):
                raise ConfigError(f"convert: levels.{levels._fields[at - 1]} must be a tensor, got {bound!r}; use Levels for numbers")
            self.tensors[at] = self._operand(bound, f"levels.{levels._fields[at - 1]}")
        self.layout[1] = count
        return codes.LEARNED | self._rounding(flags, rounding, stream) | (codes.GENERAL if grad == "ste_masked" else 0)

    def _rounding(self, flags: int, rounding: str, stream: Stream | None) -> int:
        if rounding != "stochastic":
            return flags
        if stream is None:
            return flags & ~_OF_ROUNDING
        self.streams.append(stream)
        return flags

    def _signal(self, name: str) -> Tensor:
        if self.x is None:
            raise ConfigError(f"convert: {name} must be a number where a pass is prepared, got a tensor")
        return self.x

    def _operand(self, tensor: Tensor, name: str) -> Tensor:
        channel, shape = self.layout[0], self._signal(name).shape
        if tensor.numel() != 1 and (tensor.dim() != 1 or not channel or tensor.shape[0] != shape[channel]):
            where = f"{shape[channel]} elements, one per channel" if channel else "one element where no channel axis is given"
            raise ConfigError(f"convert: {name} must have {where}, got shape {tuple(tensor.shape)}")
        return self._fitting(tensor, name)

    def _noise(self, tensor: Tensor, name: str) -> Tensor:
        shape, own = self._signal(name).shape, tensor.shape
        if own != shape and (len(own) > len(shape) or any(a not in (1, b) for a, b in zip(reversed(own), reversed(shape), strict=False))):
            raise ConfigError(f"convert: {name} must broadcast to the shape {tuple(shape)} of the signal, got {tuple(own)}")
        if tensor.requires_grad:
            raise ConfigError(f"convert: {name} is a chip's error and has no gradient: detach it")
        return self._fitting(tensor, name)

    def _fitting(self, tensor: Tensor, name: str) -> Tensor:
        x = self._signal(name)
        if tensor.device != x.device:
            raise ConfigError(f"convert: {name} must be on the device of the signal, {x.device}, got {tensor.device}")
        return tensor.to(torch.float64 if x.dtype == torch.float64 else torch.float32)


def _steps_to(end: float, origin: float, p: float) -> float:
    """Steps from the origin to an end of the range that is a level within the rounding of these numbers; NaN where it is none."""
    steps = (end - origin) * p
    if not math.isfinite(steps):
        return math.nan
    return float(round(steps)) if abs(steps - round(steps)) <= _ROUNDED * p * (abs(end) + abs(origin)) else math.nan


def _unknown(where: str, settings: NamedTuple, **valid: Sequence[str]) -> ConfigError:
    """The error for the first field that has none of its valid values."""
    for field, names in valid.items():
        if (value := getattr(settings, field)) not in names:
            return ConfigError(f"convert: {where}.{field} must be one of {', '.join(names)}, got {value!r}{nearest(str(value), names)}")
    return ConfigError(f"convert: {where} is not valid: {settings}")
