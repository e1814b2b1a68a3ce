"""The inputs that each neuron of a chip sums, counted over everything that leads to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.convert.fan_in import products_of
from neurosim.errors import ConversionError
from neurosim.neurons import IF, LIF, RLIF, Neuron, RCubaLIF, Recurrent
from neurosim.nn import SpikingGraph, SpikingNetwork, SpikingResidual, SpikingSequential, TimeFold

DT = 1e-3


def put(model: nn.Module, limit: int, **arguments: Any) -> Any:
    changes = {"*": {"fan_in": limit}}
    return ns.to_neuromorphic(model, "neuromorphic_digital8", seed=0, overrides=changes, **arguments)


def recurrent() -> SpikingSequential:
    return SpikingSequential(nn.Linear(100, 100), RLIF(100, 5e-3, DT))


def branches() -> SpikingSequential:
    return SpikingSequential(SpikingResidual(nn.Linear(100, 4), SpikingSequential(LIF(5e-3, DT), nn.Linear(100, 4))), IF(DT))


def graph() -> SpikingGraph:
    modules: dict[str, nn.Module] = {"a": nn.Linear(100, 4), "b": nn.Linear(100, 4), "fire": IF(DT), "back": nn.Linear(4, 4)}
    sources = {"a": ["input"], "b": ["input"], "fire": ["a", "b"], "back": ["fire"]}
    return SpikingGraph(modules, sources, "fire", delayed=[("back", "fire")])


@pytest.mark.parametrize(
    ("model", "inputs", "says"),
    [
        (recurrent, 200, "1.neuron: each neuron must have at most 199 inputs on this hardware, got 200 = 100 of 0 + 100 of 1.connection"),
        (branches, 200, "1: each neuron must have at most 199 inputs on this hardware, got 200 = 100 of 0.body + 100 of 0.shortcut.1"),
        (graph, 204, "fire: each neuron must have at most 203 inputs on this hardware, got 204 = 100 of a + 100 of b + 4 of back"),
    ],
)
def test_a_neuron_has_no_more_inputs_than_the_chip_can_sum_over_all_products(model: Any, inputs: int, says: str) -> None:
    assert put(model(), inputs).conversion.count("refused") == 0
    net = model()
    with pytest.raises(ConversionError, match=f"^to_neuromorphic: {re.escape(says)}$"):
        put(net, inputs - 1, inplace=True)
    assert not any(isinstance(module, ns.nn.HardwareNeuron) for module in net.modules())


def test_all_that_is_too_much_is_said_at_once() -> None:
    net = SpikingSequential(nn.Linear(100, 60), RLIF(60, 5e-3, DT), nn.Linear(60, 70), RLIF(70, 5e-3, DT))
    with pytest.raises(ConversionError) as caught:
        put(net, 99)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["0", "1.neuron", "3.neuron"]


def test_products_that_stay_digital_are_summed_elsewhere() -> None:
    assert put(branches(), 100, skip="0.body").conversion.count("converted") == 3


def test_a_neuron_that_stays_digital_sums_what_it_likes() -> None:
    assert put(branches(), 100, skip=IF).conversion.count("converted") == 3


def test_lowering_the_limit_later_counts_likewise() -> None:
    chip = put(recurrent(), 200)
    with pytest.raises(ConversionError, match=r"got 200 = 100 of 0 \+ 100 of 1\.connection"):
        ns.override(chip, {"fan_in": 150})
    assert chip[0].chain.spec.fan_in == 200
    ns.override(chip, {"fan_in": 250})


def test_what_leads_to_a_neuron_is_followed_through_what_only_hands_it_on() -> None:
    inner = SpikingSequential(TimeFold(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout())), nn.Identity())
    net = SpikingNetwork(SpikingSequential(SpikingResidual(inner, nn.Linear(3, 4)), LIF(5e-3, DT), nn.Linear(4, 4), IF(DT)), 3)
    assert products_of(net) == {"body.1": [("body.0.body.0.module.0", "body.0.shortcut")], "body.3": [("body.2",)]}


def test_a_membrane_shortcut_adds_up_the_products_before() -> None:
    block = SpikingResidual(SpikingSequential(IF(DT), nn.Linear(4, 4)))
    assert products_of(SpikingSequential(nn.Linear(3, 4), block, IF(DT)))["2"] == [("1.body.1", "0")]


def test_what_is_not_certain_is_not_counted() -> None:
    """A rectifier, or a module with a forward of its own, may make anything of a current."""
    assert products_of(SpikingSequential(nn.Linear(3, 4), nn.ReLU(), IF(DT))) == {"2": [()]}


@pytest.mark.parametrize(
    "make",
    [lambda: RLIF(16, 5e-3, DT), lambda: RCubaLIF(16, 5e-3, 4e-3, DT), lambda: Recurrent(IF(DT), nn.Linear(16, 16, bias=False))],
    ids=["RLIF", "RCubaLIF", "Recurrent"],
)
def test_of_recurrent_neurons_the_report_says_what_becomes_of_their_parts(make: Callable[[], Neuron[Any]]) -> None:
    torch.manual_seed(0)
    clean = SpikingSequential(nn.Linear(3, 16), make())
    chip = ns.to_neuromorphic(clean, "bss2_spiking", seed=0)
    assert {row.path: row.status for row in chip.conversion.layers} == {  # type: ignore[union-attr]  # the conversion report
        "0": "converted",
        "1.neuron": "converted",
        "1.connection": "converted",
    }
    x = torch.rand(20, 5, 3) * 4
    assert not torch.equal(chip(x), clean(x))
    with ns.noise("ideal", chip):
        assert torch.equal(chip(x), clean(x))
    with pytest.raises(ns.ConfigError, match="'1' names no layer with weights"):
        ns.to_neuromorphic(clean, "bss2_spiking", seed=0, skip="1")
