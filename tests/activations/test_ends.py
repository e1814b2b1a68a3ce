"""Where inputs are infinite or axes missing, matrix activations, first values that are drawn, forward mode, and blocks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.activations import ACTIVATIONS, STEPS, Curve, activation, facts, tridiagonal_slopes
from neurosim.activations.declare import in_float32
from neurosim.errors import ConfigError
from neurosim.random import stream
from tests.activations.cases import CURVES, OTHERS, VARIANT_IDS, VARIANTS, function, sample_of


def normal(*shape: int, draw: int = 0) -> Tensor:
    return stream(5, "ends", draw=draw).normal(shape, like=torch.empty(0, dtype=torch.float64))


# --- infinite and large inputs -----------------------------------------------------------------------------------------------------------

_WAVES = ("gcu", "sine")  #: without a limit
ENDS = torch.tensor([-math.inf, math.inf]).repeat(20)  #: kernels for many elements are not those for one


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=VARIANT_IDS)
@pytest.mark.parametrize("sign", [-1.0, 1.0], ids=["left", "right"])
def test_infinite_inputs_have_the_limit_of_every_curve(name: str, settings: dict[str, Any], sign: float) -> None:
    """The limit is read at 1e30 in float64, where nothing overflows; what is above a million there grows without end."""
    curve = function(name, settings)
    y = curve(torch.full((40,), sign * math.inf))
    far = float(curve(torch.tensor(sign * 1e30, dtype=torch.float64)))
    if name in _WAVES:
        assert y.isnan().all()
    elif abs(far) > 1e6:
        assert (y == math.copysign(math.inf, far)).all()
    else:
        assert y.tolist() == pytest.approx([far] * 40, abs=1e-6)


@pytest.mark.parametrize("name", CURVES)
def test_no_curve_whose_parameters_learn_is_nan_at_infinity(name: str) -> None:
    """Where a parameter could be at the end of its domain, the largest number may stand for ∞."""
    unit = activation(name, learn=True)
    if name not in _WAVES:
        assert not unit(ENDS).isnan().any()
        assert torch.equal(unit(ENDS).abs() > 1e30, function(name, {})(ENDS).abs() > 1e30)


def test_modules_of_torch_itself_are_nan_where_their_kernels_multiply_infinity_by_zero() -> None:
    """They are torch's on purpose; ``learn=False`` has the same values from here, with the limit."""
    kernels = ("gelu", "silu", "mish", "hardswish")
    for name in CURVES:
        unit = activation(name)
        left = float(unit(torch.tensor(-math.inf)).detach())
        assert math.isnan(left) == (name in kernels + _WAVES + ("softsign",)), name
        assert type(unit).__module__.startswith("torch.nn") or name not in kernels
    assert [float(activation(name, learn=False)(torch.tensor(-math.inf))) for name in kernels] == [0.0] * 4


@pytest.mark.parametrize("base", ["silu", "gelu", "tanh", "leaky_relu"])
@pytest.mark.parametrize("wrapper", ["variance_scaled", "scaled"])
def test_wrappers_have_the_limits_of_what_they_hold(wrapper: str, base: str) -> None:
    unit = activation(wrapper, base=base).eval()
    assert torch.equal(unit(ENDS).detach(), function(base, {})(ENDS))


@pytest.mark.parametrize("name", [name for name in OTHERS if ACTIVATIONS[name].kind != "head"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=["float16", "float32"])
def test_no_layer_overflows_at_ten_thousand(name: str, dtype: torch.dtype) -> None:
    module, given = sample_of(name)
    if name == "glu" and dtype == torch.float16:
        given = tuple(x / 60 for x in given)  # its product of two halves is beyond the format otherwise
    y = module.to(dtype).eval()(*((x.sign() * 1e4 * x.abs() / x.abs().amax()).to(dtype) for x in given))
    assert y.isfinite().all()


def test_a_rational_goes_on_beyond_where_its_powers_overflow() -> None:
    curve = facts("rational")
    x = torch.tensor([-1e30, -1e9, 1e6, 1e9, 1e30])
    torch.testing.assert_close(curve(x).double(), curve(x.double()), rtol=3e-5, atol=0)


# --- axes ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("top_k", "top_k"),
        ("statistical_top_k", "statistical_top_k"),
        ("groupsort", "group_sort"),
        ("polynorm", "poly_norm"),
        ("glu", "GatedUnit"),
        ("tridiagonal_slopes", "tridiagonal_slopes"),
    ],
)
@pytest.mark.parametrize("axis", [-3, 2, 8])
def test_an_axis_that_an_input_has_not_is_refused_before_torch_sees_it(name: str, where: str, axis: int) -> None:
    with pytest.raises(ConfigError, match=rf"{where}: axis must be one of an input of shape \(2, 4\), got {axis}"):
        activation(name, axis=axis)(torch.ones(2, 4))


# --- matrices ----------------------------------------------------------------------------------------------------------------------------


def _dense(x: Tensor, steps: Tensor) -> Tensor:
    """The matrix, entry by entry: steps ``(3, units, J)`` above, on and below the diagonal."""
    units, count = steps.shape[1:]
    matrix = torch.zeros(units, units, dtype=x.dtype)
    for column in range(units):
        at = min(max(math.floor((float(x[column]) + 1) * count / 2), 0), count - 1)
        for row, kind in ((column - 1, 0), (column, 1), (column + 1, 2)):
            if 0 <= row < units:
                matrix[row, column] = steps[kind, column, at]
    return matrix


@pytest.mark.parametrize("own", [True, False], ids=["a-row-a-unit", "one-for-all"])
def test_three_diagonals_are_the_product_with_the_dense_matrix(own: bool) -> None:
    steps = normal(3, 5 if own else 1, 6).expand(3, 5, 6)
    x = normal(40, 5, draw=1)
    wanted = torch.stack([_dense(row, steps) @ row for row in x])
    above, diagonal, below = (one if own else one[0] for one in steps)
    torch.testing.assert_close(tridiagonal_slopes(x, diagonal, above, below), wanted)
    images = x.reshape(2, 4, 5, 5)
    found = tridiagonal_slopes(images.movedim(-1, 1), diagonal, above, below, axis=1)
    torch.testing.assert_close(found.movedim(1, -1).reshape(40, 5), wanted)


def test_three_diagonals_start_as_relu_and_learn_what_a_neighbour_adds() -> None:
    unit = activation("tridiagonal_slopes", intervals=4, units=3).double()
    x = normal(64, 3, draw=2)
    assert torch.equal(unit(x), x.relu())
    target = x.relu() + torch.nn.functional.pad(0.5 * x[:, :-1].relu(), (1, 0))
    optimizer = torch.optim.Adam(unit.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        (loss := (unit(x) - target).square().mean()).backward()
        optimizer.step()
    assert float(loss.detach()) < 1e-3
    assert unit.get_parameter("below").detach()[0, 2:].tolist() == pytest.approx([0.5, 0.5], abs=0.05)


def test_steps_that_do_not_go_together_are_refused() -> None:
    steps = torch.ones(4)
    with pytest.raises(ConfigError, match=r"tridiagonal_slopes: steps must be \(J,\) or \(3, J\), all three alike, got \(4,\), \(5,\)"):
        tridiagonal_slopes(torch.ones(2, 3), steps, torch.ones(5), steps)
    with pytest.raises(ConfigError, match=r"or \(3, J\), all three alike, got \(2, 4\)"):
        activation("tridiagonal_slopes", intervals=4, units=2)(torch.ones(2, 3))
    assert isinstance(ns.models.mlp([4, 8, 2], activation={"kind": "tridiagonal_slopes", "intervals": 4}), nn.Module)


# --- first values ------------------------------------------------------------------------------------------------------------------------


def test_prelu_starts_at_a_quarter_in_every_channel_and_learns_them_apart() -> None:
    unit = activation("prelu", channels=3)
    assert unit.get_parameter("init").tolist() == [0.25] * 3
    x = torch.full((2, 3, 4), -1.0) * torch.tensor([0.0, 1.0, 2.0]).reshape(3, 1)
    unit(x).sum().backward()
    slope = unit.get_parameter("init").grad
    assert slope is not None
    assert slope.tolist() == [0.0, -8.0, -16.0]
    plain = nn.PReLU(3)
    assert torch.equal(unit(x), plain(x))
    model = ns.models.mlp([4, 6, 6, 2], activation={"kind": "prelu", "channels": 6})
    assert [value.shape for name, value in model.named_parameters() if name.startswith("act")] == [(6,), (6,)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_prelu_takes_inputs_of_16_bits_with_slopes_of_32(dtype: torch.dtype) -> None:
    unit = activation("prelu")
    x = torch.tensor([[-3.0, 2.0, -0.3, 300.0]], dtype=dtype, requires_grad=True)
    y = unit(x)
    assert torch.equal(y, torch.where(x > 0, x.float(), 0.25 * x.float()).to(dtype))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.25, 1.0, 0.25, 1.0]]
    slope = unit.get_parameter("weight").grad
    assert slope is not None
    assert slope.item() == pytest.approx(-3.3, rel=2 * torch.finfo(dtype).eps)
    assert facts(unit).entry is facts(nn.PReLU()).entry is facts("prelu").entry
    plain = nn.PReLU()
    plain.load_state_dict(unit.state_dict())
    wide = torch.linspace(-2, 2, 9, requires_grad=True)
    assert torch.equal(unit(wide), plain(wide))
    pair: Any = nn.Sequential(nn.Linear(4, 6), unit, nn.Linear(6, 2))
    assert [one.status for one in ns.equalize(pair).equalization.pairs] == ["equalised"]
    with torch.autocast("cpu", torch.bfloat16):
        assert ns.models.mlp([4, 6, 2], activation={"kind": "prelu"})(torch.rand(3, 4)).isfinite().all()


@pytest.mark.parametrize("name", ["apa", "aglu"])
def test_a_seed_draws_both_parameters_evenly_between_0_and_1_as_the_authors_do(name: str) -> None:
    unit = activation(name, channels=4000, seed=3)
    lam, kappa = (unit.get_parameter(one).detach() for one in ("lam", "kappa"))
    for drawn in (lam, kappa):
        assert 0 < float(drawn.min()) < float(drawn.max()) < 1
        assert abs(float(drawn.mean()) - 0.5) < 5 * math.sqrt(1 / 12 / 4000)
    assert not torch.equal(lam, kappa)
    assert torch.equal(activation(name, channels=4000, seed=3).get_parameter("lam").detach(), lam)
    assert not torch.equal(activation(name, channels=4000, seed=4).get_parameter("lam").detach(), lam)
    assert activation(name).get_parameter("lam").tolist() == 0.5  # their mean, without a seed
    given = activation(name, seed=3, lam=0.3)
    assert float(given.get_parameter("lam").detach()) == pytest.approx(0.3)
    again: Any = activation(name, seed=3)
    assert facts(name, seed=3).settings["kappa"] == again.settings()["kappa"]


def test_a_seed_of_what_is_not_drawn_is_refused() -> None:
    with pytest.raises(ConfigError, match="activation silu: it has no parameter 'seed'"):
        activation("silu", seed=1)
    with pytest.raises(ConfigError, match="activation apa: seed: must be"):
        activation("apa", seed=-1)


# --- forward mode ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("base", "backward"), [("gelu", "gelu2"), ("silu", "silu2"), ("hardswish", "relu")])
@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "not-recorded"])
def test_slopes_of_a_few_steps_are_those_of_forward_mode_too(base: str, backward: str, recorded: bool) -> None:
    unit, x = activation("approx_backward", base=base, backward=backward), normal(3, 7).mul(4)
    tangent = normal(3, 7, draw=1)
    with torch.set_grad_enabled(recorded):
        both: Any = torch.func.jvp(unit, (x,), (tangent,))
    y, moved = both
    steps = torch.tensor([STEPS[backward].at(float(one)) for one in x.flatten()], dtype=torch.float64).reshape(3, 7)
    assert torch.equal(y, activation(base)(x))
    assert torch.equal(moved, tangent * steps)


# --- blocks ------------------------------------------------------------------------------------------------------------------------------


def test_a_large_tensor_is_computed_block_by_block_to_the_same_numbers() -> None:
    x = (3 * normal(4, 1 << 16)).float()
    for name in CURVES:
        entry = ACTIVATIONS[name]
        assert isinstance(entry, Curve)
        unit = entry(learn=True)
        with torch.no_grad():
            assert torch.equal(unit(x), torch.stack([unit(row) for row in x])), name
            half = x.to(torch.bfloat16)
            assert torch.equal(unit(half), torch.stack([unit(row) for row in half])), name


def test_blocks_are_small_and_their_parameters_are_whole() -> None:
    seen: list[torch.Size] = []

    def record(x: Tensor, *parameters: Tensor) -> Tensor:
        seen.append(x.shape)
        return x + parameters[0].sum()

    large, table = torch.zeros(3, 1 << 17), torch.ones(5)
    with torch.no_grad():
        assert torch.equal(in_float32(record, [True])(large, table), large + 5)
        blocks = len(seen)
        in_float32(record)(large, table)  # may be one for each channel
        in_float32(record, [True])(large.t(), table)  # not in one piece of memory
        in_float32(record, [True])(large[0], table)  # small
    in_float32(record, [True])(large, table)
    assert blocks == math.ceil(3 * 2 / torch.get_num_threads())
    assert seen[blocks:] == [large.shape, large.t().shape, large[0].shape, large.shape]


def test_forward_mode_and_mapping_see_large_tensors_whole() -> None:
    x, unit = torch.linspace(-3, 3, 1 << 18), activation("smelu")
    with torch.no_grad():
        moved = torch.func.jvp(unit, (x,), (torch.ones_like(x),))[1]
        mapped = torch.vmap(unit)(x.reshape(2, -1))
        assert torch.equal(mapped.flatten(), unit(x))
    place = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(unit(place).sum(), place)
    torch.testing.assert_close(moved, slope)


def test_what_is_not_frozen_chooses_alike_with_and_without_gradients() -> None:
    unit, x = activation("smart_mixed", units=5).eval(), normal(3, 5, 2).float()
    with torch.no_grad():
        unit.get_parameter("logits").copy_(normal(5, 6, draw=1))
        found = unit(x)
    assert torch.equal(found, unit(x).detach())
