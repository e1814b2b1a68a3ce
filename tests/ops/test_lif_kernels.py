"""The kernels of the neuron ops against their reference: any settings, shape and type, every instruction set and thread count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from neurosim.ops import native as library
from neurosim.ops.lif import lif
from neurosim.ops.neuron_arguments import RESETS
from neurosim.random import stream
from neurosim.surrogate import SURROGATES, surrogate
from tests.ops.neuron_cases import CUBA_LIF, LIF, Case, Result, cases, native, normal, run

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("poisoned")]

KERNEL_SURROGATES = [name for name in SURROGATES if SURROGATES[name].code is not None]
EXACT = (torch.float32, torch.float64)
HALF = (torch.float16, torch.bfloat16)


def equal(a: Tensor, b: Tensor) -> bool:
    """Every number the same, NaN in the same places; in the same type, shape and order in memory."""
    same = a.dtype == b.dtype and a.shape == b.shape and (a.stride() == b.stride() or a.numel() == 0)
    return same and bool(((a == b) | (a.isnan() & b.isnan())).all())


def check(case: Case) -> None:
    reference, kernel = run(case, "off"), run(case, "require")
    for name, expected in reference.outputs.items():
        assert equal(kernel.outputs[name], expected), name
    assert_gradients(kernel, reference, case)


def assert_gradients(kernel: Result, reference: Result, case: Case) -> None:
    exact = case.dtype == torch.float64
    for name, expected in reference.grads.items():
        found = kernel.grads[name]
        assert (found is None) == (expected is None), name
        if found is None or expected is None:
            continue
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        finite = expected[expected.isfinite()].abs()
        size = max(1.0, finite.max().item()) if finite.numel() else 1.0
        tolerance = {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(found.dtype, 1e-9 if exact else 2e-5)
        same = torch.isclose(found / size, expected / size, rtol=tolerance, atol=tolerance, equal_nan=True)
        assert same.all(), (name, found[~same], expected[~same])


@given(case=cases("lif"))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_any_run_of_lif_gives_what_the_reference_gives(case: Case) -> None:
    check(case)


@given(case=cases("cuba_lif"))
@settings(derandomize=True, deadline=None, max_examples=120)
def test_any_run_of_cuba_lif_gives_what_the_reference_gives(case: Case) -> None:
    check(case)


@given(case=cases("li"))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_any_run_of_li_gives_what_the_reference_gives(case: Case) -> None:
    check(case)


@given(case=cases("cuba_lif", HALF))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_16_bit_storage_is_rounded_as_torch_rounds_it(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("op", ["lif", "cuba_lif"])
@pytest.mark.parametrize("reset", RESETS)
def test_every_flag_combination_gives_the_bits_of_the_reference(op: str, reset: str) -> None:
    """With the same parameters for all neurons, for runs of neighbours, and for each its own."""
    names = LIF if op == "lif" else CUBA_LIF
    for strict in (False, True):
        for detach in (False, True):
            for shape in ((), (3, 1), (3, 150)):
                flags = {"reset": reset, "strict": strict, "detach_reset": detach, "surrogate": surrogate("arctan"), "record": True}
                for learned in (False, True):
                    check(Case(op, (6, 2, 3, 150), torch.float32, dict.fromkeys(names, shape), {}, flags, learned=learned))


@pytest.mark.parametrize("name", KERNEL_SURROGATES)
@pytest.mark.parametrize("dtype", EXACT)
def test_every_surrogate_has_the_slope_of_the_reference(name: str, dtype: torch.dtype) -> None:
    """One step without leak, so that the gradient is the surrogate's, close to the threshold and far from it, NaN and infinity included."""
    odd = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0, 0.5, 1.5, 1e20, 1.25, 0.75, 30.0, -80.0], dtype=dtype)
    x = torch.cat([odd, 1 + torch.linspace(-4, 4, 4001, dtype=dtype), 1 + torch.linspace(-200, 200, 999, dtype=dtype)])[None]
    grads = []
    for mode in ("off", "require"):
        leaf = x.clone().requires_grad_()
        with native(mode):
            lif(leaf, decay=0.0, surrogate=surrogate(name)).spikes.sum().backward()
        grads.append(leaf.grad)
    expected, found = grads
    torch.testing.assert_close(found, expected, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-30, equal_nan=True)


@pytest.mark.parametrize("grads", ["all", "spikes", "sum"])
@pytest.mark.parametrize(
    "shape", [(100, 4099), (65, 2, 3000), (3, 2, 5, 1024), (300, 17), (3, 2**13 + 7)], ids=lambda shape: "x".join(map(str, shape))
)
def test_long_and_wide_runs_are_put_together_from_blocks_and_segments(shape: tuple[int, ...], grads: str) -> None:
    for tensors in ({}, {"threshold": (*shape[2:-1], 1)}, {"decay": shape[2:]}):
        for learned in (False, True):
            flags = {"reset": "soft_next", "detach_reset": False, "surrogate": surrogate("arctan")}
            check(Case("cuba_lif", shape, torch.float32, tensors, {"syn_decay": 0.5, "decay": 0.9}, flags, grads=grads, learned=learned))


@pytest.mark.parametrize("instructions", library.INSTRUCTION_SETS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_bit_depends_on_threads_or_instruction_set(threads: int, instructions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"reset": "hard", "detach_reset": False, "surrogate": surrogate("gaussian"), "record": True}
    noise = {"input_noise": 0.1, "membrane_noise": 0.1, "stream": stream(1, "noise")}
    cases = [
        Case("cuba_lif", (40, 3, 700), torch.float32, {"decay": (700,)}, {"syn_decay": 0.5}, {**flags, **noise}),
        Case("lif", (40, 3, 700), torch.float64, {}, {"decay": 0.5}, flags),
        Case("lif", (40, 3, 700), torch.float16, {}, {"decay": 0.5}, flags),
        Case("lif", (40, 3, 7000), torch.float32, {}, {"decay": 0.5}, flags),
    ]
    best = library.library().instruction_set
    if library.INSTRUCTION_SETS.index(instructions) > library.INSTRUCTION_SETS.index(best):
        pytest.skip(f"{instructions} instructions cannot run: this processor has, or the library was built for, {best} at most")
    expected = [run(case, "require") for case in cases]
    found_library = library.library()._replace(instruction_set=instructions)
    monkeypatch.setattr(library, "library", lambda: found_library)
    monkeypatch.setattr(library, "_function", library._function.__wrapped__)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = [run(case, "require") for case in cases]
    finally:
        torch.set_num_threads(before)
    for one, other in zip(found, expected, strict=True):
        for a, b in zip((*one.outputs.values(), *one.grads.values()), (*other.outputs.values(), *other.grads.values()), strict=True):
            assert a is not None
            assert b is not None
            assert equal(a, b)


def test_gradients_that_are_the_same_for_all_steps_are_not_copied_and_give_the_same() -> None:
    x = (0.5 + normal("x", (50, 4, 300))).requires_grad_()
    weight = normal("w", (4, 300))

    def grad(expanded: bool, mode: str) -> Any:
        with native(mode):
            spikes = lif(x, decay=0.9).spikes
            upstream = weight.expand(50, 4, 300)
            return torch.autograd.grad(spikes, x, upstream if expanded else upstream.contiguous())[0]

    assert torch.equal(grad(True, "require"), grad(False, "require"))
    torch.testing.assert_close(grad(True, "require"), grad(True, "off"), rtol=1e-5, atol=1e-6)


def test_a_run_of_nothing_calls_no_kernel_and_gives_the_state_back() -> None:
    with native("require"):
        v = normal("v", (3,))
        out = lif(torch.empty(0, 3), v, decay=0.5)
        assert torch.equal(out.v, v)
        assert out.v.data_ptr() != v.data_ptr()
        assert lif(torch.empty(4, 0), decay=0.5).spikes.shape == (4, 0)
