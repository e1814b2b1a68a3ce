"""NIR files: read with care, written whole or not at all.

An ``.nir`` file is HDF5. Nothing in it is code, and neither h5py nor nir unpickles; but a small file may declare arrays that fill the
memory, link to other files, or contain itself, and what nir says of a damaged one are assertions and key errors. So it is looked through
first.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from neurosim.atomicfile import replacing
from neurosim.convert.optional import require
from neurosim.errors import ConversionError

_DEEP: Final = 64  #: groups within groups
_LARGE: Final = 1 << 26  #: bytes that an array may declare without holding them
_RATIO: Final = 1100  #: more than deflate can compress


def read_graph(path: str | os.PathLike[str], where: str) -> Any:
    """The graph in a file.

    Raises:
        ConfigError: nir is not installed.
        ConversionError: It is no NIR file, or one that no writer makes.
        OSError: There is no such file.
    """
    require("nir", where)
    import h5py
    import nir

    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{where}: {file} must be a file, and is none")
    try:
        with h5py.File(file, "r") as opened:
            _look_through(where, opened, "", 0, set())
        graph = nir.read(file, type_check=False)
    except ConversionError:
        raise
    except Exception as error:  # whatever nir raises of what it finds: assertions, key errors, type errors
        raise ConversionError(f"{where}: {file} must be a NIR file, got {type(error).__name__}: {error}") from error
    if not isinstance(graph, nir.NIRGraph):
        raise ConversionError(f"{where}: {file} must hold a graph, got a single {type(graph).__name__}")
    return graph


def write_graph(path: str | os.PathLike[str], graph: Any) -> None:
    """Make or replace a file; it is either the old one or the whole new one.

    Raises:
        OSError: It cannot be written.
    """
    import nir

    with replacing(path) as temporary:
        nir.write(temporary, graph)


def _look_through(where: str, group: Any, path: str, depth: int, seen: set[int]) -> None:
    """Raise unless everything in a group is in this file, once, and as large as it says."""
    import h5py

    if depth > _DEEP:
        raise ConversionError(f"{where}: groups must not lie more than {_DEEP} deep, got {path[:60]}…")
    for name in group:
        here = f"{path}/{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ConversionError(f"{where}: {here} must lie in the file itself, is a link")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise ConversionError(f"{where}: {here} must be there once, lies elsewhere in the file too")
        seen.add(address)
        if isinstance(item, h5py.Group):
            _look_through(where, item, here, depth + 1, seen)
        elif isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external:
                raise ConversionError(f"{where}: {here} must lie in the file itself, is a link to others")
            if item.nbytes > _LARGE and item.nbytes > _RATIO * (held := item.id.get_storage_size()):
                raise ConversionError(f"{where}: {here} must hold what it declares, {item.nbytes:,} bytes, holds {held:,}")
