"""Every profile's chips go through one call, and are the chips one by one."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.profile import Profile, list_profiles, load_profile
from neurosim.nn import blocks, chips
from neurosim.nn.array import programmed
from neurosim.nn.chips import ChipsLayer

SUMS = 1e-6  #: of the largest output: sums of another order, before a converter
SEEDS = (3, 2**62, 4, 3)
PROFILES = [name for name in list_profiles() if load_profile(name).neuron is None]
LAYERS = {"linear": (lambda: nn.Linear(18, 5), (6, 18)), "conv": (lambda: nn.Conv2d(2, 4, 3, padding=1), (2, 2, 5, 4))}
FILLED = {"scale": {"kind": "scale", "per": "vector"}}
NOISE = {"kind": "noise", "distribution": "gaussian", "scale": 0.02, "scope": "read"}
ADC = {"kind": "quantize", "levels": 33, "low": -4.0, "high": 4.0}
CELLS: dict[str, Any] = {"kind": "mapping", "g_min_siemens": 1e-6, "g_max_siemens": 25e-6}


def converted(kind: str, profile: Any, overrides: dict[str, Any] | None = None) -> nn.Module:
    torch.manual_seed(0)
    make, _ = LAYERS[kind]
    return ns.to_analog(nn.Sequential(make(), nn.Identity()), profile, seed=0, overrides={"*": overrides or {}})


def one_by_one(model: nn.Module, x: Tensor, seconds: float = 0.0) -> Tensor:
    rows = []
    for seed in SEEDS:
        chip = copy.deepcopy(model)
        ns.program(chip, seed, seconds=seconds)
        with torch.no_grad():
            rows.append(chip.eval()(x))
    return torch.stack(rows)


def together(model: nn.Module, x: Tensor, seconds: float = 0.0) -> Tensor:
    """The outputs of all chips, which went through one call."""
    stack = ns.chips(model, len(SEEDS), seeds=SEEDS)
    if seconds:
        ns.drift_to(stack, seconds)
    y: Tensor = stack(x)
    layers = [part for part in stack.together.modules() if isinstance(part, ChipsLayer)]
    assert layers
    assert all(layer.kept_of is not None for layer in layers), "chip by chip"
    return y


def numbers(kind: str, samples: int) -> Tensor:
    return torch.randn(samples, *LAYERS[kind][1][1:], generator=torch.Generator().manual_seed(1))


def single(kind: str) -> Tensor:
    """Inputs of which every product has one that is not 0: its sum is exact in any order."""
    shape = LAYERS[kind][1]
    x = torch.zeros(shape)
    for sample in range(shape[0]):
        x[sample].view(-1)[7 * sample + 3 if kind == "linear" and 7 * sample + 3 < 18 else sample] = (-1.0) ** sample
    return x


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("profile", PROFILES)
def test_draws_are_those_of_each_chip_bit_by_bit(profile: str, kind: str) -> None:
    model, x = converted(kind, profile), single(kind)
    y = together(model, x)
    rounding = 2.0**-23 if profile == "prime" else 0.0  # it adds its slices up, in the order of the processor
    torch.testing.assert_close(y, one_by_one(model, x), rtol=0, atol=rounding)
    assert torch.equal(y[0], y[3])
    if profile in ("ideal", "isaac", "prime"):
        assert torch.equal(y[0], y[1])
    elif profile != "sram_acim":  # whose noise is an eighth of a step
        assert not torch.equal(y[0], y[1])


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("profile", PROFILES)
def test_before_converters_sums_differ_by_their_order_alone(profile: str, kind: str) -> None:
    none = {"output.adc": None} | ({"output.ranges": None} if profile == "prime" else {})
    model, x = converted(kind, profile, none), numbers(kind, 8)
    got, expected = together(model, x), one_by_one(model, x)
    assert float((got - expected).abs().mean()) <= SUMS * float(expected.abs().max())


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("profile", PROFILES)
def test_behind_converters_few_codes_differ(profile: str, kind: str) -> None:
    model, x = converted(kind, profile), numbers(kind, 12)
    got, expected = together(model, x), one_by_one(model, x)
    chain: Any = model.get_submodule("0.chain")
    lies, adc = chain.layout, chain.spec.output.adc
    conversions = got.numel() * (1 if lies is None else lies.passes * lies.tiles * lies.planes)
    flips = conversions * 2 * SUMS * (0 if adc is None else adc.levels)  # as many values are that close to a threshold
    differ = int(((got - expected).abs() > 10 * SUMS * expected.abs().max()).sum())
    assert differ <= flips + 5 * math.sqrt(flips) + 1


@pytest.mark.parametrize("profile", ["photonic_pcm_crossbar", "pcm_inmemory", "rram_milo", "isaac", "sram_acim"])
def test_what_arrays_hold_is_that_of_each_chip(profile: str) -> None:
    model = converted("linear", profile)
    stack = ns.chips(model, 3)
    stack(numbers("linear", 2))
    (layer,) = (part for part in stack.together.modules() if isinstance(part, ChipsLayer))
    for own, one in zip(layer.kept["held"][1].held, layer.layers, strict=True):
        alone: Any = one
        assert torch.equal(own, programmed(alone, alone.weight, 0).held)


CHAINS: dict[str, dict[str, Any]] = {
    "one scale for all inputs": {"input": {"scale": {"kind": "scale"}}, "weight": FILLED, "array": {"mapping": CELLS}},
    "a running scale": {"input": {"scale": {"kind": "scale", "mode": "average", "value": 1.5, "momentum": 0.1}, "noise": NOISE}},
    "a scale for each input of weights": {"input": FILLED, "weight": {"scale": {"kind": "scale", "per": "input"}}},
    "a scale of sums": {"input": FILLED, "output": {"scale": {"kind": "scale"}}, "array": {"tiles": {"kind": "tiles", "rows": 7}}},
    "a scale of each sum": {"input": FILLED, "output": {"scale": {"kind": "scale", "per": "vector"}}},
    "sent again": {"input": {"scale": {"kind": "scale", "per": "vector", "retries": 3}}, "output": {"adc": ADC | {"low": -1, "high": 1}}},
    "signs and bits of noise": {
        "input": FILLED | {"noise": NOISE, "slices": {"kind": "slices", "bits": 6, "slice_bits": 2, "separate_signs": True}},
        "weight": FILLED,
        "array": {"mapping": CELLS | {"slices": 2, "weight_bits": 7}, "tiles": {"kind": "tiles", "rows": 7}},
        "output": {"noise": NOISE},
    },
    "a column of offsets": {"input": FILLED, "array": {"mapping": CELLS | {"scheme": "offset", "correction": "column"}}},
    "sums of one word": {"input": FILLED, "output": {"noise": NOISE, "sum": {"kind": "clamp", "low": -0.5, "high": 0.5}}},
}


def made(name: str) -> Profile:
    return Profile("made", "for a test", "any", ChainSpec.model_validate(CHAINS[name]))


def close(got: Tensor, expected: Tensor, name: str = "") -> bool:
    flips = 0.01 if name == "sent again" else 0.0  # a converter
    return float(((got - expected).abs() > 5 * SUMS * expected.abs().max()).double().mean()) <= flips


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", CHAINS)
def test_parts_of_any_size_give_the_same(name: str, kind: str, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = converted(kind, made(name)), numbers(kind, 5)
    if small:  # several blocks of a chip, and chips in parts
        monkeypatch.setitem(blocks.ELEMENTS, "cpu", 200)
        monkeypatch.setitem(chips.ELEMENTS, "cpu", 300)
    assert close(together(model, x), one_by_one(model, x), name)


@pytest.mark.parametrize("profile", ["pcm_inmemory", "rram_wan", "sonos"])
def test_time_and_later_forwards(profile: str) -> None:
    model, x = converted("linear", profile, {"output.adc": None}), numbers("linear", 4)
    assert close(together(model, x, 86400.0), one_by_one(model, x, 86400.0))
    stack, chip = ns.chips(model, 2), copy.deepcopy(model)
    ns.program(chip, 1)
    with torch.no_grad():
        before = [chip.eval()(x) for _ in range(2)]
    first, second = stack(x), stack(x)
    assert close(first[1], before[0])
    assert close(second[1], before[1])
    assert torch.equal(first, second) == (profile == "pcm_inmemory" and torch.equal(*before))


@pytest.mark.parametrize("profile", ["ideal", "photonic_avnn", "bss2_perceptron"])
def test_linear_layers_take_any_axes_before_their_inputs(profile: str) -> None:
    none = {"output.adc": None} if profile != "ideal" else {}
    model, x = converted("linear", profile, none), torch.randn(4, 4, 3, 18, generator=torch.Generator().manual_seed(2))
    y = together(model, x)
    assert y.shape == (4, 4, 4, 3, 5)
    assert close(y, one_by_one(model, x))


@pytest.mark.parametrize("transposed", [False, True])
def test_complex_and_transposed_layers_on_arrays(transposed: bool) -> None:
    torch.manual_seed(0)
    layer: nn.Module = nn.ConvTranspose2d(2, 3, 3, stride=2) if transposed else nn.Linear(6, 4, dtype=torch.complex64)
    profile = "pcm_hermes" if transposed else "mzi_mesh_clements"
    model = ns.to_analog(nn.Sequential(layer, nn.Identity()), profile, seed=0, overrides={"*": {"output.adc": None}})
    x = torch.randn(3, 2, 4, 4) if transposed else torch.randn(5, 6, dtype=torch.complex64)
    got, expected = together(model, x), one_by_one(model, x)
    assert float((got - expected).abs().max()) <= 5 * SUMS * float(expected.abs().max())


def test_a_signal_that_is_real_where_it_must_be_complex_is_told() -> None:
    layer = nn.Linear(6, 4, dtype=torch.complex64)
    model = ns.to_analog(nn.Sequential(layer, nn.Identity()), "mzi_mesh_clements", seed=0)
    with pytest.raises(ConfigError, match="inputs must be complex"):
        ns.chips(model, 2)(torch.randn(5, 6))


LEARNED: dict[str, dict[str, Any]] = {
    "ends of a converter, and vectors that are sent again": {
        "input": {"scale": {"kind": "scale", "per": "vector", "retries": 3}},
        "output": {"adc": {"kind": "quantize", "levels": 255, "low": -1.0, "high": 1.0, "learned": True, "grad": "lsq"}},
    },
    "ends of a converter": {"input": FILLED, "output": {"adc": ADC | {"learned": True, "grad": "lsq"}}},
    "a scale of inputs": {"input": {"scale": {"kind": "scale", "mode": "learned", "value": 2.0}, "dac": ADC | {"grad": "ste_masked"}}},
    "a scale of weights": {
        "weight": {"scale": {"kind": "scale", "mode": "learned", "value": 1.0}, "quantize": ADC | {"grad": "ste_masked"}},
    },
}


@pytest.mark.parametrize("name", LEARNED)
def test_chips_whose_learned_numbers_differ_are_the_chips_one_by_one(name: str) -> None:
    learned = Profile("made", "for a test", "any", ChainSpec.model_validate(LEARNED[name] | {"array": {"mapping": CELLS}}))
    model, x = converted("linear", learned), numbers("linear", 12)
    stack, equal = ns.chips(model, 3), ns.chips(model, 3)(x)
    with torch.no_grad():
        for parameter in stack.chips[1].get_submodule("0.chain").parameters():
            parameter.mul_(0.05)
        expected = torch.stack([chip(x) for chip in copy.deepcopy(stack.chips)])
    got = stack(x)
    assert float((got - equal).abs().max()) > 0.1 * float(equal.abs().max())
    assert float((got - expected).abs().max()) <= 5 * SUMS * float(expected.abs().max())


def test_a_published_chip_whose_converter_is_learned() -> None:
    fields = {f"output.adc.{name}": value for name, value in {"clip": "before", "learned": True, "grad": "lsq"}.items()}
    model, x = converted("linear", "pcm_inmemory", fields), numbers("linear", 12)
    stack = ns.chips(model, 2)
    with torch.no_grad():
        for parameter in stack.chips[1].get_submodule("0.chain").parameters():
            parameter.mul_(0.05)
        expected = torch.stack([chip(x) for chip in copy.deepcopy(stack.chips)])
    assert torch.equal(stack(x), expected)
