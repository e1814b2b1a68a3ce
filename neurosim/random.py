r"""Counter-based random numbers: a number is a function of its name, never of when or where it is drawn.

A :class:`Stream` is named by (seed, layer path, stage, scope, …), which makes the 64-bit Philox key, and stands at (chip, draw, call),
which with the element's index makes the 128-bit counter. The same name and counter give the same numbers for any chunking, thread count,
batch split and device. Torch's global generator is neither used nor changed.

Element ``i`` takes word ``i mod 4`` of the block with counter ``(i // 4, chip, draw, call)``; how words become numbers is told in
:mod:`neurosim.ops.philox`.

Source:
    J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3 (Philox4x32-10).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.ops.philox import DRAWS, Key, encode, philox4x32, philox_normal, philox_uniform

__all__ = ["Stream", "permutation", "philox4x32", "stream"]


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
        if offset < 0 or offset + count > DRAWS:
            raise ConfigError(f"random numbers: one stream holds elements 0 to 2^34 - 1, got {count} elements from {offset}")
        tensors: list[Tensor] = []
        words = encode(self.key, self[1:], tensors, like.device)
        drawn: Tensor = (philox_normal if normal else philox_uniform)(shape, words, tensors, offset, like.dtype, like.device)
        return drawn


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
    return value & 0xFFFFFFFF, value >> 32


# What torch.compiler.assume_constant_result sets: names are hashed while torch.compile traces. Calling it would import the compiler here.
vars(_key)["_dynamo_marked_constant"] = True
