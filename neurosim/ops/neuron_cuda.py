"""The neuron ops on CUDA: which variant of a kernel a run needs, and its start.

A thread takes neighbouring neurons through time, as many as one access of 128 bits holds where their memory lies so and there are enough of
them. Backward it keeps the membranes of at most 32 steps in registers. A longer sequence is cut into chunks of 32 steps, and the state at
the beginning of each is kept in memory meanwhile: 1/32 of the input's elements, in the compute type (twice that with a synapse).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import torch

from neurosim.ops import cuda
from neurosim.ops.cuda_cache import Kernel
from neurosim.ops.native import packer
from neurosim.ops.neuron_arguments import Parameters
from neurosim.ops.neuron_call import Call
from neurosim.ops.neuron_layout import compute_dtype
from neurosim.surrogate import SURROGATES

_COUNT: Final = len(Parameters._fields)
_RUN: Final = f"9q3P{_COUNT}P{_COUNT}d{2 * _COUNT}q2d11qP"
FORWARD: Final = f"{_RUN}4P"  #: ForwardArgs of csrc/neuron_run.h
BACKWARD: Final = f"{_RUN}q2d4P2q4Pq"  #: BackwardArgs
_FIELDS: Final = 14 + 4 * _COUNT + 12  #: of Run
_STEPS, _UNITS = 0, 1  #: where its fields are
_POINTERS: Final = slice(9, 12)
_CHANNELS: Final = slice(12 + 2 * _COUNT, 12 + 3 * _COUNT)
_NOISE: Final = slice(12 + 4 * _COUNT, 14 + 4 * _COUNT)

LONGEST: Final = 32  #: steps that are kept in registers
KEPT: Final = 64  #: float32 numbers of the membranes that a thread keeps
AHEAD: Final = 64  #: bytes that a thread reads before it needs them
ENOUGH: Final = 1 << 16  #: threads that keep a GPU busy

Start = Callable[..., None]


def forward(call: Call) -> Start:
    """The kernel as a function of the fields of ``ForwardArgs``."""
    pack = packer(FORWARD)

    def start(*fields: Any) -> None:
        pointers = (*fields[_POINTERS], *fields[_FIELDS:])
        width = _width(call, fields, pointers, 16 // call.x.dtype.itemsize)
        threads = _threads(fields[_UNITS], width)
        variant = (*_variant(call, fields, width, threads), ("NS_SPIKES", call.settings[3]), ("NS_RECORD", call.settings[4]))
        ahead = max(1, AHEAD // (width * call.x.dtype.itemsize))
        kernel = _kernel("neurons_forward", (*variant, ("NS_AHEAD", ahead)))
        cuda.launch(kernel, _blocks(fields[_UNITS], width, threads), threads, pack(*fields), call.x.device)

    return start


def backward(call: Call, needs: int) -> Start:
    """The kernel as a function of the fields of ``BackwardArgs``."""
    pack = packer(BACKWARD + "P")

    def start(*fields: Any) -> None:
        x = call.x
        compute = compute_dtype(x.dtype)
        steps, units, rest = fields[_STEPS], fields[_UNITS], fields[_FIELDS:]
        grads, rows, results = rest[3:7], rest[7:9], rest[9:13]
        chunk = min(max(steps, 1), LONGEST)
        attached = not call.settings[2]
        kept = 2 if call.synapse and (needs or attached) else 1
        most = min(16 // x.dtype.itemsize, max(1, KEPT * 4 // (chunk * kept * compute.itemsize)))
        width = _width(call, fields, (*fields[_POINTERS], *grads, *results), 1 << most.bit_length() - 1, *rows)
        threads = _threads(units, width)
        from_spikes, from_record = bool(grads[0]), bool(grads[1])
        read = from_spikes + from_record + bool(needs or attached)
        own: tuple[tuple[str, int], ...] = (
            ("NS_STEPS", chunk),
            ("NS_WHOLE", steps == chunk),
            ("NS_AHEAD", min(chunk, max(1, AHEAD // (width * x.dtype.itemsize * max(1, read))))),
            ("NS_RESIDENT", 2 if needs or kept > 1 or call.synapse or compute == torch.float64 or any(fields[_NOISE]) else 4),
            ("NS_CODE", SURROGATES[call.surrogate].code or 0),
            ("NS_ATTACHED", attached),
            ("NS_GRADS", from_spikes + 2 * from_record),
            ("NS_NEEDS", needs),
        )
        kernel = _kernel("neurons_backward", (*_variant(call, fields, width, threads), *own))
        states = ((steps - 1) // chunk if steps else 0) * (2 if call.synapse else 1)
        checkpoints = x.new_empty(states * units, dtype=compute)
        block = pack(*fields, checkpoints.data_ptr())
        cuda.launch(kernel, _blocks(units, width, threads), threads, block, x.device)

    return start


def _variant(call: Call, fields: tuple[Any, ...], width: int, threads: int) -> tuple[tuple[str, int | str], ...]:
    """What chooses code in both directions."""
    input_noise, membrane_noise = fields[_NOISE]
    return (
        ("NS_STORED", cuda.STORED[call.x.dtype]),
        ("NS_WIDTH", width),
        ("NS_THREADS", threads),
        ("NS_RESET", call.settings[0]),
        ("NS_STRICT", call.settings[1]),
        ("NS_SYNAPSE", call.synapse),
        ("NS_NOISE", (input_noise != 0) + 2 * (membrane_noise != 0)),
        ("NS_VARIED", sum(1 << index for index, channels in enumerate(fields[_CHANNELS]) if channels > 1)),
    )


@cache
def _kernel(entry: str, definitions: tuple[tuple[str, int | str], ...]) -> Kernel:
    return Kernel(f"{entry}.cu", entry, tuple((name, value if isinstance(value, str) else str(int(value))) for name, value in definitions))


def _width(call: Call, fields: tuple[Any, ...], pointers: tuple[int, ...], most: int, *rows: int) -> int:
    """How many neurons a thread takes: a power of two that memory allows and that leaves enough threads."""
    units = fields[_UNITS]
    width = most
    while width > 1 and (any(size % width for size in (units, *rows)) or units // width < ENOUGH or any(at % 16 for at in pointers)):
        width //= 2
    return width


def _threads(units: int, width: int) -> int:
    """Threads of a block: few where few are needed, so that they spread over the GPU."""
    return 128 if units // width >= ENOUGH else 32


def _blocks(units: int, width: int, threads: int) -> int:
    return -(-units // (width * threads))
