"""The neuron ops on CUDA: which variant of a kernel a run needs, and its start.

A thread takes neighbouring neurons through time, as many as one access of 128 bits holds where their memory lies so and there are enough of
them. Backward it keeps the membranes of at most 32 steps in registers. A longer sequence is cut into chunks of 32 steps, and the state at
the beginning of each is kept in memory meanwhile: 1/32 of the input's elements, in the compute type (twice that with a synapse).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final, NamedTuple

import torch

from neurosim.ops import cuda
from neurosim.ops.cuda_cache import Kernel
from neurosim.ops.native import packer
from neurosim.ops.neuron_arguments import RESETS, Parameters
from neurosim.ops.neuron_layout import compute_dtype

_COUNT: Final = len(Parameters._fields)
_RUN: Final = f"9q3P{_COUNT}P{_COUNT}d{2 * _COUNT}q2d11qP"
FORWARD: Final = f"{_RUN}4P"  #: ForwardArgs of csrc/neuron_run.h
BACKWARD: Final = f"{_RUN}q2d4P2q4Pq"  #: BackwardArgs
_FIELDS: Final = 14 + 4 * _COUNT + 12  #: of Run
_FLAGS: Final = 9  #: the first so many are numbers
_POINTERS: Final = slice(9, 12)  #: x and the state
_CHANNELS: Final = slice(12 + 2 * _COUNT, 12 + 3 * _COUNT)
_NUMBERS: Final = slice(12 + _COUNT, 12 + 2 * _COUNT)
_NOISE: Final = slice(12 + 4 * _COUNT, 14 + 4 * _COUNT)
_NEUTRAL: Final = tuple({"gain": 1.0, "bias": 0.0, "sign": 1.0, "w_in": 1.0}.get(name) for name in Parameters._fields)

_OF_INPUT: Final = 1 << Parameters._fields.index("gain") | 1 << Parameters._fields.index("w_in")  #: whose gradients need the input again
_ERASING: Final = RESETS.index("hard_next_erasing")

LONGEST: Final = 32  #: steps that are kept in registers
KEPT: Final = 64  #: float32 numbers of the membranes that a thread keeps
AHEAD: Final = 64  #: bytes that a thread reads before it needs them
AHEAD_BACK: Final = 48  #: the same on the way back, where it reads the next ones while it works on these
ENOUGH: Final = 1 << 16  #: threads that keep a GPU busy


def forward(device: torch.device) -> Callable[..., None]:
    """The kernel on that device as a function of the fields of ``ForwardArgs``."""
    pack = packer(FORWARD)

    def start(*fields: Any) -> None:
        run, (spikes, record, *_) = _Run(*fields[:_FLAGS]), fields[_FIELDS:]
        dtype = cuda.DTYPES[run.storage]
        width = _width(run.units, (*fields[_POINTERS], *fields[_FIELDS:]), 16 // dtype.itemsize)
        threads = _threads(run.units, width)
        ahead = max(1, AHEAD // (width * dtype.itemsize))
        own = (("NS_SPIKES", spikes != 0), ("NS_RECORD", record != 0), ("NS_AHEAD", ahead))
        kernel = _kernel("neurons_forward", (*_variant(run, fields, width, threads), *own))
        cuda.launch(kernel, _blocks(run.units, width, threads), threads, pack(*fields), device)

    return start


def backward(device: torch.device) -> Callable[..., None]:
    """The kernel on that device as a function of the fields of ``BackwardArgs``."""
    pack = packer(BACKWARD + "P")

    def start(*fields: Any) -> None:
        run, rest = _Run(*fields[:_FLAGS]), fields[_FIELDS:]
        dtype = cuda.DTYPES[run.storage]
        compute = compute_dtype(dtype)
        code, grads, rows, results, needs = rest[0], rest[3:7], rest[7:9], rest[9:13], rest[13]
        chunk = min(max(run.steps, 1), LONGEST)
        kept = 2 if run.synapse and (needs or run.attached) else 1
        most = min(16 // dtype.itemsize, max(1, KEPT * 4 // (chunk * kept * compute.itemsize)))
        width = _width(run.units, (*fields[_POINTERS], *grads, *results), 1 << most.bit_length() - 1, *rows)
        threads = _threads(run.units, width)
        from_spikes, from_record = grads[0] != 0, grads[1] != 0
        read = from_spikes + from_record + bool(needs & _OF_INPUT or (run.attached and run.reset == _ERASING))
        whole = run.steps == chunk
        own: tuple[tuple[str, int], ...] = (
            ("NS_STEPS", chunk),
            ("NS_WHOLE", whole),
            ("NS_AHEAD", min(chunk, max(1, AHEAD_BACK // (width * dtype.itemsize * max(1, read))))),
            ("NS_RESIDENT", 2 if compute == torch.float64 or any(fields[_NOISE]) else 4 if whole and not needs else 3),
            ("NS_CODE", code),
            ("NS_ATTACHED", run.attached),
            ("NS_GRADS", from_spikes + 2 * from_record),
            ("NS_NEEDS", needs),
        )
        kernel = _kernel("neurons_backward", (*_variant(run, fields, width, threads), *own))
        states = ((run.steps - 1) // chunk if run.steps else 0) * (2 if run.synapse else 1)
        checkpoints = torch.empty(states * run.units, dtype=compute, device=device)
        cuda.launch(kernel, _blocks(run.units, width, threads), threads, pack(*fields, checkpoints.data_ptr()), device)

    return start


class _Run(NamedTuple):
    """The first fields of ``Run``."""

    steps: int
    units: int
    storage: int
    threads: int
    reset: int
    strict: bool
    attached: bool
    follows: bool
    synapse: bool


def _variant(run: _Run, fields: tuple[Any, ...], width: int, threads: int) -> tuple[tuple[str, int | str], ...]:
    """What chooses code in both directions."""
    input_noise, membrane_noise = fields[_NOISE]
    plain = zip(fields[_CHANNELS], fields[_NUMBERS], _NEUTRAL, strict=True)
    return (
        ("NS_STORED", cuda.STORED[cuda.DTYPES[run.storage]]),
        ("NS_WIDTH", width),
        ("NS_THREADS", threads),
        ("NS_RESET", run.reset),
        ("NS_STRICT", run.strict),
        ("NS_SYNAPSE", run.synapse),
        ("NS_NOISE", (input_noise != 0) + 2 * (membrane_noise != 0)),
        ("NS_VARIED", _bits(channels > 1 for channels in fields[_CHANNELS])),
        ("NS_NEUTRAL", _bits(not channels and number == neutral for channels, number, neutral in plain)),
    )


def _bits(conditions: Iterable[bool]) -> int:
    return sum(1 << index for index, condition in enumerate(conditions) if condition)


@cache
def _kernel(entry: str, definitions: tuple[tuple[str, int | str], ...]) -> Kernel:
    return Kernel(f"{entry}.cu", entry, tuple((name, value if isinstance(value, str) else str(int(value))) for name, value in definitions))


def _width(units: int, pointers: tuple[int, ...], most: int, *rows: int) -> int:
    """How many neurons a thread takes: a power of two that memory allows and that leaves enough threads."""
    width = most
    while width > 1 and (any(size % width for size in (units, *rows)) or units // width < ENOUGH or any(at % 16 for at in pointers)):
        width //= 2
    return width


def _threads(units: int, width: int) -> int:
    """Threads of a block: few where few are needed, so that they spread over the GPU."""
    return 128 if units // width >= ENOUGH else 32


def _blocks(units: int, width: int, threads: int) -> int:
    return -(-units // (width * threads))
