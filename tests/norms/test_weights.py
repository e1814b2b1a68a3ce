"""Parametrizations of weights against torch, timm and their formulas."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.norms import (
    ScaledWeightStandardization,
    WeightConditioning,
    WeightNorm,
    awaits_data,
    initialize_weight_norm,
    norm_free_gamma,
)
from neurosim.norms.geometric import angles_of, unit_vectors
from tests.norms.cases import recorded
from tests.norms.contracts import draw

NAMES = [name for name in ns.NORMS if ns.NORMS[name].kind == "parametrization"]


def layers() -> list[tuple[Any, int]]:
    """Layers with weights, and the axis of their outputs."""
    return [(nn.Linear(6, 5), 0), (nn.Conv2d(4, 6, 3, groups=2), 0), (nn.ConvTranspose2d(4, 6, 3), 1)]


def learned(layer: Any) -> list[Tensor]:
    return list(layer.parametrizations.weight.parameters())


def with_weight(layer: Any) -> Any:
    with torch.no_grad():
        layer.weight.copy_(draw(*layer.weight.shape, name="weight"))
    return layer


@pytest.mark.parametrize("dim", [0, 1])
def test_weight_norm_is_that_of_torch_and_so_are_its_gradients(dim: int) -> None:
    ours, theirs = with_weight(nn.Linear(6, 5).double()), with_weight(nn.Linear(6, 5).double())
    parametrize.register_parametrization(ours, "weight", WeightNorm(dim))
    parametrizations.weight_norm(theirs, dim=dim)
    theirs.bias = ours.bias
    x = draw(4, 6, dtype=torch.float64)
    for layer in (ours, theirs):
        with torch.no_grad():
            layer.parametrizations.weight.original0.mul_(-1.5)
        layer(x).square().sum().backward()
    torch.testing.assert_close(ours.weight, theirs.weight)
    for one, other in zip(learned(ours), learned(theirs), strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    made = ns.NORMS[name].example()
    found = made.right_inverse(draw(4, 6, dtype=torch.float64))
    values = [value.clone().requires_grad_() for value in (found if isinstance(found, tuple) else (found,))]
    assert torch.autograd.gradcheck(made, values)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_made_by_itself_on_the_axis_of_the_outputs(name: str) -> None:
    for layer, dim in layers():
        weight = with_weight(layer).weight.detach().clone()
        parametrize.register_parametrization(layer, "weight", ns.NORMS[name](dim=dim))
        rows = nn.Linear(weight.movedim(dim, 0)[0].numel(), weight.shape[dim])
        rows.weight.data.copy_(weight.movedim(dim, 0).flatten(1))
        parametrize.register_parametrization(rows, "weight", ns.NORMS[name]())
        torch.testing.assert_close(layer.weight.movedim(dim, 0).flatten(1), rows.weight)


@pytest.mark.parametrize("name", ["weight_norm", "gmp"])
def test_a_parametrization_that_can_give_any_weight_starts_as_the_one_that_is_there(name: str) -> None:
    for layer, dim in layers():
        weight = with_weight(layer).weight.detach().clone()
        weight.movedim(dim, 0)[1] = 0  # a row that has no direction
        layer.weight.data.copy_(weight)
        parametrize.register_parametrization(layer, "weight", ns.NORMS[name](dim=dim))
        torch.testing.assert_close(layer.weight, weight)


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_saved_states_have_the_same_weights(name: str) -> None:
    one, other = with_weight(nn.Linear(6, 5)), nn.Linear(6, 5)
    for layer in (one, other):
        parametrize.register_parametrization(layer, "weight", ns.NORMS[name].example())
    other.load_state_dict(one.state_dict(), strict=True)
    for layer in (other, copy.deepcopy(one)):
        assert torch.equal(layer.weight, one.weight)


@pytest.mark.parametrize("name", NAMES)
def test_what_has_no_rows_is_refused(name: str) -> None:
    for wrong in (torch.ones(3), torch.ones(3, 2, dtype=torch.int64)):
        with pytest.raises(ConfigError, match=r"the weight must be floating point with outputs on axis 0"):
            ns.NORMS[name].example().right_inverse(wrong) if name != "weight_conditioning" else ns.NORMS[name].example()(wrong)
    with pytest.raises(ConfigError, match=r"\.dim: must be a whole number"):
        ns.NORMS[name](dim=-1)


def test_standardized_rows_have_mean_0_and_the_length_of_their_gain() -> None:
    made = ScaledWeightStandardization("relu")
    weight = made(torch.tensor([[2.0], [1.0], [-0.5]], dtype=torch.float64), draw(3, 50, dtype=torch.float64))
    assert weight.mean(1).abs().max() < 1e-12
    length = torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64) / math.sqrt((1 - 1 / math.pi) / 2)
    torch.testing.assert_close(weight.norm(dim=1), length)


@pytest.mark.parametrize("group", ["identity", "gelu"])
def test_a_standardized_convolution_is_that_of_timm_and_so_are_its_gradients(group: str) -> None:
    """But for what keeps a variance of 0 from dividing: timm adds 1e-6, and γ of timm's table was drawn at random."""
    data = recorded("norms/data/timm_weights.h5", group)
    conv: Any = nn.Conv2d(4, 6, 3, padding=1, groups=int(data["groups"]))
    conv.weight.data.copy_(data["weight"])
    conv.bias.data.copy_(data["bias"])
    assert abs(norm_free_gamma(group) / float(data["gamma"]) - 1) < 1e-3
    parametrize.register_parametrization(conv, "weight", ScaledWeightStandardization(gamma=float(data["gamma"])))
    conv.parametrizations.weight.original0.data.copy_(data["gain"])
    y = conv(data["x"])
    (y * data["cotangent"]).sum().backward()
    torch.testing.assert_close(y, data["y"], rtol=1e-4, atol=1e-4)
    gain, weight = learned(conv)
    torch.testing.assert_close(weight.grad, data["weight_grad"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(gain.grad, data["gain_grad"], rtol=1e-3, atol=1e-3)


def test_a_row_that_hardly_varies_is_not_blown_up() -> None:
    weight = ScaledWeightStandardization()(torch.ones(1, 1), 1e-4 * torch.tensor([[1.0, -1.0]]))
    torch.testing.assert_close(weight, torch.tensor([[1e-2, -1e-2]]))  # √1e-4, and not √(2·1e-8), divides it


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh", {"kind": "leaky_relu", "negative_slope": 0.2}])
def test_gamma_makes_the_outputs_of_an_activation_have_variance_1(activation: Any) -> None:
    x = ns.random.stream(0, "z").normal((1 << 20,), like=torch.empty(0, dtype=torch.float64))
    y = ns.activations.activation(activation)(x) * norm_free_gamma(activation)
    bound = 5 * float((y - y.mean()).square().std()) / 2**10  # five standard errors
    assert abs(float(y.var()) - 1) < bound < 0.05


def test_a_constant_activation_has_no_gamma() -> None:
    with pytest.raises(ConfigError, match="must not be constant"):
        norm_free_gamma({"kind": "shifted_relu", "tau": 60.0})


def test_conditioned_rows_have_length_1_and_a_lower_condition_number() -> None:
    weight = draw(5, 6, dtype=torch.float64) * torch.logspace(-3, 3, 5, dtype=torch.float64)[:, None]
    made = WeightConditioning()(weight)
    torch.testing.assert_close(made.norm(dim=1), torch.ones(5, dtype=torch.float64))
    assert torch.linalg.cond(made) < torch.linalg.cond(weight) / 100


def test_a_gradient_that_stops_at_the_lengths_is_that_of_a_constant_factor() -> None:
    weight = draw(3, 4).requires_grad_()
    (found,) = torch.autograd.grad(WeightConditioning(through=False)(weight).sum(), weight)
    torch.testing.assert_close(found, (1 / weight.detach().norm(dim=1, keepdim=True)).expand(3, 4))


def test_angles_and_vectors_are_inverse_to_each_other() -> None:
    x = draw(20, 7, dtype=torch.float64)
    torch.testing.assert_close(x.norm(dim=1, keepdim=True) * unit_vectors(angles_of(x)), x)
    angles = torch.tensor([[0.3, 2.0, 3.0, -2.5], [1.5, 0.1, 1.0, 3.1]], dtype=torch.float64)
    torch.testing.assert_close(angles_of(3 * unit_vectors(angles)), angles)
    plain = [math.cos(0.3), math.sin(0.3) * math.cos(2.0), math.sin(0.3) * math.sin(2.0)]
    torch.testing.assert_close(unit_vectors(torch.tensor([0.3, 2.0], dtype=torch.float64)), torch.tensor(plain, dtype=torch.float64))


def test_long_rows_keep_their_precision_in_spherical_coordinates() -> None:
    x = draw(3, 2000)
    torch.testing.assert_close(x.norm(dim=1, keepdim=True) * unit_vectors(angles_of(x)), x, rtol=1e-4, atol=1e-4)


def normed(*, data_init: bool = True) -> Any:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 16, 5, bias=False), nn.Linear(5, 2))
    for at in (0, 4):
        parametrize.register_parametrization(model[at], "weight", WeightNorm(data_init=data_init))
    return model


def test_data_give_weight_norms_their_lengths_layer_by_layer() -> None:
    model, x = normed(), draw(64, 3, 6, 6)
    untouched = model[5].weight.clone()
    assert awaits_data(model)
    assert initialize_weight_norm(model, x) == ["0", "4"]
    assert not awaits_data(model)
    assert model.training
    first = model[0](x)
    assert first.mean((0, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(first.var((0, 2, 3), correction=0), torch.ones(4))
    second = model.eval()[:5](x)  # without a bias only the variance can be set
    torch.testing.assert_close(second.var(0, correction=0), torch.ones(5))
    assert torch.equal(model[5].weight, untouched)


def test_that_data_were_seen_is_part_of_the_state() -> None:
    model, other = normed(), normed()
    initialize_weight_norm(model, draw(8, 3, 6, 6))
    other.load_state_dict(model.state_dict(), strict=True)
    assert not awaits_data(other)
    assert not awaits_data(normed(data_init=False))


def test_an_output_that_does_not_vary_keeps_its_length() -> None:
    layer: Any = nn.Linear(3, 2)
    parametrize.register_parametrization(layer, "weight", WeightNorm())
    before = layer.weight.clone()
    initialize_weight_norm(layer, torch.ones(4, 3))
    torch.testing.assert_close(layer.weight, before)


def test_a_layer_that_is_used_twice_has_its_lengths_from_its_first_use() -> None:
    layer: Any = nn.Linear(6, 6)
    parametrize.register_parametrization(layer, "weight", WeightNorm())
    x = draw(64, 6)
    initialize_weight_norm(nn.Sequential(layer, nn.ReLU(), layer), x)
    torch.testing.assert_close(layer(x).var(0, correction=0), torch.ones(6))


def test_transposed_convolutions_take_their_lengths_from_data_too() -> None:
    layer: Any = nn.ConvTranspose2d(3, 5, 3)
    parametrize.register_parametrization(layer, "weight", WeightNorm(1, data_init=True))
    x = draw(16, 3, 4, 4)
    assert initialize_weight_norm(layer, x) == [""]
    assert not awaits_data(layer)
    torch.testing.assert_close(layer(x).var((0, 2, 3), correction=0), torch.ones(5))
    assert layer(x).mean((0, 2, 3)).abs().max() < 1e-5


def unsuited(fault: str) -> tuple[nn.Module, Any]:
    """A model whose second layer, or a batch that, does not suit."""
    first, second, x = nn.Linear(4, 4), nn.Linear(4, 4), draw(8, 4)
    for layer in (first, second):
        parametrize.register_parametrization(layer, "weight", WeightNorm(int(fault == "dim" and layer is second), data_init=True))
    model: Any = nn.Sequential(first, second)
    if fault == "elsewhere":
        model.append(nn.Embedding(2, 2))
        parametrize.register_parametrization(model[2], "weight", WeightNorm(data_init=True))
    if fault == "unreached":
        model = nn.Sequential(first, nn.ModuleDict({"unused": second}))
        model.forward = lambda given: first(given)  # it skips the other
    batches = {"nan": torch.full((8, 4), math.nan), "shape": draw(8, 3), "late": draw(8, 4), "type": 3}
    if fault == "late":
        model.append(nn.Linear(3, 1))
    return model, batches.get(fault, x)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("dim", "1: must have one length for every output, dim 0, got dim 1"),
        ("elsewhere", "data_init must be that of the weight of a linear layer or convolution"),
        ("unreached", r"did not reach 1\.unused"),
        ("nan", "what 0 gives of the batch must be finite"),
        ("shape", r"must take a batch of shape \(8, 3\)"),
        ("late", "it failed: mat1 and mat2"),
        ("type", "the batch must be a tensor, got a int"),
    ],
)
def test_lengths_that_cannot_be_told_are_refused_and_everything_stays_as_it_was(fault: str, said: str) -> None:
    model, x = unsuited(fault)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigError, match=said):
        initialize_weight_norm(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert awaits_data(model)
    assert model.training


@pytest.mark.parametrize(("made", "switch"), [(WeightNorm, "data_init"), (WeightConditioning, "through")])
def test_switches_are_true_or_false(made: Any, switch: str) -> None:
    with pytest.raises(ConfigError, match="must be true or false, got 'no'"):
        made(**{switch: "no"})


def test_no_two_parametrizations_compute_the_same() -> None:
    weight = draw(4, 6)
    made = {}
    for name in NAMES:
        layer = nn.Linear(6, 4)
        layer.weight.data.copy_(weight)
        parametrize.register_parametrization(layer, "weight", ns.NORMS[name].example())
        with torch.no_grad():
            for value in learned(layer):
                value.add_(0.3 * ns.random.stream(1, "change").uniform(value.shape, like=value))
        made[name] = layer.weight.detach()
    assert all(not torch.allclose(made[one], made[other], rtol=1e-2) for one in NAMES for other in NAMES if one < other)
