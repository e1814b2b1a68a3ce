"""The Heidelberg spiking data sets: spoken words as events of 700 units of an artificial cochlea."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from tqdm import tqdm

from neurosim.checks import one_of, whole
from neurosim.datasets.base import DATASETS, Dataset, Split
from neurosim.datasets.events import bin_events
from neurosim.datasets.hdf5_file import dataset, opened
from neurosim.datasets.places import find_data
from neurosim.errors import ConfigError, DataError

Events = Literal["count", "binary"]

UNITS: Final = 700  #: of the artificial cochlea
_PAGE = "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd"
_CREDIT = "B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, IEEE Trans. Neural Netw. Learn. Syst. 33 (2022) 2744-2757, CC BY 4.0"
_MOST = 127  #: events that an int8 counts
_CHUNK = 16  #: samples that are counted at once: few enough for the caches of a CPU


@DATASETS.register("shd")
def shd(
    path: str | Path = "shd",
    time_steps: PositiveInt = 100,
    dt: PositiveFloat = 14e-3,
    pool: PositiveInt = 1,
    events: Events = "count",
    validation_speakers: tuple[Annotated[int, Field(ge=0)], ...] = (),
) -> Dataset:
    """The Spiking Heidelberg Digits: 8,156 and 2,264 spoken digits, 0 to 9 in English and in German, as events of 700 units.

    The files ``shd_train.h5`` and ``shd_test.h5``, as they are or with ``.gz``, come from https://zenkelab.org/resources/spiking-heidelberg-datasets-shd
    and are licensed under CC BY 4.0. They hold

    .. code-block:: text

        /spikes/times   (n,) arrays of any length    floating point, seconds; the longest sample ends before 1.4 s
        /spikes/units   (n,) arrays of any length    integers from 0 to 699, one for each time
        /labels         (n,)                         integers from 0 on
        /extra/keys     (classes,)                   names of the classes; by default 0, 1, …
        /extra/speaker  (n,)                         integers; needed for validation_speakers only

    Samples are int8 ``(time_steps, 700 / pool)``: 70 kB each, 730 MB in all, with the settings that are given here.

    Args:
        path: The folder with the two files; a relative one may lie in the working folder or in the data folder.
        time_steps: Steps of a sample; events after the last are left out.
        dt: Length of a step, seconds. Times are stored as float16: after 1 s they are 1 ms apart.
        pool: How many neighbouring units share an input; it divides 700.
        events: ``count`` says how many events a step and input has, ``binary`` only whether it has any.
        validation_speakers: Speakers whose training samples are the validation set; with none, a share of all samples is taken, as for
            other data. Speakers whom the network has not heard, as some of the test set, are harder.

    Raises:
        ConfigError: An argument is not as above.
        DataError: A file is missing, cut off or damaged, or does not hold what it must; the message says which dataset and what is there.

    Source:
        B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, "The Heidelberg spiking data sets for the systematic evaluation of spiking neural
        networks", IEEE Trans. Neural Netw. Learn. Syst. 33 (2022) 2744-2757, doi:10.1109/TNNLS.2020.3044364.
    """
    grid = _Grid(time_steps, dt, pool, events)
    folder = _folder(path, "shd_train.h5", "shd_test.h5")
    train = _read(folder / "shd_train.h5", grid, 20)
    test = _read(folder / "shd_test.h5", grid, 20, like=train)
    kept, validation = _by_speaker(train, validation_speakers) if validation_speakers else (train.split, None)
    return Dataset("shd", kept, test.split, train.classes, f"Spiking Heidelberg Digits: {_CREDIT}", validation)


@DATASETS.register("ssc")
def ssc(
    path: str | Path = "ssc", time_steps: PositiveInt = 100, dt: PositiveFloat = 14e-3, pool: PositiveInt = 5, events: Events = "count"
) -> Dataset:
    """The Spiking Speech Commands: 75,466, 9,981 and 20,382 spoken words of 35 kinds, as events of 700 units.

    The files ``ssc_train.h5``, ``ssc_valid.h5`` and ``ssc_test.h5`` are like those of :func:`shd` and come from the same place; the second
    is the validation set. With ``pool: 5`` the samples take 1.5 GB in all, with ``pool: 1`` 7.4 GB.

    Args:
        path: The folder with the three files; a relative one may lie in the working folder or in the data folder.
        time_steps: Steps of a sample; events after the last are left out.
        dt: Length of a step, seconds.
        pool: How many neighbouring units share an input; it divides 700.
        events: ``count`` says how many events a step and input has, ``binary`` only whether it has any.

    Raises:
        ConfigError, DataError: See :func:`shd`.

    Source:
        As for :func:`shd`.
    """
    grid = _Grid(time_steps, dt, pool, events)
    folder = _folder(path, "ssc_train.h5", "ssc_valid.h5", "ssc_test.h5")
    train = _read(folder / "ssc_train.h5", grid, 35)
    validation, test = (_read(folder / f"ssc_{name}.h5", grid, 35, like=train) for name in ("valid", "test"))
    return Dataset("ssc", train.split, test.split, train.classes, f"Spiking Speech Commands: {_CREDIT}", validation.split)


@dataclass(frozen=True)
class _Grid:
    """How events become numbers."""

    time_steps: int
    dt: float
    pool: int
    events: Events

    def __post_init__(self) -> None:
        whole("shd: time_steps", self.time_steps, 1)
        whole("shd: pool", self.pool, 1)
        one_of("shd: events", self.events, ("count", "binary"))
        if not 0 < self.dt < float("inf"):
            raise ConfigError(f"shd: dt must be a finite number of seconds, more than 0, got {self.dt!r}")
        if UNITS % self.pool:
            raise ConfigError(f"shd: pool must divide the {UNITS} units, got {self.pool}")


@dataclass(frozen=True)
class _File:
    """What a file holds."""

    path: Path
    split: Split
    classes: tuple[str, ...]
    speakers: NDArray[np.int64] | None


def _folder(path: str | Path, *names: str) -> Path:
    folder = find_data(path, f"the folder with {' and '.join(names)} from {_PAGE}")
    for name in names:
        if not (folder / name).is_file() and not (folder / f"{name}.gz").is_file():
            raise DataError(f"{folder}: must be a folder with the file {name} or {name}.gz, has neither; they come from {_PAGE}")
    return folder


def _read(path: Path, grid: _Grid, classes: int, like: _File | None = None) -> _File:
    """One file; its classes are named as in ``like``, where that is given."""
    path = path if path.is_file() else path.with_name(f"{path.name}.gz")
    with opened(path) as file:
        labels = _integers(path, file, "labels")
        names = _names(path, file) or (like.classes if like else tuple(str(at) for at in range(classes)))
        if like is not None and names != like.classes:
            raise DataError(
                f"{path}: '/extra/keys' must name the classes as {like.path.name} does, {list(like.classes)}, has {list(names)}"
            )
        if not 0 <= labels.min() <= labels.max() < len(names):
            raise DataError(
                f"{path}: '/labels' must be from 0 to {len(names) - 1}, of {len(names)} classes, holds {labels.min()} to {labels.max()}"
            )
        speakers = _integers(path, file, "extra/speaker", len(labels)) if "extra/speaker" in file else None
        samples = _counted(path, file, len(labels), grid)
    return _File(path, Split(torch.from_numpy(samples), torch.from_numpy(labels)), names, speakers)


def _counted(path: Path, file: Any, count: int, grid: _Grid) -> NDArray[np.int8]:
    """The samples on the grid."""
    times, units = _ragged(path, file, "spikes/times", "f", count), _ragged(path, file, "spikes/units", "iu", count)
    samples = np.empty((count, grid.time_steps, UNITS // grid.pool), np.int8)
    with tqdm(total=count, desc=f"count events of {path.name}", unit="sample", delay=2, disable=None) as bar:
        for start in range(0, count, _CHUNK):
            when, where = times[start : start + _CHUNK], units[start : start + _CHUNK]
            lengths = _checked(path, start, when, where)
            counts = bin_events(
                np.concatenate(when), np.concatenate(where), lengths, time_steps=grid.time_steps, dt=grid.dt, inputs=UNITS, pool=grid.pool
            )
            if grid.events == "binary":
                counts = np.minimum(counts, 1)
            elif counts.max() > _MOST:
                at, step, one = (int(index[0]) for index in np.nonzero(counts > _MOST))
                raise DataError(
                    f"{path}: sample {start + at} has {counts[at, step, one]} events in step {step} at input {one}, counts go up to "
                    f"{_MOST}; take a smaller dt with more time_steps, a smaller pool, or events='binary'"
                )
            samples[start : start + _CHUNK] = counts
            bar.update(len(lengths))
    return samples


def _checked(path: Path, start: int, times: Sequence[NDArray[Any]], units: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """How many events each sample has, if all are what they must be."""
    for at, (when, where) in enumerate(zip(times, units, strict=True), start):
        if len(when) != len(where):
            raise DataError(f"{path}: sample {at} must have a unit for each of its {len(when)} times, has {len(where)}")
        if len(when) and not (np.isfinite(when).all() and when.min() >= 0):
            raise DataError(f"{path}: '/spikes/times' must be finite seconds from 0 on; sample {at} holds {when.min():g} to {when.max():g}")
        if len(where) and not 0 <= where.min() <= where.max() < UNITS:
            raise DataError(f"{path}: '/spikes/units' must be from 0 to {UNITS - 1}; sample {at} holds {where.min()} to {where.max()}")
    return np.array([len(when) for when in times], np.int64)


def _ragged(path: Path, file: Any, name: str, kinds: str, count: int) -> Any:
    """A dataset of arrays of any length, one for each sample."""
    import h5py

    found = dataset(path, file, name)
    kind = h5py.check_vlen_dtype(found.dtype)
    if kind is None or np.dtype(kind).kind not in kinds or found.ndim != 1:
        wanted = "floating point" if kinds == "f" else "integers"
        held = found.dtype if kind is None else f"arrays of {kind}"
        raise DataError(f"{path}: '/{name}' must be (n,) arrays of any length of {wanted}, is {held} {found.shape}")
    if found.shape[0] != count:
        raise DataError(f"{path}: '/{name}' must hold as many arrays as '/labels' holds labels, {count}, holds {found.shape[0]}")
    return found


def _integers(path: Path, file: Any, name: str, count: int | None = None) -> NDArray[np.int64]:
    found = dataset(path, file, name)
    if found.dtype.kind not in "iu" or found.ndim != 1 or not found.size or (count is not None and len(found) != count):
        wanted = "at least one integer" if count is None else f"{count} integers, one for each label,"
        raise DataError(f"{path}: '/{name}' must be {wanted} in one dimension, is {found.dtype} {found.shape}")
    return cast("NDArray[np.int64]", found[()].astype(np.int64))


def _names(path: Path, file: Any) -> tuple[str, ...]:
    """The names of the classes, if the file has them."""
    if "extra/keys" not in file:
        return ()
    found = dataset(path, file, "extra/keys")
    texts = [text.decode(errors="replace") if isinstance(text, bytes) else text for text in np.atleast_1d(found[()]).tolist()]
    if found.ndim != 1 or not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{path}: '/extra/keys' must be texts in one dimension, the names of the classes, is {found.dtype} {found.shape}")
    return tuple(texts)


def _by_speaker(file: _File, wanted: Sequence[int]) -> tuple[Split, Split]:
    """The samples of all other speakers, and those of the ones that are wanted."""
    if file.speakers is None:
        raise DataError(f"{file.path}: must hold the dataset '/extra/speaker' for validation_speakers, has none")
    known = np.unique(file.speakers).tolist()
    if not set(wanted) < set(known):
        raise DataError(f"{file.path}: validation_speakers must be some, not all, of its speakers {known}, got {list(wanted)}")
    theirs = torch.from_numpy(np.isin(file.speakers, list(wanted)))
    kept, taken = (Split(file.split.images[mask], file.split.labels[mask]) for mask in (~theirs, theirs))
    return kept, taken
