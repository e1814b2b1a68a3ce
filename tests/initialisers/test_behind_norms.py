"""What norms make of sums counts in the weights behind them: second moments, gradients and shares of zeros that networks then have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.activations import activation, facts, moments_of
from neurosim.initialisers import targets, weight_variance
from neurosim.initialisers.normed import normed
from neurosim.nn.signal_norm import ClampNorm, LpNorm
from neurosim.norms import DynamicTanh, EvoNormS0, FreezingNorm, L1BatchNorm, L1LayerNorm, LayerNorm, LayerNormScaling

N = 300
FEW = 5 * math.sqrt(2 / N**2)  #: five standard deviations of the mean square of so many normal weights, relative


def mean_square(weight: Tensor) -> float:
    return float(weight.detach().double().square().mean())


def batch(count: int = N) -> Tensor:
    return ns.random.stream(1, "x").normal((512, count), like=torch.empty(0))


def behind(*parts: nn.Module, **settings: Any) -> nn.Linear:
    """The layer behind those, in a model that is initialised."""
    model: Any = nn.Sequential(nn.Linear(N, N), *parts, nn.Linear(N, N))
    last: nn.Linear = ns.initialize(model, settings.pop("kind", "variance_preserving"), seed=0, **settings)[-1]
    return last


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm, LayerNorm, lambda n: FreezingNorm(LayerNorm(n), 5)])
@pytest.mark.parametrize("variance", [1.0, 0.1, 4.0])
def test_behind_a_norm_an_activation_is_fed_second_moment_1(norm: Callable[[int], nn.Module], variance: float) -> None:
    wanted = weight_variance("relu", N, variance=1.0, to=variance)
    for activations, settings in (((nn.ReLU(),), {}), ((), {"activation": "relu"})):
        assert mean_square(behind(norm(N), *activations, variance=variance, **settings).weight) == pytest.approx(wanted, rel=FEW)


@pytest.mark.parametrize("name", ["variance_preserving", "edge_of_chaos"])
@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm, lambda n: nn.GroupNorm(4, n)])
def test_norms_that_leave_second_moment_1_at_1_change_no_bit(norm: Callable[[int], nn.Module], name: str) -> None:
    plain, with_norm = (behind(one, nn.GELU(), kind=name) for one in (nn.Identity(), norm(N)))
    assert torch.equal(plain.weight, with_norm.weight)
    assert torch.equal(plain.bias, with_norm.bias)


# by hand: of γ x / mean|x| it is π/2, of tanh(x/2) it is that of the activation tanh at q/4, of a clamp that of hardtanh
SECOND: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "l1_layer": (lambda: L1LayerNorm(N), math.pi / 2),
    "l1_batch": (lambda: L1BatchNorm(N), math.pi / 2),
    "l1_batch with match_sigma": (lambda: L1BatchNorm(N, match_sigma=True), 1.0),
    "layer_scaling": (lambda: LayerNormScaling(N, 4), 1 / 4),
    "dyt": (lambda: DynamicTanh(N), moments_of(torch.tanh, 0.75 / 4).second),
    "clamp": (lambda: ClampNorm(N), moments_of(nn.Hardtanh(), 0.75).second),
    "no scale": (lambda: LayerNorm(N, scale=False), 0.75),
    "evonorm_s0": (lambda: EvoNormS0(N), moments_of(lambda x: x * torch.sigmoid(math.sqrt(0.75) * x)).second),
}


@pytest.mark.parametrize("name", SECOND)
def test_a_layer_behind_another_norm_is_fed_the_second_moment_of_that_norm(name: str) -> None:
    make, second = SECOND[name]
    signal = normed("test", [make()], 0.75)
    assert mean_square(signal.values) == pytest.approx(second, rel=5e-3)
    assert mean_square(behind(make(), variance=0.75).weight) == pytest.approx(0.75 / N / second, rel=FEW + 5e-3)


@pytest.mark.parametrize("name", ["dyt", "clamp", "gdn", "l1_layer", "l1_batch", "layer_scaling", "crms", "evonorm_s0", "batch"])
@pytest.mark.parametrize("variance", [1.0, 0.1])
def test_sums_keep_their_second_moment_through_norms_and_activations(name: str, variance: float) -> None:
    model: Any = ns.models.mlp([N] * 6, activation="gelu", norm=name)
    ns.initialize(model, "variance_preserving", variance=variance, seed=0)
    sums: list[float] = []
    for layer in [one for one in model.modules() if isinstance(one, nn.Linear)]:
        layer.register_forward_hook(lambda _layer, _inputs, y: sums.append(mean_square(y)))
    with torch.no_grad():
        model.train()(batch())
    assert sums == [pytest.approx(variance, rel=0.25)] * 5  # of a finite width, errors grow from layer to layer


def test_dynamic_tanh_and_its_activation_are_one_function() -> None:
    found = normed("test", [DynamicTanh(N)], 1.0)
    composed = moments_of(lambda x: torch.nn.functional.gelu(torch.tanh(0.5 * x)))
    assert found.moments(facts("gelu")) == pytest.approx(composed, rel=1e-3)
    assert mean_square(found.values) == pytest.approx(0.1735, abs=1e-4)  # of the table of moments


def test_norms_of_maps_and_behind_activations_count_too() -> None:
    model: Any = nn.Sequential(nn.Conv2d(8, 64, 3), nn.ReLU(), L1BatchNorm(64), nn.MaxPool2d(2), nn.Conv2d(64, 64, 3))
    ns.initialize(model, "variance_preserving", seed=0)
    # x = max(z, 0) has mean m = 1/√2π; E|x − m| is twice the part above m: 2 (φ(m) − m (1 − Φ(m))), and Var x is ½ − m²
    m = 1 / math.sqrt(2 * math.pi)
    magnitude = 2 * (math.exp(-(m**2) / 2) * m - m * 0.5 * math.erfc(m / math.sqrt(2)))
    wanted = magnitude**2 / (0.5 - m**2) / (64 * 9)
    assert mean_square(model[-1].weight) == pytest.approx(wanted, rel=5 * math.sqrt(2 / model[-1].weight.numel()) + 5e-3)


def test_a_norm_before_everything_is_fed_the_inputs() -> None:
    model: Any = nn.Sequential(DynamicTanh(N), nn.Linear(N, N))
    assert [one.source for one in targets(model)] == ["input"]
    ns.initialize(model, "variance_preserving", input_moment=9.0, seed=0)
    assert mean_square(model[1].weight) == pytest.approx(1 / N / moments_of(torch.tanh, 9 / 4).second, rel=FEW)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, DynamicTanh, L1LayerNorm])
def test_gradients_keep_their_size_through_a_norm(norm: Callable[[int], nn.Module]) -> None:
    """From the sums behind the second layer to those behind the first, through the network itself."""
    for settings in ({"mode": "backward"}, {"kind": "edge_of_chaos"}):
        last = behind(norm(N), nn.Tanh(), variance=0.25, **settings)
        x = (0.5 * batch()).requires_grad_()
        y = last(torch.tanh(norm(N).train()(x)))
        signs = ns.random.stream(2, "signs").normal(y.shape, like=y.detach())
        (gradient,) = torch.autograd.grad((y * signs).sum(), x)
        assert mean_square(gradient) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, L1BatchNorm, DynamicTanh, nn.Identity])
@pytest.mark.parametrize("name", ["crelu", "cst"])
@pytest.mark.parametrize("share", [0.5, 0.85])
def test_thresholds_behind_norms_give_the_share_of_zeros(norm: Callable[[int], nn.Module], name: str, share: float) -> None:
    parts = norm(N), activation({"kind": name, "m": 1.0})
    behind(*parts, kind="edge_of_chaos", sparsity=share, variance=0.5)
    h = parts[1](parts[0].train()(math.sqrt(0.5) * batch()))
    assert float((h == 0).float().mean()) == pytest.approx(share, abs=0.01)


def test_what_a_norm_makes_of_unknown_numbers_is_unknown() -> None:
    class Mix(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.second = nn.Linear(4, 4), DynamicTanh(4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.second(self.norm(x + self.first(x)))
            return y

    with pytest.raises(ns.ConfigError, match="what feeds second cannot be told"):
        ns.initialize(Mix(), "variance_preserving")
    ns.initialize(Mix(), "variance_preserving", activation="relu")


def test_a_norm_whose_outputs_depend_on_the_size_of_a_sample_is_refused() -> None:
    with pytest.raises(ns.ConfigError, match=r"variance_preserving: what an LpNorm makes of sums depends on how many .* take lsuv"):
        behind(LpNorm(N))
    with pytest.raises(ns.ConfigError, match="LazyBatchNorm1d: its shape must be known, so call the model once before, it is lazy"):
        behind(nn.LazyBatchNorm1d())
