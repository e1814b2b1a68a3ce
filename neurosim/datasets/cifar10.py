"""CIFAR-10, from the official binary archive."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from neurosim.datasets.base import DATASETS, Dataset, Split
from neurosim.datasets.fetch import FETCHABLE
from neurosim.datasets.places import find_data
from neurosim.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES_PER_FILE = 10_000

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32  #: a label, then the red, green and blue planes, row by row
_TRAIN = tuple(f"data_batch_{at}.bin" for at in range(1, 6))
_TEST = ("test_batch.bin",)
_WANTED = frozenset(_TRAIN + _TEST)
_ARCHIVE = "cifar-10-binary.tar.gz"
_UNPACKED = "cifar-10-batches-bin"
_PICKLED = frozenset({"data_batch_1", "cifar-10-batches-py", "cifar-10-python.tar.gz"})
_GET = f"`neurosim data fetch cifar10` downloads the binary version, {_ARCHIVE}"


@DATASETS.register("cifar10")
def cifar10(path: str | Path = "cifar10") -> Dataset:
    """The 50,000 training and 10,000 test images of CIFAR-10, 32 × 32 in colour.

    Args:
        path: ``cifar-10-binary.tar.gz``, the folder it unpacks to, or a folder that holds either; a relative one may lie in the working
            folder or in the data folder, where ``neurosim data fetch cifar10`` puts it. The archive is read in memory; nothing is unpacked.

    Raises:
        DataError: It is missing, damaged or something else; the archive for Python among others, because its files are pickles, which can
            run any code when they are read.

    Source:
        A. Krizhevsky, "Learning multiple layers of features from tiny images", technical report, University of Toronto, 2009.
    """
    files = _read(find_data(path, f"the binary version of CIFAR-10 ({_GET})"))
    return Dataset("cifar10", _split(files, _TRAIN), _split(files, _TEST), CLASSES, FETCHABLE["cifar10"].credit)


def _read(place: Path) -> Mapping[str, bytes]:
    """The six files by name."""
    if place.is_file():
        return _read_archive(place)
    for folder in (place, place / _UNPACKED):
        if (folder / _TRAIN[0]).is_file():
            return _read_folder(folder)
    if (place / _ARCHIVE).is_file():
        return _read_archive(place / _ARCHIVE)
    present = sorted(entry.name for entry in place.iterdir())
    if not _PICKLED.isdisjoint(present):
        raise _refused(place)
    raise DataError(f"{place}: must hold {_TRAIN[0]} or {_ARCHIVE}, holds {', '.join(present[:8]) or 'nothing'}; {_GET}")


def _read_folder(folder: Path) -> dict[str, bytes]:
    files = {}
    for name in sorted(_WANTED):
        try:
            size = (folder / name).stat().st_size
            _check_size(folder / name, size)
            files[name] = (folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{folder / name}: cannot be read: {error}; {_GET}") from None
    return files


def _read_archive(path: Path) -> dict[str, bytes]:
    """Only regular files of the wanted names and sizes are read, by name without folder; nothing is written anywhere."""
    files: dict[str, bytes] = {}
    seen = set()
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                seen.add(name)
                content = archive.extractfile(member) if name in _WANTED and member.isfile() else None
                if content is not None:
                    _check_size(f"{path}: {member.name}", member.size)
                    files[name] = content.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: must be the whole archive {_ARCHIVE}, is cut off, damaged or no archive ({error}); {_GET}") from None
    if missing := sorted(_WANTED - files.keys()):
        if not _PICKLED.isdisjoint(seen):
            raise _refused(path)
        raise DataError(f"{path}: must hold {missing[0]}, holds {', '.join(sorted(seen)[:8]) or 'nothing'}; {_GET}")
    return files


def _check_size(where: object, size: int) -> None:
    expected = IMAGES_PER_FILE * _RECORD
    if size != expected:
        raise DataError(f"{where}: must hold {IMAGES_PER_FILE} records of {_RECORD} bytes, {expected} bytes, holds {size}; {_GET}")


def _refused(place: Path) -> DataError:
    why = "whose files are pickles, which can run any code when they are read"
    return DataError(f"{place}: must be the binary version of CIFAR-10, is the one for Python, {why}; {_GET}")


def _split(files: Mapping[str, bytes], names: tuple[str, ...]) -> Split:
    for name in names:
        worst = max(files[name][::_RECORD])
        if worst >= len(CLASSES):
            raise DataError(f"{name}: labels must be from 0 to {len(CLASSES) - 1}, holds {worst}; {_GET}")
    records = np.frombuffer(b"".join(files[name] for name in names), np.uint8).reshape(-1, _RECORD)
    labels = torch.from_numpy(records[:, 0].astype(np.int64))
    return Split(torch.from_numpy(records[:, 1:].reshape(-1, *_SHAPE).copy()), labels)
