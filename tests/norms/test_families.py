"""Norms of samples against torch, timm, closed forms and finite differences."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.hardware.stages import lp_norm
from neurosim.norms import (
    CompressedRMSNorm,
    DivisiveNorm,
    DynamicTanh,
    FeatureNorm,
    GroupNorm,
    InstanceBatchNorm,
    InstanceNorm,
    L1BatchNorm,
    L1LayerNorm,
    L1RMSNorm,
    LayerNorm,
    MessageNorm,
    Norm,
    PrenormalizedLayerNorm,
    RMSNorm,
    ScaleNorm,
    SelfRescaledDynamicNorm,
)
from tests.norms.cases import recorded
from tests.norms.contracts import draw, varied

C = 16
PAIR: Any = (C, 2)
WORD: Any = "mean"
TIMM = "norms/data/timm.h5"


def gradcheck(norm: nn.Module, x: Tensor) -> bool:
    """Whether the gradients of a norm are those of finite differences, for its parameters too."""
    norm = norm.double()
    names, values = zip(*norm.named_parameters(), strict=True) if list(norm.parameters()) else ((), ())

    def call(x: Tensor, *values: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(norm, dict(zip(names, values, strict=True)), x)
        return y

    return torch.autograd.gradcheck(call, (x.double().requires_grad_(), *values), fast_mode=True)


OTHERWISE = ("power", "prenormalized_layer", "gpas", "lp")  # gradients that are not those of what they compute, and 16 bits
EXACT = [
    name for name in ns.NORMS if ns.NORMS[name].kind == "module" and ns.NORMS[name].stats in ("sample", "none") and name not in OTHERWISE
]


@pytest.mark.parametrize("name", EXACT)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    assert gradcheck(varied(ns.NORMS[name].example()).eval(), draw(3, C, 2, 3))


@pytest.mark.parametrize("name", ["evonorm_b0", "evonorm_b1", "evonorm_b2", "l1_batch"])
def test_gradients_through_the_statistics_of_a_batch_are_those_of_finite_differences(name: str) -> None:
    assert gradcheck(varied(ns.NORMS[name].example()).train(), draw(3, C, 2, 3))


@pytest.mark.parametrize(
    ("ours", "theirs", "x"),
    [
        (LayerNorm(C, channel_dim=-1), nn.LayerNorm(C), draw(3, 7, C)),
        (LayerNorm((4, 3)), nn.LayerNorm((4, 3)), draw(3, C, 4, 3)),
        (RMSNorm(C, channel_dim=-1), nn.RMSNorm(C, eps=1e-5), draw(3, 7, C)),
        (GroupNorm(C, 4), nn.GroupNorm(4, C), draw(3, C, 4, 3)),
        (InstanceNorm(C), nn.InstanceNorm2d(C, affine=True), draw(3, C, 4, 3)),
    ],
    ids=["layer", "layer of units", "rms", "group", "instance"],
)
def test_a_norm_that_torch_has_equals_that_of_torch(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    theirs.load_state_dict(varied(ours).state_dict(), strict=True)
    torch.testing.assert_close(ours(x), theirs(x))


def test_channels_on_another_axis_are_the_same_norm() -> None:
    x = draw(3, C, 4)
    first, last = varied(LayerNorm(C)), varied(LayerNorm(C, channel_dim=-1))
    torch.testing.assert_close(first(x), last(x.transpose(1, 2)).transpose(1, 2))


@pytest.mark.parametrize("name", ["evonorm_b0", "evonorm_b1", "evonorm_b2", "evonorm_s0", "evonorm_s1", "frn", "grn"])
def test_a_norm_that_timm_has_equals_that_of_timm(name: str) -> None:
    given, of_all = recorded(TIMM, name), recorded(TIMM)
    norm = ns.NORMS[name](C, **({"groups": 4} if name in ("evonorm_s0", "evonorm_s1") else {}))
    parameters = {key.removeprefix("parameter "): value for key, value in given.items() if key.startswith("parameter ")}
    norm.load_state_dict({**norm.state_dict(), **parameters}, strict=True)
    assert set(dict(norm.named_parameters())) == set(parameters)
    x = of_all["x"].requires_grad_()
    y = norm.train()(x)
    torch.testing.assert_close(y, given["training"], rtol=1e-5, atol=1e-5)
    (y * of_all["cotangent"]).sum().backward()
    for key, value in {"x": x, **dict(norm.named_parameters())}.items():
        torch.testing.assert_close(value.grad, given[f"gradient {key}"], rtol=1e-4, atol=1e-4)
    for key, value in norm.named_buffers():
        torch.testing.assert_close(value, given[f"buffer {key}"])
    torch.testing.assert_close(norm.eval()(x), given["evaluation"], rtol=1e-5, atol=1e-5)


def test_the_halves_of_a_layer_norm_are_a_projection_and_a_scaling() -> None:
    x = draw(5, C, dtype=torch.float64)
    centred = LayerNorm(C, scale=False, affine=False).double()(x)
    projection = torch.eye(C, dtype=torch.float64) - 1 / C
    torch.testing.assert_close(centred, x @ projection)
    torch.testing.assert_close(LayerNorm(C, center=False, affine=False).double()(centred), LayerNorm(C, affine=False).double()(x))
    assert torch.equal(LayerNorm(C, center=False, scale=False, affine=False).double()(x), x)
    limit = math.sqrt(C) * centred / centred.norm(dim=1, keepdim=True)  # without ε
    torch.testing.assert_close(LayerNorm(C, 1e-12, affine=False).double()(x), limit)


def test_the_layer_norm_of_a_centred_stream_is_its_rms_norm_and_that_of_its_stored_part() -> None:
    x = draw(5, C, dtype=torch.float64)
    x = x - x.mean(1, keepdim=True)
    layer = LayerNorm(C, affine=False).double()(x)
    torch.testing.assert_close(RMSNorm(C, affine=False).double()(x), layer, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(CompressedRMSNorm(C - 1, affine=False).double()(x[:, :-1]), layer[:, :-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", [ScaleNorm(C, eps=1e-9), RMSNorm(C, 1e-18, affine=False)], ids=["scale", "rms"])
def test_a_scale_norm_starts_as_an_rms_norm_whatever_the_length_of_its_input(norm: nn.Module) -> None:
    x = draw(5, C, dtype=torch.float64)
    expected = math.sqrt(C) * x / x.norm(dim=1, keepdim=True)
    for factor in (1e-3, 1.0, 1e3):
        torch.testing.assert_close(norm.double()(factor * x), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(FeatureNorm(C, length=3.0).double()(x).norm(dim=1), torch.full((5,), 3.0).double(), rtol=1e-6, atol=0)


def test_the_backward_pass_of_an_l1_norm_is_its_formula() -> None:
    x, g = draw(5, C, dtype=torch.float64).requires_grad_(), draw(5, C, name="g", dtype=torch.float64)
    norm = L1LayerNorm(C, 1e-300, affine=False).double()
    y = norm(x)
    (found,) = torch.autograd.grad(y, x, g)
    x, y = x.detach(), y.detach()
    deviation = (x - x.mean(1, keepdim=True)).abs().mean(1, keepdim=True)
    sign = (x - x.mean(1, keepdim=True)).sign()
    formula = (g - g.mean(1, keepdim=True) - (sign - sign.mean(1, keepdim=True)) * (g * y).mean(1, keepdim=True)) / deviation
    torch.testing.assert_close(found, formula, rtol=1e-12, atol=1e-12)
    step = 1e-5
    for at in range(C):
        ahead, behind = (norm(x + sign_of * step * torch.eye(C, dtype=torch.float64)[at]) for sign_of in (1, -1))
        assert ((g * (ahead - behind)).sum(1) / (2 * step) - formula[:, at]).abs().max() < 1e-9


def test_a_mean_magnitude_is_a_standard_deviation_where_values_are_normal() -> None:
    x = ns.random.stream(1, "normal").normal((1, 40_000), like=torch.empty(0, dtype=torch.float64))
    y = L1RMSNorm(40_000, match_sigma=True).double()(x)
    ratio = float((y.norm() / x.norm()).detach())  # 1 up to the error of the mean magnitude, √(π/2 − 1)/√n of it, here 5 of them
    assert abs(ratio - 1) < 5 * math.sqrt((math.pi / 2 - 1) / 40_000)


def test_a_power_of_two_divides_by_a_shift_and_is_off_by_no_more_than_the_root_of_two() -> None:
    x = draw(50, C, dtype=torch.float64)
    plain, shifted = (L1LayerNorm(C, affine=False, power_of_two=two).double()(x) for two in (False, True))
    centred = x - x.mean(1, keepdim=True)
    exponents = (centred / shifted).log2()
    torch.testing.assert_close(exponents, exponents.round(), rtol=0, atol=1e-12)
    ratio = (shifted / plain)[:, 0]
    assert ratio.max() <= math.sqrt(2) + 1e-9
    assert ratio.min() >= math.sqrt(0.5) - 1e-9
    assert gradcheck(L1BatchNorm(C), draw(4, C))


def test_an_ibn_is_an_instance_norm_beside_a_batch_norm() -> None:
    norm, x = InstanceBatchNorm(C), draw(3, C, 4, 3)
    y = norm(x)
    torch.testing.assert_close(y[:, : C // 2], nn.InstanceNorm2d(C // 2)(x[:, : C // 2]))
    torch.testing.assert_close(y[:, C // 2 :], nn.BatchNorm2d(C // 2)(x[:, C // 2 :]))


def test_a_divisive_norm_is_its_formula_for_any_exponents() -> None:
    x = draw(3, C, 2, dtype=torch.float64)
    for alpha, power in ((2.0, 0.5), (1.0, 1.0), (1.5, 0.7)):
        norm = varied(DivisiveNorm(C, alpha, power)).double()
        pool = norm.beta.reshape(-1, 1) + torch.einsum("ij,njl->nil", norm.gamma, x.abs() ** alpha)
        torch.testing.assert_close(norm(x), x / pool**power, rtol=1e-12, atol=1e-12)


def test_weights_of_a_divisive_norm_below_their_limit_count_as_the_limit_and_can_come_back() -> None:
    norm, x = DivisiveNorm(2), torch.tensor([[1.0, 2.0]])
    with torch.no_grad():
        norm.gamma.fill_(-1.0)
    torch.testing.assert_close(norm(x), x)  # β alone
    (-norm(x).sum()).backward()  # more inhibition makes −y larger: the gradient leads further down
    assert norm.gamma.grad is not None
    assert (norm.gamma.grad == 0).all()
    norm.zero_grad()
    norm(x).sum().backward()
    assert (norm.gamma.grad < 0).all()


def test_a_dynamic_tanh_is_its_formula() -> None:
    norm, x = varied(DynamicTanh(C)), draw(3, C, 4)
    expected = norm.weight[:, None] * torch.tanh(norm.alpha * x) + norm.bias[:, None]
    torch.testing.assert_close(norm(x), expected)
    found = ns.activations.moments_of(lambda z: DynamicTanh(1).double()(z[:, None])[:, 0])  # as it starts, by another quadrature
    assert (found.mean, found.second, found.slope) == pytest.approx((0.0, 0.1735, 0.1793), abs=1e-4)


def test_the_gradients_of_a_dynamic_tanh_are_its_derivatives() -> None:
    norm, x = varied(DynamicTanh(C)).double(), draw(3, C, 4, dtype=torch.float64).requires_grad_()
    g = draw(3, C, 4, name="cotangent", dtype=torch.float64)
    (norm(x) * g).sum().backward()
    weight, alpha = norm.weight.detach()[:, None], norm.alpha.detach()
    t = torch.tanh(alpha * x.detach())
    for value, gradient in (
        (x, g * weight * alpha * (1 - t**2)),
        (norm.alpha, (g * weight * x.detach() * (1 - t**2)).sum().reshape(norm.alpha.shape)),
        (norm.weight, (g * t).sum((0, 2))),
        (norm.bias, g.sum((0, 2))),
    ):
        torch.testing.assert_close(value.grad, gradient, rtol=1e-12, atol=1e-12)


def test_a_seed_norm_starts_as_an_rms_norm_and_is_its_formula() -> None:
    x = draw(3, C, dtype=torch.float64)
    norm = SelfRescaledDynamicNorm(C).double()
    scaled = RMSNorm(C, affine=False).double()(x)
    torch.testing.assert_close(norm(x), scaled)
    varied(norm)
    torch.testing.assert_close(norm(x), (torch.tanh(x @ norm.beta)[:, None] * norm.alpha + norm.gamma) * scaled)


def test_a_branch_with_a_message_norm_is_as_long_as_the_stream_times_its_share() -> None:
    norm, x = MessageNorm(nn.Linear(C, C), share=0.3), draw(5, C)
    torch.testing.assert_close((norm(x) - x).norm(dim=1), 0.3 * x.norm(dim=1))
    assert gradcheck(norm, draw(3, C))
    with pytest.raises(ConfigError, match=r"MessageNorm: the branch must keep the shape \(5, 16\), got \(5, 3\)"):
        MessageNorm(nn.Linear(C, 3))(x)


@pytest.mark.parametrize("by", ["mad", "max", "pow2"])
def test_a_prenormalised_layer_norm_of_16_bits_is_safe_at_any_scale(by: Any) -> None:
    x = draw(7, 64, dtype=torch.float64)
    expected = LayerNorm(64, 1e-12).double()(x).detach()
    norm = PrenormalizedLayerNorm(64, by)
    plain = nn.LayerNorm(64, 1e-5)
    for scale in (1e-3, 1.0, 300.0, 3000.0):
        y = norm((scale * x).half())
        assert y.dtype == torch.float16
        torch.testing.assert_close(y.double(), expected, rtol=0.01, atol=0.01)
    squares = (300 * x).half().square()
    assert squares.isinf().any()  # which is what a layer norm in 16 bits would sum
    assert plain(x.float()).isfinite().all()
    assert gradcheck(norm.double(), draw(3, 64, name="gradient")) or by == "pow2"


def test_zeros_stay_zeros() -> None:
    for name in EXACT:
        norm = ns.NORMS[name].example().eval()
        x = torch.zeros(2, C, 2, 2, requires_grad=True)
        y = norm(x)
        assert (y == 0).all(), name
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all(), name
        assert all(value.grad is None or value.grad.isfinite().all() for value in norm.parameters()), name


def test_a_signal_norm_is_that_of_the_hardware() -> None:
    x = draw(5, C)
    for settings in ({}, {"p": 1.0}, {"over": "whole"}, {"max_one": True}):
        assert torch.equal(ns.nn.LpNorm(C, **settings)(x), lp_norm(x, **settings))
    assert torch.equal(ns.nn.ClampNorm(C, -0.5, 2.0)(x), x.clamp(-0.5, 2.0))
    x.requires_grad_()
    ns.nn.LpNorm(C)(x).sum().backward()
    assert x.grad is not None
    assert (x.grad == 1).all()
    for p in (1.0, 2.0, 3.0):
        assert gradcheck(ns.nn.LpNorm(C, p, grad="through"), draw(5, C))


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: LayerNorm(C, affine=False), torch.eye(C)),
        (lambda: RMSNorm(C, affine=False), torch.eye(C)),
        (lambda: CompressedRMSNorm(C, affine=False), -torch.eye(C) + 1 / (C + 1)),
        (lambda: L1LayerNorm(C, affine=False), torch.eye(C)),
        (lambda: L1RMSNorm(C, affine=False), torch.eye(C)),
        (lambda: ScaleNorm(C), torch.eye(C)),
        (lambda: DivisiveNorm(C), torch.eye(C)),
        (lambda: DynamicTanh(C), torch.eye(C)),
    ],
    ids=["layer", "rms", "crms", "l1_layer", "l1_rms", "scale", "gdn", "dyt"],
)
def test_bounds_are_reached_by_a_large_signal_on_one_channel(make: Any, x: Tensor) -> None:
    norm: Norm = make()
    assert float(norm(1e4 * x).abs().max().detach()) == pytest.approx(norm.bounds()[1], rel=1e-3)


@pytest.mark.parametrize(
    "name", [name for name in ns.NORMS if ns.NORMS[name].kind == "module" and name not in ("unified", "power", "online")]
)
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's tracer does it itself
def test_a_norm_compiles_whole(name: str) -> None:
    norm = varied(ns.NORMS[name].example()).eval()
    x = draw(4, 2, C, 2, 3) if getattr(norm, "takes_time", False) else draw(4, C, 2, 3)
    torch.compiler.reset()  # what was compiled before counts against a limit
    compiled = torch.compile(norm, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), norm(x))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LayerNorm(0), "features: must be a number of channels > 0"),
        (lambda: LayerNorm(C, channel_dim=0), "channel_dim: must be another axis than that of the batch"),
        (lambda: LayerNorm(C, eps=0.0), "eps: must be a finite number > 0"),
        (lambda: GroupNorm(PAIR), r"features: must be a number of channels, got \(16, 2\)"),
        (lambda: GroupNorm(C, 5), "groups: must divide the 16 channels, got 5"),
        (lambda: InstanceBatchNorm(C, 0.01), "ratio: must leave channels on both sides"),
        (lambda: DivisiveNorm(C, gamma=0.0), "gamma: must be a finite number > 0"),
        (lambda: ns.nn.ClampNorm(C, 1.0, -1.0), "low must be below high"),
        (lambda: ns.nn.LpNorm(C, 0.5), "p: must be a finite number"),
        (lambda: InstanceNorm(C)(draw(3, C)), "must have axes beside batch and channels"),
        (lambda: L1BatchNorm(C)(draw(1, C)), "more than one value each, got 1"),
        (lambda: LayerNorm(C)(draw(3, C, dtype=torch.float64)), "x must be torch.float32 on cpu like the norm"),
        (lambda: PrenormalizedLayerNorm(C, WORD), "by: must be one of 'mad', 'max', 'pow2'"),
        (lambda: MessageNorm(WORD), "branch: must be a torch.nn.Module, got str"),
    ],
)
def test_what_does_not_hold_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
