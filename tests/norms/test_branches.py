"""Residual branches without norms, the norm loss, and batch norms whose gradients do not explode."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.norms import (
    BatchNorm,
    FixupBranch,
    NormFreeBranch,
    NormLoss,
    Scalar,
    ScaledBranch,
    ScaledWeightStandardization,
    WeightNorm,
    expected_variances,
    shape_batch_norms,
)
from tests.norms.contracts import draw, varied

BRANCHES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "skip_init": lambda branch: ScaledBranch(branch, 0.7),
    "norm_free": lambda branch: NormFreeBranch(branch, 4.0, 0.3, 0.5),
    "fixup": lambda branch: FixupBranch(branch, 8),
}


def linear(*sizes: int) -> nn.Sequential:
    """Linear layers with GELU between them; the same at every call."""
    layers: list[nn.Module] = []
    for at, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.GELU()] * (at > 0) + [varied(nn.Linear(inputs, outputs), at)]
    return nn.Sequential(*layers)


def test_a_scaled_branch_is_its_formula() -> None:
    f, x = linear(6, 4, 6), draw(3, 6)
    torch.testing.assert_close(ScaledBranch(f, 0.7)(x), x + 0.7 * f(x))
    assert torch.equal(ScaledBranch(f)(x), x)
    assert list(ScaledBranch(f, 0.5, learn=False).state_dict()) == [f"branch.0.{name}" for name in f.state_dict()]


def test_a_norm_free_branch_is_its_formula_with_a_shortcut_too() -> None:
    f, x, shortcut = linear(6, 4, 5), draw(3, 6), nn.Linear(6, 5)
    torch.testing.assert_close(NormFreeBranch(linear(6, 6), 4.0, 0.3, 0.5)(x), x + 0.3 * 0.5 * linear(6, 6)(x / 2))
    torch.testing.assert_close(NormFreeBranch(f, 4.0, 0.3, None, shortcut=shortcut)(x), shortcut(x / 2) + 0.3 * f(x / 2))


def test_a_fixup_branch_is_its_formula() -> None:
    branch, x = linear(6, 5, 4, 6), draw(3, 6)
    weights = [layer.weight.detach().clone() for layer in branch if isinstance(layer, nn.Linear)]
    made: Any = FixupBranch(branch, 16)
    assert torch.equal(made(x), x)
    layers = [layer for layer in made.modules() if isinstance(layer, nn.Linear)]
    for layer, weight in zip(layers[:2], weights, strict=False):
        torch.testing.assert_close(layer.weight, weight * 16 ** (-1 / 4))  # three layers: −1 / (2·3 − 2)
        assert not layer.bias.any()
    assert not layers[2].weight.any()
    layers[2].weight.data.copy_(weights[2])
    scalars: list[Any] = [part for part in made.modules() if isinstance(part, Scalar)]
    *offsets, factor = scalars
    assert len(offsets) == 5
    for at, scalar in enumerate(offsets):
        scalar.shift.data.fill_(0.1 * (at + 1))
    factor.scale.data.fill_(2.0)
    y = x
    for at, layer in enumerate(layers):
        y = layer(y + 0.1 * (2 * at + 1))
        y = nn.functional.gelu(y + 0.1 * (2 * at + 2)) if at < 2 else y
    torch.testing.assert_close(made(x), x + 2 * y)


def test_a_fixup_branch_counts_transposed_convolutions_and_refuses_what_it_cannot_scale() -> None:
    up = nn.ConvTranspose2d(4, 6, 3)
    conv = nn.Conv2d(6, 4, 3)
    before = conv.weight.detach().clone()
    x = draw(2, 6, 5, 5)
    assert torch.equal(FixupBranch(nn.Sequential(conv, nn.ReLU(), up), 16)(x), x)
    torch.testing.assert_close(conv.weight.detach(), before / 4)
    layer, other = nn.Linear(6, 6), parametrize.register_parametrization(nn.Linear(6, 6), "weight", WeightNorm())
    kept = layer.weight.detach().clone()
    with pytest.raises(ConfigError, match="every layer with weights must stand in it once"):
        FixupBranch(nn.Sequential(layer, nn.ReLU(), layer))
    with pytest.raises(ConfigError, match="weights must be parameters, got a parametrized one"):
        FixupBranch(nn.Sequential(layer, nn.ReLU(), other))
    assert torch.equal(layer.weight, kept)


def test_a_fixup_branch_finds_its_layers_in_sequences_of_sequences() -> None:
    flat, nested = linear(6, 5, 4, 3, 6), linear(6, 5, 4, 3, 6)
    nested = nn.Sequential(
        nn.Sequential(nested[0], nested[1]), nn.Sequential(nn.Sequential(nested[2], nested[3], nested[4])), *list(nested)[5:]
    )
    one, other = varied(FixupBranch(flat, 16)), varied(FixupBranch(nested, 16))
    x = draw(3, 6)
    assert torch.equal(one(x), other(x))
    assert len([part for part in other.modules() if isinstance(part, Scalar)]) == 4 + 3 + 1


def test_a_fixup_branch_refuses_weights_that_it_cannot_count() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 6)

    for part in (Mine(), nn.Sequential(Mine()), nn.Embedding(6, 6)):
        with pytest.raises(ConfigError, match=r"FixupBranch\.branch: must hold weights in linear layers .* got an? (Mine|Embedding)"):
            FixupBranch(nn.Sequential(nn.Linear(6, 6), part, nn.Linear(6, 6)))
    FixupBranch(nn.Sequential(nn.Linear(6, 6), nn.PReLU(6), nn.LayerNorm(6), nn.Linear(6, 6)))


def test_numbers_that_are_learned_are_shown_without_a_warning() -> None:
    assert "scale=0.7" in repr(ScaledBranch(nn.Identity(), 0.7))


@pytest.mark.parametrize("name", BRANCHES)
def test_a_branch_folds_with_nothing_left(name: str) -> None:
    model = nn.Sequential(nn.Linear(6, 6), varied(BRANCHES[name](linear(6, 4, 6))), nn.Linear(6, 2)).double()
    x = draw(5, 6, dtype=torch.float64)
    folded: Any = ns.fold(model, x, tolerance=1e-12)
    assert folded.folding.count("left") == 0
    assert not any(isinstance(part, Scalar) for part in folded.modules())
    narrow: Any = ns.fold(copy.deepcopy(model).float(), x.float())
    assert narrow.folding.deviation < 1e-6 * max(1.0, float(model(x).detach().abs().max()))


def test_branches_of_wrong_shape_or_kind_are_refused() -> None:
    wrong: Any = "branch"
    with pytest.raises(ConfigError, match=r"ScaledBranch: the branch must have the shape \(3, 6\), got \(3, 4\)"):
        ScaledBranch(linear(6, 4), 1.0)(draw(3, 6))
    with pytest.raises(ConfigError, match=r"NormFreeBranch\.branch: must be a torch\.nn\.Module, got str"):
        NormFreeBranch(wrong)
    with pytest.raises(ConfigError, match=r"FixupBranch\.branch: must be a torch\.nn\.Sequential, got Linear"):
        FixupBranch(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match=r"FixupBranch\.branch: must have two layers with weights or more, got 1"):
        FixupBranch(linear(6, 6))
    with pytest.raises(ConfigError, match=r"NormFreeBranch\.variance: must be a finite number > 0"):
        NormFreeBranch(linear(6, 6), 0.0)
    with pytest.raises(ConfigError, match=r"ScaledBranch\.learn: must be true or false, got 'branch'"):
        ScaledBranch(linear(6, 6), learn=wrong)
    with pytest.raises(ConfigError, match=r"expected_variances\.blocks: must be a sequence of numbers of blocks, got 'branch'"):
        expected_variances(wrong)
    with pytest.raises(ConfigError, match=r"Scalar\.scale"):
        Scalar(math.inf)


def test_no_two_branches_compute_the_same() -> None:
    x = draw(4, 6)
    outputs = {name: varied(make(linear(6, 4, 6)))(x).detach() for name, make in BRANCHES.items()}
    outputs["message"] = varied(ns.NORMS["message"](linear(6, 4, 6)))(x).detach()
    assert all(not torch.allclose(outputs[one], outputs[other], rtol=1e-2) for one in outputs for other in outputs if one < other)


def test_the_expected_variance_is_the_one_that_a_deep_stream_has() -> None:
    """Standardized layers without gains, at every block; bounds of three standard errors of a mean over 256 channels."""
    width, blocks = 256, 12
    stream = ns.random.stream(0, "stream").normal((512, width), like=torch.empty(0, dtype=torch.float64))
    for at, variance in enumerate(expected_variances([blocks], 0.5)[:-1]):
        found = float(stream.var())
        assert abs(found / variance - 1) < 3 * math.sqrt(2 / width) * math.sqrt(at + 1)
        layers = [nn.Linear(width, width, dtype=torch.float64) for _ in range(2)]
        for layer, activation in zip(layers, ("identity", "relu"), strict=True):
            nn.init.zeros_(layer.bias)
            layer.weight.data.copy_(ns.random.stream(at, activation).normal((width, width), like=layer.weight))
            parametrize.register_parametrization(layer, "weight", ScaledWeightStandardization(activation))
        with torch.no_grad():
            stream = NormFreeBranch(nn.Sequential(layers[0], nn.ReLU(), layers[1]), variance, 0.5, None)(stream)
    assert expected_variances([2, 3], 1.0) == [1.0, 2.0, 3.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    "wrap",
    [lambda layer: parametrizations.weight_norm(layer), lambda layer: parametrizations.orthogonal(layer), parametrizations.spectral_norm],
)
def test_parametrizations_of_torch_fold_too_and_copies_keep_theirs(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = nn.Sequential(wrap(nn.Linear(6, 6)), nn.BatchNorm1d(6), nn.ReLU()).eval()
    x = draw(5, 6)
    expected = model(x)
    folded: Any = ns.fold(model, x, tolerance=1e-5)
    assert folded.folding.count("left") == 0
    assert type(folded[0]) is nn.Linear
    assert parametrize.is_parametrized(model[0])
    assert torch.equal(model(x), expected)


class Noise(nn.Module):
    """Another weight at every call."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight + torch.rand_like(weight)


def test_a_parametrization_that_may_change_is_left_and_said_why() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    parametrize.register_parametrization(model[0], "weight", Noise())
    parametrize.register_parametrization(model[1], "weight", WeightNorm())
    report: Any = ns.fold(model)
    left, folded = report.folding.norms
    assert (left.path, left.type, left.status) == ("0", "Noise", "left")
    assert left.reason == "Noise is not known to give the same at every call"
    assert (folded.path, folded.type, folded.status, folded.into) == ("1", "WeightNorm", "folded", "1")
    analog: Any = ns.to_analog(model[1:], "ideal", seed=0)
    report = ns.fold(analog)
    assert "on hardware" in report.folding.norms[0].reason


def test_the_norm_loss_is_its_formula_on_the_outputs_of_every_layer() -> None:
    linear_layer, conv, up = nn.Linear(3, 2), nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(4, 6, 3, groups=2)
    model = nn.Sequential(linear_layer, conv, up)
    rows = [*linear_layer.weight, *conv.weight, *(up.weight[2 * g : 2 * g + 2, at] for g in range(2) for at in range(3))]
    expected = 0.3 * sum((1 - row.norm()) ** 2 for row in rows)
    torch.testing.assert_close(NormLoss(0.3)(model), torch.as_tensor(expected))


def test_the_norm_loss_has_a_gradient_for_rows_of_zeros_and_none_without_layers() -> None:
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    NormLoss()(layer).backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.isfinite().all()
    with pytest.raises(ConfigError, match="must have a linear layer or a convolution"):
        NormLoss()(nn.ReLU())
    with pytest.raises(ConfigError, match=r"NormLoss\.strength"):
        NormLoss(-1.0)


def chain(depth: int, width: int = 32, norm: type[nn.Module] = nn.BatchNorm1d) -> nn.Sequential:
    """A deep perceptron with batch norms, drawn as torch's initialization by Xavier draws it."""
    layers: list[nn.Module] = []
    for at in range(depth):
        layer = nn.Linear(width, width, bias=False)
        layer.weight.data.copy_(ns.random.stream(0, "xavier", str(at)).normal((width, width), like=layer.weight) / math.sqrt(width))
        layers += [layer, norm(width), nn.Tanh()]
    return nn.Sequential(*layers)


def first_gradient(model: Any, batch: int = 64) -> float:
    """Length of the gradient of the first layer, for a loss that weighs the outputs at random."""
    x = ns.random.stream(0, "x").normal((batch, 32), like=torch.empty(0))
    weights = ns.random.stream(0, "weights").normal((batch, 32), like=x) / batch**0.5
    (model.train()(x) * weights).sum().backward()
    return float(model[0].weight.grad.norm())


def test_gradients_of_shaped_batch_norms_stay_bounded_with_depth_where_plain_ones_explode() -> None:
    depths = (5, 25, 50)
    plain = [first_gradient(chain(depth)) for depth in depths]
    shaped = [first_gradient(shape_batch_norms(chain(depth), exponent=0.5)) for depth in depths]
    assert plain[2] > 100 * plain[0]
    assert max(shaped) < 10 * min(shaped)


def test_shaping_makes_weights_orthogonal_and_gains_powers_of_the_depth() -> None:
    model: Any = nn.Sequential(nn.Conv2d(2, 8, 3), BatchNorm(8), nn.Flatten(), nn.Linear(8, 20), nn.BatchNorm1d(20), nn.Linear(20, 3))
    biases = [layer.bias.clone() for layer in (model[0], model[3], model[5])]
    returned: Any = shape_batch_norms(model, exponent=0.25, seed=4)
    assert returned is model
    for layer, wide in ((model[0], True), (model[3], False), (model[5], True)):
        weight = layer.weight.detach().flatten(1).double()
        gram = weight @ weight.T if wide else weight.T @ weight
        torch.testing.assert_close(gram, torch.eye(len(gram), dtype=torch.float64), atol=1e-6, rtol=0)
    assert all(torch.equal(layer.bias, before) for layer, before in zip((model[0], model[3], model[5]), biases, strict=True))
    torch.testing.assert_close(model[1].weight.detach(), torch.ones(8))
    torch.testing.assert_close(model[4].weight.detach(), torch.full((20,), 2**-0.25))
    other: Any = shape_batch_norms(copy.deepcopy(model), exponent=0.25, seed=5)
    assert not torch.equal(other[0].weight, model[0].weight)


def test_shaping_gives_computed_weights_as_well_or_changes_nothing() -> None:
    model: Any = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 6))
    parametrize.register_parametrization(model[2], "weight", WeightNorm())
    shape_batch_norms(model)
    torch.testing.assert_close(model[2].weight @ model[2].weight.T, torch.eye(6), atol=1e-5, rtol=0)
    parametrize.register_parametrization(model[0], "weight", Noise())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigError, match="shape_batch_norms: 0: its parametrization takes no weight"):
        shape_batch_norms(model, seed=3)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
