"""Settings and inputs that cannot be, what cannot learn, and what a state keeps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import neurosim as ns
from neurosim.activations import SmartMixed, activation, facts, fit_activation, group_sort
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


# --- inputs ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (2, 4), (3, 1), (3, 0)], ids=str)
def test_radial_units_refuse_other_inputs_than_they_have(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"RBF: the last axis must have 3 inputs, got shape \("):
        activation("rbf", inputs=3, units=2)(torch.ones(shape))


@pytest.mark.parametrize("group", [0, -2, 1.5, True])
def test_a_group_has_an_element_or_more(group: Any) -> None:
    with pytest.raises(ConfigError, match=r"group_sort.group: must be a whole number, 1 or more"):
        group_sort(torch.ones(2, 4), group)
    x = torch.tensor([[3.0, 1.0, -2.0, 5.0]])
    assert torch.equal(group_sort(x, 1), x)
    assert torch.equal(group_sort(x[0, 0], 1), x[0, 0])


@pytest.mark.parametrize(
    "one",
    ["glu", "groupsort", "tridiagonal_slopes", "relu_scores", {"kind": "smart_mixed", "units": 4}, {"kind": "snake", "channels": 4}],
    ids=str,
)
def test_a_pool_takes_what_each_neuron_can_have_by_itself(one: Any) -> None:
    with pytest.raises(ConfigError, match=r"SmartMixed.pool: each must be a function of one number, the same for all channels, got "):
        SmartMixed(4, [one, "relu"])
    unit = SmartMixed(4, [{"kind": "centred", "base": "relu"}, "stochastic", {"kind": "silu", "learn": True}])
    assert unit(torch.ones(2, 4)).shape == (2, 4)


@pytest.mark.parametrize("points", ["lists", "arrays"])
def test_a_curve_is_fitted_to_lists_and_arrays_as_to_tensors(points: str) -> None:
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    wanted: Any = fit_activation(x, x.sin())
    y: Any = x.sin()
    found: Any = fit_activation(x.tolist(), y.tolist()) if points == "lists" else fit_activation(x.numpy(), y.numpy())
    assert (found.rms, found.largest) == (wanted.rms, wanted.largest)
    assert found.module.settings() == wanted.module.settings()
    frozen = x.numpy().copy()
    frozen.flags.writeable = False
    assert fit_activation(frozen, y).rms == wanted.rms


@pytest.mark.parametrize("bad", ["a", None, [[1.0], [1.0, 2.0]], ["a", "b"], {"x": 1}], ids=repr)
def test_points_that_are_no_numbers_are_refused(bad: Any) -> None:
    with pytest.raises(ConfigError, match=r"fit_activation.y: must be numbers in a tensor, an array or a list, got "):
        fit_activation(torch.linspace(0, 1, 20), bad)


@pytest.mark.parametrize("at", ["a", math.nan, math.inf, True])
def test_noise_of_a_gradient_is_asked_at_a_number(at: Any) -> None:
    with pytest.raises(ConfigError, match=r"gradient_noise.at: must be a finite number, got "):
        facts("relu").gradient_noise(0.1, at=at)


def test_an_activation_that_is_0_at_its_inputs_has_no_gain() -> None:
    none = facts("shifted_relu", tau=50.0).moments()
    for gain, power in (("forward_gain", "E f²"), ("backward_gain", "E f'²"), ("norm_free_gain", "Var f")):
        with pytest.raises(ConfigError, match=rf"Moments.{gain}: {power} must be > 0, got 0"):
            getattr(none, gain)


# --- states ----------------------------------------------------------------------------------------------------------------------------


def test_a_mixture_goes_on_at_the_temperature_at_which_it_was_saved(tmp_path: Path) -> None:
    unit, x = SmartMixed(500, seed=3), torch.ones(4, 500, requires_grad=True)
    unit.temperature = 0.1
    torch.save(unit.state_dict(), tmp_path / "state.pt")
    again = SmartMixed(500, seed=3)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert again.temperature == 0.1
    slopes = [torch.autograd.grad(one(x).cos().sum(), one.logits)[0] for one in (unit, again, SmartMixed(500, seed=3))]
    assert torch.equal(slopes[0], slopes[1])
    assert not torch.equal(slopes[0], slopes[2])
