"""Settings that cannot be: parameters that contradict each other, inputs and shapes that units cannot take, what cannot learn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import neurosim as ns
from neurosim.activations import activation, facts
from neurosim.errors import ConfigError


@pytest.mark.parametrize(("low", "high"), [(2.0, 1.0), (1.0, 1.0), (1.5, None)])
@pytest.mark.parametrize("learn", [None, True])
def test_a_clamp_whose_ends_do_not_rise_is_refused(low: float, high: float | None, learn: bool | None) -> None:
    given = {"min_val": low} if high is None else {"min_val": low, "max_val": high}
    told = rf"activation hardtanh: min_val < max_val must hold, got {low} and {high or 1.0}"
    for call in (activation, facts):
        with pytest.raises(ConfigError, match=told):
            call("hardtanh", learn=learn, **given)
    with pytest.raises(ConfigError, match=told):
        ns.load_config(
            {
                "name": "a",
                "data": {"kind": "digits"},
                "model": {"kind": "mlp", "sizes": [64, 10], "activation": {"kind": "hardtanh", **given}},
            }
        )


def test_a_learned_clamp_whose_ends_have_crossed_is_the_upper_one() -> None:
    unit: Any = activation("hardtanh", learn=True)
    with torch.no_grad():
        unit.min_val.fill_(3.0)
    x = torch.linspace(-5, 5, 11)
    assert unit(x).tolist() == [1.0] * 11
    assert facts(unit).bounds() == (1.0, 1.0)
    assert not facts(unit).zero_preserving


@pytest.mark.parametrize(
    ("name", "parameter", "rest"), [("helu", "alpha", []), ("jumprelu", "epsilon", ["theta"]), ("qcfs", "levels", ["limit"])]
)
def test_what_the_values_do_not_depend_on_is_not_learned(name: str, parameter: str, rest: list[str]) -> None:
    assert [key for key, _ in activation(name, learn=True).named_parameters()] == rest
    with pytest.raises(ConfigError, match=f"activation {name}: learn must name parameters that can be learned, got '{parameter}'"):
        activation(name, learn=[parameter])
    assert facts(activation(name, **{parameter: 3}, learn=True)).settings[parameter] == 3


@pytest.mark.parametrize("name", [name for name in ns.ACTIVATIONS if ns.ACTIVATIONS[name].kind == "curve"])
def test_what_is_learned_has_a_gradient(name: str) -> None:
    unit, x = activation(name, learn=True), torch.linspace(-8, 8, 200_001)
    found = list(unit.parameters())
    if found:
        (unit(x) * (0.7 * x - 0.4).cos()).sum().backward()
    assert all(one.grad is not None and math.isfinite(float(one.grad.abs().sum())) and bool((one.grad != 0).all()) for one in found)
