"""The kernels of ``convert`` against its reference: any settings, any shape, any type, on every instruction set and thread count."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from neurosim.ops import native
from neurosim.ops.quantize import Error, LearnedLevels, Levels, Limits, convert
from neurosim.ops.quantize_plan import CLIPS, LEVEL_GRADS, ROUNDINGS
from neurosim.random import Stream, stream
from tests.ops.quantize_cases import Case, Result, both, cases, equal_bits, run, signal

pytestmark = pytest.mark.kernel

SOURCE = stream(5, "layer", draw=2)
NOTHING = {"before": None, "limits": None, "levels": None, "after": None}


def nearly(a: Tensor, b: Tensor, tolerance: Tensor | float) -> bool:
    """Equal to a tolerance, with NaN and infinities in the same places."""
    finite = b.isfinite()
    if not torch.equal(a.isnan(), b.isnan()) or not torch.equal(a[~finite].nan_to_num(), b[~finite].nan_to_num()):
        return False
    difference = (a.double() - b.double()).abs()
    return bool((difference <= tolerance)[finite].all())


def check(case: Case, x: Tensor) -> None:
    kernel, reference = both(case, x)
    size = x.double().nan_to_num(0.0, 0.0, 0.0).abs()
    if case.is_exact:
        assert equal_bits(kernel.y, reference.y)
    else:
        assert nearly(kernel.y, reference.y, 1e-5 * (1 + size))
    for found, expected in zip(kernel.grads, reference.grads, strict=True):
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            assert found.dtype == expected.dtype
            assert found.shape == expected.shape
            total = 1 + (expected.abs().nan_to_num(0.0, 0.0, 0.0).double() if found.shape == x.shape else size.sum())
            bound = 1e-5 * total
            if found.shape == x.shape and not case.is_exact:
                bound = bound + condition(case, x)
            assert nearly(found, expected, bound)


def condition(case: Case, x: Tensor) -> Tensor | float:
    """How far the reference's gradient moves when the numbers of the first error move by the 1e-6 max(1, |z|) that kernels may differ by.

    Measured, for a signal that moves as far as the largest of them makes it; near the zero of a square root, the way is long.
    """
    first = case.settings["before"]
    if first is None or isinstance(first.source, Tensor) or first.distribution == "uniform":
        return 0.0
    size = x.abs().nan_to_num(0.0, 0.0, 0.0)
    grown = {"additive": torch.ones_like(size), "proportional": size, "shot": size.sqrt()}[first.growth]
    largest = 17.0 if first.distribution == "laplace" else 6.0
    step = 1e-6 * largest * float(torch.as_tensor(first.scale).detach().abs().max()) * grown
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROSIM_NATIVE", "off")
        above, below = (run(case, x + sign * step).grads[0] for sign in (1, -1))
    return 0.0 if above is None or below is None else (above.double() - below.double()).abs().nan_to_num(0.0, 0.0, 0.0)


@given(case=cases())
@settings(derandomize=True, deadline=None, max_examples=250)
def test_any_settings_give_what_the_reference_gives(case: Case) -> None:
    """With normal or Laplace numbers before levels, numbers next to an edge may fall on either side: those are tested without levels."""
    if not case.is_exact and case.settings["levels"] is not None:
        case = case._replace(settings={**case.settings, "levels": None})
    check(case, signal(case.shape))


@given(case=cases(torch.float64))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_any_settings_give_what_the_reference_gives_in_double_precision(case: Case) -> None:
    errors = {name: case.settings[name] for name in ("before", "after")}
    plain = {name: error and error._replace(growth="proportional") for name, error in errors.items()}  # torch's root is off by a bit
    case = case._replace(settings={**case.settings, **plain})
    if not case.is_exact and case.settings["levels"] is not None:
        case = case._replace(settings={**case.settings, "levels": None})
    check(case, signal(case.shape, torch.float64))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("origin", [0.0, -1.0, 0.3])
@pytest.mark.usefixtures("poisoned")
def test_every_combination_of_level_flags_gives_the_bits_of_the_reference(rounding: str, clip: str, origin: float) -> None:
    for grad in LEVEL_GRADS[:3]:
        for stream_or_none in (SOURCE, None):
            levels = Levels(7.5, origin, -0.9, 1.0, rounding, clip, grad, stream_or_none)  # type: ignore[arg-type]  # names from the lists
            for shape in ((1,), (515,), (3, 4099)):
                check(Case(shape, None, {**NOTHING, "levels": levels}), signal(shape))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("grad", LEVEL_GRADS)
@pytest.mark.parametrize(("shape", "channel"), [((5, 3, 211), 1), ((700, 9), 1), ((2, 600), 0), ((3, 1100), 1), ((2, 3, 5, 7), -3)])
def test_every_rule_of_learned_levels_gives_the_bits_of_the_reference(
    rounding: str, grad: str, shape: tuple[int, ...], channel: int
) -> None:
    low = torch.linspace(-1.2, -0.5, shape[channel], requires_grad=True)
    for high in (torch.linspace(0.5, 1.3, shape[channel], requires_grad=True), torch.tensor(1.1, requires_grad=True)):
        levels = LearnedLevels(33, low, high, rounding, grad, SOURCE)  # type: ignore[arg-type]  # names from the lists
        check(Case(shape, channel, {**NOTHING, "levels": levels}), signal(shape))


HALVES = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}


@pytest.mark.parametrize("dtype", HALVES)
def test_sixteen_bit_signals_are_computed_in_single_precision_and_rounded_once(dtype: torch.dtype) -> None:
    case = Case(
        (1111,),
        None,
        {"before": Error("uniform", "additive", 0.2, SOURCE), "limits": Limits(-1.0, 1.0), "levels": Levels(16.0), "after": None},
    )
    x = signal(case.shape, dtype)
    kernel, reference = both(case, x)
    assert kernel.y.dtype == dtype
    assert equal_bits(kernel.y, reference.y)
    assert equal_bits(kernel.y, run(case, x.float()).y.to(dtype))
    for found, expected in zip(kernel.grads, reference.grads, strict=True):
        assert found is not None
        assert expected is not None
        assert found.dtype == dtype
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", HALVES)
def test_parameters_of_sixteen_bit_signals_keep_their_own_type(dtype: torch.dtype) -> None:
    low, high = torch.tensor([-0.7], requires_grad=True), torch.tensor([0.9], requires_grad=True)
    case = Case((301,), None, {**NOTHING, "levels": LearnedLevels(9, low, high)})
    kernel, reference = both(case, signal(case.shape, dtype).nan_to_num(0.0, 1.0, -1.0))
    assert [grad.dtype for grad in kernel.grads if grad is not None] == [dtype, torch.float32, torch.float32]
    for found, expected in zip(kernel.grads, reference.grads, strict=True):
        assert found is not None
        assert expected is not None
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-4)


LEARNED = LearnedLevels(
    17, torch.linspace(-1.1, -0.4, 6).requires_grad_(), torch.linspace(0.6, 1.2, 6).requires_grad_(), "stochastic", "lsq", SOURCE
)
EXACT = Case(
    (31, 6, 47),
    1,
    {
        "before": Error("uniform", "shot", torch.linspace(0.1, 0.2, 6).requires_grad_(), SOURCE.child("b")),
        "limits": Limits(torch.tensor(-1.0, requires_grad=True), torch.linspace(0.9, 1.1, 6).requires_grad_()),
        "levels": LEARNED,
        "after": Error("uniform", "proportional", torch.tensor(0.1, requires_grad=True), SOURCE.child("a")),
    },
)
NORMAL = EXACT._replace(settings={**EXACT.settings, "before": Error("gaussian", "additive", 0.1, SOURCE), "limits": Limits(-1.0, 1.0)})


def bits(result: Result) -> list[Tensor]:
    return [result.y, *(grad for grad in result.grads if grad is not None)]


@pytest.mark.parametrize("case", [EXACT, NORMAL], ids=["exact", "normal"])
def test_every_instruction_set_and_thread_count_gives_the_same_bits_gradients_of_parameters_included(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROSIM_NATIVE", "require")
    threads, found, x = torch.get_num_threads(), native.library(), signal(case.shape)
    monkeypatch.setattr(native, "_function", native._function.__wrapped__)
    x[~(x.abs() < 10)] = 0.0
    expected: list[Tensor] = []
    try:
        for chosen in native.INSTRUCTION_SETS[: native.INSTRUCTION_SETS.index(found.instruction_set) + 1]:
            other = found._replace(instruction_set=chosen)
            monkeypatch.setattr(native, "library", lambda other=other: other)
            for count in (1, 2, 3):
                torch.set_num_threads(count)
                seen = bits(run(case, x))
                expected = expected or seen
                assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5), (2, 0, 4)])
def test_an_empty_signal_gives_an_empty_result_and_zero_gradients(shape: tuple[int, ...], implementation: str) -> None:
    low, high = torch.tensor(-1.0, requires_grad=True), torch.ones(shape[-1], requires_grad=True)
    result = run(Case(shape, -1, {**NOTHING, "levels": LearnedLevels(5, low, high)}), torch.zeros(shape))
    assert result.y.shape == shape
    assert [grad.tolist() for grad in result.grads[1:] if grad is not None] == [0, [0] * shape[-1]]


@pytest.mark.parametrize("layout", ["transposed", "strided", "channels_last", "expanded"])
def test_results_are_row_major_and_do_not_depend_on_the_layout_of_the_signal(layout: str, implementation: str) -> None:
    x = {
        "transposed": torch.linspace(-1, 1, 210).reshape(5, 7, 2, 3).transpose(0, 1),
        "strided": torch.linspace(-1, 1, 420).reshape(5, 7, 2, 6)[..., ::2],
        "channels_last": torch.linspace(-1, 1, 210).reshape(5, 7, 2, 3).contiguous(memory_format=torch.channels_last),
        "expanded": torch.linspace(-1, 1, 3).expand(5, 7, 2, 3),
    }[layout]
    for case in (
        Case(
            tuple(x.shape),
            1,
            {**NOTHING, "levels": LearnedLevels(9, torch.linspace(-0.9, -0.2, x.shape[1]), torch.linspace(0.3, 0.8, x.shape[1]))},
        ),
        Case(tuple(x.shape), None, {**NOTHING, "limits": Limits(-0.5, 0.5), "after": Error("gaussian", "additive", 0.1, SOURCE)}),
    ):
        plain, other = run(case, x.contiguous()), run(case, x)
        assert other.y.is_contiguous()
        assert all(torch.equal(a, b) for a, b in zip(bits(plain), bits(other), strict=True))


def test_a_gradient_of_another_layout_is_the_same_gradient(implementation: str) -> None:
    x = signal((6, 8)).requires_grad_()
    y = convert(x, limits=Limits(-1.0, 1.0), after=Error("gaussian", "proportional", 0.2, SOURCE))
    upstream = torch.linspace(-1, 1, 48).reshape(8, 6).T
    (strided,) = torch.autograd.grad(y, x, upstream, retain_graph=True)
    (plain,) = torch.autograd.grad(y, x, upstream.contiguous())
    assert torch.equal(strided.nan_to_num(), plain.nan_to_num())


def test_noise_is_numbered_by_the_place_of_an_element_in_row_major_order(implementation: str) -> None:
    x = torch.zeros(4, 3, 2, 5).contiguous(memory_format=torch.channels_last)
    y = convert(x, after=Error("uniform", "additive", 1.0, SOURCE))
    assert torch.equal(y, SOURCE.uniform(x.shape, like=x) - 0.5)


def test_counters_that_are_tensors_are_read_where_they_are(implementation: str) -> None:
    draw = torch.arange(10)
    for at in (0, 7):
        y = convert(torch.zeros(9), after=Error("uniform", "additive", 1.0, Stream((3, 4), 1, draw[at], 2)))
        assert torch.equal(y, convert(torch.zeros(9), after=Error("uniform", "additive", 1.0, Stream((3, 4), 1, at, 2))))


def test_the_gradient_of_a_scale_sums_over_many_elements_without_loss(implementation: str) -> None:
    """A million terms of like size: single precision sums in a row would lose three digits."""
    n = 1 << 20
    x, scale = torch.zeros(n), torch.tensor(0.5, requires_grad=True)
    frozen = torch.linspace(0, 1, n)
    (grad,) = torch.autograd.grad(convert(x, after=Error("gaussian", "additive", scale, frozen)).sum(), scale)
    assert math.isclose(grad.item(), frozen.double().sum().item(), rel_tol=1e-6)
