"""``neurosim::quantize`` and its derivatives on CUDA: which variant of a kernel a call needs, and its start.

Backward, what an operand gets is left by every thread (for every element, if the operand lies along the channels) and then added by torch
in double precision: the same sums every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from neurosim.ops import cuda
from neurosim.ops.cuda_cache import Kernel
from neurosim.ops.native import packer

FIELDS: Final = "P" * 18 + "q" * 28 + "d" * 11  #: QuantizeFields of csrc/quantize_fields.h
FORWARD: Final = FIELDS + "PP"  #: ForwardFields
BACKWARD: Final = FIELDS + "PPPqq"  #: BackwardFields
GRADIENTS: Final = 6  #: operands that can have a gradient
_OPERANDS: Final = slice(1, 1 + GRADIENTS)  #: where fields are
_COUNT, _STORAGE, _INNER, _CHANNELS, _EACH, _FLAGS, _SHIFT = 18, 19, 21, 22, 23, 28, 49
_KEEP: Final = 1  #: bit of the plan: the mask is kept
_OF_PYTHON: Final = 6  #: bits of the plan that no kernel looks at
_LEARNED: Final = 1 << 18
_THREADS: Final = 128  #: of a block
_BLOCKS: Final = 1 << 11  #: at most; then each thread takes several groups of elements


def forward(device: torch.device, fields: Sequence[Any]) -> None:
    """Start the kernel with the fields of ``ForwardFields``."""
    kernel = _kernel("quantize_forward", _variant(fields, fields[-2], fields[_FLAGS] & ~_OF_PYTHON))
    cuda.launch(kernel, _blocks(fields), _THREADS, packer(FORWARD)(*fields), device)


def backward(device: torch.device, fields: Sequence[Any], sums: Tensor) -> None:
    """Start the kernel with the fields of ``BackwardFields``, and fill ``sums``, which it does not do itself.

    Args:
        device: Where everything is.
        fields: Those of the struct.
        sums: A row for each operand, of which those are filled that are needed.
    """
    grad, to_x, needs, each = fields[-5], fields[-4], fields[-1], fields[_EACH]
    parts: list[Tensor | None] = [None] * GRADIENTS
    for operand, pointer in enumerate(fields[_OPERANDS]):
        if pointer and needs >> operand + 1 & 1:
            along = each >> operand & 1
            size, dtype = (fields[_COUNT], sums.dtype) if along else (_blocks(fields) * _THREADS, torch.float64)
            parts[operand] = torch.empty(size, dtype=dtype, device=device)
    variant = _variant(fields, grad | to_x, fields[_FLAGS] & ~(_OF_PYTHON | _KEEP))
    kernel = _kernel("quantize_backward", (*variant, ("NS_NEEDS", str(needs))))
    pointers = [0 if part is None else part.data_ptr() for part in parts]
    cuda.launch(kernel, _blocks(fields), _THREADS, packer(BACKWARD + "P" * GRADIENTS)(*fields, *pointers), device)
    sums.zero_()
    for row, part in enumerate(parts):
        if part is not None and each >> row & 1:
            sums[row, : fields[_CHANNELS]] = part.view(-1, fields[_CHANNELS], fields[_INNER]).sum((0, 2), dtype=torch.float64)
        elif part is not None:
            sums[row, 0] = part.sum()


def _variant(fields: Sequence[Any], addresses: int, flags: int) -> tuple[tuple[str, str], ...]:
    """What chooses code in both directions; ``addresses`` are those of the large tensors but ``x``, combined by or."""
    operands = sum(1 << index for index, pointer in enumerate(fields[_OPERANDS]) if pointer)
    return (
        ("NS_STORED", cuda.STORED[cuda.DTYPES[fields[_STORAGE]]]),
        ("NS_FLAGS", str(flags)),
        ("NS_OPERANDS", str(operands)),
        ("NS_EACH", str(fields[_EACH])),
        ("NS_SHIFTED", str(int(flags & _LEARNED != 0 or fields[_SHIFT] != 0))),
        ("NS_PACKED", str(int((addresses | fields[0]) % 16 == 0))),
    )


@cache
def _kernel(entry: str, definitions: tuple[tuple[str, str], ...]) -> Kernel:
    return Kernel(f"{entry}.cu", entry, definitions)


def _blocks(fields: Sequence[Any]) -> int:
    """Blocks of threads, of which each takes at least four elements at a time, or 128 bits."""
    elements: int = max(4, 16 // cuda.DTYPES[fields[_STORAGE]].itemsize)
    return min(-(-int(fields[_COUNT]) // (_THREADS * elements)), _BLOCKS)
