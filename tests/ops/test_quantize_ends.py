"""The ends of a range that are levels: their codes are exact, although p times an end may lie a last bit beside its level."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from neurosim.ops.quantize import Clip, LearnedLevels, Levels, Rounding, convert
from neurosim.ops.quantize_plan import ROUNDINGS
from neurosim.random import stream
from tests.ops.cuda_tools import needs_compiler, on_emulation
from tests.ops.quantize_cases import Case, equal_bits, run

SOURCE = stream(9, "levels")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
CLIPPED: tuple[Clip, ...] = ("before", "after")
FIXED = [(rounding, clip) for rounding in ROUNDINGS for clip in CLIPPED]
DIRECTED: tuple[Rounding, ...] = ("floor", "ceil")


def ranges(count: int) -> Iterator[tuple[float, float, int]]:
    """Lowest level, highest level and the steps between them."""
    chance = random.Random(3)
    for _ in range(count):
        low = chance.choice([-1.0, 0.0, -0.5, chance.uniform(-3.0, 0.0), chance.uniform(0.1, 0.9)])
        yield low, chance.choice([1.0, 6.0, 0.9 + chance.random()]), chance.choice([2, 3, 5, 7, 15, 16, 31, 63])


def around(low: float, high: float, dtype: torch.dtype) -> Tensor:
    """The low end and what is below it, the high end and what is above it, their neighbours within, and numbers between them."""
    low_end, high_end = torch.tensor(low, dtype=dtype), torch.tensor(high, dtype=dtype)
    if dtype in (torch.float16, torch.bfloat16):  # the end may not be a number of that type
        low_end, high_end = low_end - abs(low) / 64, high_end + abs(high) / 64
    far = torch.tensor([low - 1.0, -math.inf, high + 1.0, math.inf], dtype=dtype)
    middle = torch.linspace(low, high, 33, dtype=torch.float64).to(dtype)
    within = [torch.nextafter(low_end, high_end), torch.nextafter(high_end, low_end)] if dtype.itemsize > 2 else []
    return torch.cat([low_end[None], far[:2], high_end[None], far[2:], *(number[None] for number in within), middle])


def has_exact_ends(y: Tensor, low: float, high: float, steps: int) -> bool:
    """Whether the first three results have the lowest code, the next three the highest one, and all others one of the range."""
    codes = (y.double() - low) * (steps / (high - low))
    near = 0.45 if y.element_size() > 2 else 0.5 + steps / 64  # levels as numbers of 16 bits
    inside = bool(((codes > -near) & (codes < steps + near)).all())
    return inside and bool((codes[:3].abs() < near).all() and ((codes[3:6] - steps).abs() < near).all())


@pytest.mark.kernel
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rounding", "clip"), FIXED)
@pytest.mark.usefixtures("implementation")
def test_from_an_end_on_a_signal_has_the_code_of_that_end_and_none_leaves_the_range(rounding: Any, clip: Any, dtype: torch.dtype) -> None:
    for low, high, steps in ranges(40):
        levels = Levels(steps / (high - low), low, low, high, rounding, clip, "ste", SOURCE)
        assert has_exact_ends(convert(around(low, high, dtype), levels=levels), low, high, steps), (low, high, steps)


@pytest.mark.kernel
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.usefixtures("implementation")
def test_the_same_holds_for_learned_ends(rounding: Any, dtype: torch.dtype) -> None:
    for low, high, steps in ranges(25):
        bounds = torch.tensor(low, dtype=dtype), torch.tensor(high, dtype=dtype)
        levels = LearnedLevels(steps + 1, *bounds, rounding, "ste", SOURCE)
        low, high = (bound.item() for bound in bounds)
        assert has_exact_ends(convert(around(low, high, dtype), levels=levels), low, high, steps), (low, high, steps)


def cases(rounding: Any) -> Iterator[tuple[Case, Tensor]]:
    for at, (low, high, steps) in enumerate(ranges(12)):
        dtype = DTYPES[at % 2]
        x = around(low, high, dtype)
        settings: dict[str, Any] = {"before": None, "limits": None, "levels": None, "after": None}
        for clip in CLIPPED:
            fixed = Levels(steps / (high - low), low, low, high, rounding, clip, "ste_masked", SOURCE)
            yield Case(tuple(x.shape), None, settings | {"levels": fixed}), x
        bottom, top = (torch.tensor(end, dtype=dtype, requires_grad=True) for end in (low, high))
        yield Case(tuple(x.shape), None, settings | {"levels": LearnedLevels(steps + 1, bottom, top, rounding, "lsq", SOURCE)}), x


@pytest.mark.kernel
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_kernels_give_the_bits_of_the_definition_at_the_ends(rounding: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for case, x in cases(rounding):
        monkeypatch.setenv("NEUROSIM_NATIVE", "require")
        found = run(case, x)
        monkeypatch.setenv("NEUROSIM_NATIVE", "off")
        wanted = run(case, x)
        assert equal_bits(found.y, wanted.y)
        torch.testing.assert_close(found.grads, wanted.grads, rtol=1e-5, atol=1e-5, equal_nan=True)


@needs_compiler
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_kernels_for_cuda_do_so_too(rounding: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROSIM_NATIVE", "off")
    every = list(cases(rounding))
    wanted = [run(case, x).y for case, x in every]
    on_emulation(monkeypatch)
    for (case, x), y in zip(every, wanted, strict=True):
        assert equal_bits(run(case, x).y, y)


@pytest.mark.usefixtures("implementation")
def test_an_end_that_is_no_level_is_rounded_as_any_number() -> None:
    x, found = torch.tensor([-2.0, -0.7, 0.4, 2.0]), {}
    for rounding in DIRECTED:
        found[rounding] = convert(x, levels=Levels(1.0, low=-0.7, high=0.4, rounding=rounding, clip="before")).tolist()
    assert found == {"floor": [-1, -1, 0, 0], "ceil": [0, 0, 1, 1]}
