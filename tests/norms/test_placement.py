"""Norms around residual branches, in attention, and of products: against the equations written out."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.norms import (
    GeometricParametrization,
    HypersphereResidual,
    LayerNorm,
    NormedAttention,
    Residual,
    RMSNorm,
    ScaleDistributionDecoupling,
    ScaledWeightStandardization,
    WeightConditioning,
    WeightNorm,
    deep_gains,
    normformer,
    residual_stack,
    unit_weights,
)
from tests.norms.contracts import draw, varied

C = 8


def branch() -> Any:
    return varied(nn.Sequential(nn.Linear(C, 12), nn.Tanh(), nn.Linear(12, C)))


def written_out(layer: Any, x: Tensor) -> Tensor:
    """The equation of a placement, with the norms and the branch of a layer."""
    f, outside, start = layer.path.branch, layer.outside, layer.stream
    parts = dict(layer.path.named_children())
    before, behind = (parts.get(name, nn.Identity()) for name in ("before", "behind"))
    found: Tensor = {
        "none": lambda: x + f(x),
        "pre": lambda: x + f(before(x)),
        "post": lambda: outside(x + f(x)),
        "mid": lambda: x + behind(f(x)),
        "peri": lambda: x + behind(f(before(x))),
        "sandwich": lambda: x + behind(f(before(x))),
        "deep": lambda: outside(6**0.25 * x + f(x)),
        "hybrid": lambda: start(x) + f(start(x)),
    }[layer.placement]()
    return found


@pytest.mark.parametrize("norm", ["layer", "rms", {"kind": "l1_layer", "power_of_two": True}, "dyt", "layer_scaling"], ids=str)
@pytest.mark.parametrize("placement", ["none", "pre", "post", "mid", "peri", "sandwich", "deep", "hybrid"])
def test_a_placement_is_its_equation(placement: Any, norm: Any) -> None:
    layer = varied(Residual(branch(), C, norm, placement, index=2, count=6))
    x = draw(5, C)
    torch.testing.assert_close(layer(x), written_out(layer, x))
    assert len(layer.norms()) == {"none": 0, "peri": 2, "sandwich": 2}.get(placement, 1)
    low, high = layer.bounds()
    y = layer(x).detach()
    assert low <= float(y.min()) <= float(y.max()) <= high


def test_both_norms_of_peri_ln_have_parameters_of_their_own() -> None:
    layer = Residual(branch(), C, placement="peri")
    layer(draw(5, C)).square().sum().backward()
    norms: Any = layer.norms()
    one, other = (norm.weight.grad for norm in norms)
    assert not torch.allclose(one, other)


def test_what_a_branch_with_a_norm_behind_it_adds_is_bounded() -> None:
    x = draw(64, C)
    for placement in ("mid", "peri"):
        layer: Any = Residual(nn.Sequential(branch(), nn.Linear(C, C)), C, placement=placement)
        assert float((layer(1000 * x) - 1000 * x).detach().abs().max()) <= math.sqrt(C - 1) + 1e-3


def test_the_first_quarter_of_mix_ln_is_post_ln() -> None:
    stack = residual_stack([branch() for _ in range(8)], C, placement="mix")
    assert [layer.placement for layer in stack if isinstance(layer, Residual)] == ["post"] * 2 + ["pre"] * 6


def test_deep_norm_scales_the_stream_and_the_weights_of_its_branches() -> None:
    branches = [branch() for _ in range(16)]  # of eight layers of attention and feed-forward
    before = [[value.detach().clone() for value in one.parameters()] for one in branches]
    stack = residual_stack(branches, C, placement="deep")
    alpha, beta = deep_gains(16)
    assert (alpha, beta) == (pytest.approx((2 * 8) ** 0.25), pytest.approx((8 * 8) ** -0.25))
    for old, one in zip(before, branches, strict=True):
        for was, value in zip(old, one.parameters(), strict=True):
            torch.testing.assert_close(value, was * beta if was.dim() > 1 else was)
    assert residual_stack([branch()], C, placement="deep", initialize=False)[0].count == 1
    assert stack[0].count == 16


def test_a_branch_that_is_called_twice_is_scaled_once() -> None:
    one = branch()
    before = one[0].weight.detach().clone()
    residual_stack([one] * 4, C, placement="deep")
    torch.testing.assert_close(one[0].weight.detach(), before / 2)  # 16^−¼


@pytest.mark.parametrize("make", [WeightNorm, GeometricParametrization, ScaledWeightStandardization])
def test_weights_that_are_computed_are_scaled_once_as_well(make: Any) -> None:
    one = branch()
    parametrize.register_parametrization(one[0], "weight", make())
    before = [value.detach().clone() for value in (one[0].weight, one[2].weight)]
    residual_stack([one] * 4, C, placement="deep")
    for was, value in zip(before, (one[0].weight, one[2].weight), strict=True):
        torch.testing.assert_close(value.detach(), was / 2)  # 16^-¼


def test_weights_that_keep_no_scale_cannot_be_those_of_deep_branches() -> None:
    first, second = branch(), branch()
    parametrize.register_parametrization(second[0], "weight", WeightConditioning())
    before = first[0].weight.detach().clone()
    with pytest.raises(ConfigError, match=r"residual_stack with 'deep': 1\.0: its parametrization keeps no factor of a weight"):
        residual_stack([first, second], C, placement="deep")
    assert torch.equal(first[0].weight, before)
    assert len(residual_stack([first, second], C, placement="deep", initialize=False)) == 2


def test_weights_that_are_computed_become_of_length_1_too() -> None:
    layer = nn.Linear(4, 3)
    parametrize.register_parametrization(layer, "weight", WeightNorm())
    unit_weights(layer)
    torch.testing.assert_close(layer.weight.norm(dim=1), torch.ones(3))
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3))
    parametrize.register_parametrization(model[1], "weight", WeightConditioning())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigError, match="unit_weights: 1: its parametrization gives another weight"):
        unit_weights(model, writers="1")
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_arguments_of_no_use_are_refused_in_words() -> None:
    nothing: Any = None
    with pytest.raises(ConfigError, match=r"deep_gains\.count: must be a whole number, 1 or more, got 0"):
        deep_gains(0)
    with pytest.raises(ConfigError, match=r"residual_stack\.branches: must be a sequence of at least one module"):
        residual_stack(nothing, 3)


@pytest.mark.parametrize(
    ("placement", "names"),
    [("pre", ["layer1", "layer2", "end"]), ("post", ["layer1", "layer2"]), ("peri", ["start", "layer1", "layer2", "end"])],
)
def test_a_stack_has_the_norms_at_its_ends_that_the_placement_asks_for(placement: Any, names: list[str]) -> None:
    stack = residual_stack([branch(), branch()], C, {"kind": "layer", "eps": 1e-3}, placement, channel_dim=-1)
    assert [name for name, _ in stack.named_children()] == names
    x = y = draw(3, 5, C)
    for layer in stack:
        y = written_out(layer, y) if isinstance(layer, Residual) else functional.layer_norm(y, (C,), eps=1e-3)
    torch.testing.assert_close(stack(x), y)


def test_a_stack_numbers_the_depth_of_norms_that_know_it() -> None:
    stack = residual_stack([branch() for _ in range(3)], C, "layer_scaling")
    blocks: list[Any] = [layer for layer in stack if isinstance(layer, Residual)]
    assert [block.path.before.depth for block in blocks] == [1, 2, 3]


def test_a_pre_ln_block_equals_that_of_torch() -> None:
    theirs = nn.TransformerEncoderLayer(C, 2, 12, dropout=0.0, norm_first=True, batch_first=True)
    attention = NormedAttention(C, 2, normed="none")
    feed = nn.Sequential(nn.Linear(C, 12), nn.ReLU(), nn.Linear(12, C))
    ours: Any = nn.Sequential(Residual(attention, C, channel_dim=-1), Residual(feed, C, channel_dim=-1))
    with torch.no_grad():
        projections = zip(theirs.self_attn.in_proj_weight.chunk(3), theirs.self_attn.in_proj_bias.chunk(3), strict=True)
        for layer, (weight, bias) in zip((attention.query, attention.key, attention.value), projections, strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    for mine, other in ((attention.out, theirs.self_attn.out_proj), (feed[0], theirs.linear1), (feed[2], theirs.linear2)):
        mine.load_state_dict(other.state_dict())
    for mine, other in ((ours[0].path.before, varied(theirs.norm1)), (ours[1].path.before, varied(theirs.norm2))):
        mine.load_state_dict(other.state_dict())
    x = draw(3, 5, C)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_frozen_norms_before_and_behind_a_branch_go_into_its_layers() -> None:
    stack = residual_stack([branch() for _ in range(3)], C, "layer", "peri").double()
    x = draw(6, C, dtype=torch.float64)
    frozen = ns.freeze_statistics(varied(stack), 0, x).eval()
    folded: Any = ns.fold(frozen, x, tolerance=1e-12)
    assert folded.folding.count("folded") == 6
    assert [report.path for report in folded.folding.norms if report.status == "left"] == ["start", "end"]


@pytest.mark.parametrize("normed", ["none", "qk", "qkv"])
def test_attention_normalises_queries_keys_and_values_head_by_head(normed: Any) -> None:
    layer = varied(NormedAttention(C, 2, "rms", normed, head_scale=True, causal=True))
    x = draw(2, 4, C)
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        q, k, v = (layer.norms[name](one(x)[..., part]) for name, one in zip("qkv", (layer.query, layer.key, layer.value), strict=True))
        scores = (q @ k.transpose(1, 2) / 2).masked_fill(torch.ones(4, 4).triu(1).bool(), -math.inf)
        heads.append(layer.head_scale[head] * scores.softmax(-1) @ v)
    torch.testing.assert_close(layer(x), layer.out(torch.cat(heads, -1)), rtol=1e-4, atol=1e-5)
    assert sum(isinstance(norm, RMSNorm) for norm in layer.norms.values()) == {"none": 0, "qk": 2, "qkv": 3}[normed]


def test_normformer_puts_a_norm_before_the_last_layer() -> None:
    plain: Any = branch()
    more = normformer(plain, 12, channel_dim=1)
    x = draw(5, C)
    torch.testing.assert_close(more(x), plain[2](functional.layer_norm(plain[:2](x), (12,))))
    with pytest.raises(ConfigError, match=r"normformer\.branch: must be an nn.Sequential that ends with a layer with weights"):
        normformer(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), 2)


def test_the_output_of_sdd_does_not_know_the_scale_of_its_weights() -> None:
    for layer, x in ((nn.Linear(C, 6, bias=False), draw(5, 3, C)), (nn.Conv2d(C, 6, 3, bias=False), draw(5, C, 4, 4))):
        wrapped = varied(ScaleDistributionDecoupling(layer.double(), 1e-12))
        x = x.double()
        before = wrapped(x)
        torch.testing.assert_close(before, wrapped.norm(layer(x)))
        for gain in (0.25, 3.0):
            with torch.no_grad():
                layer.weight.mul_(gain)
            torch.testing.assert_close(wrapped(x), before, rtol=1e-6, atol=1e-9)


def test_sdd_wraps_a_layer_of_simulated_hardware() -> None:
    model: Any = nn.Sequential(ScaleDistributionDecoupling(nn.Linear(C, 6, bias=False)))
    analog: Any = ns.to_analog(model, "photonic_avnn", seed=0)
    assert type(analog[0].layer).__name__ == "AnalogLinear"
    assert analog(draw(4, C)).shape == (4, 6)
    with pytest.raises(ConfigError, match=r"ScaleDistributionDecoupling\.layer: must be a layer with weights, got ReLU"):
        ScaleDistributionDecoupling(nn.ReLU())


def test_ngpt_moves_on_the_sphere_by_its_rate() -> None:
    layer: Any = HypersphereResidual(branch(), C, 0.1).double()
    x = draw(5, 3, C, dtype=torch.float64)
    here, there = functional.normalize(x, dim=-1), functional.normalize(layer.branch(x), dim=-1)
    y = layer(x)
    torch.testing.assert_close(y, functional.normalize(here + 0.1 * (there - here), dim=-1), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(y.norm(dim=-1), torch.ones(5, 3, dtype=torch.float64))
    torch.testing.assert_close(layer.alpha.detach(), torch.full((C,), C**-0.5, dtype=torch.float64), rtol=1e-6, atol=0)
    with torch.no_grad():
        layer.alpha.neg_()
    assert torch.equal(layer(x), y)  # the rate is a magnitude
    assert layer(torch.zeros(2, C, dtype=torch.float64)).isfinite().all()
    assert torch.autograd.gradcheck(layer, draw(2, C, dtype=torch.float64).requires_grad_())
    assert layer.bounds() == (-1.0, 1.0)


def test_weights_of_readers_and_writers_have_length_one_in_the_space_of_the_stream() -> None:
    model: Any = nn.Sequential(nn.Embedding(10, C), nn.Linear(C, 12), nn.Tanh(), nn.Linear(12, C), nn.Conv1d(3, 4, 2))
    biases = [model[at].bias.clone() for at in (1, 3)]
    assert unit_weights(model, writers="3") is model
    for weight, over in ((model[0].weight, 1), (model[1].weight, 1), (model[3].weight, 0), (model[4].weight, (1, 2))):
        length = torch.linalg.vector_norm(weight, dim=over)
        torch.testing.assert_close(length, torch.ones_like(length))
    assert all(torch.equal(one, model[at].bias) for one, at in zip(biases, (1, 3), strict=True))
    with pytest.raises(ConfigError, match=r"unit_weights\.writers: 'out' names no layer with weights"):
        unit_weights(model, writers="out")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sdd", r"'sdd' is a wrapper; use ns\.norms\.ScaleDistributionDecoupling\(layer\).*norm: \{kind: rms"),
        ("ngpt", r"'ngpt' is a wrapper; use ns\.norms\.HypersphereResidual"),
        ("residual", r"'residual' is a wrapper; use ns\.norms\.Residual"),
        ("freeze_statistics", r"'freeze_statistics' is a procedure; use ns\.freeze_statistics\(model, schedule\)"),
    ],
)
def test_a_config_that_names_what_is_no_module_learns_how_to_use_it(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"norm: must be a norm of single samples, and {hint}"):
        ns.models.mlp([4, 3, 2], norm=name)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Residual(nn.Identity(), C, placement=_wrong("per")), r"Residual\.placement: must be one of .*did you mean"),
        (lambda: Residual(nn.Identity(), C, "layr"), r"Residual\.norm: no norm is named 'layr'; did you mean 'layer'"),
        (lambda: Residual(nn.Identity(), C, "tdbn"), "must be a norm of single samples, and 'tdbn' is a norm of sequences"),
        (lambda: Residual(nn.Identity(), C, index=3, count=2), r"Residual\.index: must be a whole number, from 1 to 2, got 3"),
        (lambda: Residual(nn.Linear(C, 3), C)(draw(2, C)), "the branch must keep the shape"),
        (lambda: residual_stack([], C), "must be a sequence of at least one module"),
        (lambda: NormedAttention(C, 3), r"NormedAttention\.heads: must divide the 8 channels, got 3"),
        (lambda: NormedAttention(C, 2)(draw(2, C)), r"x must be floating-point \(batch, length, 8\), got \(2, 8\)"),
        (lambda: HypersphereResidual(nn.Identity(), C)(draw(2, 3)), "x must be floating-point with 8 channels on axis -1"),
        (lambda: LayerNorm(C, affine=_wrong("yes")), r"LayerNorm\.affine: must be true or false, got 'yes'"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


def _wrong(value: Any) -> Any:
    return value
