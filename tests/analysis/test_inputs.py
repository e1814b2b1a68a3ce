"""What is no model, no data, or no batch that the model takes, is refused by the name of the function that was called."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError, DataError

Call = Callable[[Any, Any], Any]
X: Tensor = torch.arange(96.0).reshape(12, 8) / 50

ON_CHIPS: dict[str, Call] = {
    "correct_bias": ns.correct_bias,
    "absorb_bias": ns.absorb_bias,
    "recentre": ns.recentre,
    "tweak_norms": ns.tweak_norms,
    "revive_units": ns.revive_units,
    "calibrate": ns.calibrate,
}
DIGITAL: dict[str, Call] = {
    "quantize": lambda model, data: ns.quantize(model, activations="int4", calibration=data),
    "sparsify": lambda model, data: ns.sparsify(model, "teal", 0.5, data),
    "layer_importance": ns.layer_importance,
    "distill_swap": lambda model, data: ns.distill_swap(model, "gelu", data, epochs=1),
}
WITHOUT_DATA: dict[str, Call] = {
    "equalize": lambda model, data: ns.equalize(model),
    "add_side_paths": lambda model, data: ns.add_side_paths(model, 1),
    "keep_norms": lambda model, data: ns.keep_norms(model, torch.optim.SGD([torch.zeros(1)])),
}
EVERY = {**ON_CHIPS, **DIGITAL, **WITHOUT_DATA}
MAY_LACK_DATA = ("correct_bias", "absorb_bias", "quantize")
TAKES_STACKS = ("keep_norms", "quantize", "calibrate")  # the last two have words of their own


def digital() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))


def chip() -> nn.Module:
    return ns.to_analog(digital(), "photonic_avnn", seed=0)


@pytest.mark.parametrize("name", [*ON_CHIPS, *DIGITAL])
def test_a_batch_of_another_shape_is_an_error_of_the_data(name: str) -> None:
    model = chip() if name in ON_CHIPS else digital()
    before = pickle.dumps(model)
    with pytest.raises(DataError, match=rf"^{name}: the model must take a batch of shape \(2, 5\), got RuntimeError"):
        EVERY[name](model, torch.ones(2, 5))
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("name", [name for name in (*ON_CHIPS, *DIGITAL) if name not in MAY_LACK_DATA])
def test_data_that_are_missing_are_missed(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}: data are missing"):
        EVERY[name](chip() if name in ON_CHIPS else digital(), None)


@pytest.mark.parametrize("name", EVERY)
def test_a_number_is_no_model(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}: model must be a torch\.nn\.Module, got int"):
        EVERY[name](5, X)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in TAKES_STACKS])
def test_a_stack_of_chips_is_no_model(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}: the model must be one chip, got a stack of 2"):
        EVERY[name](ns.chips(chip(), 2), X)


@pytest.mark.parametrize("name", ["correct_bias", "absorb_bias", "tweak_norms", "calibrate"])
def test_a_number_is_no_stream(name: str) -> None:
    call: Any = EVERY[name]
    with pytest.raises(ConfigError, match=rf"^{name}: stream must be a neurosim\.random\.Stream, got int"):
        call(chip(), X, stream=3)


def test_a_reference_and_an_optimiser_are_looked_at_too() -> None:
    number: Any = 5
    with pytest.raises(ConfigError, match=r"tweak_norms: reference: model must be a torch\.nn\.Module, got int"):
        ns.tweak_norms(chip(), X, reference=number)
    with pytest.raises(ConfigError, match=r"keep_norms: optimizer must be a torch\.optim\.Optimizer, got int"):
        ns.keep_norms(digital(), number)
