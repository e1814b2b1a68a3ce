r"""Philox4x32-10 and the numbers made of it, as ops: ``neurosim::philox_uniform`` and ``neurosim::philox_normal``.

A source of numbers is named by five words: the two of the key, and the three of the counter that follow the block's index. A counter word
that is a tensor is passed beside them, and its place holds ``-1 - index`` in the list of tensors. Element ``i`` takes word ``i mod 4`` of
the block with counter ``(i // 4, chip, draw, call)``. With the word's bits ``b``,

.. math:: u = \left(\lfloor b / 2^8 \rfloor + \tfrac12\right) 2^{-24}, \qquad
   (z_0, z_1) = \sqrt{-2 \ln u_0}\,\left(\cos 2\pi u_1, \sin 2\pi u_1\right)

where words (0, 1) and (2, 3) of a block make one Box–Muller pair each. ``u`` is rounded to the result's precision and then kept below 1.
Uniform numbers of the kernels equal those of the reference exactly, normal numbers to 1e-6 max(1, \|z\|).

Source:
    J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3 (Philox4x32-10).
    G. E. P. Box, M. E. Muller, "A note on the generation of random normal deviates", Ann. Math. Statist. 29 (1958).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.ops import cuda, native
from neurosim.ops.cuda_cache import Kernel
from neurosim.ops.library import define

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
WORDS = 4  #: of a block
DRAWS = WORDS << 32  #: elements of one source
GAUSSIAN, UNIT = 1, 5  #: codes of ``Noise`` in csrc/philox.h
STORAGE = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}  #: codes of csrc/storage.h
_CHUNK_BLOCKS = 1 << 18  #: blocks a pass: bounds the working memory to a few tens of MiB

Word = int | Tensor
Key = tuple[int, int]
Counter = tuple[Word, Word, Word, Word]


def philox4x32(counter: Counter, key: Key) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""The ten-round Philox4x32 bijection, on int64 tensors that hold 32-bit words.

    Args:
        counter: Four words, each an int or an int64 tensor with values in [0, 2³²); at least one tensor; shapes broadcast.
        key: Two words, ints in [0, 2³²).

    Returns:
        Four int64 tensors with values in [0, 2³²), of the broadcast shape.

    Source:
        Salmon et al. 2011, section 3.3; multipliers and Weyl constants from Table 2 there.

    >>> [hex(int(w)) for w in philox4x32((torch.zeros((), dtype=torch.int64), 0, 0, 0), (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = _high(p1) ^ c1 ^ k0, p1 & _MASK, _high(p0) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    words = [torch.as_tensor(w) for w in (c0, c1, c2, c3)]
    return words[0], words[1], words[2], words[3]


def _high(product: Word) -> Word:
    """The upper word; an int64 product has wrapped, and its sign bits must go."""
    return (product >> 32) & _MASK


def encode(key: Key, counter: Sequence[Word], tensors: list[Tensor], device: torch.device) -> list[int]:
    """The five words that name a source of numbers; counter words that are tensors are appended to ``tensors``.

    Args:
        key: Of the generator.
        counter: Chip, draw and call: ints in [0, 2³²) or 0-dim int64 tensors.
        tensors: The list of tensors that goes with the words.
        device: Where the numbers will be.

    Raises:
        ConfigError: A word is out of range.
    """
    words = [key[0], key[1]]
    compiling = torch.compiler.is_compiling()  # then a number must not become a constant of the code
    for word in counter:
        if isinstance(word, Tensor):
            if word.dim():
                raise ConfigError(f"random numbers: chip, draw and call must be single numbers, got shape {tuple(word.shape)}")
            tensors.append(word if word.dtype == torch.int64 and word.device == device else word.to(device, torch.int64))
            words.append(-len(tensors))
        elif compiling:
            tensors.append(torch.full((), word, dtype=torch.int64, device=device))
            words.append(-len(tensors))
        elif isinstance(word, Integral) and 0 <= word <= _MASK:  # numpy's are too short for the products
            words.append(int(word))
        else:
            raise ConfigError(f"random numbers: chip, draw and call must be integers from 0 to 2^32 - 1, got {word}")
    return words


def drawn(
    shape: Sequence[int],
    words: Sequence[int],
    tensors: Sequence[Tensor],
    offset: int,
    normal: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """The numbers by the reference; arguments as of the ops."""
    key, counter = (words[0], words[1]), [tensors[-1 - word] & _MASK if word < 0 else word for word in words[2:5]]
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    pairs = _normal_pairs if normal else _uniform_pairs
    count = math.prod(shape)
    first, skip = divmod(offset, WORDS)
    blocks = -(-(skip + count) // WORDS)
    parts = []
    with torch.no_grad():
        for at in range(0, max(blocks, 1), _CHUNK_BLOCKS):
            index = torch.arange(first + at, first + at + min(_CHUNK_BLOCKS, blocks - at), dtype=torch.int64, device=device)
            w0, w1, w2, w3 = philox4x32((index, counter[0], counter[1], counter[2]), key)
            parts.append(torch.stack([*pairs(w0, w1, compute), *pairs(w2, w3, compute)], -1))
        flat = parts[0].flatten() if len(parts) == 1 else torch.cat(parts).flatten()
        numbers = flat[skip : skip + count].clone().reshape(tuple(shape))
        if not normal and dtype in _BELOW_ONE:
            numbers.clamp_(2.0**-24, _BELOW_ONE[dtype])
        return numbers.to(dtype)


def _unit(word: Tensor, dtype: torch.dtype) -> Tensor:
    below_one = 1 - (2.0**-24 if dtype == torch.float32 else 2.0**-25)
    return ((word >> 8).to(dtype) + 0.5).mul_(2.0**-24).clamp(max=below_one)


def _uniform_pairs(a: Tensor, b: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return _unit(a, dtype), _unit(b, dtype)


def _normal_pairs(a: Tensor, b: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    radius = _unit(a, dtype).log_().mul_(-2.0).sqrt_()
    angle = _unit(b, dtype).mul_(2 * math.pi)
    return radius * angle.cos(), radius * angle.sin()


_FIELDS = "PqqqqqqqqqqPPP"  #: RandomFields of csrc/philox.h
_BELOW_ONE = {torch.float16: 1 - 2.0**-11, torch.bfloat16: 1 - 2.0**-8}  #: the largest number there is below 1
_THREADS = 128  #: of a block on CUDA; each draws a block of four numbers
_fill = native.entry("random_fill", _FIELDS)
_pack = native.packer(_FIELDS)


def _draw(
    noise: int, shape: list[int], words: list[int], tensors: list[Tensor], offset: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    if noise == UNIT and dtype in _BELOW_ONE:  # rounding must not leave the open interval
        return _draw(noise, shape, words, tensors, offset, torch.float32, device).clamp_(2.0**-24, _BELOW_ONE[dtype]).to(dtype)
    on_cuda = cuda.available(device)
    if not on_cuda and not (device.type == "cpu" and native.wanted()):
        return drawn(shape, words, tensors, offset, noise == GAUSSIAN, dtype, device)
    out = torch.empty(shape, dtype=dtype, device=device)
    counters = [tensor.data_ptr() for tensor in tensors] + [0] * (3 - len(tensors))
    fields = (out.data_ptr(), STORAGE[dtype], noise, offset, out.numel(), torch.get_num_threads(), *words, *counters)
    if on_cuda:
        kernel = Kernel("philox.cu", "random_fill", (("NS_STORED", cuda.STORED[dtype]), ("NS_NOISE", str(noise))))
        threads = -(-(offset % WORDS + out.numel()) // WORDS)
        cuda.launch(kernel, -(-threads // _THREADS), _THREADS, _pack(*fields), device)
    else:
        _fill(*fields)
    return out


def _fake(shape: list[Any], words: list[int], tensors: list[Tensor], offset: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=device)


_ARGUMENTS = "(SymInt[] shape, int[] words, Tensor[] tensors, SymInt offset, ScalarType dtype, Device device) -> Tensor"
philox_uniform = define("philox_uniform" + _ARGUMENTS, partial(_draw, UNIT), _fake)
philox_normal = define("philox_normal" + _ARGUMENTS, partial(_draw, GAUSSIAN), _fake)
