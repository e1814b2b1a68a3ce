"""Stages that are pieces of one pass over memory: an error, limits, levels, an error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from neurosim.ops.quantize import Error, LearnedLevels, Levels, Limits, Prepared, convert, prepare
from neurosim.random import Stream

Piece = Error | Limits | Levels | LearnedLevels


def run(x: Tensor, pieces: Iterable[Piece]) -> Tensor:
    """The pieces one after the other, in as few passes as their order allows.

    Args:
        x: Signal, a floating-point type.
        pieces: What is done to it, in order; none returns ``x`` itself.

    Returns:
        Same shape and dtype as ``x``.

    >>> import torch
    >>> run(torch.tensor([-2.0, 0.3]), [Limits(-1.0, 1.0, "through"), Levels(4.0, -1.0, -1.0, 1.0, "half_even", "none", "ste", None)])
    tensor([-1.0000,  0.2500])
    """
    for once in _passes(pieces):
        x = convert(x, **once)
    return x


def prepared(pieces: Iterable[Piece]) -> list[tuple[Prepared, list[Stream]]] | None:
    """The passes of :func:`run` and the streams each draws from; None if a piece holds a tensor, which is another for every signal."""
    every = list(pieces)
    if any(isinstance(field, Tensor) for piece in every for field in piece):
        return None
    return [prepare(**once) for once in _passes(every)]


def _passes(pieces: Iterable[Piece]) -> list[dict[str, Any]]:
    """The arguments of one pass after the other."""
    passes: list[dict[str, Any]] = []
    reached = -1
    for piece in pieces:
        place, name = _place(piece, first=not passes)
        if not passes or place <= reached:
            passes.append({})
            place, name = _place(piece, first=True)
        passes[-1][name], reached = piece, place
    return passes


def _place(piece: Piece, first: bool) -> tuple[int, str]:
    if isinstance(piece, Error):
        return (0, "before") if first else (3, "after")
    return (1, "limits") if isinstance(piece, Limits) else (2, "levels")
