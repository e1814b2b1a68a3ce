"""Draws docs/figures/cost.png: where the energy of an inference goes, with output converters of 8 and of 5 bits."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

import neurosim as ns
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.costs import Costs
from neurosim.hardware.profile import Profile
from neurosim.plot import Bar, layer_bars

CHAIN = {
    "input": {"dac": {"kind": "quantize", "levels": 256}},
    "weight": {"scale": {"kind": "scale", "per": "vector"}},
    "array": {
        "mapping": {"kind": "mapping", "g_min_siemens": 1e-6, "g_max_siemens": 25e-6},
        "tiles": {"kind": "tiles", "rows": 128, "columns": 128},
    },
    "output": {"adc": {"kind": "quantize", "levels": 256}},
}
COSTS = Costs.model_validate(
    {
        "dac": {"walden_j": 1e-15},
        "adc": {"walden_j": 20e-15},
        "cell": {"read_v": 0.1},
        "static_w": 1e-3,
        "symbol_s": 100e-9,
    }
)


def split(model: nn.Module, levels: int) -> list[Bar]:
    """Energy by part, nJ."""
    ns.override(model, {"output.adc.levels": levels})
    parts = ns.cost(model, torch.zeros(1, 3, 32, 32)).energy_by_part
    return [Bar(part, 1e9 * joules, math.nan, math.nan) for part, joules in parts.items()]


if __name__ == "__main__":
    profile = Profile("example", "memory cells with assumed constants", "electronic", ChainSpec.model_validate(CHAIN), costs=COSTS)
    layers = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    analog = ns.to_analog(nn.Sequential(*layers, nn.Flatten(), nn.Linear(4096, 10)), profile, seed=0)
    fine, coarse = split(analog, 256), split(analog, 32)
    fig, ax = layer_bars(fine, xlabel="energy of one inference (nJ)", label="ADC of 8 bits", others=[("ADC of 5 bits", coarse)])
    fig.savefig(Path(__file__).with_suffix(".png"), dpi=110)
