"""Numbers of the activations: moments and gradient noise from exact integrals, formulas, what single entries are for."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.activations import (
    FaultyReLU,
    SmartMixed,
    Stochastic,
    VarianceScaled,
    activation,
    facts,
    fit_activation,
    fit_quadratic,
    group_sort,
    jump_penalty,
    moments_of,
    poly_norm,
    sdm,
    threshold_of,
)
from neurosim.activations.approximate import Steps, stepped_backward
from neurosim.activations.drawn import give_seed
from neurosim.activations.moments import gaussian_rule
from neurosim.clock import Clock
from neurosim.errors import ConfigError
from neurosim.training import build_model
from tests.activations.cases import CURVES


def gradient_of(module: nn.Module, name: str) -> Tensor:
    found = module.get_parameter(name).grad
    assert found is not None
    return found


def at_twice(curve: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return curve(2.0 * x)


#: mean, variance, E f², E f'² under N(0, 1), by quadrature with numpy
TABLE: list[tuple[str, dict[str, Any], tuple[float, ...]]] = [
    ("identity", {}, (0.0, 1.0, 1.0, 1.0)),
    ("relu", {}, (0.3989, 0.3408, 0.5, 0.5)),
    ("leaky_relu", {}, (0.3950, 0.3441, 0.5, 0.5)),
    ("prelu", {}, (0.2992, 0.4417, 0.5312, 0.5312)),
    ("relu_n", {}, (0.3989, 0.3408, 0.5, 0.5)),
    ("relu_n", {"n": 1.0}, (0.3156, 0.1584, 0.2580, 0.3413)),
    ("hardtanh", {}, (0.0, 0.5161, 0.5161, 0.6827)),
    ("elu", {}, (0.1605, 0.6192, 0.6449, 0.6681)),
    ("selu", {}, (0.0, 1.0, 1.0, 1.0716)),
    ("sigmoid", {}, (0.5, 0.0434, 0.2934, 0.0448)),
    ("tanh", {}, (0.0, 0.3943, 0.3943, 0.4644)),
    ("softplus", {}, (0.8061, 0.2715, 0.9212, 0.2934)),
    ("gelu", {}, (0.2821, 0.3456, 0.4252, 0.4559)),
    ("gelu", {"approximate": "tanh"}, (0.2820, 0.3456, 0.4252, 0.4558)),
    ("silu", {}, (0.2066, 0.3131, 0.3558, 0.3795)),
    ("hardswish", {}, (0.1662, 0.3039, 0.3316, 0.3585)),
    ("mish", {}, (0.2404, 0.3945, 0.4523, 0.4791)),
    ("aptx", {}, (0.3029, 0.3478, 0.4395, 0.4664)),
    ("aptx", {"beta": 0.5}, (0.2066, 0.3131, 0.3558, 0.3795)),
    ("smelu", {"b": 1.0}, (0.4623, 0.3111, 0.5248, 0.3790)),
    ("smelu", {"b": 0.5}, (0.4154, 0.3307, 0.5033, 0.4351)),
    ("sau", {"s": 1.0}, (0.4796, 0.3600, 0.5900, 0.3908)),
    ("golu", {}, (0.2589, 0.2526, 0.3196, 0.3475)),
    ("aglu", {"lam": 1.0, "kappa": 1.0}, (0.2066, 0.3131, 0.3558, 0.3795)),
    ("aglu", {"lam": 0.5, "kappa": 1.0}, (0.2321, 0.2819, 0.3358, 0.3621)),
    ("relu_squared", {}, (0.5, 1.25, 1.5, 2.0)),
    ("snake", {"a": 1.0}, (0.4323, 1.1205, 1.3074, 1.4998)),
    ("snake", {"a": 0.5}, (0.3935, 1.1998, 1.3546, 1.4323)),
    ("gcu", {}, (0.0, 0.2970, 0.2970, 1.0)),
    ("sine", {}, (0.0, 0.4323, 0.4323, 0.5677)),
    ("crrelu", {}, (0.3989, 0.3444, 0.5036, 0.5036)),
    ("expanded_gate", {}, (0.2087, 0.3031, 0.3467, 0.3624)),
    ("expanded_gate", {"alpha": 0.25}, (0.3131, 0.3695, 0.4675, 0.5030)),
    ("expanded_gate", {"alpha": 0.25, "gate": "gelu"}, (0.4231, 0.4652, 0.6442, 0.7132)),
    ("expanded_gate", {"alpha": 0.25, "gate": "silu"}, (0.3099, 0.3919, 0.4880, 0.5413)),
    ("gaussian", {"s": math.sqrt(0.5)}, (0.5774, 0.1139, 0.4472, 0.3578)),
    ("gaussian", {"s": 1.0}, (0.7071, 0.0774, 0.5774, 0.1925)),
    ("jumprelu", {"theta": 0.5}, (0.3521, 0.3606, 0.4846, 0.3085)),
    ("shifted_relu", {}, (0.0833, 0.0684, 0.0753, 0.1587)),
    ("soft_threshold", {}, (0.0, 0.1507, 0.1507, 0.3173)),
    ("crelu", {}, (0.0748, 0.0470, 0.0526, 0.1359)),
    ("cst", {}, (0.0, 0.1052, 0.1052, 0.2718)),
    ("lipswish", {"beta": 1.0}, (0.1878, 0.2587, 0.2940, 0.3136)),
    ("rational", {}, (0.3949, 0.3437, 0.4996, 0.4853)),
    ("polyrelu", {}, (0.5656, 1.9555, 2.2754, 3.3523)),
]


def normal(x: float) -> float:
    """Φ."""
    return (1 + math.erf(x / math.sqrt(2))) / 2


#: of inputs from N(0, 1), the share for which a unit of that table gives exactly 0; for all others it is none
ZEROS: dict[tuple[str, tuple[float, ...]], float] = {
    ("relu", ()): 0.5,
    ("relu_n", ()): 0.5,
    ("relu_n", (1.0,)): 0.5,
    ("relu_squared", ()): 0.5,
    ("polyrelu", ()): 0.5,
    ("hardswish", ()): normal(-3),
    ("smelu", (1.0,)): normal(-1),
    ("smelu", (0.5,)): normal(-0.5),
    ("jumprelu", (0.5,)): normal(0.5),
    ("shifted_relu", ()): normal(1),
    ("crelu", ()): normal(1),
    ("soft_threshold", ()): normal(1) - normal(-1),
    ("cst", ()): normal(1) - normal(-1),
}


# --- moments ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "settings", "row"), TABLE, ids=[f"{name}-{settings}" for name, settings, _ in TABLE])
def test_moments_are_those_of_the_table(name: str, settings: dict[str, Any], row: tuple[float, ...]) -> None:
    found = facts(name, **settings).moments()
    assert (found.mean, found.variance, found.second, found.slope) == pytest.approx(row, abs=1e-3)
    assert found.forward_gain == pytest.approx(row[2] ** -0.5, rel=1e-3)
    assert found.backward_gain == pytest.approx(row[3] ** -0.5, rel=1e-3)
    assert found.norm_free_gain == pytest.approx(row[1] ** -0.5, rel=2e-3)


@pytest.mark.parametrize(("name", "settings"), [row[:2] for row in TABLE], ids=[f"{name}-{settings}" for name, settings, _ in TABLE])
def test_the_share_of_exact_zeros_is_that_of_the_inputs_that_a_unit_cuts_off(name: str, settings: dict[str, Any]) -> None:
    z, weights = gaussian_rule()
    inside = z.abs() < 5  # 6e-7 of the probability lies beyond, where some curves underflow
    found = float((weights * (facts(name, **settings)(z) == 0) * inside).sum())
    assert found == pytest.approx(ZEROS.get((name, tuple(settings.values())), 0.0), abs=2e-4)


def test_moments_at_another_variance_are_those_of_the_stretched_input() -> None:
    for name in CURVES:
        curve = facts(name)
        stretched = moments_of(partial(at_twice, curve))
        found = curve.moments(4.0)
        assert (found.mean, found.second, 4 * found.slope) == pytest.approx((stretched.mean, stretched.second, stretched.slope), rel=1e-9)


def test_moments_of_homogeneous_units_scale_with_the_variance() -> None:
    assert facts("relu").moments(9.0).second == pytest.approx(4.5, abs=1e-12)
    assert facts("prelu").moments(9.0).mean == pytest.approx(3 * facts("prelu").moments().mean, abs=1e-12)


# --- noise and gradients ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sigma", "gelu", "silu"), [(0.0927, 92.8, 234.0), (0.2467, 14.5, 34.8)])
def test_noise_moves_the_gradient_of_relu_at_zero_far_more_than_that_of_smooth_units(sigma: float, gelu: float, silu: float) -> None:
    relu = facts("relu").gradient_noise(sigma, at=0.0)
    assert relu == pytest.approx(0.5, abs=1e-9)
    assert relu / facts("gelu").gradient_noise(sigma, at=0.0) == pytest.approx(gelu, rel=0.01)
    assert relu / facts("silu").gradient_noise(sigma, at=0.0) == pytest.approx(silu, rel=0.01)


@pytest.mark.parametrize(("sigma", "gelu", "silu"), [(0.0927, 12.5, 23.9), (0.2467, 4.8, 9.0)])
def test_on_average_the_advantage_is_smaller(sigma: float, gelu: float, silu: float) -> None:
    relu = facts("relu").gradient_noise(sigma)
    assert relu == pytest.approx(math.atan(sigma) / math.pi, rel=1e-3)
    assert relu / facts("gelu").gradient_noise(sigma) == pytest.approx(gelu, rel=0.01)
    assert relu / facts("silu").gradient_noise(sigma) == pytest.approx(silu, rel=0.01)


def test_other_averages_are_those_of_the_table() -> None:
    found = [
        facts("leaky_relu", negative_slope=0.1).gradient_noise(0.0927),
        facts("tanh").gradient_noise(0.0927),
        facts("smelu").gradient_noise(0.0927),
        facts("hardtanh").gradient_noise(0.0927),
    ]
    assert found == pytest.approx([0.0238, 0.00256, 0.00144, 0.0358], rel=0.01)


def test_near_zero_noise_grows_with_the_square_of_the_curvature() -> None:
    sigma = 0.01
    assert facts("gelu").gradient_noise(sigma, at=0.0) == pytest.approx(2 / math.pi * sigma**2, rel=1e-3)
    assert facts("silu").gradient_noise(sigma, at=0.0) == pytest.approx(0.25 * sigma**2, rel=1e-3)
    assert facts("smelu", b=0.5).gradient_noise(sigma, at=0.0) == pytest.approx(sigma**2 / (4 * 0.5**2), rel=1e-3)


@pytest.mark.parametrize("i", [0.0, 0.25, 0.5, 0.9])
def test_interpolation_takes_the_jump_of_the_gradient_away(i: float) -> None:
    assert facts("interpolated", i=i).gradient_noise(1e-5, at=0.0) == pytest.approx((1 - i) ** 2 / 2, abs=1e-4)


# --- single entries --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("interpolated", {"i": 1.0}), ("gelu", {})),
        (("interpolated", {"i": 1.0, "s": 1.5, "target": "silu"}), ("silu", {"beta": 1.5})),
        (("interpolated", {"i": 0.0, "alpha": 0.1}), ("leaky_relu", {"negative_slope": 0.1})),
        (("aptx", {"beta": 0.5}), ("silu", {})),
        (("apa", {"lam": 1.0, "kappa": 1.0}), ("sigmoid", {})),
        (("aglu", {"lam": 1e-4, "kappa": 1.0}), ("golu", {})),
        (("expanded_gate", {"gate": "gelu"}), ("gelu", {})),
        (("rescu", {"left": 0.0, "start": 0.7, "stop": 0.7}), ("smelu", {"b": 0.7})),
        (("sau", {"alpha": 0.01, "s": 1e-9}), ("leaky_relu", {})),
        (("step_slopes", {}), ("relu", {})),
        (("crelu", {"tau": 0.0, "m": 6.0}), ("relu_n", {})),
        (("jumprelu", {"theta": 1e-9, "learn": False}), ("relu", {})),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_families_hold_the_curves_they_are_said_to_hold(one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]]) -> None:
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    tolerance = 1e-3 if one[0] == "aglu" else 1e-8
    torch.testing.assert_close(
        activation(one[0], **one[1]).double()(x), activation(other[0], **other[1]).double()(x), rtol=0, atol=tolerance
    )


def test_sau_is_the_mean_of_leaky_relu_under_gaussian_noise() -> None:
    z = torch.linspace(-9, 9, 40_001, dtype=torch.float64)
    weights = torch.exp(-z.square() / 2)
    weights /= weights.sum()
    leaky, smooth = facts("leaky_relu", negative_slope=0.15), facts("sau", s=0.6)
    for place in (-2.0, -0.3, 0.0, 0.8):
        assert float((weights * leaky(place + 0.6 * z)).sum()) == pytest.approx(float(smooth(torch.tensor([place]).double())), abs=1e-6)


XOR = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def test_one_prelu_neuron_solves_xor() -> None:
    """Its three parameters are learned: w, v and the slope, which becomes −1: the neuron computes |x₁ − x₂|."""
    neuron = nn.Linear(2, 1, bias=False)
    prelu = activation("prelu")
    with torch.no_grad():
        neuron.weight.copy_(torch.tensor([[0.7, -0.4]]))
    optimizer = torch.optim.Adam([*neuron.parameters(), *prelu.parameters()], lr=0.05)
    target = torch.tensor([0.0, 1.0, 1.0, 0.0])
    for _ in range(500):
        loss = (prelu(neuron(XOR))[:, 0] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((prelu(neuron(XOR))[:, 0] > 0.5) == target.bool()).all()
    assert float(prelu.get_parameter("weight").detach()) < 0
    assert sum(value.numel() for part in (neuron, prelu) for value in part.parameters()) == 3


def test_one_gcu_neuron_solves_xor() -> None:
    """The sum of the inputs runs through two zeros of x·cos x, 0 and π/2: equal inputs give values below 0, different ones above."""
    drive = XOR.sum(1) * 2.0 - 0.5
    y = activation("gcu")(drive)  # at −0.5, 1.5 and 3.5
    assert ((y > 0) == torch.tensor([False, True, True, False])).all()


def test_hysteresis_lets_gradients_through_where_the_unit_is_just_off() -> None:
    x = torch.tensor([-0.2, -0.04, 0.0, 0.3], requires_grad=True)
    y = activation("helu", alpha=0.05)(x)
    y.sum().backward()
    assert y.tolist() == pytest.approx([0, 0, 0, 0.3])
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1]


def test_the_threshold_of_jumprelu_learns_by_its_window() -> None:
    unit = activation("jumprelu", theta=0.5, epsilon=0.2).double()
    x = torch.tensor([0.3, 0.45, 0.55, 0.8], dtype=torch.float64)
    y = unit(x)
    assert y.tolist() == [0, 0, 0.55, 0.8]
    y.sum().backward()  # −(θ/ε) for each of the two in the window, times θ, for it is kept as a logarithm
    assert float(gradient_of(unit, "theta")) == pytest.approx(-(0.5 / 0.2) * 2 * 0.5)
    theta = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
    penalty = jump_penalty(x, theta, 0.2)
    penalty.backward()
    assert float(penalty.detach()) == 2
    assert theta.grad is not None
    assert float(theta.grad) == pytest.approx(-2 / 0.2)
    assert float(jump_penalty(x, 0.5, 0.2)) == 2


@pytest.mark.parametrize("theta", [0.5, 2.0])
def test_a_unit_gives_its_threshold_and_not_the_logarithm_that_it_keeps(theta: float) -> None:
    unit: Any = activation("jumprelu", theta=theta, epsilon=0.2).double()
    x = torch.linspace(-3, 3, 1201, dtype=torch.float64) + 0.0013
    penalty = jump_penalty(x, unit.value("theta"), 0.2)
    assert float(penalty.detach()) == (x > theta).sum()
    penalty.backward()  # −1/ε for each in the window, times θ, the slope of the exponential
    near = int(((x - theta).abs() < 0.1).sum())
    assert float(unit.theta.grad) == pytest.approx(-near / 0.2 * theta)
    assert unit.value("epsilon") == 0.2
    with pytest.raises(ConfigError, match="activation jumprelu: it has no parameter 'tetha'; did you mean 'theta'"):
        unit.value("tetha")


def test_a_penalty_of_a_threshold_that_is_not_above_0_is_refused() -> None:
    unit: Any = activation("jumprelu", theta=0.5)
    for theta, told in ((unit.theta, "-0.693147"), (0.0, "0"), (torch.tensor([0.3, math.nan]), "nan")):
        with pytest.raises(ConfigError, match=rf'jump_penalty: theta must be > 0, as unit.value\("theta"\) gives it, got {told}'):
            jump_penalty(torch.ones(2), theta)
    with pytest.raises(ConfigError, match=r"jump_penalty.epsilon: must be a finite number > 0"):
        jump_penalty(torch.ones(2), 0.5, 0.0)


@pytest.mark.parametrize(("name", "symmetric"), [("shifted_relu", False), ("cst", True)])
def test_a_threshold_gives_its_share_of_zeros(name: str, symmetric: bool) -> None:
    tau = threshold_of(0.85, symmetric=symmetric, variance=4.0)
    x = 2 * ns.random.stream(0, "inputs").normal((200_000,), like=torch.empty(0))
    share = float((activation(name, tau=tau)(x) == 0).double().mean())
    assert abs(share - 0.85) < 5 * math.sqrt(0.85 * 0.15 / 200_000)


@pytest.mark.parametrize("learn", [False, True], ids=["fixed", "learned"])
@pytest.mark.parametrize(("name", "left"), [("jumprelu", 0.0), ("smelu", 0.0), ("rescu", -math.inf), ("sau", -math.inf), ("aptx", 0.0)])
def test_infinite_inputs_have_the_limits_of_the_curve(name: str, left: float, learn: bool) -> None:
    unit, most = activation(name, learn=learn), torch.finfo(torch.float32).max
    assert float(unit(torch.tensor(math.inf)).detach()) == math.inf
    assert float(unit(torch.tensor(-math.inf)).detach()) == left
    if name in ("jumprelu", "smelu", "aptx"):
        assert float(unit(torch.tensor(most)).detach()) == pytest.approx(most, rel=1e-6)


@pytest.mark.parametrize(("name", "right"), [("gaussian", 0.0), ("sau", 1.0), ("aglu", 1.0)])
@pytest.mark.parametrize("learn", [False, True], ids=["fixed", "learned"])
def test_slopes_are_those_of_the_limits_at_the_largest_numbers(name: str, right: float, learn: bool) -> None:
    unit = activation(name, learn=learn)
    x = torch.tensor([-3e38, -1e20, 1e20, 3e38], requires_grad=True)
    (slopes,) = torch.autograd.grad(unit(x).sum(), x)
    left = 0.15 if name == "sau" else 0.0
    torch.testing.assert_close(slopes, torch.tensor([left, left, right, right]))


def test_the_slope_of_helu_is_wide_in_forward_mode_and_under_vmap_too() -> None:
    x, unit = torch.tensor([-0.02, -0.5, 0.3]), activation("helu", alpha=0.05)
    wanted = torch.tensor([1.0, 0.0, 1.0])
    found: Any = torch.func.jvp(unit, (x,), (torch.ones(3),))
    assert torch.equal(found[0], x.relu())
    assert torch.equal(found[1], wanted)
    assert torch.equal(torch.vmap(torch.func.grad(lambda one: unit(one)))(x), wanted)


def test_stepped_slopes_are_those_of_backward_under_vmap_too() -> None:
    x, unit = torch.linspace(-4, 4, 15), activation("approx_backward")
    (wanted,) = torch.autograd.grad(unit(given := x.clone().requires_grad_()).sum(), given)
    rows = torch.func.grad(lambda one: unit(one).sum())
    with pytest.raises(ConfigError, match="stepped_backward: edges must rise"):
        stepped_backward(x, x, Steps((1.0, 0.0), (0.0, 0.5, 1.0)))
    assert torch.equal(torch.vmap(rows)(x.reshape(3, 5)).flatten(), wanted)


def test_slopes_of_lipswish_and_groupsort_do_not_exceed_one() -> None:
    x = torch.linspace(-20, 20, 100_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(facts("lipswish")(x).sum(), x)
    assert 0.99 < float(slope.abs().max()) < 1.0
    first, second = torch.linspace(-1, 1, 12).reshape(2, 6).sin(), torch.linspace(2, -1, 12).reshape(2, 6).cos()
    for group in (2, 3):
        assert float((group_sort(first, group) - group_sort(second, group)).norm()) <= float((first - second).norm())
        assert torch.equal(group_sort(first, group).sort(1).values, first.sort(1).values)


def test_polynorm_is_its_formula_and_does_not_overflow() -> None:
    x = torch.tensor([[1.0, -2.0, 0.5, 3.0]], dtype=torch.float64)
    weights, bias = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)
    wanted = sum(w * x**i / (x**i).square().mean().sqrt() for i, w in enumerate(weights.tolist(), 1)) + 0.1
    torch.testing.assert_close(poly_norm(x, weights, bias, eps=1e-30), wanted)
    assert poly_norm((x * 1e4).half(), weights, bias).isfinite().all()
    torch.testing.assert_close(poly_norm(x * 1e4, weights, bias, eps=1e-30), wanted)


def test_sdm_is_softmax_where_the_training_data_support_it_and_uniform_where_they_do_not() -> None:
    z = torch.tensor([[1.0, -0.5, 2.0]], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    torch.testing.assert_close(sdm(z, one * (math.e - 2), one), torch.softmax(z, -1))
    torch.testing.assert_close(sdm(z, one * 3, one * 0), torch.full_like(z, 1 / 3))
    with pytest.raises(ConfigError, match="must have the shape"):
        sdm(z, torch.ones(2), one)


def test_a_relu_head_decides_as_its_logits_do_unless_none_is_above_zero() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0], [-3.0, 0.1, -0.2]])
    assert torch.equal(activation("relu")(logits).argmax(1), logits.argmax(1))
    assert float(activation("relu")(-logits.abs()).max()) == 0


def test_dense_attention_weights_replace_the_softmax_at_its_scale() -> None:
    z = torch.zeros(2, 64)
    assert activation("sigmoid_scores")(z).sum(-1).tolist() == pytest.approx([64 / 65] * 2)
    x = ns.random.stream(1, "scores").normal((4000, 64), like=z)
    assert float(activation("relu_scores")(x).sum(-1).mean()) == pytest.approx(1 / math.sqrt(2 * math.pi), rel=0.02)
    values = ns.random.stream(2, "values").normal((4000, 64), like=z)
    assert float((activation("reluformer_scores")(x) * values).sum(-1).var()) == pytest.approx(1.0, rel=0.15)


# --- fits ------------------------------------------------------------------------------------------------------------------------------


def test_a_rational_activation_runs_through_the_curve_of_a_device() -> None:
    """The transmission of a ring resonator at its drop port, against detuning: a Lorentzian, which is rational itself."""
    x = torch.linspace(-4, 4, 81, dtype=torch.float64)
    y = 0.9 / (1 + (x / 0.7).square())
    fit = fit_activation(x, y, numerator=2, denominator=2, learn=False)
    assert fit.largest < 1e-6
    torch.testing.assert_close(fit.module.double()(x), y, rtol=0, atol=1e-5)
    assert list(fit.module.parameters()) == []
    assert [value.requires_grad for value in fit_activation(x, y).module.parameters()] == [True, True]


def test_a_fit_that_cannot_be_is_refused() -> None:
    x = torch.linspace(0, 1, 5)
    with pytest.raises(ConfigError, match="at least 10 different points"):
        fit_activation(x, x)
    with pytest.raises(ConfigError, match="one shape"):
        fit_activation(x, x[1:])
    with pytest.raises(ConfigError, match="finite"):
        fit_activation(x, x / 0)


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (0.4, 2.5)])
def test_the_nearest_parabola_is_that_of_least_squares(mean: float, variance: float) -> None:
    x = mean + math.sqrt(variance) * torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    root = torch.exp(-(x - mean).square() / (4 * variance))
    powers = torch.stack([x.square(), x, torch.ones_like(x)], 1)
    wanted = torch.linalg.lstsq(powers * root[:, None], (x.relu() * root)[:, None]).solution[:, 0]
    assert list(fit_quadratic("relu", mean=mean, variance=variance).values()) == pytest.approx(wanted.tolist(), abs=1e-5)
    assert fit_quadratic() == pytest.approx(facts("quadratic").settings, abs=1e-9)


# --- random and stateful ---------------------------------------------------------------------------------------------------------------


def test_a_stochastic_activation_is_relu_that_often_and_relu_alone_in_evaluation() -> None:
    unit, x = Stochastic(0.7, seed=3), -torch.ones(20_000)
    y = unit(x)
    share = float((y == 0).double().mean())
    assert abs(share - 0.7) < 5 * math.sqrt(0.21 / 20_000)
    assert set(y.unique().tolist()) == {0.0, float(nn.functional.silu(-torch.ones(1)))}
    assert not torch.equal(unit(x), y)
    assert float(unit.eval()(x).abs().max()) == 0


@pytest.mark.parametrize(("fault", "x", "right"), [("pos_zero", 0.03, 0.03), ("neg_pass", -0.03, 0.0)])
def test_a_comparator_errs_with_the_probability_of_its_distance(fault: Any, x: float, right: float) -> None:
    y = FaultyReLU(0.1, fault, seed=1)(torch.full((20_000,), x))
    share = float((y != right).double().mean())
    assert abs(share - 0.7) < 5 * math.sqrt(0.21 / 20_000)
    far = torch.tensor([-0.11, 0.11])
    assert FaultyReLU(0.1, fault)(far).tolist() == pytest.approx([0.0, 0.11])


def test_every_neuron_learns_its_own_curve_and_keeps_it() -> None:
    unit = SmartMixed(3, ("relu", "tanh"), seed=2)
    x = torch.linspace(-2, 2, 24).reshape(8, 3)
    target = torch.stack([x[:, 0].relu(), x[:, 1].tanh(), x[:, 2].relu()], 1)
    optimizer = torch.optim.Adam(unit.parameters(), lr=0.1)
    for _ in range(150):
        loss = (unit(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    before = unit.eval()(x)
    unit.freeze()
    assert unit.choice.tolist() == [0, 1, 0]
    torch.testing.assert_close(unit(x), before)
    torch.testing.assert_close(unit(x), target)


def test_two_places_of_a_model_draw_different_numbers() -> None:
    model = ns.models.mlp([4, 4, 4, 2], activation={"kind": "stochastic", "p": 0.5})
    x = -torch.ones(1, 64)
    first, second = (model.get_submodule(name)(x) for name in ("act1", "act2"))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("base", ["relu", "gelu", {"kind": "softplus"}])
@pytest.mark.parametrize("variance", [0.3, 1.0])
def test_a_centred_activation_has_mean_0_and_the_slope_of_its_base(base: Any, variance: float) -> None:
    unit = activation("centred", base=base, variance=variance)
    assert moments_of(unit, variance).mean == pytest.approx(0, abs=1e-12)
    assert moments_of(unit, variance).slope == pytest.approx(moments_of(activation(base), variance).slope, rel=1e-12)
    if base == "relu":  # E max(0, √q z) = √(q/2π)
        assert float(unit(torch.zeros((), dtype=torch.float64))) == pytest.approx(-math.sqrt(variance / (2 * math.pi)), rel=1e-12)
    with pytest.raises(ConfigError, match="no function of one number"):
        activation("centred", base="groupsort")


def test_a_variance_scaled_activation_brings_its_input_to_unit_variance() -> None:
    unit = VarianceScaled("tanh", momentum=0.5, weight=2.0)
    x = 1.6 * ns.random.stream(4, "x").normal((5000,), like=torch.empty(0)) + 0.3
    for _ in range(30):
        unit(x)
    deviation = float(x.std(correction=0))
    assert float(unit.scale()) == pytest.approx(1 / deviation, rel=1e-4)
    unit.eval()
    torch.testing.assert_close(unit(x), torch.tanh(x / deviation), rtol=1e-4, atol=1e-4)
    assert float(unit.penalty(x)) == pytest.approx(2 * (float(x.mean()) ** 2 + (deviation - 1) ** 2), rel=1e-4)
    for _ in range(60):
        unit.train()(100 * x)
    assert float(unit.scale()) == 0.5


# --- settings --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("gelu_", r"no activation is named 'gelu_'; did you mean 'gelu'\?"),
        ({"kind": "smelu", "a": 1.0}, r"activation smelu: it has no parameter 'a'"),
        ({"kind": "smelu", "b": 0.0}, r"activation smelu: b: must be a finite number > 0, got 0.0"),
        ({"kind": "interpolated", "i": 1.5}, r"i: must be at most 1, got 1.5"),
        ({"kind": "interpolated", "target": "gel"}, r"target: must be one of 'gelu', 'silu', got 'gel'; did you mean 'gelu'\?"),
        ({"kind": "rational", "numerator": []}, r"numerator: must be a list of numbers"),
        ({"kind": "relu", "slope": 1.0}, r"activation relu: it has no parameter 'slope'; it has none"),
        ({"kind": "silu", "learn": ["alpha"]}, r"it has no parameter 'alpha'"),
        ({"kind": "smart_mixed"}, r"activation smart_mixed: units must be given"),
        ({"kind": "stochastic", "q": 0.1}, r"it has no parameter 'q'"),
        ({"b": 0.5}, r"activation: must be a name, or a mapping with the name as kind"),
        (3, r"activation: must be a name"),
        ({"kind": "relu", "shared": 1}, r"shared must be true or false"),
    ],
)
def test_what_is_no_activation_is_refused_with_the_nearest(choice: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        activation(choice)


@pytest.mark.parametrize("name", ["scaled", "variance_scaled"])
@pytest.mark.parametrize(
    ("base", "kind"), [("glu", "gate"), ("groupsort", "vector"), ({"kind": "rbf", "inputs": 2, "units": 2}, "units"), ("scaled", "wrapper")]
)
def test_a_wrapper_takes_curves_alone(name: str, base: Any, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"Scaled.base: must be a curve, a function of one number, got '\w+', which is of kind '{kind}'"):
        activation(name, base=base)
    assert activation(name, base={"kind": "smelu", "b": 0.5})(torch.zeros(3)).shape == (3,)
    assert isinstance(activation(name, base="stochastic"), nn.Module)  # one number in and one out, drawn


@pytest.mark.parametrize("shape", [(7,), (2, 4), (2, 4, 3), (3, 1, 4)], ids=str)
def test_an_input_with_other_channels_is_refused_before_torch_sees_it(shape: tuple[int, ...]) -> None:
    unit = activation("snake", channels=3)
    with pytest.raises(ConfigError, match=r"activation snake: axis 1 must have 3 channels, got shape \("):
        unit(torch.zeros(shape))
    assert unit(torch.zeros(2, 3, 4)).shape == (2, 3, 4)


def test_only_what_keeps_the_shape_can_be_in_a_model() -> None:
    with pytest.raises(ConfigError, match="activation glu: must keep the shape of its input"):
        ns.models.mlp([4, 4, 2], activation="glu")


def test_learned_parameters_are_those_of_the_authors_unless_said_otherwise() -> None:
    assert [name for name, _ in activation("snake").named_parameters()] == ["a"]
    assert list(activation("snake", learn=False).parameters()) == []
    assert [name for name, _ in activation("silu", learn="beta").named_parameters()] == ["beta"]
    assert activation("prelu", channels=5).init.shape == (5,)
    assert isinstance(activation("silu"), nn.SiLU)


def test_facts_of_a_trained_module_are_those_of_its_parameters_now() -> None:
    unit = activation("prelu")
    assert facts(unit).monotone
    with torch.no_grad():
        unit.get_parameter("weight").fill_(-0.5)
    assert not facts(unit).monotone
    assert facts(unit).bounds() == (0.0, math.inf)
    assert facts(nn.LeakyReLU(0.2)).settings == {"negative_slope": 0.2}
    with pytest.raises(ConfigError, match="no entry of the registry makes a CELU"):
        facts(nn.CELU())
    with pytest.raises(ConfigError, match="it is no function of one number"):
        facts("glu").moments()


def test_one_physical_curve_serves_all_layers_of_a_model() -> None:
    model = ns.models.mlp([4, 6, 6, 2], activation={"kind": "rational", "shared": True})
    first, second = model.get_submodule("act1"), model.get_submodule("act2")
    assert first is second
    x: Tensor = model(torch.ones(2, 4))
    x.sum().backward()
    assert sum("numerator" in name for name, _ in model.named_parameters()) == 1


def test_activations_that_draw_have_the_seed_of_the_training_and_streams_of_their_own() -> None:
    def drawn(seed: int) -> list[float]:
        config = ns.load_config(
            {"name": "a", "data": {"kind": "digits"}, "model": {"kind": "mlp", "sizes": [64, 8, 8, 10], "activation": "stochastic"}}
        )
        model = build_model(config.model, seed=seed)
        clocks: list[Any] = [part for part in model.modules() if isinstance(part, Clock)]
        return [float(clock().uniform((1,), like=torch.empty(0))) for clock in clocks]

    assert len({*drawn(0), *drawn(1)}) == 4
    assert drawn(0) == drawn(0)
    fixed: Any = activation("stochastic", seed=5)
    give_seed(fixed, 1)
    assert fixed.clock.seed == 5
