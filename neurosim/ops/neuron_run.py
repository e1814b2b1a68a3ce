"""One run of a neuron over a sequence, forward and backward: whichever implementation is there does it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from neurosim.ops import neuron_kernel as kernel
from neurosim.ops import neuron_reference as reference
from neurosim.ops.neuron_arguments import unpack
from neurosim.ops.neuron_call import Call, Outputs, needed
from neurosim.ops.neuron_layout import sequence_like, state_like, sums_like


def forward(call: Call) -> Outputs:
    """All steps; see :mod:`neurosim.ops.neuron_reference`."""
    if kernel.usable(call, backward=False):
        return kernel.forward(call)
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
    if kernel.usable(call, backward=True):
        return kernel.backward(grads, call, needs)
    p, rule = unpack(call.x.dtype, call.tensors, call.counter, call.numbers, call.settings, call.surrogate)
    found = reference.backward(*grads, call.x, call.current, call.v, p, rule, call.synapse)
    sums = sums_like(call.x, needs.bit_count())
    for row, name in zip(sums, needed(needs), strict=True):
        row.copy_(found.sums[name])
    return found.x, found.current if call.synapse else call.x.new_empty(0), found.v, sums


def fake_backward(call: Call, needs: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Results of the same shape, type and memory order as :func:`backward`, without values."""
    x = call.x
    return sequence_like(x), state_like(x) if call.synapse else x.new_empty(0), state_like(x), sums_like(x, needs.bit_count())


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
