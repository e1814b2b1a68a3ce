"""Parity with AnalogVNN 1.0.8, side by side in one process."""

from __future__ import annotations

import math
import warnings
from importlib.metadata import version
from typing import Any

import pytest
import torch
from scipy import stats

from neurosim.hardware.leakage import leakage_from, poisson_leakage, precision_from, scale_from
from neurosim.hardware.stages import add_noise, clamp, lp_norm, quantize
from neurosim.random import stream

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import warns about the style of its own docstrings
    from analogvnn.fn.reduce_precision import reduce_precision
    from analogvnn.nn.activation.Gaussian import GeLU
    from analogvnn.nn.Linear import Linear
    from analogvnn.nn.noise.GaussianNoise import GaussianNoise
    from analogvnn.nn.noise.LaplacianNoise import LaplacianNoise
    from analogvnn.nn.noise.PoissonNoise import PoissonNoise
    from analogvnn.nn.noise.UniformNoise import UniformNoise
    from analogvnn.nn.normalize import LPNorm as norms
    from analogvnn.nn.normalize.Clamp import Clamp, Clamp01
    from analogvnn.nn.precision.ReducePrecision import ReducePrecision
    from analogvnn.nn.precision.StochasticReducePrecision import StochasticReducePrecision

#: the peer hands tensors to scipy in a way that numpy 2 calls deprecated, and copies tensors in a way that torch advises against
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:To copy construct:UserWarning"),
]

PEER = {"gaussian": GaussianNoise, "laplacian": LaplacianNoise, "uniform": UniformNoise}


def test_the_peer_is_the_version_that_was_studied() -> None:
    assert version("analogvnn") == "1.0.8"


@pytest.mark.parametrize("p", [1, 3, 4, 7, 15, 16, 64, 255])
def test_quantiser_is_bit_equal_to_the_peer_on_a_grid_with_ties(p: int) -> None:
    ties = (torch.arange(-400, 401) + 0.5) / p
    x = torch.cat([ties, torch.linspace(-1.5, 1.5, 100_001), torch.arange(-400, 401) / p, torch.tensor([0.0, -0.0, 1e-30, 3e4])])
    ours, theirs = quantize(x, p, rounding="half_to_zero"), ReducePrecision(precision=p)(x)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("p", [4.0, 16.0])
def test_rounding_the_magnitude_up_and_down_is_the_peers_divide(p: float) -> None:
    """``divide`` → 0 rounds magnitudes up. ``divide`` = 1 is meant to round them down; the peer also lowers what is on a level already."""
    x = torch.linspace(-1.3, 1.3, 10_007)
    off_level = (x * p) != (x * p).round()
    assert torch.equal(quantize(x, p, rounding="away_from_zero"), reduce_precision(x, torch.tensor(p), torch.tensor(0.0)))
    assert torch.equal(quantize(x, p, rounding="to_zero")[off_level], reduce_precision(x, torch.tensor(p), torch.tensor(1.0))[off_level])
    levels = torch.tensor([0.5, 1.0])
    assert torch.equal(quantize(levels, p, rounding="to_zero"), levels)
    assert torch.equal(reduce_precision(levels, torch.tensor(p), torch.tensor(1.0)), levels - 1 / p)


@pytest.mark.parametrize("x", [0.3, -0.71])
def test_stochastic_rounding_agrees_in_distribution(x: float) -> None:
    n, p = 100_000, 4
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = StochasticReducePrecision(precision=p)(torch.full((n,), x))
    ours = quantize(torch.full((n,), x), p, rounding="stochastic", stream=stream(0, "parity"))
    assert set(ours.unique().tolist()) == set(theirs.unique().tolist())
    f = abs(x) * p % 1
    assert abs((ours.mean() - theirs.mean()).item()) < 5 * math.sqrt(2 * f * (1 - f) / n) / p


def test_clamp_equals_the_peer() -> None:
    x = torch.linspace(-2, 2, 1001)
    grad = torch.linspace(-1, 1, 1001)
    for peer, low in ((Clamp(), -1.0), (Clamp01(), 0.0)):
        ours = x.clone().requires_grad_()
        y = clamp(ours, low, 1.0)
        assert torch.equal(y, peer(x))
        y.backward(grad)
        theirs = x.clone().requires_grad_()
        peer(theirs).backward(grad)
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("distribution", ["gaussian", "laplacian", "uniform"])
@pytest.mark.parametrize("p", [3, 7, 15, 16, 64])
@pytest.mark.parametrize("leakage", [0.1, 0.2, 0.5, 0.8])
def test_scale_leakage_and_precision_agree_with_the_peer(distribution: Any, p: int, leakage: float) -> None:
    peer = PEER[distribution](leakage=leakage, precision=p)
    theirs = {"gaussian": "std", "laplacian": "scale", "uniform": "high"}[distribution]
    scale = float(getattr(peer, theirs)) * (2 if distribution == "uniform" else 1)
    assert scale_from(distribution, leakage, p) == pytest.approx(scale, rel=1e-6)
    # the other two directions on the scale that this package derives: the peer rounds every parameter to float32
    exact = scale_from(distribution, leakage, p)
    assert leakage_from(distribution, exact, p) == pytest.approx(leakage, rel=1e-6)
    assert precision_from(distribution, exact, leakage) == pytest.approx(p, rel=1e-6)


@pytest.mark.parametrize(("scale", "p"), [(1, 4), (10, 8), (3, 16), (100, 8)])
def test_poisson_leakage_at_full_scale_agrees_with_the_peer(scale: float, p: int) -> None:
    assert poisson_leakage(scale, p) == pytest.approx(float(PoissonNoise(scale=scale, precision=p).max_leakage), rel=1e-6)


def test_the_peers_route_from_poisson_leakage_to_scale_fails_and_ours_inverts_it() -> None:
    with pytest.raises(TypeError):
        PoissonNoise(max_leakage=0.5779, precision=8)
    assert poisson_leakage(scale_from("poisson", 0.5779, 8), 8) == pytest.approx(0.5779, abs=1e-9)


NORMS: dict[str, dict[str, Any]] = {
    "L1Norm": {"p": 1, "over": "row"},
    "L2Norm": {"p": 2, "over": "row"},
    "L1NormW": {"p": 1, "over": "whole"},
    "L2NormW": {"p": 2, "over": "whole"},
    "L1NormM": {"p": 1, "over": "row", "max_one": True},
    "L2NormM": {"p": 2, "over": "row", "max_one": True},
    "L1NormWM": {"p": 1, "over": "whole", "max_one": True},
    "L2NormWM": {"p": 2, "over": "whole", "max_one": True},
}


@pytest.mark.parametrize("name", list(NORMS))
@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 2, 2), (9,)])
def test_normalizations_agree_with_the_peer(name: str, shape: tuple[int, ...]) -> None:
    x = stream(1, "parity").normal(shape, like=torch.empty(0))
    peer = getattr(norms, name)()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it transposes tensors of more than two dimensions with .T, which torch deprecates
        theirs = peer(x)
    assert torch.allclose(lp_norm(x, **NORMS[name]), theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["L1NormM", "L2NormWM"])
def test_on_zeros_the_peer_gives_nan_and_this_package_zeros(name: str) -> None:
    zeros = torch.zeros(2, 3)
    assert getattr(norms, name)()(zeros).isnan().all()
    assert torch.equal(lp_norm(zeros, **NORMS[name]), zeros)


@pytest.mark.parametrize("distribution", ["gaussian", "laplacian", "uniform"])
def test_noise_agrees_in_distribution(distribution: Any) -> None:
    """Two-sample Kolmogorov test; with 100,000 draws each it sees a difference of 1 % in scale."""
    n, p, leakage = 100_000, 16, 0.5
    x = torch.zeros(n)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = PEER[distribution](leakage=leakage, precision=p)(x)
    ours = add_noise(x, distribution, scale_from(distribution, leakage, p), stream(0, "parity", distribution))
    assert stats.ks_2samp(ours.numpy(), theirs.numpy()).pvalue > 1e-4


def test_poisson_noise_agrees_in_distribution() -> None:
    n = 100_000
    x = torch.full((n,), -0.6)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = PoissonNoise(scale=3, precision=8)(x)
    ours = add_noise(x, "poisson", 24.0, stream(0, "parity", "poisson"))
    counts = torch.arange(0, 40)
    observed = torch.stack([(values * -24).round().long().bincount(minlength=41)[counts] for values in (ours, theirs)])
    kept = observed[:, observed.min(0).values > 5]
    assert stats.chi2_contingency(kept.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("p", [3, 16])
@pytest.mark.parametrize("distribution", ["gaussian", "laplacian", "uniform"])
def test_error_rate_after_a_clamp_is_that_of_the_peer(distribution: Any, p: int) -> None:
    """Both sides of the peer's own definition: L (1 − 1/(4p)) for a uniform signal."""
    n, leakage = 200_000, 0.5
    signal = quantize(stream(2, "signal").uniform((n,), like=torch.empty(0)) * 2 - 1, p, rounding="half_to_zero")
    expected = leakage * (1 - 1 / (4 * p))
    bound = 5 * math.sqrt(expected * (1 - expected) / n)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = ReducePrecision(precision=p)(Clamp()(PEER[distribution](leakage=leakage, precision=p)(signal)))
    noisy = add_noise(signal, distribution, scale_from(distribution, leakage, p), stream(2, distribution))
    ours = quantize(clamp(noisy, -1.0, 1.0), p, rounding="half_to_zero")
    for read in (ours, theirs):
        assert abs((read != signal).double().mean().item() - expected) < bound


def test_the_peers_gelu_gradient_is_wrong_and_ours_is_torchs() -> None:
    """At x = 1 the derivative is Φ(1) + φ(1) = 1.0833; the peer's own backward gives 1.602, its second term is π times too large."""
    x = torch.ones(1)
    peer = GeLU()
    peer(x)
    exact = 0.5 * (1 + math.erf(1 / math.sqrt(2))) + math.exp(-0.5) / math.sqrt(2 * math.pi)
    ours = x.clone().requires_grad_()
    torch.nn.GELU()(ours).backward()
    assert ours.grad is not None
    assert ours.grad.item() == pytest.approx(exact, abs=1e-6)
    wrong = 0.5 * (1 + math.erf(1 / math.sqrt(2))) + math.pi * math.exp(-0.5) / math.sqrt(2 * math.pi)
    theirs = peer.backward(torch.ones(1))
    assert theirs is not None
    assert theirs.item() == pytest.approx(wrong, abs=1e-4)


class ClosedReLU(torch.nn.Module):
    """ReLU with the peer's derivative at exactly zero, 1 instead of torch's 0: behind a converter half of all outputs are exactly zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x >= 0, x, torch.zeros_like(x))


def test_a_whole_network_without_noise_is_bit_equal_to_the_peer_forward_and_backward() -> None:
    import neurosim as ns
    from benchmarks.analogvnn_parity import first_weights, peer_network, set_peer_weights

    p = 16
    peer = peer_network(p, 1e-300)
    for part in peer.modules():
        if isinstance(part, GaussianNoise):
            part.std.zero_()
    set_peer_weights(peer, first_weights(0))
    digital = ns.models.mlp([784, 256, 128, 10], last_activation="relu")
    digital.load_state_dict(first_weights(0))
    for at in (1, 2, 3):
        setattr(digital, f"act{at}", ClosedReLU())
    model = ns.to_analog(digital, "photonic_avnn", seed=0, overrides={"*": {"*.noise": None}})
    x, labels = stream(0, "images").uniform((32, 1, 28, 28), like=torch.empty(0)), torch.arange(32) % 10
    ours, theirs = model(x), peer(x)
    assert torch.equal(ours, theirs)
    torch.nn.functional.cross_entropy(ours, labels).backward()
    peer.loss(theirs, labels)
    peer.backward()
    layers = [part for part in peer.modules() if isinstance(part, Linear)]
    for at, layer in enumerate(layers, 1):
        mine = getattr(model, f"fc{at}")
        assert torch.equal(mine.weight.grad, layer.parametrizations.weight.original.grad)
        assert torch.equal(mine.bias.grad, layer.parametrizations.bias.original.grad)
        assert mine.weight.grad.abs().max() > 0
