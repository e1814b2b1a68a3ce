"""Models that are compiled or run in parallel are taken as the models inside of them, everywhere alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.nn.wrappers import named_unwrapped, unwrapped


def compiled(model: nn.Module) -> nn.Module:
    wrapped: Any = torch.compile(model, backend="eager")
    assert isinstance(wrapped, nn.Module)
    return wrapped


WRAPPERS: list[Callable[[nn.Module], nn.Module]] = [nn.DataParallel, compiled, lambda model: nn.DataParallel(compiled(model))]


def network() -> ns.nn.SpikingNetwork:
    body = ns.nn.SpikingSequential(nn.Linear(4, 8), ns.LIF(5e-3, 1e-3, reset="hard"), nn.Linear(8, 3))
    return ns.nn.SpikingNetwork(body, time_steps=4)


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapped_network_is_measured_written_and_recorded_as_itself(wrap: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    net, x, labels = network(), torch.rand(20, 4), torch.randint(3, (20,))
    wrapped = wrap(net)
    assert unwrapped(wrapped) is net
    assert ns.accuracy_over_time(wrapped, [(x, labels)]) == ns.accuracy_over_time(net, [(x, labels)])
    assert ns.to_nir(wrapped).edges == ns.to_nir(net).edges
    with ns.record(wrapped) as recording:
        wrapped(x)
    assert [*recording] == ["body.1"]
    assert ns.to_neuromorphic(wrapped, "neuromorphic_digital8", seed=0).conversion.count("converted") == 3  # type: ignore[operator, union-attr]  # the report


def test_a_wrapped_model_that_is_no_spiking_network_is_named_by_what_it_is() -> None:
    with pytest.raises(ns.ConfigError, match="must be a SpikingNetwork, as to_spiking returns, got Linear"):
        ns.accuracy_over_time(nn.DataParallel(nn.Linear(2, 2)), [])


class Holder(nn.Module):
    """A user's own model that calls a part of itself what wrappers call theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(4, 8)
        self.head = nn.Sequential(nn.ReLU(), ns.nn.TimeFold(nn.Linear(8, 3)))


@pytest.mark.parametrize("wrap", [lambda model: model, *WRAPPERS])
def test_a_layer_has_the_same_path_whatever_is_around_the_model(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = Holder()
    assert dict(named_unwrapped(wrap(model))) == dict(model.named_modules())


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_layer_has_the_same_path_whatever_is_around_a_part_of_the_model(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = Holder()
    parts = dict(model.named_modules())
    for name, part in list(model.named_children()):
        setattr(model, name, wrap(part))
    assert dict(named_unwrapped(model)) == parts


@pytest.mark.parametrize("wrap", [lambda model: model, *WRAPPERS])
def test_analog_layers_are_named_as_the_conversion_names_them_also_those_called_module(wrap: Callable[[nn.Module], nn.Module]) -> None:
    analog = ns.to_analog(Holder(), "photonic_avnn", seed=1)
    converted = [row.path for row in analog.conversion.layers if row.status == "converted"]  # type: ignore[union-attr]  # the conversion report
    assert converted == ["module", "head.1.module"]
    wrapped = wrap(analog)
    assert list(ns.analog_layers(wrapped)) == converted
    with ns.noise("ideal", wrapped, layers="module"):
        assert [layer.chain.bypassed for layer in ns.analog_layers(analog).values()] == [True, False]


@pytest.mark.parametrize("wrap", [lambda model: model, *WRAPPERS])
def test_excitatory_inhibitory_layers_called_module_keep_their_name(wrap: Callable[[nn.Module], nn.Module]) -> None:
    layer = ns.nn.EILinear(4, 4)
    layer.lateral.weight.data[0, 0] = -1.0
    model = ns.nn.TimeFold(layer)
    assert list(ns.ei.negative(wrap(model))) == ["module.lateral.weight"]
