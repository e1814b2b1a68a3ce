r"""Counter-based random numbers: a number is a function of its name, never of when or where it is drawn.

A :class:`Stream` is named by (seed, layer path, stage, scope, …), which makes the 64-bit Philox key, and stands at (chip, draw, call),
which with the element's index makes the 128-bit counter. The same name and counter give the same numbers for any chunking, thread count,
batch split and device. Torch's global generator is neither used nor changed.

Words and numbers. Element ``i`` takes word ``i mod 4`` of the block with counter ``(i // 4, chip, draw, call)``. With the word's bits
``b``,

.. math:: u = \left(\lfloor b / 2^8 \rfloor + \tfrac12\right) 2^{-24}, \qquad
   (z_0, z_1) = \sqrt{-2 \ln u_0}\,\left(\cos 2\pi u_1, \sin 2\pi u_1\right)

where words (0, 1) and (2, 3) of a block make one Box–Muller pair each. ``u`` is rounded to the result's precision and then kept below 1.

Source:
    J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3 (Philox4x32-10).
    G. E. P. Box, M. E. Muller, "A note on the generation of random normal deviates", Ann. Math. Statist. 29 (1958).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from neurosim.errors import ConfigError

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_WORDS = 4
_CHUNK_BLOCKS = 1 << 18  #: blocks a pass: bounds the working memory to a few tens of MiB

Key = tuple[int, int]
Counter = tuple[int | Tensor, int | Tensor, int | Tensor, int | Tensor]


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


def _high(product: int | Tensor) -> int | Tensor:
    """The upper word; an int64 product has wrapped, and its sign bits must go."""
    return (product >> 32) & _MASK


class Stream(NamedTuple):
    """A named source of random numbers that stands at one counter; drawing from it twice gives the same numbers.

    Args:
        key: The Philox key; make it with :func:`stream`.
        chip: Which chip instance, an int or a 0-dim int64 tensor in [0, 2³²); a tensor allows ``torch.func.vmap`` over chips.
        draw: Which forward of the model, likewise.
        call: Which use of the layer within that forward, likewise.
    """

    key: Key
    chip: int | Tensor = 0
    draw: int | Tensor = 0
    call: int | Tensor = 0

    def child(self, name: str) -> Stream:
        """An independent stream at the same counter, for a second draw within one place."""
        return self._replace(key=_key(self.key[0], self.key[1], name))

    def words(self, first: int, blocks: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four words of ``blocks`` consecutive blocks from block ``first`` on."""
        index = torch.arange(first, first + blocks, dtype=torch.int64, device=device)
        return philox4x32((index, self.chip, self.draw, self.call), self.key)

    def uniform(self, shape: Sequence[int], *, like: Tensor, offset: int = 0) -> Tensor:
        """Uniform numbers in the open interval (0, 1), multiples of 2⁻²⁵ (rounded to the precision of the result).

        Args:
            shape: Shape of the result.
            like: Gives dtype (float16 and bfloat16 are drawn in float32 and rounded) and device.
            offset: Index of the first element: a draw of 10 numbers equals a draw of 4 and one of 6 with ``offset=4``.

        Returns:
            A tensor of that shape, without gradient.
        """
        return self._draw(shape, like, offset, normal=False)

    def normal(self, shape: Sequence[int], *, like: Tensor, offset: int = 0) -> Tensor:
        """Standard normal numbers; arguments and result as in :meth:`uniform`. Their size is at most 5.89."""
        return self._draw(shape, like, offset, normal=True)

    def _draw(self, shape: Sequence[int], like: Tensor, offset: int, normal: bool) -> Tensor:
        if not like.dtype.is_floating_point:
            raise ConfigError(f"random numbers: the result must be floating point, got {like.dtype}")
        count = math.prod(shape)
        if offset < 0 or offset + count > _WORDS << 32:
            raise ConfigError(f"random numbers: one stream holds elements 0 to 2^34 - 1, got {count} elements from {offset}")
        if torch.compiler.is_compiling():
            counter = [torch.as_tensor(word, device=like.device) for word in (self.chip, self.draw, self.call)]
            drawn: Tensor = torch.ops.neurosim.philox(list(shape), *self.key, *counter, offset, normal, like.dtype)
            return drawn
        return _draw(shape, self, offset, normal, like.dtype, like.device)


def stream(seed: int, *names: str, chip: int | Tensor = 0, draw: int | Tensor = 0, call: int | Tensor = 0) -> Stream:
    """The stream of that seed and those names.

    Args:
        seed: The user's seed, an int in [0, 2⁶³).
        names: What the numbers are for, from the general to the particular; ``("a", "b")`` and ``("ab",)`` are different names.
        chip, draw, call: Where it stands; see :class:`Stream`.

    Raises:
        ConfigError: The seed is out of range.

    >>> x = torch.empty(0)
    >>> bool((stream(1, "a").normal((3,), like=x) == stream(1, "a").normal((3,), like=x)).all())
    True
    >>> stream(1, "a").key == stream(1, "b").key
    False
    """
    if type(seed) is not int or not 0 <= seed < 1 << 63:
        raise ConfigError(f"seed: must be an integer from 0 to 2^63 - 1, got {seed!r}")
    return Stream(_key(seed, *names), chip, draw, call)


def permutation(source: Stream, n: int) -> Tensor:
    """A permutation of ``0 … n − 1``, int64, on the CPU: the order of 48-bit keys, equal keys by index.

    Args:
        source: Where the keys come from.
        n: Length, ≥ 0.
    """
    w0, w1, w2, w3 = source.words(0, -(-n // 2), torch.device("cpu"))
    keys = torch.stack([(w0 << 16) | (w1 >> 16), (w2 << 16) | (w3 >> 16)], -1).flatten()[:n]
    return torch.argsort(keys, stable=True)


def _key(*names: str | int) -> Key:
    text = b"".join(len(part).to_bytes(8, "little") + part for part in (str(name).encode() for name in names))
    value = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
    return value & _MASK, value >> 32


def _draw(shape: Sequence[int], source: Stream, offset: int, normal: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    pairs = _normal_pairs if normal else _uniform_pairs
    count = math.prod(shape)
    first, skip = divmod(offset, _WORDS)
    blocks = -(-(skip + count) // _WORDS)
    with torch.no_grad():
        parts = []
        for at in range(0, max(blocks, 1), _CHUNK_BLOCKS):
            w0, w1, w2, w3 = source.words(first + at, min(_CHUNK_BLOCKS, blocks - at), device)
            parts.append(torch.stack([*pairs(w0, w1, compute), *pairs(w2, w3, compute)], -1))
        flat = parts[0].flatten() if len(parts) == 1 else torch.cat(parts).flatten()
        return flat[skip : skip + count].reshape(tuple(shape)).to(dtype)


def _unit(word: Tensor, dtype: torch.dtype) -> Tensor:
    below_one = 1 - (2.0**-24 if dtype == torch.float32 else 2.0**-25)
    return ((word >> 8).to(dtype) + 0.5).mul_(2.0**-24).clamp(max=below_one)


def _uniform_pairs(a: Tensor, b: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return _unit(a, dtype), _unit(b, dtype)


def _normal_pairs(a: Tensor, b: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    radius = _unit(a, dtype).log_().mul_(-2.0).sqrt_()
    angle = _unit(b, dtype).mul_(2 * math.pi)
    return radius * angle.cos(), radius * angle.sin()


@torch.library.custom_op("neurosim::philox", mutates_args=())
def _philox(
    shape: Sequence[int], k0: int, k1: int, chip: Tensor, draw: Tensor, call: Tensor, offset: int, normal: bool, dtype: torch.dtype
) -> Tensor:
    """A draw as one opaque operation for ``torch.compile``: unrolled into the graph, the ten rounds take minutes to compile."""
    return _draw(shape, Stream((k0, k1), chip, draw, call), offset, normal, dtype, chip.device)


@_philox.register_fake
def _(
    shape: Sequence[int], k0: int, k1: int, chip: Tensor, draw: Tensor, call: Tensor, offset: int, normal: bool, dtype: torch.dtype
) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype, device=chip.device)
