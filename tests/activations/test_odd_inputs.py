"""Numbers out of the ordinary: inputs in other units, no numbers at all, integers, and what is computed twice."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import neurosim as ns
from neurosim.activations import SmartMixed, VarianceScaled, activation, facts, fit_activation, poly_norm, sdm
from neurosim.errors import ConfigError
from tests.activations.cases import CURVES, function


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")
@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("settings", [{}, {"approximate": "tanh"}], ids=["exact", "tanh"])
def test_gelu_has_its_limits_with_both_kernels_of_torch_and_their_numbers_between(settings: dict[str, Any], onednn: bool) -> None:
    x = 30 * ns.random.stream(5, "x").normal((10_000,), like=torch.empty(0))
    far = torch.tensor([-math.inf, -3e38, 3e38, math.inf, math.nan]).repeat(8).requires_grad_()
    with torch.backends.mkldnn.flags(enabled=onednn):
        assert torch.equal(function("gelu", settings)(x), nn.functional.gelu(x, **settings))
        y = function("gelu", settings)(far)
        (slope,) = torch.autograd.grad(y.sum(), far)
        torch.testing.assert_close(y.detach(), far.detach().relu(), equal_nan=True, rtol=0, atol=0)
        assert slope[:4].tolist() == [0, 0, 1, 1]
        for name in ("approx_backward", "interpolated"):
            torch.testing.assert_close(function(name, {})(far).detach(), far.detach().relu(), equal_nan=True)


@pytest.mark.parametrize("span", [1e-12, 1e-9, 1e-3, 1.0, 50.0, 1e4, 1e9, 1e14])
@pytest.mark.parametrize("learn", [True, False])
def test_a_fit_is_as_far_from_the_points_as_it_says_in_every_unit_of_the_input(span: float, learn: bool) -> None:
    """Detunings in hertz and currents in amperes: the curve is that of the same points between −1 and 1."""
    u = torch.linspace(-1, 1, 101, dtype=torch.float64)
    for values, wanted in ((0.9 / (1 + (u / 0.3).square()), 1e-4), (torch.tanh(3 * u), 2e-3)):
        fit = fit_activation(span * u, values, learn=learn)
        with torch.no_grad():
            found = fit.module((span * u).float()).double()
            wide = fit.module(span * u)  # beyond the points, and in float64
        error = (found - values).abs()
        assert fit.largest == float(error.max()) < wanted
        assert fit.rms == pytest.approx(float(error.square().mean().sqrt()), rel=1e-12)
        torch.testing.assert_close(wide, values, rtol=0, atol=wanted)
        told, plain = facts(fit.module), facts(fit_activation(u, values).module)
        assert told.bounds() == pytest.approx(plain.bounds(), abs=1e-3)
        assert told.monotone is plain.monotone


def test_a_fit_of_ordinary_numbers_needs_no_scale_and_others_learn_none() -> None:
    x = torch.linspace(-4, 4, 81, dtype=torch.float64)
    assert facts(fit_activation(x, x.tanh()).module).settings["scale"] == 1
    small = fit_activation(1e-9 * x, x.tanh()).module
    assert [name for name, _ in small.named_parameters()] == ["numerator", "denominator"]
    assert facts(small).settings["scale"] == pytest.approx(1e9 / 4)
    assert all(0 < value.abs().max() < 1e6 for value in small.parameters())


@pytest.mark.parametrize("sigma", [1e-6, 0.003, 0.03, 0.3, 3.0, 100.0])
@pytest.mark.parametrize("axis", [-1, 0])
def test_polynorm_adds_eps_where_the_authors_do_whatever_the_size_of_the_input(sigma: float, axis: int) -> None:
    x = sigma * ns.random.stream(1, "x").normal((8, 64), like=torch.empty(0, dtype=torch.float64))
    x[:, 0], x[0] = 0, 0
    weights, bias = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)

    def written_out(x: Tensor) -> Tensor:
        powers = [x**i / torch.sqrt((x**i).square().mean(axis, keepdim=True) + 1e-6) for i in (1, 2, 3)]
        return torch.stack(powers, -1) @ weights + bias

    for one in (torch.float64, torch.float32):
        found = poly_norm(x.to(one), weights, bias, axis).double()
        torch.testing.assert_close(
            found, written_out(x), rtol=1e-9 if one == torch.float64 else 2e-5, atol=1e-12 + 1e-7 * (one == torch.float32)
        )
    place = x.clone().requires_grad_()
    slopes = [torch.autograd.grad(f(place).sin().sum(), place)[0] for f in (lambda x: poly_norm(x, weights, bias, axis), written_out)]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputed_variance_scaled_activation_has_its_gradient_and_moves_nothing(reentrant: bool) -> None:
    data = 3 * ns.random.stream(4, "x").normal((64, 8), like=torch.empty(0))
    plain, kept = VarianceScaled("tanh"), VarianceScaled("tanh")
    for _ in range(3):
        first, second = data.clone().requires_grad_(), data.clone().requires_grad_()
        plain(first).square().sum().backward()
        checkpoint(kept, second, use_reentrant=reentrant).square().sum().backward()
        assert first.grad is not None
        assert second.grad is not None
        assert torch.equal(first.grad, second.grad)
        assert torch.equal(plain.deviation, kept.deviation)
    assert float(plain.deviation) == pytest.approx(1 + (float(data.std(correction=0)) - 1) * (1 - 0.9**3), rel=1e-5)


@pytest.mark.parametrize("bad", [[], [math.inf, 1.0], [math.nan]], ids=str)
def test_batches_without_a_deviation_leave_that_of_a_variance_scaled_activation(bad: list[float]) -> None:
    unit = VarianceScaled("tanh", momentum=0.5)
    unit(torch.tensor([-3.0, 3.0]))
    unit(torch.tensor(bad))
    assert float(unit.deviation) == 2.0
    unit(torch.tensor([-3.0, 3.0]))
    assert float(unit.deviation) == 2.5


@pytest.mark.parametrize("units", [None, 5])
def test_steps_of_neighbours_pass_on_what_is_no_number_and_have_limits_at_infinity(units: int | None) -> None:
    """As it starts, a ReLU on the diagonal and 0 beside it; then with 3 below it."""
    unit, x = activation("tridiagonal_slopes", units=units), torch.tensor([[math.inf, 1.0, -math.inf, -1.0, 2.0], [1.0, 2, math.nan, 3, 4]])
    assert torch.equal(unit(x[:1]), x[:1].relu())
    assert unit(x)[1].isnan().tolist() == [False, True, True, True, False]
    with torch.no_grad():
        unit.get_parameter("below").fill_(3.0)
    assert unit(x[:1]).tolist() == [[math.inf, math.inf, 3.0, -math.inf, -1.0]]


@pytest.mark.parametrize("units", [None, 5])
def test_steps_of_neighbours_are_mapped_and_have_their_slopes_in_forward_mode(units: int | None) -> None:
    unit = activation("tridiagonal_slopes", units=units).double()
    x = ns.random.stream(2, "x").normal((6, 5), like=torch.empty(0, dtype=torch.float64))
    assert torch.equal(torch.vmap(lambda row: unit(row.unsqueeze(0))[0])(x), unit(x))
    moved: Any = torch.func.jvp(unit, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(moved[1], torch.func.jacrev(unit)(x).sum((2, 3)))


@pytest.mark.parametrize("learn", [None, False, True], ids=["default", "fixed", "learned"])
@pytest.mark.parametrize("name", [name for name in CURVES if name != "heaviside"])
def test_what_is_no_number_stays_none_so_that_divergence_is_seen(name: str, learn: bool | None) -> None:
    """A spike is 0 or 1, whatever drove it; every other curve passes it on, and other elements are as without it."""
    unit, x = activation(name, learn=learn), torch.tensor([math.nan, 0.7, -0.3]).repeat(10)
    for given in (x, x.clone().requires_grad_()):
        y = unit(given).detach()
        assert torch.equal(y.isnan(), x.isnan())
        assert torch.equal(y[1:3], unit(x[1:3]).detach())


@pytest.mark.parametrize("fault", ["pos_zero", "neg_pass"])
def test_a_comparator_that_errs_passes_on_what_is_no_number(fault: str) -> None:
    x = torch.tensor([math.nan, 5.0, -5.0]).repeat(10)  # beyond its width it does not err
    torch.testing.assert_close(activation("faulty_relu", fault=fault)(x), x.relu(), equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64], ids=str)
@pytest.mark.parametrize("name", CURVES)
def test_integers_are_refused_rather_than_their_results_cut_to_integers(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor([[0, 1]]).to(dtype)
    wanted = rf"activation {name}: input must consist of floating-point numbers, got {str(dtype).removeprefix('torch.')}$"
    for call in (activation(name, learn=True), function(name, {})):
        with pytest.raises(ConfigError, match=wanted):
            call(x)


@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_helu_has_its_limits_where_gradients_flow(alpha: float) -> None:
    x = torch.tensor([-math.inf, -0.5, -0.02, 0.0, 0.3, math.inf]).repeat(10).requires_grad_()
    for unit in (activation("helu", alpha=alpha), activation("helu", alpha=alpha, learn=True)):
        y = unit(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(y.detach(), x.detach().relu())
        assert torch.equal(slope, (x.detach() > -alpha).float())


@pytest.mark.parametrize("at", range(6))
def test_a_choice_of_curves_has_the_limits_of_the_chosen_one_with_gradients_too(at: int) -> None:
    unit, ends = SmartMixed(3).eval(), torch.tensor([-math.inf, -1.0, math.inf]).reshape(1, 3)
    with torch.no_grad():
        unit.logits[:, at] = 3.0
        wanted = unit.pool[at](ends)
        assert torch.equal(unit(ends), wanted)
    assert torch.equal(unit(ends).detach(), wanted)
    unit.train()
    with torch.no_grad():
        unit.logits[:, at] = 1e4  # whatever is drawn
    assert torch.equal(unit(ends).detach(), wanted)


@pytest.mark.parametrize("beta", [1e-6, 0.5, 19.0, 39.0, 41.0, 90.0, 1000.0, 1e30])
def test_a_positive_parameter_starts_at_its_value_however_large(beta: float) -> None:
    unit = activation("lipswish", beta=beta)
    assert facts(unit).settings["beta"] == pytest.approx(beta, rel=1e-5)
    x = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(unit(x).detach(), x * torch.sigmoid(beta * x) / 1.1, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sdm_of_16_bits_is_that_of_the_same_numbers_in_float64(dtype: torch.dtype) -> None:
    z = torch.tensor([[6e4, -6e4, 5.9e4], [0.3, -0.2, 1.0], [300.0, 299.0, -4.0]], dtype=dtype)
    q, d = torch.tensor([1e4, 2.0, 0.0], dtype=dtype), torch.tensor([1.0, 0.7, 0.1], dtype=dtype)
    found = sdm(z, q, d)
    assert found.dtype == dtype
    torch.testing.assert_close(found, sdm(z.double(), q.double(), d.double()).to(dtype))


def test_sdm_refuses_a_similarity_below_zero() -> None:
    z, one = torch.zeros(2, 3), torch.ones(2)
    with pytest.raises(ConfigError, match=r"sdm: similarity must be >= 0, got -3$"):
        sdm(z, torch.tensor([1.0, -3.0]), one)


def test_weights_of_a_fitted_curve_bring_the_scale_of_its_input() -> None:
    x = torch.linspace(-1000, 1000, 201)
    fitted = ns.fit_activation(x, torch.tanh(x / 400)).module
    other: Any = ns.activations.activation("rational", learn=["numerator", "denominator"])
    other.load_state_dict(fitted.state_dict())
    assert torch.equal(other(x), fitted(x))
