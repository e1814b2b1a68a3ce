"""A neuron in plain torch over a whole sequence: one call of its step after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from neurosim.neurons.base import Passed
from neurosim.neurons.parameters import state_dtype

S = TypeVar("S", bound=tuple[Any, ...])
P = TypeVar("P")

#: input of one step, state and parameters to spikes and the next state
Step = Callable[[Tensor, S, P], tuple[Tensor, S]]


def in_turn(step: Step[S, P], x: Tensor, state: S, parameters: P, record: bool) -> Passed[S]:
    """The spikes of all steps, the potential ``state.v`` after each if it is wanted, and the state after them.

    Args:
        step: What one step does; it computes in the type of the state.
        x: Input, ``(time, batch, *units)``.
        state: State before the first step, float32 (float64 for float64).
        parameters: What ``step`` takes them as.
        record: Whether potentials are wanted.
    """
    sent, potentials = [], []
    for now in x.to(state_dtype(x)).unbind(0):
        spikes, state = step(now, state, parameters)
        sent.append(spikes)
        if record:
            potentials.append(cast(Any, state).v)  # every state has its potential under that name
    return _stacked(sent, x), _stacked(potentials, x) if record else None, state


def _stacked(steps: list[Tensor], x: Tensor) -> Tensor:
    """One step after the other along time, in the type of the input."""
    return torch.stack(steps).to(x.dtype) if steps else x.new_zeros(x.shape)
