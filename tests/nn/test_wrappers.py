"""Models that are compiled or run in parallel are taken as the models inside of them, everywhere alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.nn.wrappers import unwrapped


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
