"""Many chips in one call are the same chips one by one."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.convert.chip_stack import ChipStack
from neurosim.errors import ConfigError, ConversionError, DataError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.profile import Profile
from neurosim.nn.chips import ChipsLayer, products
from tests.hardware.cells import cell

SUMS = 1e-6  #: of the largest output: sums of another order, before a converter
FROZEN = {"*": {"weight.noise.scope": "device", "bias.noise.scope": "device"}}
NO_ADC: dict[str, Any] = {"*": {"output.adc": None}}


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 5))


def cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4, padding_mode="circular", bias=False), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(48, 5)),
    )


def memory_cells(tiles: bool = False) -> Profile:
    """Pairs of phase-change cells with a scale for inputs and weights, and converters."""
    cells = cell("pcm_inmemory")["programming"]
    chain: dict[str, Any] = {
        "input": {"scale": {"kind": "scale"}, "dac": {"kind": "quantize", "levels": 255}},
        "weight": {"scale": {"kind": "scale", "per": "vector"}},
        "array": {"mapping": {"kind": "mapping", "g_min_siemens": 0.0, "g_max_siemens": 25e-6}, "programming": cells},
        "output": {"noise": {"kind": "noise", "distribution": "gaussian", "scale": 0.05}},
    }
    if tiles:
        chain["array"]["tiles"] = {"kind": "tiles", "rows": 8}
    return Profile("made", "for a test", "any", ChainSpec.model_validate(chain))


def one_by_one(model: nn.Module, seeds: Sequence[int], *inputs: Tensor, seconds: float = 0.0) -> Tensor:
    """The outputs of every chip for the last input, each a copy of the model that was programmed."""
    rows = []
    for seed in seeds:
        chip = copy.deepcopy(model)
        ns.program(chip, seed, seconds=seconds)
        with torch.no_grad():
            rows.append([chip.eval()(x) for x in inputs][-1])
    return torch.stack(rows)


def close(got: Tensor, expected: Tensor) -> bool:
    return got.shape == expected.shape and bool((got - expected).abs().max() <= SUMS * expected.abs().max())


def is_one_call(stack: ChipStack, chips: int) -> bool:
    """Whether the last call went through layers of that many chips, and not chip by chip."""
    sizes = [len(part.layers) for part in stack.together.modules() if isinstance(part, ChipsLayer)]
    return bool(sizes) and max(sizes) == chips and all(stack._checked.values())


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {"mlp": (mlp, (7, 4, 5)), "cnn": (cnn, (7, 2, 8, 8))}
DEVICES: dict[str, tuple[Any, dict[str, dict[str, Any]]]] = {
    "weights written for each batch": ("photonic_avnn", NO_ADC),
    "weights written once": ("photonic_avnn", {"*": {**FROZEN["*"], **NO_ADC["*"]}}),
    "memory cells": (memory_cells(), {}),
    "memory cells on tiles": (memory_cells(tiles=True), {}),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_chips_together_are_the_chips_one_by_one(name: str, device: str) -> None:
    make, shape = MODELS[name]
    profile, overrides = DEVICES[device]
    model = ns.to_analog(make(), profile, seed=11, overrides=overrides)
    first, second = torch.rand(shape, generator=torch.Generator().manual_seed(1)), torch.rand(3, *shape[1:])
    stack = ns.chips(model, 5, at_once=3)
    assert close(stack(first), one_by_one(model, range(11, 16), first))
    assert is_one_call(stack, 3)
    assert close(stack(second), one_by_one(model, range(11, 16), first, second)), "the second forward has draws of its own"


@pytest.mark.parametrize("name", MODELS)
def test_behind_converters_few_codes_differ(name: str) -> None:
    make, shape = MODELS[name]
    model = ns.to_analog(make(), "photonic_avnn", seed=0)
    x = torch.rand(128, *shape[1:], generator=torch.Generator().manual_seed(2))
    got, expected = ns.chips(model, 8)(x), one_by_one(model, range(8), x)
    converted = 8 * 128 * {"mlp": 16 + 5, "cnn": 8 * 64 + 12 * 4 + 5}[name]
    # sums differ by 1e-6 at most and thresholds are 1 / 16 apart: as many values are that close to one; each may change all five outputs
    expected_flips = converted * 2 * SUMS * 16
    flips = int(((got - expected).abs() > 0.01).sum())
    assert flips <= 5 * (expected_flips + 5 * math.sqrt(expected_flips) + 1)
    assert float(got.std(0).mean()) > 0.05, "chips that were all equal could not differ"


def test_draws_are_those_of_each_chip_bit_by_bit() -> None:
    digital = nn.Linear(6, 4, bias=False)
    with torch.no_grad():
        digital.weight.zero_()  # what comes out is noise alone, and a product of zeros has no order of sums
    silent = {"*": {"weight.noise": None, "output.adc": None, "output.normalize": None}}
    model = nn.Sequential(nn.Identity(), digital)
    analog = ns.to_analog(model, "photonic_avnn", seed=0, overrides=silent)
    stack, x = ns.chips(analog, 4, seeds=[9, 2, 2**62, 9]), torch.rand(5, 6)
    y = stack(x)
    assert is_one_call(stack, 4)
    assert torch.equal(y, one_by_one(analog, [9, 2, 2**62, 9], x))
    assert torch.equal(y[0], y[3])
    assert not torch.equal(y[0], y[1])


def test_what_chips_hold_is_computed_once() -> None:
    model = ns.to_analog(mlp(), "photonic_avnn", seed=0, overrides=FROZEN)
    stack, x = ns.chips(model, 3), torch.rand(2, 20)
    stack(x)
    layers = [part for part in stack.together.modules() if isinstance(part, ChipsLayer)]
    held = [layer.kept["held"][1][0] for layer in layers]
    stack(x)
    assert len(held) == 2
    assert all(layer.kept["held"][1][0] is before for layer, before in zip(layers, held, strict=True))
    ns.set_noise_strength(stack, 0.5)
    stack(x)
    assert all(layer.kept["held"][1][0] is not before for layer, before in zip(layers, held, strict=True))


@pytest.mark.parametrize("mode", ["off", "ideal", "fixed", "fresh"])
def test_noise_modes_of_the_model_and_of_the_stack(mode: Any) -> None:
    model = ns.to_analog(mlp(), "photonic_avnn", seed=0, overrides=NO_ADC)
    x = torch.rand(6, 20)
    model(x)
    with ns.noise(mode, model):
        stack = ns.chips(model, 3)
        expected = one_by_one(model, range(3), x, x)
    stack(x)
    assert close(stack(x), expected)
    fresh = ns.chips(model, 3)
    with ns.noise(mode, fresh):
        fresh(x)
        assert close(fresh(x), expected)


def test_a_part_of_the_chips_and_stages_can_be_in_another_mode() -> None:
    model = ns.to_analog(mlp(), "photonic_avnn", seed=0, overrides=NO_ADC)
    x, stack = torch.rand(6, 20), ns.chips(model, 3)
    with ns.noise("ideal", stack, layers="chips.1.*"):
        y = stack(x)
    expected = one_by_one(model, range(3), x)
    assert close(y[0], expected[0])
    assert close(y[2], expected[2])
    torch.testing.assert_close(y[1], mlp()(x))


@pytest.mark.parametrize("tiles", [False, True])
def test_time_passes_for_all_chips(tiles: bool) -> None:
    model = ns.to_analog(mlp(), memory_cells(tiles), seed=0)
    x, stack = torch.rand(4, 20), ns.chips(model, 3)
    now = stack(x)
    ns.drift_to(stack, 86400.0)
    later = stack(x)
    assert close(later, one_by_one(model, range(3), x, x, seconds=86400.0))
    assert not close(later, now)


def test_the_model_is_untouched_and_later_changes_of_it_do_not_reach_the_chips() -> None:
    model = ns.to_analog(cnn(), "photonic_avnn", seed=3).train()
    x = torch.rand(4, 2, 8, 8)
    model(x)
    before, draws = copy.deepcopy(model.state_dict()), ns.get_draws(model)
    stack = ns.chips(model, 2)
    y = stack(x)
    assert model.training
    assert not y.requires_grad
    assert ns.get_draws(model) == draws
    assert all(layer.chain.seed == 3 and layer.chain.kept is None for layer in ns.analog_layers(model).values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    expected = one_by_one(model, (3, 4), x, x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(stack(x), expected, rtol=0, atol=0.13)  # a flip of a code is 1 / 16, and may flip others


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x - x.mean(0))
        return y


class OverTime(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core, self.head = nn.GRU(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.core(x)[0])
        return y


class Reading(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x) * self.layer.weight.abs().max()
        return y


@pytest.mark.parametrize("make", [Mixing, OverTime, Reading, lambda: nn.Linear(6, 3)])
def test_where_samples_cannot_be_one_batch_chips_go_one_by_one(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    shape = (7, 2, 6) if make is OverTime else (7, 6)
    model, x = ns.to_analog(make(), "photonic_avnn", seed=0, overrides=NO_ADC), torch.rand(shape)
    stack = ns.chips(model, 3)
    assert torch.equal(stack(x), one_by_one(model, range(3), x))
    assert not is_one_call(stack, 3)
    assert torch.equal(stack(x), one_by_one(model, range(3), x, x))


def test_spiking_networks_on_hardware_go_chip_by_chip() -> None:
    torch.manual_seed(0)
    body = ns.nn.SpikingSequential(nn.Linear(6, 4), ns.neurons.LIF(20e-3, 1e-3))
    network = ns.nn.SpikingNetwork(body, time_steps=4, encoder=ns.encoding.Rate(4), seed=7)
    model = ns.to_analog(network, "photonic_avnn", seed=0)
    x, stack = torch.rand(5, 6), ns.chips(model, 3)
    assert torch.equal(stack(x), one_by_one(model, range(3), x))


@pytest.mark.parametrize("layer", [nn.Conv1d(4, 6, 3, padding=2, dilation=2, groups=2), nn.Conv3d(2, 4, 2, stride=2), nn.Linear(3, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_products_of_chips_are_those_of_each(layer: Any, bias: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 2, *{nn.Conv1d: (4, 9), nn.Conv3d: (2, 4, 5, 6), nn.Linear: (7, 3)}[type(layer)], dtype=torch.float64)
    weight = torch.randn(3, *layer.weight.shape, dtype=torch.float64)
    offset = torch.randn(3, len(layer.weight), dtype=torch.float64) if bias else None
    got = products(layer, x, weight, offset)
    for chip in range(3):
        one = copy.deepcopy(layer).double()
        one.weight, one.bias = nn.Parameter(weight[chip]), None if offset is None else nn.Parameter(offset[chip])
        torch.testing.assert_close(got[chip], one(x[chip]), rtol=0, atol=1e-12)


def test_transposed_convolutions_and_16_bits_are_computed_too() -> None:
    torch.manual_seed(0)
    digital = nn.Sequential(nn.ConvTranspose2d(2, 3, 3, stride=2), nn.ReLU())
    model = ns.to_analog(digital, "photonic_avnn", seed=0, overrides=NO_ADC)
    x = torch.rand(4, 2, 5, 5)
    stack = ns.chips(model, 2)
    assert torch.equal(stack(x), one_by_one(model, range(2), x))
    half = ns.to_analog(mlp().bfloat16(), "photonic_avnn", seed=0)
    few = torch.rand(4, 20).bfloat16()
    y = ns.chips(half, 2)(few)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, one_by_one(half, range(2), few))


def margin(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.gather(1, targets[:, None]).squeeze(1) - outputs.mean(1)


def test_a_metric_of_every_chip() -> None:
    model = ns.to_analog(mlp(), "photonic_avnn", seed=0, overrides=NO_ADC)
    batches = [(torch.rand(8, 20), torch.arange(8) % 5), (torch.rand(3, 20), torch.arange(3))]
    for metric in ("accuracy", margin):
        got = ns.evaluate_chips(ns.chips(model, 4), batches, metric)
        for seed, value in enumerate(got.tolist()):
            chip = copy.deepcopy(model)
            ns.program(chip, seed)
            assert value == pytest.approx(ns.evaluate(chip, batches, metric), abs=1e-6)
    assert got.shape == (4,)
    assert len(set(got.tolist())) == 4
    with pytest.raises(DataError, match="at least one sample"):
        ns.evaluate_chips(ns.chips(model, 2), [])


def test_a_stack_survives_copies_and_pickle() -> None:
    stack, x = ns.chips(ns.to_analog(mlp(), "photonic_avnn", seed=0), 3), torch.rand(4, 20)
    others = copy.deepcopy(stack), pickle.loads(pickle.dumps(stack))
    y = stack.train()(x)
    assert not stack.training
    assert len(stack) == 3
    assert all(torch.equal(other(x), y) for other in others)


def test_what_is_no_stack_is_said() -> None:
    model = ns.to_analog(mlp(), "photonic_avnn", seed=0)
    for wrong, said in (({"n": 0}, "chips: n"), ({"n": 2, "at_once": 0}, "at_once"), ({"n": 2, "seeds": [1]}, "one for each of 2 chips")):
        with pytest.raises(ConfigError, match=said):
            ns.chips(model, **wrong)
    with pytest.raises(ConversionError, match="to_analog"):
        ns.chips(mlp(), 2)
    with pytest.raises(ConfigError, match=r"\(batch, …\)"):
        ns.chips(model, 2)(torch.rand(0, 20))


def test_a_stack_is_not_calibrated_its_model_or_its_chips_are() -> None:
    model, x = ns.to_analog(mlp(), "photonic_avnn", seed=0, overrides=NO_ADC), torch.rand(6, 20) * 3
    stack = ns.chips(model, 2)
    before = stack(x)
    with pytest.raises(ConfigError, match=r"calibrate: .* a stack of 2: calibrate the model before neurosim.chips, or each"):
        ns.calibrate(stack, x)
    for chip in stack.chips:
        assert ns.calibrate(chip, x).ranges
    ns.calibrate(model, x)
    stack(x)
    after, expected = stack(x), one_by_one(model, (0, 1), x, x, x)  # of the same forward
    assert close(after, expected)
    assert not close(before, after)
