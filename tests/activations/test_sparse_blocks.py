"""Top-k by sorting and by statistics, and gradients of a few steps, against what they are made from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.activations import STEPS, activation, statistical_top_k, stepped_backward, top_k
from neurosim.activations.approximate import Steps
from neurosim.errors import ConfigError
from neurosim.random import stream


def normal(*shape: int, draw: int = 0) -> Tensor:
    return stream(3, "sparse blocks", draw=draw).normal(shape, like=torch.empty(0, dtype=torch.float64))


# --- top-k -----------------------------------------------------------------------------------------------------------------------------


def test_exactly_the_k_largest_are_on_and_keep_their_values() -> None:
    x = normal(5, 40)
    for row, kept in zip(x, top_k(x, 0.25), strict=True):
        largest = sorted(row.tolist(), reverse=True)[:10]
        assert sorted(kept[kept != 0].tolist(), reverse=True) == [value for value in largest if value > 0]


def test_of_equal_elements_so_many_stay_that_k_are_on() -> None:
    assert int((top_k(torch.ones(8), 0.5) != 0).sum()) == 4


def test_all_of_a_vector_is_relu_and_none_is_no_share() -> None:
    x = normal(3, 7)
    assert torch.equal(top_k(x, 1.0), x.relu())
    assert int((top_k(x + 10, 0.01) != 0).sum()) == 3  # at least one each
    for wrong in (0, 1.5, True, math.nan):
        with pytest.raises(ConfigError, match=r"top_k: share: must be"):
            top_k(x, wrong)


def test_only_what_is_on_has_a_gradient() -> None:
    x = normal(4, 12).requires_grad_()
    torch.autograd.backward(top_k(x, 0.25).sum())
    assert x.grad is not None
    assert torch.equal(x.grad != 0, top_k(x.detach(), 0.25) != 0)


def test_channels_of_images_are_vectors_of_axis_1() -> None:
    x = normal(2, 8, 3, 3)
    y = activation("top_k", share=0.25, axis=1)(x)
    assert bool(((y != 0).sum(1) <= 2).all())
    assert torch.equal(y.movedim(1, -1), top_k(x.movedim(1, -1), 0.25))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_of_gaussian_vectors_statistics_leave_about_that_share_on(share: float) -> None:
    """A binomial bound for independent elements; that θ is estimated from the same vector only narrows it."""
    rows, length = 50, 4000
    y = statistical_top_k(3 + 2 * normal(rows, length), share)
    deviation = math.sqrt(share * (1 - share) / (rows * length))
    assert abs(float((y > 0).double().mean()) - share) < 5 * deviation


def test_the_threshold_is_the_quantile_of_a_gaussian_with_the_vectors_moments() -> None:
    x, share = normal(6, 30), 0.3
    quantile = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(1 - share, dtype=torch.float64))
    wanted = (x - (x.mean(1, keepdim=True) + x.std(1, unbiased=False, keepdim=True) * quantile)).relu()
    torch.testing.assert_close(statistical_top_k(x, share), wanted, rtol=1e-6, atol=1e-7)


def test_gradients_go_through_mean_and_deviation_and_are_finite_for_a_constant_vector() -> None:
    x = normal(3, 10).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: statistical_top_k(value, 0.4), (x,))
    flat = torch.full((4,), 2.0, requires_grad=True)
    y = statistical_top_k(flat, 0.4)
    (slope,) = torch.autograd.grad(y.sum(), flat)
    assert bool(slope.isfinite().all())
    assert torch.equal(y, torch.zeros(4))


def test_statistics_of_16_bits_are_those_of_32() -> None:
    x = (100 * normal(4, 64)).to(torch.float16)
    assert torch.equal(statistical_top_k(x, 0.2), statistical_top_k(x.float(), 0.2).to(torch.float16))


def test_a_share_of_all_is_no_threshold() -> None:
    with pytest.raises(ConfigError, match=r"statistical_top_k: share: must be a finite number > 0 and < 1"):
        statistical_top_k(torch.ones(3), 1)
    with pytest.raises(ConfigError, match=r"StatisticalTopK.share"):
        ns.swap_activation(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "statistical_top_k", share=1.0)


# --- gradients of a few steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("base", "backward"), [("gelu", "gelu2"), ("silu", "silu2"), ("hardswish", "relu"), ("mish", "silu2")])
def test_values_are_exact_and_slopes_are_those_of_the_steps(base: str, backward: str) -> None:
    x = torch.linspace(-8, 8, 1001, dtype=torch.float64, requires_grad=True)
    y = activation("approx_backward", base=base, backward=backward)(x)
    assert torch.equal(y, activation(base)(x))
    weights = normal(1001)
    (slope,) = torch.autograd.grad((y * weights).sum(), x)
    steps = STEPS[backward]
    assert torch.equal(slope, weights * torch.tensor([steps.at(value) for value in x.tolist()], dtype=torch.float64))


@pytest.mark.parametrize(("backward", "target"), [("gelu2", nn.functional.gelu), ("silu2", nn.functional.silu)])
def test_the_steps_are_those_of_the_nearest_sum_of_three_relus(backward: str, target: object) -> None:
    """Of all sums that tend to 0 and to x, as the curve does; no step of what is then free brings one nearer, in the mean square."""
    t = torch.linspace(-25, 25, 50_001, dtype=torch.float64)
    wanted = nn.functional.gelu(t) if target is nn.functional.gelu else nn.functional.silu(t)

    def distance(first: float, last: float, left: float, right: float) -> float:
        middle = 1 - first - last
        edge = -(first * left + last * right) / middle
        y = first * (t - left).relu() + middle * (t - edge).relu() + last * (t - right).relu()
        return float((y - wanted).square().mean())

    (left, middle, right), (_, low, high, _) = STEPS[backward]
    first, last = low, 1 - high
    assert -(first * left + last * right) / (1 - first - last) == pytest.approx(middle, abs=2e-4)
    best = distance(first, last, left, right)
    for step in (-1, 1):
        assert distance(first + 0.003 * step, last, left, right) > best
        assert distance(first, last + 0.003 * step, left, right) > best
        assert distance(first, last, left + 0.2 * step, right) > best
        assert distance(first, last, left, right + 0.2 * step) > best


def test_what_is_kept_for_the_gradient_is_2_bits_an_element() -> None:
    kept: list[Tensor] = []
    x = normal(64, 33).float().requires_grad_()

    def keep(value: Tensor) -> Tensor:
        kept.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        activation("approx_backward")(x)
    assert [(one.dtype, one.numel()) for one in kept] == [(torch.uint8, 64 * 33 // 4)]
    kept.clear()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        activation("approx_backward", backward="relu")(x)
    assert [one.numel() for one in kept] == [64 * 33 // 8]


def test_gradients_of_samples_are_mapped() -> None:
    module, x = activation("approx_backward"), normal(3, 5)
    mapped = torch.func.vmap(torch.func.grad(lambda value: module(value).sum()))(x)
    for row, slope in zip(x, mapped, strict=True):
        assert torch.equal(slope, torch.func.grad(lambda value: module(value).sum())(row))


def test_more_steps_than_2_bits_tell_apart_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 4 slopes"):
        stepped_backward(torch.ones(1), torch.ones(1), Steps((0.0, 1.0, 2.0, 3.0), (0.0, 1.0, 2.0, 3.0, 4.0)))


def test_it_is_a_choice_of_a_models_config() -> None:
    model = ns.models.mlp([4, 8, 2], activation={"kind": "approx_backward", "base": "silu", "backward": "silu2"})
    x = normal(5, 4).float()
    plain = ns.swap_activation(model, "silu")
    assert torch.equal(model(x), plain(x))
    with pytest.raises(ConfigError, match="backward"):
        ns.models.mlp([4, 8, 2], activation={"kind": "approx_backward", "backward": "gelu3"})


def test_whole_numbers_have_no_statistical_threshold() -> None:
    with pytest.raises(ConfigError, match=r"statistical_top_k: x must be floating point, got torch\.int64"):
        statistical_top_k(torch.arange(4), 0.5)


@pytest.mark.parametrize("name", ["top_k", "statistical_top_k"])
def test_an_axis_that_an_input_has_not_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: axis must be one of an input of shape \(2, 3\), got 5"):
        activation(name, axis=5)(torch.ones(2, 3))
