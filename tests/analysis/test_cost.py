"""What an inference takes: counts and energies by hand, and a model that is afterwards what it was."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError, ConversionError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.costs import Costs
from neurosim.hardware.profile import Profile
from neurosim.hardware.stages.mapping import Mapping, encode

CELLS: dict[str, Any] = {"kind": "mapping", "g_min_siemens": 1e-6, "g_max_siemens": 25e-6}
CHAIN: dict[str, Any] = {
    "input": {"dac": {"kind": "quantize", "levels": 64}},
    "weight": {"scale": {"kind": "scale", "per": "vector"}},
    "array": {"mapping": CELLS, "tiles": {"kind": "tiles", "rows": 16, "columns": 4}},
    "output": {"adc": {"kind": "quantize", "levels": 256}},
}
COSTS: dict[str, Any] = {
    "adc": {"walden_j": 1e-15, "area_m2": 2e-9, "lines": 3},
    "dac": {"energy_j": 5e-14, "area_m2": 1e-9},
    "cell": {"read_v": 0.2, "area_m2": 1e-13},
    "laser": {"power_w": 1e-3, "efficiency": 0.25},
    "tuning": {"power_w": 1e-6},
    "static_w": 2e-3,
    "symbol_s": 1e-8,
}


def profile(costs: dict[str, Any] | None = None, chain: dict[str, Any] | None = None) -> Profile:
    spec = ChainSpec.model_validate(CHAIN if chain is None else chain)
    return Profile("made", "for a test", "any", spec, costs=Costs.model_validate(COSTS if costs is None else costs))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 25, 10))


X = torch.rand(1, 4, 5, 5, generator=torch.Generator().manual_seed(1))


def test_counts_of_a_convolution_and_of_a_matrix_on_tiles_are_those_by_hand() -> None:
    conv, linear = ns.cost(ns.to_analog(network(), profile(), seed=0), X).layers
    # 25 windows; 2 groups of 3 outputs with 2 · 9 = 18 inputs, on 2 tiles of 16 rows; pairs of cells, subtracted as currents
    assert (conv.products, conv.passes, conv.macs) == (25, 25, 25 * 2 * 3 * 18)
    assert (conv.dac, conv.adc) == (25 * 2 * 18, 25 * 2 * 2 * 3)
    assert conv.arrays == 2 * 2 * 2  # tiles, groups, cells of a pair
    assert conv.utilisation == pytest.approx(2 * 2 * 3 * 18 / (8 * 16 * 4))
    # 150 inputs on 10 tiles, 10 outputs on 3
    assert (linear.products, linear.macs, linear.dac, linear.adc) == (1, 1500, 150, 10 * 10)
    assert linear.arrays == 10 * 3 * 2
    assert linear.utilisation == pytest.approx(2 * 1500 / (60 * 64))


def test_energy_time_and_area_are_those_by_hand() -> None:
    model = ns.to_analog(network(), profile(), seed=0)
    found = ns.cost(model, X)
    linear = found.layers[1]
    w = network().get_parameter("3.weight").detach()
    siemens = float(encode(w / w.abs().amax(1, keepdim=True), Mapping(**CELLS)).mean())
    whole = 26 * 1e-8  # 25 windows, then one vector
    assert found.latency_s == pytest.approx(whole)
    assert dict(linear.energy_j) == pytest.approx(
        {
            "dac": 150 * 5e-14,
            "cells": 3000 * 0.2**2 * siemens * 1e-8,
            "adc": 100 * 256e-15,
            "laser": 60 * 1e-3 / 0.25 * 1e-8,
            "tuning": 3000 * 1e-6 * whole,
        },
        rel=1e-5,
    )
    assert found.static_j == pytest.approx(2e-3 * whole)
    assert found.energy_j == pytest.approx(sum(sum(layer.energy_j.values()) for layer in found.layers) + 2e-3 * whole)
    assert sum(found.energy_by_part.values()) == pytest.approx(found.energy_j)
    # 100 lines of outputs share 34 converters by three, 150 lines of inputs have one each, 60 arrays of 64 cells
    assert linear.area_m2 == pytest.approx(34 * 2e-9 + 150 * 1e-9 + 60 * 64 * 1e-13)
    assert found.missing == ()


def test_a_batch_takes_as_often_what_a_sample_takes() -> None:
    model = ns.to_analog(network(), profile(), seed=0)
    one, three = ns.cost(model, X), ns.cost(model, X.expand(3, -1, -1, -1))
    assert (three.macs, three.layers[0].adc) == (3 * one.macs, 3 * one.layers[0].adc)
    assert three.arrays == one.arrays


def test_layers_that_are_used_again_count_again_and_layers_that_are_not_used_do_not() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.used(self.used(x))
            return y

    found = ns.cost(ns.to_analog(Twice(), profile(), seed=0), torch.rand(1, 4))
    assert [(layer.path, layer.products, layer.macs) for layer in found.layers] == [("used", 2, 32)]


def test_a_transposed_convolution_multiplies_one_vector_for_each_input() -> None:
    model = ns.to_analog(nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2)), profile(), seed=0)
    (layer,) = ns.cost(model, torch.rand(1, 4, 3, 3)).layers
    assert (layer.products, layer.macs) == (9, 9 * 2 * (3 * 9) * 2)


def test_what_stays_digital_is_counted_beside() -> None:
    found = ns.cost(ns.to_analog(network(), profile(), seed=0, skip="0"), X)
    assert found.digital_macs == 25 * 6 * 18
    assert ns.cost(ns.to_analog(network(), profile(), seed=0, skip="3"), X).digital_macs == 1500
    transposed = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(150, 2))
    assert ns.cost(ns.to_analog(transposed, profile(), seed=0, skip="0"), torch.rand(1, 4, 3, 3)).digital_macs == 9 * 4 * 27


def test_overrides_count() -> None:
    model = ns.to_analog(network(), profile(), seed=0)
    before = ns.cost(model, X).energy_by_part["adc"]
    ns.override(model, {"output.adc.levels": 16})
    assert ns.cost(model, X).energy_by_part["adc"] == pytest.approx(before / 16)


def test_a_model_is_afterwards_what_it_was() -> None:
    model = ns.to_analog(nn.Sequential(*network(), nn.Dropout(), nn.BatchNorm1d(10)), "photonic_avnn", seed=0).train()
    x = X.expand(4, -1, -1, -1)
    model(x)
    state, draws, attributes = (
        copy.deepcopy(model.state_dict()),
        ns.get_draws(model),
        {name: set(vars(m)) for name, m in model.named_modules()},
    )
    random = torch.get_rng_state()
    ns.cost(model, x)
    assert torch.equal(torch.get_rng_state(), random)
    assert ns.get_draws(model) == draws
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert [layer.chain.modes for layer in ns.analog_layers(model).values()] == [
        dict.fromkeys(layer.chain.slots, "fresh") for layer in ns.analog_layers(model).values()
    ]


def test_unknown_constants_are_missing_and_unverified_ones_make_it_indicative() -> None:
    found = ns.cost(ns.to_analog(network(), profile({"adc": {"walden_j": 1e-15}, "unverified": ("cost.adc.walden_j",)}), seed=0), X)
    assert found.missing == ("dac", "cells", "laser", "tuning", "static")
    assert (found.latency_s, found.area_m2, found.static_j) == (None, None, None)
    assert found.energy_j == pytest.approx((300 + 100) * 256e-15)
    assert found.indicative
    text = str(found)
    assert "without constants, not counted: dac, cells, laser, tuning, static" in text
    assert "indicative: 1 constant of this profile not verified" in text
    assert not ns.cost(ns.to_analog(network(), profile(), seed=0), X).indicative


def test_constants_of_another_profile_can_be_taken() -> None:
    model = ns.to_analog(network(), "photonic_avnn", seed=0)
    assert ns.cost(model, X).energy_j is None
    assert ns.cost(model, X, profile({"cell": {"energy_j": 1e-15}})).energy_j == pytest.approx((25 * 108 + 1500) * 1e-15)


def test_the_report_is_plain_data_and_a_table() -> None:
    found = ns.cost(ns.to_analog(network(), profile(), seed=0), X)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["total"]["energy_j"] == pytest.approx(found.energy_j)
    assert [layer["path"] for layer in plain["layers"]] == ["0", "3"]
    lines = str(found).splitlines()
    assert lines[0].startswith("made: 4,200 multiplications on 68 arrays, ")
    parts = ["dac", "cells", "adc", "laser", "tuning", "energy", "time", "area"]
    assert lines[1].split() == ["layer", "type", "MACs", "passes", "DAC", "ADC", "arrays", "used", *parts]


def test_a_model_without_hardware_and_a_wrong_example_are_refused() -> None:
    with pytest.raises(ConversionError, match="cost: the model must have layers with products on hardware, it has none"):
        ns.cost(network(), X)
    with pytest.raises(ConfigError, match="cost: the model must take the example, got RuntimeError"):
        ns.cost(ns.to_analog(network(), profile(), seed=0), torch.rand(1, 3, 5, 5))


def test_the_costs_of_a_profile_are_in_the_report_of_a_conversion() -> None:
    model: Any = ns.to_analog(network(), profile(), seed=0)
    assert model.conversion.to_dict()["costs"]["symbol_s"] == 1e-8
    json.dumps(model.conversion.to_dict())


def test_each_product_of_a_recurrent_layer_and_of_attention_is_counted() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 6, batch_first=True)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.lstm(x)
            z: Tensor = self.attention(y, y, y)[0]
            return z

    model = ns.to_analog(Reads(), "photonic_avnn", seed=0)
    rows = {layer.path: layer.macs for layer in ns.cost(model, torch.zeros(2, 5, 8)).layers}
    steps = 2 * 5
    assert rows == {
        "lstm.ih_l0": steps * 8 * 24,
        "lstm.hh_l0": steps * 6 * 24,
        **{f"attention.{name}": steps * 36 for name in ("q_proj", "k_proj", "v_proj", "out_proj")},
    }
