"""What a neuron op is called with and what it gives, as all implementations see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from neurosim.ops.neuron_arguments import Parameters


class Call(NamedTuple):
    """The arguments that all neuron ops share."""

    x: Tensor
    current: Tensor | None
    v: Tensor | None
    tensors: tuple[Tensor | None, ...]  #: the parameters that are tensors
    counter: Tensor | None
    numbers: Sequence[float]
    settings: Sequence[int]
    surrogate: str
    synapse: bool


class Outputs(NamedTuple):
    """What a sequence gives."""

    spikes: Tensor  #: like the input; empty if there are none
    current: Tensor  #: synaptic current after the last step; empty without a synapse
    v: Tensor  #: membrane after the last step
    record: Tensor  #: membrane after every step, like the input; empty if it is not wanted


def needed(needs: int) -> tuple[str, ...]:
    """Names of the parameters whose bit is set."""
    return tuple(name for index, name in enumerate(Parameters._fields) if needs >> index & 1)
