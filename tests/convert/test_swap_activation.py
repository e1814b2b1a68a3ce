"""Other activations in a model: what is swapped, what stays, and the weights that make up for it."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.activations import Activation, activation, facts
from neurosim.convert.swap_activation import swap_activation
from neurosim.errors import ConfigError


@pytest.fixture
def model() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3)
        )


def kinds(model: nn.Module) -> list[str]:
    return [type(module).__name__ for module in model] if isinstance(model, nn.Sequential) else []


def test_all_activations_change_and_nothing_else(model: Any) -> None:
    swapped: Any = swap_activation(model, "gelu")
    assert kinds(swapped) == ["Conv2d", "GELU", "Flatten", "Linear", "GELU", "Dropout", "Linear"]
    assert kinds(model)[1] == "ReLU"
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in swapped.state_dict().items())
    assert [one.now for one in swapped.activation_swap.activations] == ["GELU(approximate='none')"] * 2


def test_globs_and_types_choose_and_settings_arrive(model: Any) -> None:
    by_glob: Any = swap_activation(model, "smelu", layers="1", b=0.25)
    assert repr(by_glob[1]) == "Activation(smelu, b=0.25)"
    assert isinstance(by_glob[4], nn.Tanh)
    by_type: Any = swap_activation(model, {"kind": "snake", "a": 2.0}, layers=nn.Tanh)
    assert isinstance(by_type[1], nn.ReLU)
    assert isinstance(by_type[4], Activation)
    assert [one.path for one in by_type.activation_swap.activations] == ["4"]


def test_the_gain_of_the_new_one_is_made_up_for_in_the_layer_that_it_feeds(model: Any) -> None:
    swapped: Any = swap_activation(model, "golu", gain="variance")
    new = facts("golu").moments().second
    for at, old in ((3, facts("relu").moments().second), (6, facts("tanh").moments().second)):
        torch.testing.assert_close(swapped[at].weight, model[at].weight * math.sqrt(old / new))
        assert torch.equal(swapped[at].bias, model[at].bias)
    assert torch.equal(swapped[0].weight, model[0].weight)
    assert "the weights of 2 layers adjusted" in str(swapped.activation_swap)
    assert [one["factor"] for one in swapped.activation_swap.to_dict()["activations"]] == pytest.approx(
        [math.sqrt(0.5 / new), math.sqrt(0.39429 / new)], rel=1e-4
    )


class _Own(nn.Module):
    """A residual block with a forward of its own, whose one rectifier is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.act, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU(), nn.CELU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.act(self.second(self.act(self.first(x)))) + x)
        return y


def test_where_it_is_not_certain_what_is_fed_the_weights_stay_and_the_report_says_why() -> None:
    swapped: Any = swap_activation(_Own(), "silu", gain="variance")
    assert [one.layer for one in swapped.activation_swap.activations] == ["", ""]
    assert all(one.reason for one in swapped.activation_swap.activations)
    assert isinstance(swapped.last, nn.SiLU)
    normed: Any = swap_activation(nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3), nn.Linear(3, 3)), "gelu", gain="variance")
    assert normed.activation_swap.activations[0].reason == "a BatchNorm1d comes after it"
    bare: Any = swap_activation(nn.Sequential(nn.ReLU(), nn.InstanceNorm1d(3), nn.Linear(3, 3)), "gelu", gain="variance")
    assert bare.activation_swap.activations[0].reason == "an InstanceNorm1d comes after it"


def test_a_gain_that_is_not_known_is_told_with_its_reason() -> None:
    for old, reason in ((nn.CELU(), "CELU is not in ACTIVATIONS"), (activation("groupsort"), "it is no function of one number")):
        swapped: Any = swap_activation(nn.Sequential(nn.Linear(2, 2), old, nn.Linear(2, 2)), "relu", gain="variance")
        assert swapped.activation_swap.activations[0].reason == f"{reason}, so its gain is not known"


def test_a_shared_curve_is_one_module_and_one_used_twice_stays_one(model: Any) -> None:
    swapped: Any = swap_activation(model, "rational", shared=True)
    assert swapped[1] is swapped[4]
    relu = nn.ReLU()
    twice: Any = swap_activation(nn.Sequential(relu, nn.Linear(2, 2), relu), "mish")
    assert twice[0] is twice[2]


def test_activations_inside_others_are_swapped_with_them() -> None:
    nested: Any = nn.Sequential(nn.Linear(2, 2), activation({"kind": "scaled", "base": "tanh"}))
    swapped: Any = swap_activation(nested, "relu")
    assert [one.path for one in swapped.activation_swap.activations] == ["1"]


def test_a_model_that_is_an_activation_gives_another(model: Any) -> None:
    assert isinstance(swap_activation(nn.ReLU(), "gelu"), nn.GELU)
    with pytest.raises(ConfigError, match="cannot be replaced in place"):
        swap_activation(nn.ReLU(), "gelu", inplace=True)
    same: Any = swap_activation(model, "gelu", inplace=True)
    assert same is model
    assert isinstance(same[1], nn.GELU)


def test_type_device_and_mode_are_those_of_the_model(model: Any) -> None:
    swapped: Any = swap_activation(model.double().eval(), "snake")
    assert not swapped[1].training
    assert next(swapped[1].parameters()).dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "gelou"}, "did you mean 'g"),
        ({"name": "smelu", "a": 1.0}, "it has no parameter 'a'"),
        ({"name": "glu"}, "must keep the shape"),
        ({"name": "gelu", "layers": "act*"}, r"'act\*' names no activation"),
        ({"name": "gelu", "layers": nn.GELU}, "layers must name an activation"),
        ({"name": "GELUU"}, "did you mean 'gelu'"),
        ({"name": "rational", "shared": "no"}, "swap_activation.shared: must be true or false, got 'no'"),
        ({"name": "gelu", "gain": "variances"}, "gain: must be one of 'keep', 'variance'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_changes(model: nn.Sequential, arguments: dict[str, Any], message: str) -> None:
    before = copy.deepcopy(model)
    with pytest.raises(ConfigError, match=message):
        swap_activation(model, inplace=True, gain=arguments.pop("gain", "variance"), **arguments)
    assert kinds(model) == kinds(before)
    assert all(torch.equal(value, before.state_dict()[key]) for key, value in model.state_dict().items())
    with pytest.raises(ConfigError, match="functions in a forward are not seen"):
        swap_activation(nn.Linear(2, 2), "gelu")
    number: Any = 3
    with pytest.raises(ConfigError, match=r"swap_activation: must be given a model, a torch.nn.Module, got an int"):
        swap_activation(number, "gelu")


def test_models_on_hardware_and_spiking_ones_are_swapped_in_their_digital_parts(model: Any) -> None:
    x = torch.linspace(-1, 1, 2 * 36).reshape(2, 1, 6, 6)
    photonic = ns.to_analog(model.eval(), "photonic_avnn", seed=3)
    swapped: Any = swap_activation(photonic, "hardtanh", gain="variance")
    assert swapped(x).shape == (2, 3)
    assert len(ns.analog_layers(swapped)) == 3
    assert sum(bool(one.layer) for one in swapped.activation_swap.activations) == 2
    first = ns.to_analog(swap_activation(model, "hardtanh", gain="variance"), "photonic_avnn", seed=3)
    with ns.noise("off", swapped), ns.noise("off", first):
        assert torch.equal(swapped(x), first(x))
    digital = ns.models.spiking_mlp([4, 4, 2], activation="relu", norm="bn")
    spiking: Any = swap_activation(digital, "helu")
    assert len(spiking.activation_swap.activations) == 1


def test_a_swapped_activation_can_become_neurons_that_are_trained_on(model: Any) -> None:
    spiking = ns.to_spiking(swap_activation(model, "smelu"), method="direct", time_steps=2)
    assert [layer.type for layer in spiking.conversion.layers if layer.neuron] == ["Activation"] * 2
