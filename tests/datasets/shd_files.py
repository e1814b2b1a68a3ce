"""Small files with the schema of the Heidelberg spiking data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Sample = tuple[Sequence[float], Sequence[int]]  #: times in seconds, units

KEYS = ("one", "two", "fünf")


def write(
    path: Path,
    samples: Sequence[Sample],
    labels: Sequence[int],
    speakers: Sequence[int] = (),
    keys: Sequence[str] = KEYS,
    dtype: Any = np.float16,
) -> Path:
    """A file as it is published: float16 times, uint16 units and labels, names of classes as bytes."""
    with h5py.File(path, "w") as file:
        times = file.create_dataset("spikes/times", (len(samples),), h5py.vlen_dtype(dtype))
        units = file.create_dataset("spikes/units", (len(samples),), h5py.vlen_dtype(np.uint16))
        for at, (when, where) in enumerate(samples):
            times[at], units[at] = np.asarray(when, dtype), np.asarray(where, np.uint16)
        file["labels"] = np.asarray(labels, np.uint16)
        if keys:
            file["extra/keys"] = np.array([key.encode() for key in keys])
        if speakers:
            file["extra/speaker"] = np.asarray(speakers, np.uint16)
    return path


def changed(path: Path, change: Callable[[h5py.File], object]) -> None:
    """Change a file that is there."""
    with h5py.File(path, "a") as file:
        change(file)


def sweeps(count: int, source: np.random.Generator) -> tuple[list[Sample], list[int]]:
    """Three classes of 60 events within a second: units that rise with time, the same that fall, and the same in any order.

    All classes use units and times alike: only what goes with what tells them apart.
    """
    samples: list[Sample] = []
    for at in range(count):
        along = np.sort(source.uniform(0, 1, 60))
        noise = source.normal(0, 10, 60)
        order = [along, 1 - along, source.permutation(along)][at % 3]
        units: NDArray[np.int64] = np.clip(order * 699 + noise, 0, 699).astype(np.int64)
        samples.append((along.tolist(), units.tolist()))
    return samples, [at % 3 for at in range(count)]


def folder(place: Path, train: int = 96, test: int = 60) -> Path:
    """A folder with both files."""
    source = np.random.default_rng(7)
    for name, count in (("train", train), ("test", test)):
        samples, labels = sweeps(count, source)
        write(place / f"shd_{name}.h5", samples, labels, [at % 4 for at in range(count)])
    return place
