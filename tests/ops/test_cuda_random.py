"""The kernel for random numbers on CUDA, run thread by thread on the CPU, against the definition in torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neurosim.random import Stream, stream
from tests.ops.cuda_tools import needs_compiler, on_emulation

pytestmark = needs_compiler

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def both(source: Stream, kind: str, count: int, dtype: torch.dtype, offset: int) -> tuple[Tensor, Tensor]:
    """What the definition draws, and what the emulation does."""
    drawn = []
    for emulated in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NEUROSIM_NATIVE", "off")
            started = on_emulation(patch) if emulated else []
            drawn.append(getattr(source, kind)((count,), like=torch.empty(0, dtype=dtype), offset=offset))
            assert bool(started) == emulated
    return drawn[0], drawn[1]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("count", "offset"), [(1030, 0), (7, 0), (10, 3), (1, 2), (0, 5), (9, 4), (12, 1)])
def test_uniform_numbers_are_the_same_bits(dtype: torch.dtype, count: int, offset: int) -> None:
    wanted, found = both(stream(3, "u", chip=1, draw=2, call=3), "uniform", count, dtype, offset)
    assert torch.equal(wanted, found)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("count", "offset"), [(1030, 0), (10, 3), (1, 2)])
def test_normal_numbers_agree_to_their_precision(dtype: torch.dtype, count: int, offset: int) -> None:
    wanted, found = both(stream(3, "z"), "normal", count, dtype, offset)
    error = {torch.float16: 1e-3, torch.bfloat16: 8e-3}.get(dtype, 1e-6)
    assert bool(((found - wanted).abs() <= error * wanted.abs().clamp(min=1)).all())


def test_counter_words_are_read_from_memory() -> None:
    words = [torch.tensor(word) for word in (7, 8, 9)]
    wanted, _ = both(stream(3, "u", chip=7, draw=8, call=9), "uniform", 9, torch.float32, 0)
    _, found = both(stream(3, "u", chip=words[0], draw=words[1], call=words[2]), "uniform", 9, torch.float32, 0)
    assert torch.equal(wanted, found)


def test_the_last_element_of_a_stream_can_be_drawn() -> None:
    wanted, found = both(stream(3, "u"), "uniform", 3, torch.float32, (4 << 32) - 3)
    assert torch.equal(wanted, found)
