"""How large weights are: closed forms, the table of moments, and networks whose signals are followed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import neurosim as ns
from neurosim.activations import activation, moments_of
from neurosim.initialisers import (
    as_function,
    backward_variance,
    kumar_variance,
    limited,
    variance_map,
    variance_slope,
    weight_variance,
)
from neurosim.random import stream

#: 1/√E f² and 1/√E f'² for z ~ N(0, 1), by another program's quadrature, to four digits
GAINS: list[tuple[str, dict[str, Any], float, float]] = [
    ("identity", {}, 1.0, 1.0),
    ("relu", {}, 1.4142, 1.4142),
    ("leaky_relu", {"negative_slope": 0.01}, 1.4141, 1.4141),
    ("prelu", {"init": 0.25}, 1.3720, 1.3720),
    ("relu_n", {"n": 6.0}, 1.4142, 1.4142),
    ("relu_n", {"n": 1.0}, 1.9686, 1.7116),
    ("hardtanh", {}, 1.3920, 1.2103),
    ("elu", {}, 1.2452, 1.2234),
    ("selu", {}, 1.0, 0.9660),
    ("sigmoid", {}, 1.8462, 4.7226),
    ("tanh", {}, 1.5925, 1.4674),
    ("softplus", {}, 1.0419, 1.8462),
    ("gelu", {}, 1.5335, 1.4811),
    ("gelu", {"approximate": "tanh"}, 1.5336, 1.4812),
    ("silu", {}, 1.6765, 1.6233),
    ("hardswish", {}, 1.7367, 1.6701),
    ("mish", {}, 1.4868, 1.4448),
    ("aptx", {"alpha": 1.0, "beta": 1.0, "gamma": 0.5}, 1.5085, 1.4642),
    ("smelu", {"b": 1.0}, 1.3803, 1.6243),
    ("smelu", {"b": 0.5}, 1.4096, 1.5160),
    ("sau", {"alpha": 0.15, "s": 1.0}, 1.3019, 1.5996),
    ("golu", {}, 1.7688, 1.6964),
    ("aglu", {"lam": 0.5, "kappa": 1.0}, 1.7257, 1.6618),
    ("relu_squared", {}, 0.8165, 0.7071),
    ("snake", {"a": 1.0}, 0.8746, 0.8165),
    ("gcu", {}, 1.8349, 1.0),
    ("sine", {"omega": 1.0}, 1.5209, 1.3273),
    ("crrelu", {"epsilon": 0.01}, 1.4092, 1.4092),
    ("expanded_gate", {"gate": "gelu", "alpha": 0.25}, 1.2459, 1.1841),
    ("shifted_relu", {"tau": 1.0}, 3.6432, 2.5106),
    ("soft_threshold", {"tau": 1.0}, 2.5762, 1.7752),
    ("crelu", {"tau": 1.0, "m": 1.0}, 4.3606, 2.7126),
    ("cst", {"tau": 1.0, "m": 1.0}, 3.0834, 1.9181),
]


@pytest.mark.parametrize(("name", "settings", "forward", "backward"), GAINS, ids=[f"{row[0]}-{at}" for at, row in enumerate(GAINS)])
def test_weights_have_the_gain_of_the_activation_over_the_fan(name: str, settings: dict[str, Any], forward: float, backward: float) -> None:
    choice = {"kind": name, **settings}
    assert math.sqrt(weight_variance(choice, 100) * 100) == pytest.approx(forward, rel=1e-3)
    assert math.sqrt(backward_variance(choice, 50) * 50) == pytest.approx(backward, rel=1e-3)


@pytest.mark.parametrize("variance", [0.1, 1.0, 7.0])
def test_homogeneous_activations_have_the_weights_of_kaiming_whatever_the_variance(variance: float) -> None:
    assert weight_variance("relu", 64, variance=variance) == pytest.approx(2 / 64, rel=1e-12)
    for a in (0.01, 0.3):
        leaky = {"kind": "leaky_relu", "negative_slope": a}
        assert weight_variance(leaky, 64, variance=variance) == pytest.approx(2 / ((1 + a**2) * 64), rel=1e-12)
        assert backward_variance(leaky, 32, variance=variance) == pytest.approx(2 / ((1 + a**2) * 32), rel=1e-12)


@pytest.mark.parametrize("variance", [1e-5, 3e-15, 1e-16, 1e-100, 1e100])
def test_weights_behind_relu_do_not_depend_on_the_size_of_signals(variance: float) -> None:
    assert weight_variance("relu", 100, variance=variance) == pytest.approx(0.02, rel=1e-8)
    assert moments_of(torch.tanh, 1e-12).mean == 0


def test_selu_has_the_weights_of_lecun() -> None:
    assert weight_variance("selu", 256) == pytest.approx(1 / 256, rel=1e-9)


def test_weights_follow_the_variance_of_what_comes_and_of_what_is_to_go() -> None:
    assert weight_variance("identity", 10, variance=4.0, to=1.0) == pytest.approx(1 / 40, rel=1e-12)
    assert weight_variance("sine", 10, variance=2.0) == pytest.approx(2.0 / (10 * (1 - math.exp(-4.0)) / 2), rel=1e-9)  # E sin² of N(0, q)


def test_noise_and_biases_are_left_to_the_weights_to_make_room_for() -> None:
    assert weight_variance("relu", 100, noise=0.6, bias_variance=0.14) == pytest.approx(2 * (1 - 0.36 - 0.14) / 100, rel=1e-12)
    with pytest.raises(ns.ConfigError, match=r"noise² and bias_variance must sum to less than 1, got 1.21"):
        weight_variance("relu", 100, noise=1.1)


def test_a_clamp_is_part_of_the_activation() -> None:
    inside = math.erf(1 / math.sqrt(2)) - 2 * math.exp(-0.5) / math.sqrt(2 * math.pi) + math.erfc(1 / math.sqrt(2))  # E clip(z)²
    assert weight_variance("identity", 10, input_limit=1.0) == pytest.approx(1 / (10 * inside), rel=1e-4)
    assert weight_variance("identity", 10, output_limit=1.0) == pytest.approx(1 / (10 * inside), rel=1e-4)
    assert weight_variance("relu", 10, input_limit=1.0) == pytest.approx(1 / (10 * inside / 2), rel=1e-4)
    assert weight_variance("silu", 10, output_limit=0.5) == pytest.approx(
        1 / (10 * moments_of(lambda x: torch.nn.functional.silu(x.clamp(-0.5, 0.5))).second), rel=1e-12
    )


def test_kumars_weights_for_a_sigmoid() -> None:
    assert math.sqrt(kumar_variance("sigmoid", 400) * 400) == pytest.approx(3.6, abs=0.03)
    assert kumar_variance("tanh", 7) == pytest.approx(1 / 7, rel=1e-9)
    with pytest.raises(ns.ConfigError, match="differentiable at 0"):
        kumar_variance("relu", 7)


@pytest.mark.parametrize("name", ["gelu", "tanh", "silu", "selu", "sine"])
def test_the_slope_of_the_variance_map_is_its_derivative(name: str) -> None:
    for q, step in ((0.5, 1e-4), (1.0, 1e-4)):
        ends = [variance_map(name, q + side * step, weight=1.7, bias=0.2) for side in (-1, 1)]
        assert variance_slope(name, q, weight=1.7) == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-6)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: weight_variance("relu", 9, input_limit=-1.0), "input_limit: must be a finite number > 0, got -1.0"),
        (lambda: weight_variance("relu", 9, input_limit=0), "input_limit: must be a finite number > 0, got 0"),
        (lambda: backward_variance("relu", 9, output_limit=-1.0), "output_limit: must be"),
        (lambda: variance_map("relu", 1.0, weight=1.0, noise=-1), "variance_map: noise: must be a finite number ≥ 0, got -1"),
        (lambda: variance_map("relu", 1.0, weight=1.0, noise=cast(Any, "x")), "variance_map: noise: must be a finite number ≥ 0, got 'x'"),
        (lambda: weight_variance(lambda _: "a", 9), "a function must give a tensor of the shape of its input, .* got str"),
        (lambda: weight_variance(lambda _: None, 9, input_limit=1.0), "a function must give a tensor .* got NoneType"),
        (lambda: weight_variance(lambda x: x.sum(), 9), r"a function must give a tensor .* got \(\)"),
        (lambda: kumar_variance(lambda x: x[:1], 9), r"a function must give a tensor .* got \(1,\)"),
    ],
)
def test_limits_noise_and_functions_that_are_none_are_refused(call: Callable[[], float], said: str) -> None:
    with pytest.raises(ns.ConfigError, match=said):
        call()


def test_what_is_no_function_of_one_number_is_refused() -> None:
    with pytest.raises(ns.ConfigError, match="glu: it is no function of one number"):
        as_function("glu")
    with pytest.raises(ns.ConfigError, match="must be a name, a mapping"):
        as_function(3)
    with pytest.raises(ns.ConfigError, match="must be finite and more than 0"):
        weight_variance(torch.zeros_like, 10)
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    wrapped = activation({"kind": "scaled", "base": "tanh", "alpha": 2.0, "beta": 0.5})
    assert torch.allclose(as_function(wrapped)(x), 2 * (x / 2).tanh())
    assert limited(torch.relu, 1.0)(x).tolist() == [0, 0, 0, 0, 1, 1, 1]


def _norm_of(found: Tensor) -> float:
    return float(found.double().square().mean())


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "tanh", "selu", "golu", "leaky_relu"])
def test_the_second_moment_stays_through_twenty_random_layers(name: str) -> None:
    """Of one sample, mean squares scatter by Var f²/(n (E f²)²) in every layer, which the slope of the map carries on."""
    depth, width = 20, 400
    model: Any = ns.models.mlp([width] * (depth + 1), activation=name)
    ns.initialize(model, "variance_preserving", seed=3)
    x = stream(3, "input").normal((1, width), like=torch.empty(0))
    x = x / x.square().mean().sqrt()
    found = []
    handles = [
        layer.register_forward_hook(lambda _, __, y: found.append(_norm_of(y))) for layer in model if isinstance(layer, torch.nn.Linear)
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    f = as_function(name)
    second, fourth = moments_of(f).second, moments_of(lambda z: f(z).square()).second
    slope = variance_slope(name, 1.0, weight=1 / second)
    spread = 0.0  # variance of the logarithm of what the sums should have; that of 400 of them scatters by 2/400 more
    for q in found:
        assert abs(math.log(q)) < 5 * math.sqrt(spread + 2 / width)
        spread = slope**2 * spread + (fourth / second**2 - 1) / width
    assert len(found) == depth


@pytest.mark.parametrize(("clamp", "noise"), [(None, 0.0), (1.0, 0.0), (1.0, 0.3), (0.5, 0.1)])
@pytest.mark.parametrize("f", [torch.relu, torch.tanh])
def test_the_second_moment_stays_through_clamps_and_noise(f: Callable[[Tensor], Tensor], clamp: float | None, noise: float) -> None:
    """2000 sums of 2000 inputs: their mean square scatters by 2/2000, and by the scatter of the inputs'."""
    n, q, like = 2000, 0.5, torch.empty(0)
    source = stream(5, "clamped")
    x = math.sqrt(q) * source.child("x").normal((n,), like=like)
    seen = limited(f, clamp, clamp)
    variance = weight_variance(f, n, variance=q, noise=noise, input_limit=clamp, output_limit=clamp)
    sums = source.child("w").normal((n, n), like=like) @ seen(x) * math.sqrt(variance) + noise * source.child("noise").normal(
        (n,), like=like
    )
    second, fourth = moments_of(seen, q).second, moments_of(lambda z: seen(z).square(), q).second
    spread = math.sqrt(2 / n + (fourth / second**2 - 1) / n)
    assert abs(_norm_of(sums) / q - 1) < 5 * spread
