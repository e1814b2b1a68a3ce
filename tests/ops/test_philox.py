"""Random numbers as ops: kernels against the reference, exhaustively where that is possible, on every instruction set and thread count."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.ops import native
from neurosim.ops.cuda_cache import SOURCES
from neurosim.ops.philox import GAUSSIAN, UNIT, drawn, encode, philox_normal, philox_uniform
from neurosim.random import Stream, stream
from tests.ops.cuda_tools import COMPILER, needs_compiler

CPU = torch.device("cpu")
WORDS = [0x243F6A88, 0x85A308D3, 7, 0xFFFFFFFF, 1]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
OPS: dict[int, Callable[..., Tensor]] = {GAUSSIAN: philox_normal, UNIT: philox_uniform}

pytestmark = pytest.mark.kernel


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROSIM_NATIVE", "require")


@pytest.fixture(params=native.INSTRUCTION_SETS)
def instruction_set(request: pytest.FixtureRequest, kernels: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Kernels compiled for that set."""
    found = native.library()
    assert found.handle is not None
    chosen = request.param
    if native.INSTRUCTION_SETS.index(chosen) > native.INSTRUCTION_SETS.index(found.instruction_set):
        pytest.skip(f"{chosen} instructions cannot run: this processor has, or the library was built for, {found.instruction_set} at most")
    other = found._replace(instruction_set=chosen)
    monkeypatch.setattr(native, "library", lambda: other)
    monkeypatch.setattr(native, "_function", native._function.__wrapped__)
    return str(chosen)


def same(kernel: Tensor, reference: Tensor, normal: bool) -> bool:
    """Uniform numbers bit for bit, normal ones to 1e-6 max(1, |z|) and the rounding of a 16-bit type."""
    if not normal:
        return torch.equal(kernel, reference)
    step = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}.get(kernel.dtype, 0.0)
    bound = (1e-6 + step) * reference.double().abs().clamp(min=1)
    return bool(((kernel.double() - reference.double()).abs() <= bound).all())


@pytest.mark.parametrize("noise", OPS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("instruction_set", "poisoned")
def test_kernels_give_the_numbers_of_the_reference_at_any_length_and_offset(noise: int, dtype: torch.dtype) -> None:
    for count in (0, 1, 3, 4, 5, 63, 64, 65, 257, 4095, 4097, 8195):
        for offset in (0, 1, 2, 3, 2**33 - 2):
            kernel = OPS[noise]([count], WORDS, [], offset, dtype, CPU)
            assert kernel.shape == (count,)
            assert same(kernel, drawn([count], WORDS, [], offset, noise == GAUSSIAN, dtype, CPU), noise == GAUSSIAN)


@given(
    shape=st.lists(st.integers(0, 9), max_size=4),
    words=st.lists(st.integers(0, 2**32 - 1), min_size=5, max_size=5),
    offset=st.integers(0, 2**34 - 10**4),
    tensors=st.lists(st.booleans(), min_size=3, max_size=3),
    noise=st.sampled_from([GAUSSIAN, UNIT]),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_kernels_give_the_numbers_of_the_reference_for_any_source(
    shape: list[int], words: list[int], offset: int, tensors: list[bool], noise: int
) -> None:
    given_as: list[Tensor] = []
    counter = [torch.tensor(word) if as_tensor else word for word, as_tensor in zip(words[2:], tensors, strict=True)]
    named = encode((words[0], words[1]), (counter[0], counter[1], counter[2]), given_as, CPU)
    assert len(given_as) == sum(tensors)
    kernel = OPS[noise](shape, named, given_as, offset, torch.float32, CPU)
    assert list(kernel.shape) == shape
    assert same(kernel, drawn(shape, words, [], offset, noise == GAUSSIAN, torch.float32, CPU), noise == GAUSSIAN)


@pytest.mark.usefixtures("kernels")
def test_every_instruction_set_and_thread_count_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, found = torch.get_num_threads(), native.library()
    monkeypatch.setattr(native, "_function", native._function.__wrapped__)
    seen: dict[tuple[int, torch.dtype], Tensor] = {}
    try:
        for chosen in native.INSTRUCTION_SETS[: native.INSTRUCTION_SETS.index(found.instruction_set) + 1]:
            other = found._replace(instruction_set=chosen)
            monkeypatch.setattr(native, "library", lambda other=other: other)
            for count in (1, 2, 3):
                torch.set_num_threads(count)
                for noise, op in OPS.items():
                    for dtype in (torch.float32, torch.float64):
                        numbers = op([30_001], WORDS, [], 5, dtype, CPU)
                        assert torch.equal(numbers, seen.setdefault((noise, dtype), numbers))
    finally:
        torch.set_num_threads(threads)


_SWEEP = """
#include "philox.h"
using namespace NEUROSIM_SET;
extern "C" void sweep(float *unit, float *radius, float *cosine, float *sine, float *laplacian) {
    for (uint32_t i = 0; i < 1u << 24; ++i) {
        const float t = scaled_unit(i << 8);
        uniform(i << 8, unit[i]);
        radius[i] = sqrtf(minus_two_log(t));
        cos_sin(t, cosine[i], sine[i]);
        laplace(i << 8, laplacian[i]);
    }
}
"""


class Sweep:
    """What the shared header makes of every one of the 2²⁴ uniform numbers, and what the reference makes of them."""

    def __init__(self, folder: Path) -> None:
        source, target = folder / "sweep.cpp", folder / "sweep.so"
        source.write_text(_SWEEP)
        flags = ("-std=c++17", "-O2", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared", f"-I{SOURCES}")
        subprocess.run([str(COMPILER), *flags, str(source), "-o", str(target)], check=True)
        self.unit, self.radius, self.cosine, self.sine, self.laplacian = torch.empty(5, 1 << 24)
        arrays = (self.unit, self.radius, self.cosine, self.sine, self.laplacian)
        ctypes.CDLL(str(target)).sweep(*(ctypes.c_void_p(array.data_ptr()) for array in arrays))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return Sweep(tmp_path_factory.mktemp("sweep"))


@needs_compiler
def test_every_uniform_number_is_that_of_the_reference(sweep: Sweep) -> None:
    expected = ((torch.arange(1 << 24).to(torch.float32) + 0.5) * 2.0**-24).clamp(max=1 - 2.0**-24)
    assert torch.equal(sweep.unit, expected)


@needs_compiler
def test_every_normal_number_is_that_of_the_reference_to_a_millionth(sweep: Sweep) -> None:
    """With z = r c, errors of r relative to max(r, 1) and of c relative to max(|c|, 1 / r_max) are errors of z relative to max(1, |z|).

    All 2⁴⁸ pairs of a radius and an angle are covered by all radii and all angles, and both products are rounded once.
    """
    radius, angle = (-2 * sweep.unit.log()).sqrt(), sweep.unit * (2 * torch.pi)
    largest = float(radius.max())
    of_radius = float(((sweep.radius - radius).abs() / radius.clamp(min=1)).max())
    for found, expected in ((sweep.cosine, angle.cos()), (sweep.sine, angle.sin())):
        of_angle = float(((found - expected).abs() / expected.abs().clamp(min=1 / largest)).max())
        assert of_radius + of_angle + 2 * 2.0**-24 < 1e-6


@needs_compiler
def test_normal_numbers_are_those_of_exact_arithmetic_to_a_millionth(sweep: Sweep) -> None:
    """Against float64 functions of the same uniform number and of the same, rounded, angle."""
    unit = sweep.unit.double()
    assert float(((sweep.radius.double() / (-2 * unit.log()).sqrt()) - 1).abs().max()) < 3e-7
    angle = (sweep.unit * torch.tensor(2 * torch.pi)).double()
    assert float((sweep.cosine.double() - angle.cos()).abs().max()) < 1.2e-7
    assert float((sweep.sine.double() - angle.sin()).abs().max()) < 1.2e-7


@needs_compiler
def test_no_normal_number_is_beyond_the_largest_radius(sweep: Sweep) -> None:
    assert float(sweep.radius.max()) == pytest.approx((50 * torch.log(torch.tensor(2.0)).item()) ** 0.5, rel=1e-6)  # u = 2**-25
    assert float(sweep.radius.max()) < 5.89
    assert float(sweep.radius.min()) > 0
    assert float(sweep.cosine.abs().max()) <= 1
    assert float(sweep.sine.abs().max()) <= 1


@needs_compiler
def test_every_laplace_number_inverts_the_distribution_function(sweep: Sweep) -> None:
    """F(y) = exp(y) / 2 below zero and 1 - exp(-y) / 2 above."""
    centred = sweep.unit.double() - 0.5
    expected = centred.sign() * -torch.log1p(-2 * centred.abs())
    error = (sweep.laplacian.double() - expected).abs() / expected.abs().clamp(min=1)
    assert float(error.max()) < 1e-6


def test_words_that_are_no_counter_are_refused() -> None:
    for word in (-1, 2**32):
        with pytest.raises(ConfigError, match=rf"chip, draw and call must be integers from 0 to 2\^32 - 1, got {word}"):
            encode((1, 2), (0, word, 0), [], CPU)
    with pytest.raises(ConfigError, match=r"must be single numbers, got shape \(2,\)"):
        encode((1, 2), (0, torch.zeros(2, dtype=torch.int64), 0), [], CPU)


def test_a_counter_in_any_integer_type_is_the_same_counter(implementation: str) -> None:
    numbers = [stream(1, "x", draw=torch.tensor(5, dtype=dtype)).normal((9,), like=torch.empty(0)) for dtype in (torch.int32, torch.int64)]
    assert torch.equal(numbers[0], numbers[1])
    assert torch.equal(numbers[0], stream(1, "x", draw=5).normal((9,), like=torch.empty(0)))


@pytest.mark.parametrize("name", ["philox_uniform", "philox_normal"])
@pytest.mark.parametrize("tensors", [[], [torch.tensor(3)]])
def test_the_ops_pass_the_checks_of_torch(name: str, tensors: list[Tensor], implementation: str) -> None:
    words = [1, 2, 3, -1 if tensors else 4, 5]
    results = torch.library.opcheck(getattr(torch.ops.neurosim, name).default, ([3, 5], words, tensors, 2, torch.float32, CPU))
    assert set(results.values()) == {"SUCCESS"}


def test_a_draw_compiles_into_one_graph_and_follows_its_counter(implementation: str) -> None:
    def noisy(x: Tensor, draw: Tensor) -> Tensor:
        return x + stream_of_draw(draw).normal(x.shape, like=x)

    compiled = torch.compile(noisy, fullgraph=True, backend="aot_eager")
    x = torch.zeros(7)
    for draw in (torch.tensor(1), torch.tensor(2)):
        assert torch.equal(compiled(x, draw), noisy(x, draw))


def stream_of_draw(draw: int | Tensor) -> Stream:
    return Stream((11, 12), 0, draw, 0)


def test_counters_that_are_numbers_do_not_make_a_compiled_function_anew(implementation: str) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda x, draw: x + stream_of_draw(draw).uniform(x.shape, like=x), fullgraph=True, backend="aot_eager")
    x = torch.zeros(7)
    for draw in (1, 2, 3):
        compiled(x, draw)
    with torch.compiler.set_stance("fail_on_recompile"):
        for draw in range(10, 20):
            assert torch.equal(compiled(x, draw), stream_of_draw(draw).uniform(x.shape, like=x))


def test_chips_may_be_mapped_over_within_and_without_a_compiled_function(implementation: str) -> None:
    def one(chip: Tensor) -> Tensor:
        return Stream((11, 12), chip).normal((5,), like=torch.empty(0))

    chips = torch.arange(3)
    expected = torch.stack([one(chip) for chip in chips])
    assert torch.equal(torch.func.vmap(one)(chips), expected)
    assert torch.equal(torch.compile(torch.func.vmap(one), fullgraph=True, backend="aot_eager")(chips), expected)


@pytest.mark.kernel
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_of_16_bits_stay_within_the_open_interval(implementation: str, dtype: torch.dtype) -> None:
    drawn = stream(0, "x").uniform((1 << 18,), like=torch.empty(0, dtype=dtype))
    assert drawn.dtype == dtype
    assert drawn.min().item() > 0
    assert drawn.max().item() == 1 - torch.finfo(dtype).eps / 2, "1 itself would come up in one of 2^9 or 2^12 draws"
