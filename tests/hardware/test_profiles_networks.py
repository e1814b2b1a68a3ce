"""Every shipped profile of an electronic array around networks: they run, they are chips, they stay near the digital result."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.cli import main
from neurosim.hardware.profile import load_profile
from neurosim.hardware.stages import Mapping, Quantize, Slices
from neurosim.hardware.stages.mapping import decoding
from neurosim.hardware.stages.ranges import Ranges, spread
from neurosim.hardware.stages.slices import factors
from neurosim.random import stream
from tests.hardware.digits_network import accuracy, trained

ARRAYS = [
    *("ideal", "isaac", "pcm_hermes", "pcm_hermes_single", "pcm_inmemory", "pcm_joshi", "prime"),
    *("rram_cmo", "rram_milo", "rram_wan", "sonos", "sram_acim"),
]
EXACT = {"ideal", "isaac", "prime"}  #: no randomness: every chip is the same
COUNTED = {"isaac", "sram_acim"}  #: converters tell every sum of cells apart


def test_they_are_shipped() -> None:
    assert {*ARRAYS} <= {*ns.list_profiles()}


def mlp() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4)), torch.randn(5, 12)


def cnn() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(2)
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, groups=2), nn.Flatten(), nn.Linear(24, 3)]
    return nn.Sequential(*layers), torch.randn(3, 2, 6, 6)


@pytest.mark.parametrize("network", [mlp, cnn], ids=["mlp", "cnn"])
@pytest.mark.parametrize("name", ARRAYS)
def test_networks_run_on_it_and_every_parameter_gets_a_gradient(name: str, network: Any) -> None:
    digital, x = network()
    model = ns.to_analog(digital, name, seed=0)
    x.requires_grad_()
    y = model(x)
    assert y.shape == digital(x).shape
    assert y.isfinite().all()
    y.square().sum().backward()
    for tensor in (x, *model.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert float(tensor.grad.abs().sum()) > 0


@pytest.mark.parametrize("name", ARRAYS)
def test_a_chip_is_its_seed(name: str) -> None:
    torch.manual_seed(3)
    digital, x = nn.Linear(200, 30), torch.randn(8, 200)
    with torch.no_grad():
        one, same, other = (ns.to_analog(digital, name, seed=seed)(x) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert torch.equal(one, other) == (name in EXACT)


def bound(name: str, layer: nn.Linear, x: Tensor) -> Tensor:
    """How far outputs may be from the digital ones by rounding alone, for sums within the range of the converters."""
    chain = load_profile(name).chain
    dac, slices, adc, mapping = chain.input.dac, chain.input.slices, chain.output.adc, chain.array.mapping
    assert isinstance(mapping, Mapping)
    alpha, omega = x.abs().amax(1, keepdim=True), layer.weight.detach().abs().amax()
    u, w = (x / alpha).abs(), (layer.weight.detach() / omega).abs()
    of_input = of_weight = of_output = 0.0  # halves of a step
    if isinstance(dac, Quantize):
        of_input = 0.5 / dac.steps_per_unit
    if isinstance(slices, Slices) and slices.bits is not None:
        of_input = 0.5 / (2**slices.bits - 1)
    if mapping.levels is not None:
        of_weight = 0.5 / (mapping.levels - 1)
    if mapping.weight_bits is not None:
        of_weight = 0.5 / (2 ** (mapping.weight_bits - 1) - 1)
    if isinstance(adc, Quantize) and name not in COUNTED:
        sums = sum(map(abs, factors(slices))) if isinstance(slices, Slices) else 1.0
        weights, ranges = decoding(mapping)[0], chain.output.ranges
        wide = spread(ranges.factors("planes"), len(weights)) if isinstance(ranges, Ranges) else [1.0] * len(weights)
        planes = sum(abs(weight) * times for weight, times in zip(weights, wide, strict=True))
        planes = planes / 2 if mapping.scheme == "differential" and mapping.subtract == "analog" else planes
        of_output = 0.5 / adc.steps_per_unit * sums * planes
    return alpha * omega * (of_input * w.sum(1) + of_weight * (u + of_input).sum(1, keepdim=True) + of_output) + 1e-5


@pytest.mark.parametrize("name", ARRAYS)
def test_without_noise_only_rounding_is_left(name: str) -> None:
    torch.manual_seed(5)
    layer = nn.Linear(3, 40).double()
    x = stream(1, "x").normal((30, 3), like=torch.empty(0, dtype=torch.float64))
    model = ns.to_analog(layer, name, seed=0)
    with ns.noise("off", model), torch.no_grad():
        y = model(x)
        assert torch.equal(y, model(x))
    error = (y - layer(x).detach()).abs()
    allowed = bound(name, layer, x)
    assert bool((error <= allowed).all())
    if name != "ideal":  # and no less than a bound that one could state without thought
        assert float((error / allowed).max()) > 0.1


@pytest.mark.parametrize("name", ARRAYS)
def test_a_trained_network_keeps_its_accuracy(name: str) -> None:
    """The mean of three chips is within three standard errors of the test set's own size."""
    model, images, labels = trained()
    right = accuracy(model, images, labels)
    assert right > 0.94
    margin = 3 * math.sqrt(right * (1 - right) / len(labels))
    chips = [accuracy(ns.to_analog(model, name, seed=seed), images, labels) for seed in range(3)]
    assert sum(chips) / 3 > right - margin
    if name in EXACT - {"prime"}:
        assert chips == [right] * 3


@pytest.mark.parametrize("name", ARRAYS)
def test_the_command_line_finds_nothing_to_complain_about(name: str) -> None:
    path = load_profile(name).path
    assert path is not None
    assert main(["hardware", "check", str(path.parent)]) == 0
