"""One run of a neuron over a sequence, forward and backward: whichever implementation is there does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from neurosim.ops import neuron_reference as reference
from neurosim.ops.neuron_arguments import Parameters, unpack
from neurosim.ops.neuron_layout import compute_dtype, sequence_like, state_like
from neurosim.ops.neuron_reference import Outputs


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


def forward(call: Call) -> Outputs:
    """All steps; see :mod:`neurosim.ops.neuron_reference`."""
    p, rule = unpack(call.x.dtype, call.tensors, call.counter, call.numbers, call.settings, call.surrogate)
    return reference.forward(call.x, call.current, call.v, p, rule, call.synapse)


def fake_forward(call: Call) -> Outputs:
    """Results of the same shape, type and memory order, without values."""
    x = call.x
    spikes = sequence_like(x) if call.settings[3] else x.new_empty(0)
    record = sequence_like(x) if call.settings[4] else x.new_empty(0)
    return Outputs(spikes, state_like(x) if call.synapse else x.new_empty(0), state_like(x), record)


def backward(
    grads: tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None], call: Call, needs: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Derivatives with respect to input, current, membrane, and the needed parameters.

    Args:
        grads: Those of the results, in the order of :class:`Outputs`; None is zero.
        call: The arguments of the run.
        needs: Bit ``i`` is set if the ``i``-th parameter needs its derivative.

    Returns:
        Three derivatives, and one ``(needed parameters, *units)`` of sums over time.
    """
    p, rule = unpack(call.x.dtype, call.tensors, call.counter, call.numbers, call.settings, call.surrogate)
    found = reference.backward(*grads, call.x, call.current, call.v, p, rule, call.synapse)
    wanted = [found.sums[name] for name in needed(needs)]
    current = found.current if call.synapse else call.x.new_empty(0)
    return found.x, current, found.v, torch.stack(wanted) if wanted else call.x.new_empty(0)


def fake_backward(call: Call, needs: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Results of the same shape, type and memory order as :func:`backward`, without values."""
    x, count = call.x, len(needed(needs))
    sums = x.new_empty((count, *x.shape[1:]), dtype=compute_dtype(x.dtype)) if count else x.new_empty(0)
    return sequence_like(x), state_like(x) if call.synapse else x.new_empty(0), state_like(x), sums


def needed(needs: int) -> tuple[str, ...]:
    """Names of the parameters whose bit is set."""
    return tuple(name for index, name in enumerate(Parameters._fields) if needs >> index & 1)


def parameter_gradients(sums: Tensor, tensors: Sequence[Tensor | None], needs: int) -> list[Tensor | None]:
    """Sums over time, summed further over what each parameter broadcasts to, in its own type; None where it is not needed."""
    found: list[Tensor | None] = []
    row = 0
    for index, tensor in enumerate(tensors):
        if tensor is None or not needs >> index & 1:
            found.append(None)
            continue
        found.append(sums[row].sum_to_size(tensor.shape).to(tensor.dtype))
        row += 1
    return found
