"""What tests of ``convert`` share: drawn settings, signals with every awkward number, and both implementations side by side."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from neurosim.ops import quantize_plan as codes
from neurosim.ops.quantize import Error, LearnedLevels, Levels, Limits, convert
from neurosim.random import Stream

AWKWARD = (0.0, -0.0, math.nan, math.inf, -math.inf, 1e-30, -1e-30, 0.5, -0.5, 1.0, -1.0, 0.25, 3.0, 1e6, -2.5)


class Case(NamedTuple):
    """One call of ``convert``, without its signal."""

    shape: tuple[int, ...]
    channel: int | None
    settings: dict[str, Any]

    @property
    def is_exact(self) -> bool:
        """Whether kernels give the bits of the reference: everything but normal and Laplace numbers, and torch's square root in float64."""
        errors = [self.settings[name] for name in ("before", "after") if self.settings[name] is not None]
        return all(isinstance(error.source, Tensor) or error.distribution == "uniform" for error in errors)

    def tensors(self) -> list[Tensor]:
        """Those of the settings that have a gradient."""
        found = []
        for part in self.settings.values():
            found += [field for field in part or () if isinstance(field, Tensor) and field.requires_grad]
        return found


class Result(NamedTuple):
    """A result and its gradients, to the signal and to the tensors of the settings."""

    y: Tensor
    grads: tuple[Tensor | None, ...]


def signal(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
    """Numbers around the limits of most settings, awkward ones and exact ties among them."""
    count = math.prod(shape)
    numbers = torch.linspace(-1.7, 1.9, max(count, 1), dtype=torch.float64)[:count] * scale
    numbers[1::5] = (numbers[1::5] * 8).round() / 8
    numbers[3::7] = torch.tensor(AWKWARD, dtype=torch.float64).repeat(-(-count // len(AWKWARD)))[: len(numbers[3::7])]
    return numbers.reshape(shape).to(dtype)


def run(case: Case, x: Tensor) -> Result:
    """Result and gradients for upstream gradients that differ from element to element."""
    x = x.detach().requires_grad_()
    y = convert(x, channel=case.channel, **case.settings)
    wanted = [x, *case.tensors()]
    if not y.requires_grad:
        return Result(y, (None,) * len(wanted))
    upstream = torch.linspace(-1.0, 2.0, max(y.numel(), 1), dtype=y.dtype)[: y.numel()].reshape(y.shape)
    return Result(y.detach(), torch.autograd.grad(y, wanted, upstream, allow_unused=True))


def both(case: Case, x: Tensor) -> tuple[Result, Result]:
    """By the kernels and by the reference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROSIM_NATIVE", "require")
        kernel = run(case, x)
        patch.setenv("NEUROSIM_NATIVE", "off")
        return kernel, run(case, x)


def equal_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same number for number, zeros with their sign, NaN being like NaN."""
    numbers = torch.equal(a.nan_to_num(nan=0.0), b.nan_to_num(nan=0.0)) and torch.equal(a.isnan(), b.isnan())
    return numbers and torch.equal(a.isnan() | a.signbit(), b.isnan() | b.signbit())


@st.composite
def cases(draw: Any, dtype: torch.dtype = torch.float32) -> Case:
    """Any settings: every name, every kind of operand."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 7, 40]), min_size=1, max_size=4)))
    if draw(st.integers(0, 9)) == 0:
        shape = (*shape[:-1], draw(st.sampled_from([0, 513, 1200])))
    channel = draw(st.sampled_from([None, *range(-len(shape), len(shape))]))
    size = shape[channel] if channel is not None else 1

    def operand(low: float, high: float) -> Tensor:
        count = size if draw(st.booleans()) else 1
        numbers = torch.tensor(draw(st.lists(st.floats(low, high, width=16), min_size=count, max_size=count)), dtype=dtype)
        numbers = numbers.reshape(()) if count == 1 and draw(st.booleans()) else numbers
        return numbers.requires_grad_(draw(st.booleans()))

    def value(low: float, high: float) -> float | Tensor:
        return operand(low, high) if draw(st.booleans()) else draw(st.floats(low, high, width=16))

    def source() -> Stream:
        word = draw(st.integers(0, 2**32 - 1))
        return Stream((word, 5), draw(st.integers(0, 3)), torch.tensor(draw(st.integers(0, 3))), 0)

    def error() -> Error | None:
        if draw(st.booleans()):
            return None
        origin: Stream | Tensor = source()
        if draw(st.integers(0, 3)) == 0:
            own = tuple(1 if draw(st.booleans()) else size for size in shape)[draw(st.integers(0, len(shape))) :]
            origin = torch.linspace(-2, 2, math.prod(own), dtype=dtype).reshape(own)
        growth = draw(st.sampled_from(codes.GROWTHS))
        return Error(
            draw(st.sampled_from(codes.DISTRIBUTIONS)), growth, value(-0.5, 0.5), origin, draw(st.sampled_from(["through", "ste"]))
        )

    def levels() -> Levels | LearnedLevels | None:
        kind = draw(st.integers(0, 2))
        rounding, stream = draw(st.sampled_from(codes.ROUNDINGS)), source() if draw(st.booleans()) else None
        if kind == 0:
            return None
        if kind == 1:
            low, high = draw(st.sampled_from([(-1.0, 1.0), (0.0, 0.75), (-math.inf, math.inf), (0.25, 1.0)]))
            p, origin = draw(st.sampled_from([4.0, 7.5, 16.0, 0.3])), draw(st.sampled_from([0.0, -1.0, 0.3, 0.125]))
            grad = draw(st.sampled_from(codes.LEVEL_GRADS[:3]))
            return Levels(p, origin, low, high, rounding, draw(st.sampled_from(codes.CLIPS)), grad, stream)
        grad = draw(st.sampled_from(codes.LEVEL_GRADS))
        return LearnedLevels(draw(st.sampled_from([2, 5, 33, 256])), operand(-1.5, 0.25), operand(0.0, 1.5), rounding, grad, stream)

    limits = Limits(value(-1.5, 0.0), value(0.0, 1.5), draw(st.sampled_from(["through", "ste"]))) if draw(st.booleans()) else None
    return Case(shape, channel, {"before": error(), "limits": limits, "levels": levels(), "after": error()})
