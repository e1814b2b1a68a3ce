"""Products on arrays without gradient: block by block and pass by pass, so that what the converters see stays in the cache."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from neurosim.hardware.fuse import Piece, run
from neurosim.hardware.layout import Layout
from neurosim.hardware.stages.slices import Slices, factors, passes
from neurosim.nn.array_layer import Chain
from neurosim.nn.chain import AnalogChain
from neurosim.nn.chips_chain import ChipsChain, through
from neurosim.ops.quantize import Error, LearnedLevels, Levels
from neurosim.random import Stream

ELEMENTS: Final[dict[str, int]] = {"cpu": 1 << 17}  #: signals of a block: half a mebibyte
_ELSEWHERE: Final = 1 << 25


class Path:
    """A path of elementwise stages, for signals ``(chips, vectors, …)`` of which one part after the other passes.

    Args:
        chains: Of every chip.
        name: The path.
        call: Which use of the layer within the forward.
    """

    def __init__(self, chains: Sequence[AnalogChain], name: str, call: int) -> None:
        self.chains, self.name, self.call = chains, name, call
        self.pieces: dict[int, list[Piece] | None] = {0: _pieces(chains[0], name, call)}  #: of every chip that was asked for them

    @property
    def local(self) -> bool:
        """Whether a part can pass by itself, and draw what the whole would draw there."""
        return self.pieces[0] is not None

    def __call__(self, y: Tensor, first: int, chip: int = 0) -> Tensor:
        """What becomes of a part.

        Args:
            y: Chips one after the other; of each, what is contiguous in its signal.
            first: The element of a chip's signal at which its part begins.
            chip: The first chip of the part.
        """
        if not self.pieces[0]:
            return y
        if not first:
            return through(self.chains[chip : chip + len(y)], self.name, y, self.call)
        return torch.cat([self._one(y[at : at + 1], first, chip + at) for at in range(len(y))])

    def _one(self, y: Tensor, first: int, chip: int) -> Tensor:
        if chip not in self.pieces:
            self.pieces[chip] = _pieces(self.chains[chip], self.name, self.call)
        return run(y, [_drawn(piece, y, first) for piece in self.pieces[chip] or ()])


class Sent(NamedTuple):
    """What the digital part has received.

    Args:
        y: The sum over passes, tiles and planes, each times its factor, ``(…, products, groups, outputs)``.
        inputs: The sum of what was sent, ``(…, products, groups, 1)``, each pass times its factor.
        full: Which vectors had an output at an end of the converter's range, ``(…, products, groups)``.
    """

    y: Tensor
    inputs: Tensor
    full: Tensor


def paths(chain: Chain, call: int) -> tuple[Path, Path, Path] | None:
    """What happens to a pass on its way to the arrays, behind them and behind the digital sum; None if no part can pass by itself."""
    if chain.watched or "output.scale" in chain.slots:  # which is of all vectors
        return None
    chains = chain.chains if isinstance(chain, ChipsChain) else (chain,)
    sent, received, summed = (Path(chains, name, call) for name in ("passes", "output", "sums"))
    return (sent, received, summed) if sent.local and received.local and summed.local else None


def send(
    codes: Tensor,
    held: Tensor,
    gain: Tensor | None,
    by_plane: Tensor,
    *,
    lies: Layout,
    slices: Slices,
    by: Sequence[Path],
    ends: tuple[float, float] | None,
) -> Sent:
    """The products of all passes; with chips, each tensor has an axis of them first.

    Args:
        codes: What is sent, ``(products, groups, inputs)``.
        held: What the arrays hold, ``(planes, groups, outputs, tiles, rows)``.
        gain: Digital factor of every tile and output, ``(tiles, groups | 1, outputs | 1)``; None for 1.
        by_plane: Factors of the planes.
        lies: How the matrix lies on them.
        slices: The passes.
        by: As :func:`paths` gives it.
        ends: Half a step within the range of the converter, or None where nobody asks which vectors reach its last levels.
    """
    if codes.dim() == 3:
        alone = codes[None], held[None], None if gain is None else gain[None]
        return Sent(*(part[0] for part in send(*alone, by_plane, lies=lies, slices=slices, by=by, ends=ends)))
    sent, received, summed = by
    chips, n, groups = codes.shape[:3]
    planes, outputs = held.shape[1], held.shape[3]
    wide = planes * groups * outputs
    room = max(1, ELEMENTS.get(codes.device.type, _ELSEWHERE) // max(lies.tiles * wide, 1))
    size, several = min(room, n), max(1, room // max(n, 1))
    weight = held.permute(0, 4, 2, 1, 3, 5).reshape(chips, lies.tiles * groups, planes * outputs, lies.rows).transpose(-1, -2)
    y, inputs = codes.new_zeros(chips, n, planes, groups, outputs), codes.new_zeros(chips, n, groups, 1)
    full = torch.zeros(chips, n, groups, dtype=torch.bool, device=codes.device)
    weights = factors(slices)
    for chip, start in itertools.product(range(0, chips, several), range(0, n, max(size, 1))):
        here = slice(chip, chip + several), slice(start, start + size)
        block, arrays = codes[here], weight[here[0]]
        for at, (digits, factor) in enumerate(zip(passes(block, slices), weights, strict=True)):
            inputs[here].add_(digits.sum(-1, keepdim=True), alpha=factor)
            first = at * n + start
            signal = _product(sent(digits, first * digits[0, 0].numel(), chip), arrays, lies, planes)
            signal = received(signal, first * lies.tiles * wide, chip)
            if ends is not None:
                full[here] |= ((signal <= ends[0]) | (signal >= ends[1])).any(-1).any(-2).any(-2)
            signal = signal if gain is None else signal * gain[here[0], None, :, None]
            y[here].add_(summed(signal.squeeze(2) if lies.tiles == 1 else signal.sum(2), first * wide, chip), alpha=factor)
    return Sent(y.mul_(by_plane.reshape(-1, 1, 1)).sum(2), inputs, full)  # in the same order for any number of chips


def tiled(x: Tensor, lies: Layout) -> Tensor:
    """The last axis, inputs, as ``(tiles, rows)``."""
    missing = lies.tiles * lies.rows - lies.inputs
    return (F.pad(x, (0, missing)) if missing else x).reshape(*x.shape[:-1], lies.tiles, lies.rows)


def _product(x: Tensor, weight: Tensor, lies: Layout, planes: int) -> Tensor:
    """``(chips, vectors, tiles, planes, groups, outputs)`` for the vectors ``(chips, vectors, groups, inputs)`` of a pass."""
    chips, n, groups = x.shape[:3]
    if weight.shape[1] == 1:
        flat, matrices = x.reshape(chips, n, -1), weight[:, 0]
        y = torch.bmm(flat, matrices) if chips > 1 else flat[0] @ matrices[0]
        return y.reshape(chips, n, 1, planes, 1, -1)
    by_array = tiled(x, lies).permute(0, 3, 2, 1, 4).reshape(-1, n, lies.rows)
    y = torch.bmm(by_array, weight.flatten(0, 1)).reshape(chips, lies.tiles, groups, n, planes, -1)
    return y.permute(0, 3, 1, 4, 2, 5).contiguous()


def _pieces(chain: AnalogChain, name: str, call: int) -> list[Piece] | None:
    every: list[Piece] = []
    for step in chain.steps.get(name, ()):
        if chain.modes[step.slot] != "ideal":
            stage, *about = chain.about(step, call)
            found = stage.pieces(step.spec, *about)
            if found is None or not all(_local(piece) for piece in found):
                return None
            every += found
    return every


def _local(piece: Any) -> bool:
    """Whether a part of a signal can be told what it draws."""
    if isinstance(piece, Error):
        return piece.distribution == "gaussian" or isinstance(piece.source, Tensor)
    return not isinstance(piece, (Levels, LearnedLevels)) or piece.stream is None or piece.rounding != "stochastic"


def _drawn(piece: Piece, y: Tensor, first: int) -> Piece:
    if isinstance(piece, Error) and isinstance(piece.source, Stream):
        return piece._replace(source=piece.source.normal(y.shape, like=y, offset=first))
    return piece
