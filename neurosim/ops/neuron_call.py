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
    """What a sequence gives; None is what is not wanted."""

    spikes: Tensor | None  #: like the input
    current: Tensor | None  #: synaptic current after the last step
    v: Tensor  #: membrane after the last step
    record: Tensor | None  #: membrane after every step, like the input


class Gradients(NamedTuple):
    """Derivatives with respect to the arguments; None where there is no such argument, or no parameter needs its derivative."""

    x: Tensor
    current: Tensor | None
    v: Tensor | None
    sums: Tensor | None  #: ``(needed parameters, *units)``, summed over time, not yet over what a parameter broadcasts to


def needed(needs: int) -> tuple[str, ...]:
    """Names of the parameters whose bit is set."""
    return tuple(name for index, name in enumerate(Parameters._fields) if needs >> index & 1)
