"""What a sensitivity study found, as plain arrays: one column per quantity, one row per trial."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurosim.sweep.spiking import Spiking, same_array

Scope = Literal["all", "each", "all_but_one"]
SCOPES: Final[tuple[Scope, ...]] = ("all", "each", "all_but_one")

OK: Final = 0  #: the trial finished
FAILED: Final = 1  #: the trial raised an error, or its worker died more often than allowed
NON_FINITE: Final = 2  #: the model's outputs were not finite

#: Type of every column of ``Results.trials``; ``error`` is text of any length.
COLUMNS: Final[dict[str, str]] = {
    "point": "u4",
    "scope": "U11",
    "layer": "i4",
    "chip": "u8",
    "read": "u4",
    "value": "f8",
    "loss": "f8",
    "n_correct": "u4",
    "n_total": "u4",
    "wall_s": "f4",
    "status": "u1",
    "error": "U",
}


class LayerInfo(NamedTuple):
    """One analog layer of the model that was studied."""

    name: str  #: module path
    type: str  #: class name
    inputs: int  #: inputs of its matrix
    outputs: int  #: outputs of its matrix


class Baseline(NamedTuple):
    """The digital model (every analog layer ideal) on the same samples."""

    value: float  #: the metric
    loss: float  #: mean cross-entropy; NaN where it is not defined
    n_correct: int
    n_total: int
    bits: NDArray[np.uint8]  #: packed hits, one bit per sample, first sample in the highest bit; empty unless the metric is made of hits


class TrialRow(NamedTuple):
    """One evaluation: one chip, one read, one point of the plan, one scope."""

    point: int
    scope: Scope
    layer: int  #: index of the layer the scope speaks of; -1 for scope ``all``
    chip: int  #: seed of the simulated chip
    read: int  #: which repeat on the same chip
    value: float = float("nan")
    loss: float = float("nan")
    n_correct: int = 0
    n_total: int = 0
    wall_s: float = float("nan")
    status: int = OK
    error: str = ""
    bits: bytes = b""  #: packed hits, as in `Baseline`


@dataclass(frozen=True, eq=False)
class Results:
    """A finished study.

    Args:
        meta: JSON-able facts about the study: what, when, with which versions, settings and acceptance.
        layers: The analog layers; ``trials["layer"]`` counts into this list.
        axes: Axis name to its value at every point.
        keys: Axis name to the hardware parameters it set: dotted key to its value at every point.
        trials: Columns of equal length ``N``; names and types in `COLUMNS`.
        bits: Packed per-sample hits, (N, ceil(samples / 8)) uint8; (N, 0) unless the metric is made of hits.
        baseline: The same model with every analog layer ideal.
        spiking: What its neurons did; ``None`` of models without, and of studies that were made before this was looked at.
    """

    meta: dict[str, Any]
    layers: list[LayerInfo]
    axes: dict[str, list[float | int | str]]
    keys: dict[str, dict[str, list[Any]]]
    trials: dict[str, NDArray[Any]]
    bits: NDArray[np.uint8]
    baseline: Baseline
    spiking: Spiking | None = None

    def __len__(self) -> int:
        """Number of trials."""
        return len(self.trials["point"])

    def where(self, *, point: int | None = None, scope: Scope | None = None, layer: int | None = None) -> NDArray[np.bool_]:
        """Mask of the trials at a point, of a scope, of a layer; what is left out is not asked for."""
        mask = np.ones(len(self), dtype=np.bool_)
        for name, wanted in (("point", point), ("scope", scope), ("layer", layer)):
            if wanted is not None:
                mask &= self.trials[name] == wanted
        return mask

    def same(self, other: Results, *, timing: bool = True) -> bool:
        """Whether both hold the same numbers, bit for bit.

        Args:
            other: The results to compare with.
            timing: Also compare ``meta`` and the seconds each trial took. Two runs of one plan differ in these only.
        """
        columns = [name for name in COLUMNS if timing or name != "wall_s"]
        return (
            (not timing or self.meta == other.meta)
            and self.layers == other.layers
            and _same_columns(self.axes, other.axes)
            and self.keys.keys() == other.keys.keys()
            and all(_same_columns(self.keys[axis], other.keys[axis]) for axis in self.keys)
            and all(same_array(self.trials[name], other.trials[name]) for name in columns)
            and same_array(self.bits, other.bits)
            and same_array(np.array(self.baseline[:4]), np.array(other.baseline[:4]))
            and same_array(self.baseline.bits, other.baseline.bits)
            and (self.spiking.same(other.spiking) if self.spiking is not None else other.spiking is None)
        )


def columns(rows: Iterable[TrialRow], width: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
    """Turn trials into the columns and the packed bits of `Results`.

    Args:
        rows: The trials, in the order they are to have.
        width: Bytes of packed hits a trial; a trial without hits (a failed one) gets zeros.

    Returns:
        ``Results.trials`` and ``Results.bits``.
    """
    listed = list(rows)
    trials: dict[str, NDArray[Any]] = {name: np.array([getattr(row, name) for row in listed], dtype=kind) for name, kind in COLUMNS.items()}
    packed = b"".join(row.bits.ljust(width, b"\0")[:width] for row in listed)
    return trials, np.frombuffer(packed, dtype=np.uint8).reshape(len(listed), width)


def unpack(bits: NDArray[np.uint8], n: int) -> NDArray[np.bool_]:
    """Hits as booleans: (..., ceil(n / 8)) packed bytes to (..., n)."""
    return np.unpackbits(bits, axis=-1, count=n).astype(np.bool_)


def _same_columns(a: dict[str, list[Any]], b: dict[str, list[Any]]) -> bool:
    return list(a) == list(b) and all(len(a[name]) == len(b[name]) and all(map(_same_value, a[name], b[name])) for name in a)


def _same_value(a: object, b: object) -> bool:
    both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
    return both_nan or a == b
