"""Files that are either the old one or the whole new one, whenever the process or the machine stops."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Generator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Generator[Path]:
    """A path to write to; it becomes ``path`` when the block succeeds and is removed when it raises.

    The temporary file lies in the folder of ``path`` (its name starts with a dot and ends in ``.tmp``), is flushed to the disk and then
    renamed over ``path`` in one step. A link is followed, and the permissions of a file that is replaced are kept.

    Args:
        path: The file to make or replace; its folder must exist.

    Yields:
        A path that does not exist yet, for any writer that takes a path (HDF5, safetensors, ``torch.save``).

    Raises:
        OSError: The folder is missing or not writable, ``path`` is no regular file, or the block wrote nothing.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with replacing(Path(folder.name, "a.txt")) as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [(file.name, file.read_text()) for file in Path(folder.name).iterdir()]
    [('a.txt', 'whole')]
    >>> folder.cleanup()
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise OSError(f"{target}: must be a regular file to be replaced, is a folder or a device")
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        _flush_to_disk(temporary)
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    with contextlib.suppress(OSError):  # a folder cannot be flushed on Windows and on some network drives; the rename stands
        _flush_to_disk(target.parent)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Make or replace ``path`` with ``data``, atomically.

    Raises:
        OSError: See :func:`replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Make or replace ``path`` with ``text`` as UTF-8, line ends as given, atomically.

    Raises:
        OSError: See :func:`replacing`.
    """
    write_bytes(path, text.encode())


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
