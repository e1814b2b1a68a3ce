"""Opening HDF5 files that others wrote: whole and readable, or refused with what is wrong."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neurosim.errors import DataError


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, open for reading; one whose name ends in ``.gz`` is unpacked in memory.

    Raises:
        DataError: It is not an HDF5 file, or turns out to be damaged while it is read; ``DataError`` of the reader passes through.
    """
    import h5py

    content = _unpacked(path) if path.suffix == ".gz" else path
    try:
        file = h5py.File(content, "r", locking="best-effort")
    except OSError as error:
        raise DataError(f"{path}: must be a whole HDF5 file that can be opened for reading: {error}{_locking_hint(str(error))}") from None
    with file:
        try:
            yield file
        except DataError:
            raise
        except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:  # what h5py makes of damaged bytes
            raise DataError(f"{path}: must be a whole HDF5 file, is damaged: {error}") from error


def dataset(path: Path, file: Any, name: str, otherwise: str = "") -> Any:
    """The dataset of that name in an open file.

    Args:
        path: The file's, for the message.
        file: The open file.
        name: Without the leading slash.
        otherwise: For the message, what might be there in its place.

    Raises:
        DataError: There is none; the message lists what there is.
    """
    found = file.get(name)
    if found is None or not hasattr(found, "shape"):
        held = _contents(file)
        listed = ", ".join(f"{at} {kind}" for at, kind in list(held.items())[:12]) or "no dataset at all"
        raise DataError(f"{path}: must hold the dataset '/{name}'{otherwise}; holds {listed}")
    return found


def _unpacked(path: Path) -> io.BytesIO:
    try:
        with gzip.open(path, "rb") as file:
            return io.BytesIO(file.read())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: must be a whole gzip file, is cut off or damaged ({error}); get it again") from None


def _contents(file: Any) -> dict[str, str]:
    """Path of each dataset → type and shape."""
    held: dict[str, str] = {}

    def note(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            held[f"/{name}"] = f"{item.dtype} {item.shape}"

    file.visititems(note)
    return held


def _locking_hint(text: str) -> str:
    return "; on a network drive, the environment variable HDF5_USE_FILE_LOCKING=FALSE may help" if "lock" in text.lower() else ""
