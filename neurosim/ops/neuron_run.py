"""One run of a neuron over a sequence, forward and backward: whichever implementation is there does it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from neurosim.ops import neuron_kernel as kernel
from neurosim.ops import neuron_reference as reference
from neurosim.ops.neuron_arguments import unpack
from neurosim.ops.neuron_call import Call, Gradients, Outputs, needed
from neurosim.ops.neuron_layout import sequence_like, state_like, sums_like

Grads = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]  #: of the results, in the order of Outputs; None is zero


def forward(call: Call) -> Outputs:
    """All steps; see :mod:`neurosim.ops.neuron_reference`."""
    if kernel.usable(call, backward=False):
        return kernel.forward(call)
    p, rule = unpack(call.x.dtype, call.tensors, call.counter, call.numbers, call.settings, call.surrogate)
    return reference.forward(call.x, call.current, call.v, p, rule, call.synapse)


def fake_forward(call: Call) -> Outputs:
    """Results of the same shape, type and memory order, without values."""
    x = call.x
    spikes, record = (sequence_like(x) if wanted else None for wanted in call.settings[3:5])
    return Outputs(spikes, state_like(x) if call.synapse else None, state_like(x), record)


def backward(grads: Grads, call: Call, needs: int) -> Gradients:
    """Derivatives with respect to input, current, membrane, and the needed parameters.

    Args:
        grads: Those of the results.
        call: The arguments of the run.
        needs: Bit ``i`` is set if the ``i``-th parameter needs its derivative.
    """
    if kernel.usable(call, backward=True):
        return kernel.backward(grads, call, needs)
    p, rule = unpack(call.x.dtype, call.tensors, call.counter, call.numbers, call.settings, call.surrogate)
    found = reference.backward(*grads, call.x, call.current, call.v, p, rule, call.synapse)
    sums = sums_like(call.x, needs.bit_count())
    for row, name in zip(() if sums is None else sums, needed(needs), strict=True):
        row.copy_(found.sums[name])
    return Gradients(found.x, None if call.current is None else found.current, None if call.v is None else found.v, sums)


def fake_backward(call: Call, needs: int) -> Gradients:
    """Memory for the results of :func:`backward`."""
    x = call.x
    current, v = (None if state is None else state_like(x) for state in (call.current, call.v))
    return Gradients(sequence_like(x), current, v, sums_like(x, needs.bit_count()))


def bits(wanted: Sequence[bool]) -> int:
    """A number whose bit ``i`` says whether the ``i``-th is wanted."""
    return sum(1 << index for index, need in enumerate(wanted) if need) if True in wanted else 0


def parameter_gradients(sums: Tensor | None, tensors: Sequence[Tensor | None], needs: int) -> list[Tensor | None]:
    """Sums over time, summed further over what each parameter broadcasts to, in its own type; None where it is not needed."""
    found: list[Tensor | None] = [None] * len(tensors)
    row = 0
    if not needs or sums is None:
        return found
    for index, tensor in enumerate(tensors):
        if tensor is not None and needs >> index & 1:
            found[index] = sums[row].sum_to_size(tensor.shape).to(tensor.dtype)
            row += 1
    return found
