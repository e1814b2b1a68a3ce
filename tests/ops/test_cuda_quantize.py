"""The quantiser's kernels for CUDA, run thread by thread on the CPU, against the definition in torch: every case has its own lines."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from neurosim.ops import quantize_cuda
from neurosim.ops.quantize import Error, LearnedLevels, Levels, Limits
from neurosim.ops.quantize_plan import ROUNDINGS
from neurosim.random import stream
from tests.ops.cuda_tools import needs_compiler, on_emulation
from tests.ops.quantize_cases import Case, Result, equal_bits, run, signal

pytestmark = needs_compiler

NOISE = stream(7, "noise")
NOTHING: dict[str, Any] = {"before": None, "limits": None, "levels": None, "after": None}


def case(shape: tuple[int, ...], channel: int | None = None, **settings: Any) -> Case:
    return Case(shape, channel, NOTHING | settings)


def both(given: Case, x: Tensor) -> tuple[Result, Result]:
    """By the definition and by the emulation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROSIM_NATIVE", "off")
        wanted = run(given, x)
        started = on_emulation(patch)
        found = run(given, x)
    assert started
    return wanted, found


def agree(given: Case, dtype: torch.dtype = torch.float32) -> None:
    wanted, found = both(given, signal(given.shape, dtype))
    if given.is_exact:
        assert equal_bits(wanted.y, found.y)
    else:
        torch.testing.assert_close(found.y, wanted.y, rtol=2e-6, atol=2e-6, equal_nan=True)
    for one, other in zip(wanted.grads, found.grads, strict=True):
        if one is None or other is None:
            assert one is other
            continue
        largest = float(one[one.isfinite()].abs().max()) if one.isfinite().any() else 0.0
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5 * largest, equal_nan=True)


def learned(*values: float) -> Tensor:
    return torch.tensor(values if len(values) > 1 else values[0]).requires_grad_()


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("origin", [0.0, 0.3])
def test_every_rounding(rounding: Any, origin: float) -> None:
    agree(case((43,), levels=Levels(4.0, origin, -1.0, 1.0, rounding, "before", "ste", NOISE)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("count", [64, 13])
def test_every_type_and_ragged_ends(dtype: torch.dtype, count: int) -> None:
    limits, levels = Limits(-1.25, 1.25, "through"), Levels(8.0, 0.0, -1.0, 1.0, "half_even", "after", "ste_masked")
    agree(case((count,), limits=limits, levels=levels, before=Error("uniform", "additive", 0.25, NOISE, "through")), dtype)


@pytest.mark.parametrize("growth", ["additive", "proportional", "shot"])
def test_every_error_with_a_gradient_to_its_scale(growth: Any) -> None:
    before = Error("gaussian", growth, learned(0.2), NOISE, "through")
    after = Error("laplacian", growth, learned(*[0.1 * at for at in range(1, 5)]), NOISE.child("after"), "through")
    agree(case((3, 4, 5), 1, before=before, after=after))


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 1), (4, 1), (5,), (3, 1, 1)])
def test_given_noise_of_any_shape(shape: tuple[int, ...]) -> None:
    given = torch.linspace(-1, 1, math.prod(shape)).reshape(shape)
    agree(case((3, 4, 5), before=Error("gaussian", "additive", 0.5, given, "ste")))


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("grad", ["through", "lsq"])
def test_learned_levels_along_any_axis(channel: int, grad: Any) -> None:
    low, high = (learned(*[value - 0.05 * at for at in range(4)]) for value in (-0.8, 1.2))
    agree(case((4, 4, 4), channel, levels=LearnedLevels(5, low, high, "half_even", grad, None)))


def test_learned_levels_of_the_whole_tensor() -> None:
    agree(case((7, 9), levels=LearnedLevels(33, learned(-0.8), learned(1.1), "half_even", "lsq", None)))


@pytest.mark.parametrize("grad", ["through", "ste"])
def test_limits_that_are_tensors(grad: Any) -> None:
    agree(case((6, 3), -1, limits=Limits(learned(-1.0, -0.5, 0.0), learned(0.8), grad)))


def test_a_thread_takes_several_groups_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize_cuda, "_BLOCKS", 1)
    agree(case((1537,), limits=Limits(learned(-1.0), learned(0.8), "through")))


def test_memory_that_begins_anywhere() -> None:
    given = case((4, 4), levels=Levels(4.0, 0.0, -1.0, 1.0, "floor", "after", "ste"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROSIM_NATIVE", "off")
        x = signal((17,))[1:].reshape(4, 4)
        wanted = run(given, x)
        started = on_emulation(patch)
        assert equal_bits(run(given, x).y, wanted.y)
    assert dict(started[0].definitions)["NS_PACKED"] == "0"


def test_a_gradient_that_is_zero_somewhere_needs_no_kernel_on_the_way_back() -> None:
    agree(case((5, 8), limits=Limits(-1.0, 1.0, "through")))
