"""``convert`` against formulas: the value of every step, the gradient of every rule, and every message."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.ops.quantize import Error, LearnedLevels, Levels, Limits, convert, prepare
from neurosim.random import Stream, stream
from tests.ops.quantize_cases import equal_bits

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("implementation")]

X = torch.tensor([-1.2, -1.0, -0.4, -0.0, 0.0, 0.3, 1.0, 1.7, math.inf, -math.inf, math.nan])
SOURCE = stream(5, "layer", draw=2)


def gradients(y: Tensor, *wanted: Tensor, upstream: Tensor | None = None) -> list[list[float]]:
    found = torch.autograd.grad(y, wanted, torch.ones_like(y) if upstream is None else upstream, materialize_grads=True)
    return [grad.reshape(-1).tolist() for grad in found]


def test_nothing_to_do_returns_the_signal_itself() -> None:
    assert convert(X) is X


def test_limits_saturate_and_keep_nan() -> None:
    expected = [-0.5, -0.5, -0.4, -0.0, 0.0, 0.3, 1.0, 1.0, 1.0, -0.5, math.nan]
    assert equal_bits(convert(X, limits=Limits(-0.5, 1.0)), torch.tensor(expected))


def test_limits_pass_the_gradient_up_to_themselves_inclusive() -> None:
    x = X.clone().requires_grad_()
    assert gradients(convert(x, limits=Limits(-1.0, 1.0)), x) == [[0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]]
    assert gradients(convert(x, limits=Limits(-1.0, 1.0, "ste")), x) == [[1.0] * 11]


def test_limits_that_are_tensors_receive_the_gradient_of_what_they_clip() -> None:
    low, high = torch.tensor([-1.0, -2.0], requires_grad=True), torch.tensor(1.0, requires_grad=True)
    x = torch.tensor([[-3.0, -3.0], [0.5, -1.5], [4.0, 2.0]])
    y = convert(x, limits=Limits(low, high), channel=1)
    assert y.tolist() == [[-1, -2], [0.5, -1.5], [1, 1]]
    upstream = torch.tensor([[1.0, 10.0], [100.0, 1e3], [1e4, 1e5]])
    assert gradients(y, low, high, upstream=upstream) == [[1.0, 10.0], [1e4 + 1e5]]


def test_a_tie_with_a_limit_that_is_a_tensor_is_shared_as_by_torch_maximum() -> None:
    x, low = torch.tensor([-1.0, 0.0], requires_grad=True), torch.tensor(-1.0, requires_grad=True)
    assert gradients(convert(x, limits=Limits(low, 2.0)), x, low) == gradients(torch.maximum(x, low), x, low)


def test_a_limit_that_is_nan_shows_in_every_result() -> None:
    assert convert(X, limits=Limits(torch.tensor(math.nan), 1.0)).isnan().all()
    assert convert(X, limits=Limits(-1.0, torch.tensor(math.nan))).isnan().all()


ROUNDED: dict[str, list[float]] = {
    "half_even": [-2, -0.0, -0.0, 0, 0, 2, 2],
    "half_to_zero": [-1, -1, -0.0, 0, 0, 1, 2],
    "to_zero": [-1, -1, -0.0, 0, 0, 1, 1],
    "away_from_zero": [-2, -1, -1, 0, 1, 2, 2],
    "floor": [-2, -1, -1, 0, 0, 1, 1],
    "ceil": [-1, -1, -0.0, 0, 1, 2, 2],
}


@pytest.mark.parametrize("rounding", ROUNDED)
def test_every_rounding_takes_the_level_that_its_name_says(rounding: Any) -> None:
    """In steps: -1.5, -1, -0.5, 0, 0.5, 1.5, 1.7."""
    steps = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.5, 1.5, 1.7])
    expected = list(ROUNDED[rounding])
    if rounding == "half_even":
        expected[1] = -1
    assert convert(steps / 4, levels=Levels(4.0, rounding=rounding)).tolist() == [level / 4 for level in expected]


def test_levels_lie_at_their_origin_and_look_at_the_sign_of_the_signal() -> None:
    x = torch.tensor([-0.5, -0.26, 0.24, 0.26, 0.75])
    assert convert(x, levels=Levels(2.0, origin=0.25)).tolist() == [-0.75, -0.25, 0.25, 0.25, 0.75]
    assert convert(x, levels=Levels(2.0, origin=0.25, rounding="to_zero")).tolist() == [-0.25, -0.25, -0.25, 0.25, 0.75]


def test_clipping_before_and_after_differ_where_the_ends_are_no_levels() -> None:
    x = torch.tensor([-2.0, 0.6, 2.0])
    clips: list[Any] = ["before", "after", "none"]
    found = [convert(x, levels=Levels(1.0, low=-0.7, high=0.4, clip=clip)).tolist() for clip in clips]
    assert found == [[-1, 0, 0], pytest.approx([-0.7, 0.4, 0.4]), [-2, 1, 2]]


def test_gradient_rules_of_fixed_levels() -> None:
    x = X.clone().requires_grad_()
    rules: dict[Any, list[float]] = {"through": [0] * 11, "ste": [1] * 11, "ste_masked": [0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]}
    for grad, expected in rules.items():
        assert gradients(convert(x, levels=Levels(4.0, low=-1.0, high=1.0, grad=grad)), x) == [expected]


def test_stochastic_rounding_goes_up_with_the_probability_of_the_remainder() -> None:
    n, remainder = 200_000, 0.3
    y = convert(torch.full((n,), (2 + remainder) / 8), levels=Levels(8.0, rounding="stochastic", stream=SOURCE))
    assert set(y.tolist()) == {2 / 8, 3 / 8}
    assert abs((y == 3 / 8).double().mean().item() - remainder) < 5 * math.sqrt(remainder * (1 - remainder) / n)


def test_stochastic_rounding_without_a_stream_rounds_half_to_even() -> None:
    x = torch.linspace(-2, 2, 33)
    assert torch.equal(convert(x, levels=Levels(4.0, rounding="stochastic")), convert(x, levels=Levels(4.0)))


@pytest.mark.parametrize("rounding", [*ROUNDED, "stochastic"])
@pytest.mark.parametrize(("low", "high", "levels"), [(-1.0, 1.0, 33), (-0.7, 1.1, 16), (0.0, 1.0, 2), (0.25, 0.5, 5)])
def test_learned_levels_are_the_fixed_levels_of_the_same_bounds(rounding: Any, low: float, high: float, levels: int) -> None:
    x = torch.cat([torch.linspace(-1.3, 1.4, 301), X])
    bounds = torch.tensor(low), torch.tensor(high)
    low, high = (bound.item() for bound in bounds)
    p = (levels - 1) / (high - low)
    fixed = convert(x, levels=Levels(p, low, low, high, rounding, "before", "ste", SOURCE))
    assert torch.equal(convert(x, levels=LearnedLevels(levels, *bounds, rounding, "ste", SOURCE)).nan_to_num(), fixed.nan_to_num())


def test_the_lowest_and_the_highest_learned_level_are_the_bounds() -> None:
    low, high = torch.tensor([-0.5, 0.25]), torch.tensor([0.75, 2.0])
    y = convert(torch.tensor([[-9.0, -9.0], [9.0, 9.0]]), levels=LearnedLevels(6, low, high), channel=-1)
    assert torch.allclose(y, torch.stack([low, high]), rtol=1e-6)


def test_learned_levels_whose_bounds_have_crossed_give_nan() -> None:
    y = convert(torch.zeros(3, 2), levels=LearnedLevels(5, torch.tensor([1.0, -1.0]), torch.tensor([-1.0, 1.0])), channel=1)
    assert y.isnan().tolist() == [[True, False]] * 3


def test_learned_step_gradients_are_those_of_equation_3_for_two_bounds() -> None:
    r"""With u = (x - l) / (h - l) and k/n the rounded u: (1, u - k/n, k/n - u) inside, (0, 1, 0) below, (0, 0, 1) above."""
    low, high = (torch.tensor(bound, dtype=torch.float64, requires_grad=True) for bound in (-0.5, 1.5))
    for value in (-0.9, -0.5, -0.31, 0.0, 0.77, 1.21, 1.5, 1.9):
        x = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        y = convert(x, levels=LearnedLevels(9, low, high))
        u, n = (value + 0.5) / 2, 8
        k = round(min(max(u, 0), 1) * n)
        expected = (1, u - k / n, k / n - u) if 0 <= u <= 1 else (0, float(u < 0), float(u > 1))
        assert [grad[0] for grad in gradients(y, x, low, high)] == pytest.approx(expected, abs=1e-14)


def test_learned_step_gradients_make_the_error_of_a_quantiser_smaller() -> None:
    """Descent along them from wide bounds reaches what a search over all symmetric bounds finds, for four levels of a normal signal."""
    x = stream(1, "data").normal((4000,), like=torch.empty(0))

    def loss(bound: Tensor) -> Tensor:
        return (convert(x, levels=LearnedLevels(4, -bound, bound)) - x).square().mean()

    bound = torch.tensor(4.0, requires_grad=True)
    for _ in range(60):
        (grad,) = torch.autograd.grad(loss(bound), bound)
        bound = (bound - 0.5 * grad).detach().requires_grad_()
    best = min(loss(torch.tensor(candidate / 50)).item() for candidate in range(40, 150))
    assert loss(bound).item() < 1.02 * best
    assert bound.item() == pytest.approx(1.494, abs=0.08)  # 1.5 steps of the optimal 0.9957 for four levels (Max 1960, table 2)


def test_the_other_rules_of_learned_levels() -> None:
    low, high = torch.tensor(-1.0, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    x = torch.tensor([-1.5, 0.3, 1.5], requires_grad=True)
    share = torch.tensor([0.0, 0.75, 1.0])  # k / n for n = 4
    expected: dict[Any, list[list[float]]] = {
        "through": [[0, 0, 0], [(1 - share).sum().item()], [share.sum().item()]],
        "ste": [[1, 1, 1], [0], [0]],
        "ste_masked": [[0, 1, 0], [1], [1]],
    }
    for grad, wanted in expected.items():
        assert gradients(convert(x, levels=LearnedLevels(5, low, high, grad=grad)), x, low, high) == wanted


def test_the_true_derivative_to_learned_bounds_is_that_of_finite_differences() -> None:
    x = torch.tensor([-1.5, -0.45, 0.05, 0.3, 0.61, 1.5], dtype=torch.float64)
    low, high = (torch.tensor(bound, dtype=torch.float64, requires_grad=True) for bound in (-0.93, 1.06))
    assert torch.autograd.gradcheck(lambda low, high: convert(x, levels=LearnedLevels(5, low, high, grad="through")), (low, high))


@pytest.mark.parametrize("distribution", ["gaussian", "laplacian", "uniform"])
@pytest.mark.parametrize("growth", ["additive", "proportional", "shot"])
def test_an_error_is_its_standard_noise_times_its_growth(distribution: Any, growth: Any) -> None:
    x = torch.linspace(-2, 2, 1001, dtype=torch.float64)
    centred = SOURCE.uniform(x.shape, like=x) - 0.5
    noise = {
        "gaussian": SOURCE.normal(x.shape, like=x),
        "laplacian": -centred.sign() * torch.log(1 - 2 * centred.abs()),
        "uniform": centred,
    }[distribution]
    factor = {"additive": torch.ones_like(x), "proportional": x.abs(), "shot": x.abs().sqrt()}[growth]
    y = convert(x, after=Error(distribution, growth, 0.25, SOURCE))
    assert torch.allclose(y, x + 0.25 * noise * factor, rtol=0, atol=1e-6)
    assert torch.equal(y, convert(x, before=Error(distribution, growth, 0.25, SOURCE)))


@pytest.mark.parametrize(("distribution", "variance"), [("gaussian", 1.0), ("laplacian", 2.0), ("uniform", 1 / 12)])
def test_errors_have_the_variance_of_their_distribution(distribution: Any, variance: float) -> None:
    """The variance of the square is that of x⁴ less 1: kurtosis 3, 6 and 1.8; bounds at five standard errors."""
    n, kurtosis = 1 << 19, {"gaussian": 3.0, "laplacian": 6.0, "uniform": 1.8}[distribution]
    e = convert(torch.zeros(n), after=Error(distribution, "additive", 1.0, SOURCE)).double()
    assert abs(e.mean().item()) < 5 * math.sqrt(variance / n)
    assert abs(e.square().mean().item() / variance - 1) < 5 * math.sqrt((kurtosis - 1) / n)


def test_no_gaussian_error_is_larger_than_the_largest_normal_number() -> None:
    e = convert(torch.zeros(1 << 22), after=Error("gaussian", "additive", 1.0, SOURCE))
    assert 4.5 < e.abs().max() < 5.89  # the largest of 4 M normal numbers is below 4.5 with probability exp(-4 M * 6.8e-6)


@pytest.mark.parametrize("growth", ["additive", "proportional", "shot"])
@pytest.mark.parametrize("place", ["before", "after"])
def test_the_derivative_of_an_error_is_that_of_finite_differences(growth: Any, place: str) -> None:
    x = torch.tensor([[-1.3, 0.4, 0.9], [0.2, -0.6, 2.0]], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64, requires_grad=True)

    def noisy(x: Tensor, scale: Tensor) -> Tensor:
        error = Error("gaussian", growth, scale, SOURCE)
        return convert(x, channel=1, before=error) if place == "before" else convert(x, channel=1, after=error)

    assert torch.autograd.gradcheck(noisy, (x, scale))


def test_the_derivative_of_a_whole_chain_is_that_of_finite_differences() -> None:
    """Levels with the straight-through rule are replaced by finer and finer ones until they are the identity."""
    x = torch.linspace(-1.4, 1.4, 12, dtype=torch.float64).reshape(3, 4).requires_grad_()
    low, high = torch.full((4,), -0.8, dtype=torch.float64, requires_grad=True), torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    scales = [torch.tensor(scale, dtype=torch.float64, requires_grad=True) for scale in (0.1, 0.2)]

    def chain(x: Tensor, low: Tensor, high: Tensor, first: Tensor, last: Tensor) -> Tensor:
        return convert(
            x,
            before=Error("gaussian", "proportional", first, SOURCE),
            limits=Limits(low, high),
            after=Error("uniform", "shot", last, SOURCE.child("after")),
            channel=1,
        )

    assert torch.autograd.gradcheck(chain, (x, low, high, *scales))


def test_shot_noise_has_slope_one_at_zero() -> None:
    x = torch.tensor([0.0, -0.0], requires_grad=True)
    assert gradients(convert(x, after=Error("gaussian", "shot", 0.5, SOURCE)), x) == [[1, 1]]


def test_a_straight_through_error_has_slope_one_and_none_to_its_scale() -> None:
    x, scale = torch.ones(3, requires_grad=True), torch.tensor(0.5, requires_grad=True)
    y = convert(x, after=Error("gaussian", "proportional", scale, SOURCE, "ste"))
    assert gradients(y, x, scale) == [[1, 1, 1], [0]]


@pytest.mark.parametrize("own", [(2, 3, 4), (3, 4), (4,), (3, 1), (2, 1, 1), (1, 3, 1), (2, 1, 4), (1,), ()])
def test_a_chips_error_broadcasts_against_the_signal(own: tuple[int, ...]) -> None:
    x = torch.linspace(-1, 1, 24).reshape(2, 3, 4)
    frozen = torch.linspace(-2, 2, math.prod(own)).reshape(own)
    assert torch.equal(convert(x, after=Error("gaussian", "additive", 0.5, frozen)), x + frozen * 0.5)


def test_the_steps_come_in_their_order() -> None:
    x = torch.linspace(-1.5, 1.5, 101)
    before, after = Error("gaussian", "additive", 0.2, SOURCE), Error("uniform", "proportional", 0.1, SOURCE.child("b"))
    limits, levels = Limits(-1.0, 1.0), Levels(8.0)
    step_by_step = x
    for step in ({"before": before}, {"limits": limits}, {"levels": levels}, {"after": after}):
        step_by_step = convert(step_by_step, **step)  # type: ignore[arg-type]  # each of them is one of the arguments
    assert equal_bits(convert(x, before=before, limits=limits, levels=levels, after=after), step_by_step)


def test_noise_is_that_of_the_forward_pass_although_its_counter_has_moved_on() -> None:
    draw = torch.tensor(3)
    x = torch.linspace(0.5, 1, 8, requires_grad=True)
    y = convert(x, after=Error("gaussian", "proportional", 0.5, Stream((1, 2), 0, draw)))
    draw.add_(1)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(grad, y.detach() / x.detach(), rtol=1e-5)  # y = x (1 + s xi) for positive x


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limits": Limits(-1.0, 1.0, "stee")}, r"limits\.grad must be one of through, ste, got 'stee'; did you mean 'ste'\?"),  # type: ignore[arg-type]  # what a user may mistype
        ({"limits": Limits(math.nan, 1.0)}, r"limits\.low must be a number, got nan"),
        ({"levels": Levels(0.0)}, r"levels\.steps_per_unit must be > 0, got 0\.0"),
        ({"levels": Levels(1.0, rounding="half-even")}, r"levels\.rounding must be one of .*, got 'half-even'; did you mean 'half_even'\?"),  # type: ignore[arg-type]  # what a user may mistype
        ({"levels": Levels(1.0, grad="lsq")}, r"levels\.grad must be one of through, ste, ste_masked, got 'lsq'"),  # type: ignore[arg-type]  # only learned levels have it
        ({"levels": LearnedLevels(1, torch.zeros(()), torch.ones(()))}, r"levels\.levels must be from 2 to 2\^24, got 1"),
        ({"levels": LearnedLevels(4, torch.zeros(3), torch.ones(()))}, r"levels\.low must have one element .*, got shape \(3,\)"),
        ({"levels": LearnedLevels(4, -1.0, torch.ones(()))}, r"levels\.low must be a tensor, got -1\.0; use Levels for numbers"),  # type: ignore[arg-type]  # a number
        ({"limits": Limits(torch.zeros(4), 1.0), "channel": 1}, r"limits\.low must have 3 elements, one per channel, got shape \(4,\)"),
        ({"limits": Limits(0.0, 1.0), "channel": 2}, r"channel must be an axis of a signal of shape \(2, 3\), got 2"),
        ({"after": Error("normal", "additive", 1.0, SOURCE)}, r"after\.distribution must be one of gaussian, .*, got 'normal'"),  # type: ignore[arg-type]  # what a user may mistype
        ({"before": Error("uniform", "shot", 1.0, torch.zeros(2))}, r"before\.source must broadcast to the shape \(2, 3\) .*, got \(2,\)"),
        ({"before": Error("uniform", "shot", 1.0, torch.zeros(3, requires_grad=True))}, r"before\.source is a chip's error .*: detach it"),
        ({"after": Error("uniform", "shot", 1.0, Stream((1, 2), -1))}, r"chip, draw and call must be integers from 0 to 2\^32 - 1, got -1"),
    ],
)
def test_what_does_not_hold_is_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(torch.zeros(2, 3), **settings)


def test_a_signal_of_integers_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"convert: x must be floating point of 16 bits or more, got torch\.int64"):
        convert(torch.zeros(2, dtype=torch.int64), limits=Limits())


def test_a_sparse_signal_and_levels_at_infinity_are_refused() -> None:
    with pytest.raises(ConfigError, match="x must be dense"):
        convert(torch.zeros(2).to_sparse(), limits=Limits())
    with pytest.raises(ConfigError, match="must be finite"):
        convert(torch.zeros(2), levels=Levels(1.0, math.inf))


@pytest.mark.usefixtures("implementation")
@pytest.mark.kernel
def test_a_scale_that_is_mapped_over_has_its_gradient() -> None:
    xs = torch.zeros(2, 3)

    def loss(scales: Tensor) -> Tensor:
        each = torch.func.vmap(lambda scale, x: convert(x, after=Error("gaussian", "additive", scale, torch.ones(3))))
        return each(scales, xs).sum()

    assert torch.func.grad(loss)(torch.ones(2)).tolist() == [3.0, 3.0]


def test_a_prepared_pass_is_the_pass_with_the_streams_that_it_is_given() -> None:
    steps: dict[str, Any] = {
        "before": Error("laplacian", "shot", 0.1, SOURCE),
        "limits": Limits(-1.0, 1.0),
        "levels": Levels(8.0, low=-1.0, high=1.0, rounding="stochastic", stream=SOURCE.child("levels")),
        "after": Error("gaussian", "proportional", 0.2, SOURCE.child("after")),
    }
    one, streams = prepare(**steps)
    assert streams == [SOURCE, SOURCE.child("levels"), SOURCE.child("after")]
    x = SOURCE.normal((40, 3), like=X).requires_grad_()
    later = [source._replace(draw=torch.tensor(7), call=2) for source in streams]
    moved = {
        "before": steps["before"]._replace(source=later[0]),
        "limits": steps["limits"],
        "levels": steps["levels"]._replace(stream=later[1]),
        "after": steps["after"]._replace(source=later[2]),
    }
    for given, expected in ((streams, convert(x, **steps)), (later, convert(x, **moved))):
        found = one(x, given)
        assert torch.equal(found, expected)
        assert gradients(found, x) == gradients(expected, x)


def test_a_prepared_pass_says_what_it_needs() -> None:
    one, _ = prepare(before=Error("gaussian", "additive", 0.1, SOURCE))
    with pytest.raises(ConfigError, match="convert: 1 streams are needed, got 0"):
        one(X, [])
    with pytest.raises(ConfigError, match=r"limits\.low must be a number where a pass is prepared, got a tensor"):
        prepare(limits=Limits(torch.zeros(1), 1.0))
