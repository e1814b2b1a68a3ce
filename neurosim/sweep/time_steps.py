"""How long a spiking model shows its inputs, where a study may vary that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from neurosim.nn import SpikingNetwork


def time_steps_of(model: nn.Module) -> int | None:
    """For how many steps a model shows its inputs; None where no single number says so that may be changed.

    >>> from neurosim.neurons import LIF
    >>> time_steps_of(SpikingNetwork(LIF(2e-3, 1e-3), time_steps=4)), time_steps_of(LIF(2e-3, 1e-3))
    (4, None)
    """
    network = _network(model)
    return None if network is None else network.time_steps


@contextmanager
def shown_for(model: nn.Module, steps: int | None) -> Iterator[None]:
    """Within the block, the model shows its inputs for so many steps; for as many as before if that is None."""
    network = _network(model)
    if network is None or steps is None:
        yield
        return
    before = network.time_steps
    network.time_steps = steps
    try:
        yield
    finally:
        network.time_steps = before


def _network(model: nn.Module) -> SpikingNetwork | None:
    """The one network that shows inputs, unless its encoder has a number of steps of its own."""
    networks = [module for module in model.modules() if isinstance(module, SpikingNetwork)]
    return networks[0] if len(networks) == 1 and not hasattr(networks[0].encoder, "steps") else None
