"""Counter-based random numbers: published vectors, moments, and independence of how they are drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from neurosim.errors import ConfigError
from neurosim.random import Stream, permutation, philox4x32, stream

LIKE = torch.empty(0)

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("implementation")]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
    ],
    ids=["zeros", "ones", "digits-of-pi"],
)
def test_philox_gives_the_vectors_of_its_authors(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    """The three known-answer vectors for philox4x32-10 that the authors publish with Random123 (file kat_vectors)."""
    words = philox4x32((torch.tensor(counter[0]), *counter[1:]), key)
    assert tuple(int(word) for word in words) == expected


def test_numbers_are_words_in_their_documented_order() -> None:
    source = stream(5, "x", chip=2, draw=3, call=4)
    words = torch.stack(philox4x32((torch.arange(3), 2, 3, 4), source.key), -1).flatten()
    assert torch.equal(source.uniform((12,), like=LIKE.double()), ((words >> 8).double() + 0.5) * 2.0**-24)


def test_normals_are_the_box_muller_transform_of_the_uniforms() -> None:
    source = stream(5, "x")
    u = source.uniform((1000,), like=LIKE.double()).view(-1, 2)
    radius, angle = (-2 * u[:, 0].log()).sqrt(), 2 * math.pi * u[:, 1]
    expected = torch.stack([radius * angle.cos(), radius * angle.sin()], -1).flatten()
    assert torch.allclose(source.normal((1000,), like=LIKE.double()), expected, rtol=0, atol=1e-14)


def test_single_precision_normals_agree_with_double_precision_ones() -> None:
    source = stream(7, "x")
    single, double = source.normal((100_000,), like=LIKE), source.normal((100_000,), like=LIKE.double())
    error = (single - double).abs()
    # the angle's rounding, 2 pi 2**-24 twice, is magnified by a radius of at most 5.9; that of u by 1 / (u r), below 5e-6 where r > 0.006
    assert (error <= 5e-6).double().mean() > 1 - 10 * (1 - math.exp(-(0.006**2) / 2))
    assert error.max() < 2.0**-12  # and nowhere above du / r for du = 2**-25 and the smallest r > 0, 2**-12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_floating_type_gets_the_same_numbers_rounded(dtype: torch.dtype) -> None:
    source = stream(1, "x")
    reference = source.normal((257,), like=LIKE)
    drawn = source.normal((257,), like=LIKE.to(dtype))
    assert drawn.dtype == dtype
    assert torch.allclose(drawn.double(), reference.double(), rtol=2.0**-7, atol=1e-5)


def test_uniforms_stay_inside_the_open_interval_in_every_type() -> None:
    top = Stream((0, 0))
    for dtype in (torch.float32, torch.float64):
        drawn = top.uniform((1 << 20,), like=LIKE.to(dtype))
        assert drawn.min() > 0
        assert drawn.max() < 1


def test_the_largest_word_gives_a_uniform_below_one_and_a_finite_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROSIM_NATIVE", "off")
    full = torch.full((1,), 0xFFFFFFFF)
    monkeypatch.setattr("neurosim.ops.philox.philox4x32", lambda counter, key: (full, full, full, full))
    assert stream(0, "x").uniform((4,), like=LIKE).max() < 1
    assert stream(0, "x").normal((4,), like=LIKE).isfinite().all()


def test_moments_lie_within_their_computed_bounds() -> None:
    """Bounds at five standard errors: those of the mean of z^k are sqrt((E z^2k - (E z^k)^2) / n)."""
    n = 1 << 20
    z = stream(11, "moments").normal((n,), like=LIKE.double())
    moment = {1: 0.0, 2: 1.0, 3: 0.0, 4: 3.0, 6: 15.0, 8: 105.0}
    for k in (1, 2, 3, 4):
        bound = 5 * math.sqrt(moment[2 * k] - moment[k] ** 2) / math.sqrt(n)
        assert abs(z.pow(k).mean().item() - moment[k]) < bound
    u = stream(11, "moments").uniform((n,), like=LIKE.double())
    assert abs(u.mean().item() - 0.5) < 5 / math.sqrt(12 * n)
    assert abs(u.var().item() - 1 / 12) < 5 * math.sqrt(1 / 180 / n)


def test_distributions_pass_a_kolmogorov_test() -> None:
    source = stream(3, "ks")
    assert stats.kstest(source.normal((200_000,), like=LIKE.double()).numpy(), "norm").pvalue > 1e-4
    assert stats.kstest(source.uniform((200_000,), like=LIKE.double()).numpy(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("field", ["chip", "draw", "call"])
def test_neighbouring_counters_are_uncorrelated(field: str) -> None:
    n = 1 << 18
    a = stream(3, "x").normal((n,), like=LIKE)
    b = stream(3, "x", **{field: 1}).normal((n,), like=LIKE)
    assert abs((a * b).mean().item()) < 5 / math.sqrt(n)
    assert abs((a[1:] * b[:-1]).mean().item()) < 5 / math.sqrt(n)


def test_streams_of_other_names_are_uncorrelated() -> None:
    n = 1 << 18
    a, b = stream(3, "fc1", "adc").normal((n,), like=LIKE), stream(3, "fc2", "adc").normal((n,), like=LIKE)
    assert abs((a * b).mean().item()) < 5 / math.sqrt(n)
    assert stream(3, "ab").key != stream(3, "a", "b").key
    assert stream(3, "a").child("backward").key != stream(3, "a").key


@pytest.mark.parametrize("sizes", [(1, 2, 3, 4), (5, 5), (9, 1), (3, 7), (4, 4, 2)])
def test_a_draw_in_pieces_equals_the_whole(sizes: tuple[int, ...]) -> None:
    source = stream(1, "batch", draw=9)
    whole = source.normal((10, 6), like=LIKE)
    at, parts = 0, []
    for size in sizes:
        parts.append(source.normal((size, 6), like=LIKE, offset=6 * at))
        at += size
    assert torch.equal(torch.cat(parts), whole)


def test_chunk_size_and_thread_count_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source, threads = stream(1, "x"), torch.get_num_threads()
    whole = source.normal((100_003,), like=LIKE)
    monkeypatch.setattr("neurosim.ops.philox._CHUNK_BLOCKS", 1000)
    assert torch.equal(source.normal((100_003,), like=LIKE), whole)
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        assert torch.equal(source.normal((100_003,), like=LIKE), whole)
    finally:
        torch.set_num_threads(threads)


def test_a_counter_may_be_a_tensor_and_may_be_mapped_over() -> None:
    chips = torch.arange(3)
    mapped = torch.func.vmap(lambda chip: stream(1, "x", chip=chip).normal((5,), like=LIKE))(chips)
    assert torch.equal(mapped, torch.stack([stream(1, "x", chip=chip).normal((5,), like=LIKE) for chip in range(3)]))


def test_the_global_generator_is_neither_used_nor_changed() -> None:
    before = torch.get_rng_state()
    first = stream(1, "x").normal((100,), like=LIKE)
    torch.manual_seed(1234)
    second = stream(1, "x").normal((100,), like=LIKE)
    torch.set_rng_state(before)
    permutation(stream(1, "y"), 100)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 1000])
def test_a_permutation_holds_every_index_once(n: int) -> None:
    assert torch.equal(permutation(stream(1, "order"), n).sort().values, torch.arange(n))


def test_every_permutation_of_four_is_as_likely() -> None:
    draws = 24 * 200
    seen = [tuple(permutation(stream(1, "order", draw=draw), 4).tolist()) for draw in range(draws)]
    counts = [seen.count(one) for one in set(seen)]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_empty_and_scalar_shapes_are_drawn(shape: tuple[int, ...]) -> None:
    assert stream(1, "x").normal(shape, like=LIKE).shape == shape


@pytest.mark.parametrize("seed", [-1, 1 << 63, 1.5, True, "1"])
def test_a_seed_out_of_range_is_refused(seed: object) -> None:
    with pytest.raises(ConfigError, match=r"seed: must be an integer from 0 to 2\^63 - 1, got"):
        stream(seed, "x")  # type: ignore[arg-type]  # what a user might pass


def test_integer_results_and_elements_beyond_the_counter_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be floating point, got torch\.int64"):
        stream(1, "x").normal((3,), like=torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ConfigError, match=r"elements 0 to 2\^34 - 1, got 2 elements from 17179869183"):
        stream(1, "x").normal((2,), like=LIKE, offset=(1 << 34) - 1)


def test_words_may_be_integers_of_numpy() -> None:
    like = torch.empty(0)
    three: Any = np.int64(3)
    expected = stream(0, "a", chip=3, draw=3, call=3).normal((5,), like=like)
    assert torch.equal(stream(0, "a", chip=three, draw=three, call=three).normal((5,), like=like), expected)


def test_words_that_are_no_integers_are_refused() -> None:
    half: Any = 0.5
    with pytest.raises(ConfigError, match=r"chip, draw and call must be integers from 0 to 2\^32 - 1, got 0\.5"):
        stream(0, "a", draw=half).normal((5,), like=torch.empty(0))
