"""First weights from a batch: their law, what they balance, and what the procedure leaves as it was."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.nn import EIConv2d, EILayer, EILinear, SpikingSequential, TimeFold

SIGMAS = 5  # of every statistical bound: one false alarm in 1.7 million
FILE = Path(__file__).parents[1] / "nn/data/ei.h5"


def draw(*shape: int, seed: int = 0) -> Tensor:
    return ns.random.stream(seed, "test").uniform(shape, like=torch.empty(0))


def deep(*, dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(EILinear(40, 32), nn.ReLU(), nn.Dropout(dropout), EILinear(32, 16), nn.ReLU(), EILinear(16, 8, output=True))


def spiking() -> SpikingSequential:
    first, second = EIConv2d(2, 8, 3, padding=1), EIConv2d(8, 8, 3, stride=2)
    neurons = [ns.LIF(tau_mem=10e-3, dt=1e-3) for _ in range(2)]
    return SpikingSequential(TimeFold(first), neurons[0], second, neurons[1], nn.Flatten(), EILinear(72, 10, ei_ratio=5, output=True))


def moments(x: Tensor) -> tuple[float, float, float]:
    """Mean, mean square, and variance over samples averaged over features."""
    x = x.detach().double()
    return float(x.mean()), float(x.square().mean()), float((x - x.mean(0)).square().sum(0).mean() / (len(x) - 1))


def scale(x: Tensor, fan_in: int) -> float:
    """The mean of the weights that inputs ``x`` ask for."""
    _, square, variance = moments(x)
    return math.sqrt(variance / (fan_in * (square + variance)))


@pytest.mark.parametrize(("name", "make"), [("ei_linear", lambda: EILinear(24, 16)), ("ei_conv2d", lambda: EIConv2d(5, 8, 3, padding=1))])
def test_what_does_not_depend_on_chance_is_as_in_the_authors_layers(name: str, make: Callable[[], EILayer]) -> None:
    with h5py.File(FILE) as file:
        recorded = {key: torch.from_numpy(file[name][key][()]) for key in ("x", "gain_i", "gain_e", "bias", "weight_ei")}
        recorded_scale = file[name].attrs.get("exp_scale")
    layer = ns.ei.initialize(make(), recorded["x"], seed=0)
    for mine, theirs in (
        (layer.gain_i, "gain_i"),
        (layer.gain_e, "gain_e"),
        (layer.bias, "bias"),
        (layer.non_negative()["lateral.weight"], "weight_ei"),
    ):
        assert mine is not None
        torch.testing.assert_close(mine.detach(), recorded[theirs].view_as(mine))
    if recorded_scale is not None:
        assert scale(recorded["x"], 24) == pytest.approx(recorded_scale, rel=1e-6)


@pytest.mark.parametrize("part", ["excitatory", "inhibitory"])
def test_weights_follow_the_exponential_law_of_their_input(part: str) -> None:
    x = draw(200, 60).square()
    layer = ns.ei.initialize(EILinear(60, 400), x, seed=3)
    drawn = layer.get_submodule(part).weight.detach().double().flatten() / scale(x, 60)  # type: ignore[operator, union-attr]  # a tensor
    n = len(drawn)
    assert abs(float(drawn.mean()) - 1) < SIGMAS / math.sqrt(n)  # the standard deviation of Exp(1) is 1
    assert abs(float(drawn.var()) - 1) < SIGMAS * math.sqrt(8 / n)  # its fourth central moment is 9
    assert stats.kstest(drawn.numpy(), "expon").pvalue > 1e-6


def test_excitatory_and_inhibitory_weights_are_independent_of_each_other() -> None:
    layer = ns.ei.initialize(EILinear(60, 100, ei_ratio=1), draw(50, 60), seed=3)
    pair = torch.stack([layer.excitatory.weight.detach().flatten(), layer.inhibitory.weight.detach().flatten()])
    assert abs(float(torch.corrcoef(pair)[0, 1])) < SIGMAS / math.sqrt(pair.shape[1])


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: EILinear(784, 256), draw(64, 784).pow(4)),
        (lambda: EILinear(784, 256), (draw(64, 784) < 0.1).float()),
        (lambda: EIConv2d(16, 32, 3), draw(8, 16, 10, 10)),
        (lambda: EIConv2d(16, 64, 3, groups=2, dilation=2), (draw(8, 16, 12, 12) < 0.3).float()),
    ],
)
def test_a_layer_starts_by_subtracting_the_mean_and_dividing_by_the_standard_deviation(make: Callable[[], EILayer], x: Tensor) -> None:
    layer = ns.ei.initialize(make(), x, seed=5)
    excitation, inhibition, shunt = (float(current.detach().mean()) for current in layer.currents(x) if current is not None)
    mean, _, variance = moments(x)
    lam, convolution = scale(x, layer.fan_in), layer.excitatory
    groups = 1
    met = x.double().mean(0)  # what meets each weight, averaged over samples and pixels
    if isinstance(convolution, nn.Conv2d):
        groups = convolution.groups
        met = F.unfold(x.double(), 3, dilation=convolution.dilation).mean((0, 2))
    # A current averaged over samples, pixels and units is a sum of λ w x̄ with w ~ Exp(1), divided by units: its mean is λ Σ x̄ and its
    # variance λ² Σ x̄² / units, with Σ over the weights of one unit (so over 1/groups of what the whole layer meets).
    expected = lam * float(met.sum()) / groups
    deviation = lam * math.sqrt(float(met.square().sum()) / groups)
    few, many = layer.inhibitory_units, 4 * layer.inhibitory_units
    assert abs(excitation - expected) < SIGMAS * deviation / math.sqrt(many)
    assert abs(inhibition - expected) < SIGMAS * deviation / math.sqrt(few)
    by_edges = float(met.mean()) / mean  # kernels meet pixels at the edge less often than the others
    assert abs(by_edges - 1) < 0.02
    of_divisor = SIGMAS * deviation / math.sqrt(few) / expected
    assert abs(shunt / math.sqrt(variance) - by_edges) < of_divisor < 0.2


def test_a_deep_network_of_layers_starts_with_currents_of_mean_0_and_scale_1_at_every_depth() -> None:
    layers = [EILinear(128, 128) for _ in range(12)]
    model = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    seen: list[Tensor] = []
    for layer in layers:
        layer.register_forward_hook(lambda module, args, output: seen.append(output))
    x = draw(256, 128).square()
    ns.ei.initialize(model, x, seed=0)
    seen.clear()
    model(x)
    for current in seen:
        # What is left of the balance is an offset that all units share, from 32 inhibitory units, and one of each of 128: both are below
        # λ √(d E[x²]) / √V[x] < 1 each, before averaging. The scale differs from 1 by what the divisor does, 1/√32 of its mean.
        assert abs(float(current.detach().mean())) < SIGMAS * math.hypot(1 / math.sqrt(128), 1 / math.sqrt(32))
        assert abs(float(current.detach().std()) - 1) < SIGMAS / math.sqrt(32)


def test_what_a_layer_gets_comes_from_the_layers_before_it_with_time_and_batch_as_one_axis() -> None:
    x = (draw(3, 10, 2, 8, 8) < 0.4).float()
    model = spiking()
    seen: dict[str, Tensor] = {}
    ns.ei.initialize(model, x, seed=2)
    for path, layer in ns.ei.layers(model).items():
        layer.register_forward_pre_hook(lambda module, args, path=path: seen.update({path: args[0]}))
    model(x)
    assert list(seen) == ["0.module", "2", "5"]
    for path, layer in ns.ei.layers(model).items():
        arrived = seen[path]
        assert len(arrived) == 30
        source = ns.random.stream(2, path, "ei_init").child("excitatory")
        weight = layer.non_negative()["excitatory.weight"]
        wanted = -source.uniform(weight.shape, like=torch.empty(0)).log() * scale(arrived, layer.fan_in)
        torch.testing.assert_close(weight.detach(), wanted, rtol=1e-4, atol=1e-7)


def test_one_seed_gives_one_network_whatever_else_is_in_the_model() -> None:
    x = draw(50, 40)
    weights = [ns.ei.initialize(deep(), x, seed=seed)[0].excitatory.weight for seed in (1, 1, 2)]  # type: ignore[union-attr]  # an EILinear
    assert torch.equal(weights[0], weights[1])  # type: ignore[arg-type]  # likewise
    assert not torch.equal(weights[0], weights[2])  # type: ignore[arg-type]  # likewise
    alone = nn.Sequential(EILinear(40, 32))
    assert torch.equal(ns.ei.initialize(alone, x, seed=1)[0].excitatory.weight, weights[0])  # type: ignore[union-attr, arg-type]  # likewise


def test_one_forward_is_made_and_everything_but_the_layers_is_as_before() -> None:
    calls = []
    model = nn.Sequential(nn.BatchNorm1d(40), nn.ReLU(), *deep(dropout=0.5))
    model[4].eval()
    model.register_forward_hook(lambda module, args, output: calls.append(output))
    modes = [module.training for module in model.modules()]
    others = copy.deepcopy({name: value for name, value in model.state_dict().items() if name.startswith("0.")})
    state = torch.get_rng_state()
    ns.ei.initialize(model, draw(50, 40), seed=0)
    assert len(calls) == 1
    assert not calls[0].requires_grad
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(layer._forward_pre_hooks for layer in ns.ei.layers(model).values())
    for name, value in others.items():
        assert torch.equal(model.state_dict()[name], value)


def test_a_layer_used_twice_takes_what_reaches_it_first() -> None:
    layer = EILinear(16, 16)
    x = draw(50, 16)
    model = ns.ei.initialize(nn.Sequential(layer, nn.ReLU(), layer), x, seed=0)
    assert torch.equal(layer.excitatory.weight, ns.ei.initialize(nn.Sequential(EILinear(16, 16)), x, seed=0)[0].excitatory.weight)  # type: ignore[union-attr, arg-type]  # an EILinear
    assert list(ns.ei.layers(model)) == ["0"]


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's tracer does it itself
def test_a_compiled_model_is_initialised_like_the_plain_one_and_compiles_afterwards() -> None:
    x = draw(50, 40)
    plain = ns.ei.initialize(deep(), x, seed=4)
    model = torch.compile(deep(), fullgraph=True, backend="aot_eager")
    ns.ei.initialize(model, x, seed=4)  # type: ignore[type-var]  # torch types a compiled module as a callable
    torch.testing.assert_close(model(x), plain(x))
    with torch.no_grad():
        for value in model.parameters():  # type: ignore[attr-defined]  # likewise
            value.mul_(1.5)
        for value in plain.parameters():
            value.mul_(1.5)
    torch.testing.assert_close(model(x), plain(x))


def test_without_e_i_init_weights_are_the_sizes_of_what_torch_would_draw() -> None:
    layer = ns.ei.initialize(EILinear(60, 400), draw(50, 60), seed=3, method="kaiming_abs")
    for name, fan_in in (("excitatory", 60), ("inhibitory", 60), ("lateral", 100)):
        weight = layer.get_submodule(name).weight.detach()  # type: ignore[operator, union-attr]  # a tensor
        assert stats.kstest((weight * math.sqrt(fan_in / 2)).flatten().numpy(), "halfnorm").pvalue > 1e-6
    assert layer.gain_i is not None
    assert bool((layer.gain_i == 1).all())


def test_a_silent_layer_can_be_given_moments_to_take_instead() -> None:
    coin = ns.ei.Moments(mean=0.5, square=0.5, variance=0.25)
    tosses = (torch.arange(2000).reshape(40, 50) % 4 < 2).float()
    rest = ns.ei.initialize(EILinear(50, 8), torch.zeros(40, 50), seed=0, fallback=coin)
    told = ns.ei.initialize(EILinear(50, 8), tosses[:, torch.arange(50)], seed=0)
    assert moments(tosses)[:2] == coin[:2]
    for one, other in zip(rest.parameters(), told.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0)  # the variance of 40 tosses is 40/39 of a quarter
    with pytest.raises(ConfigError, match="must be finite"):
        ns.ei.initialize(EILinear(50, 8), torch.full((40, 50), torch.inf), seed=0, fallback=coin)


@pytest.mark.parametrize("switches", [{"subtractive": False}, {"divisive": False}])
def test_a_deep_network_with_half_of_the_mechanism_can_start_from_the_fallback(switches: dict[str, bool]) -> None:
    """Without one half signals die out or are the same for all samples: the batch says nothing of deep layers."""
    layers = [EILinear(40, 40, **switches) for _ in range(8)]
    model = SpikingSequential(*(part for layer in layers for part in (layer, ns.LIF(tau_mem=1.4e-3, dt=1e-3))))
    x = draw(1, 40, 40).expand(4, -1, -1)
    with pytest.raises(ConfigError, match=r"fallback=neurosim\.ei\.Moments"):
        ns.ei.initialize(model, x, seed=0)
    ns.ei.initialize(model, x, seed=0, fallback=ns.ei.Moments(0.5, 0.5, 0.25))
    assert all(layer.initialized for layer in layers)
    assert bool(model(x).isfinite().all())


def test_sixteen_bit_layers_are_drawn_in_thirty_two() -> None:
    x = draw(50, 40)
    exact = ns.ei.initialize(EILinear(40, 32), x.bfloat16().float(), seed=1)
    rounded = ns.ei.initialize(EILinear(40, 32, dtype=torch.bfloat16), x.bfloat16(), seed=1)
    for one, other in zip(exact.parameters(), rounded.parameters(), strict=True):
        assert torch.equal(one.bfloat16(), other)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (nn.Linear(4, 4), (draw(5, 4),), "must have excitatory-inhibitory layers"),
        (deep(), (), "the tensors that the model is called with, such as the images of a batch, got nothing"),
        (deep(), ([draw(5, 40), draw(5)],), "got a list"),
        (deep(), (draw(50, 40) - 0.5,), r"what reaches 0 must be 0 or more, got -0\.\d+; give intensities"),
        (nn.Sequential(EILinear(40, 32), EILinear(32, 8)), (draw(50, 40),), "what reaches 1 must be 0 or more.*neurons or rectifiers"),
        (deep(), (torch.zeros(50, 40),), "what reaches 0 must be finite and differ between samples, is silent in all samples"),
        (deep(), (torch.ones(50, 40),), "has mean 1 and variance 0"),
        (deep(), (draw(50, 40) / 0,), "must be finite"),
        (deep(), (draw(1, 40),), r"needs at least 2 samples \(time × batch\), got 1"),
        (EILinear(40, 8), (draw(40),), "what reaches EILinear needs at least 2 samples"),
        (deep(), (torch.arange(2000).reshape(50, 40) % 3,), r"must be floating point .* got torch\.int64"),
        (deep(), (draw(50, 39),), r"must be floating point of shape \(N, 40\)"),
    ],
)
def test_a_batch_that_cannot_give_weights_is_refused(model: nn.Module, inputs: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ns.ei.initialize(model, *inputs, seed=0)


def test_an_unknown_method_or_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="no method is named 'kaiming'; did you mean 'kaiming_abs'"):
        ns.ei.initialize(deep(), draw(50, 40), seed=0, method="kaiming")
    with pytest.raises(ConfigError, match="seed: must be an integer"):
        ns.ei.initialize(deep(), draw(50, 40), seed=-1)


class Branched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = EILinear(40, 8), EILinear(40, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.used(x)
        return out


def test_a_layer_that_the_batch_does_not_reach_is_named_and_nothing_is_changed() -> None:
    model = Branched()
    with pytest.raises(ConfigError, match="did not reach idle"):
        ns.ei.initialize(model, draw(50, 40), seed=0)
    assert not model.used.initialized
    assert not model.used.excitatory.weight.any()


def test_a_failure_leaves_the_weights_as_they_were() -> None:
    model = ns.ei.initialize(deep(), draw(50, 40), seed=0)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model[0].bias.fill_(-100.0)  # type: ignore[operator, union-attr]  # an EILinear
    with pytest.raises(RuntimeError, match="stop"), model[4].register_forward_hook(_stop):
        ns.ei.initialize(model, draw(50, 40), seed=1)
    assert model[0].bias[0] == -100  # type: ignore[index, union-attr]  # an EILinear
    assert not any(layer._forward_pre_hooks for layer in ns.ei.layers(model).values())
    for name, value in model.state_dict().items():
        assert name == "0.bias" or torch.equal(value, before[name])


def _stop(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
    raise RuntimeError("stop")
