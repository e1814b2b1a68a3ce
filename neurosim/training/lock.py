"""One training to a run folder: a lock of the operating system, which ends with its process however that ends."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

from neurosim.errors import CheckpointError

_NAME: Final = ".lock"
_TRIES: Final = 5  # who only asks holds the lock for a moment; that is not somebody training
_WAIT: Final = 0.05  # s
_log = logging.getLogger(__name__)

if sys.platform == "win32":
    import msvcrt

    _AT: Final = 1 << 30  # a locked byte cannot be read; this one lies behind the text

    def _acquire(descriptor: int) -> None:
        os.lseek(descriptor, _AT, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _release(descriptor: int) -> None:
        os.lseek(descriptor, _AT, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _acquire(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextlib.contextmanager
def locked(folder: Path) -> Generator[None]:
    """Within the block nobody else can train in ``folder``; the file ``.lock`` stays, it is the lock on it that counts.

    A drive that knows no locks gives a warning line, and no protection.

    Args:
        folder: Of a run; must exist.

    Raises:
        CheckpointError: A process trains there, this one or another.
        OSError: The folder cannot be written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder)):
    ...     is_locked(Path(folder))
    True
    """
    descriptor = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        held = _take(descriptor, folder)
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"{os.getpid():<20}\n".encode())
            yield
        finally:
            if held:
                _release(descriptor)  # a child that was forked has the descriptor too; closing ours would not be enough
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether a process is training in ``folder``; nothing is written."""
    try:
        descriptor = os.open(folder / _NAME, os.O_RDWR)
    except OSError:
        return False
    try:
        _acquire(descriptor)
        _release(descriptor)
    except OSError as error:
        return _is_taken(error)
    finally:
        os.close(descriptor)
    return False


def _take(descriptor: int, folder: Path) -> bool:
    """Lock it; False when the drive knows no locks."""
    for left in reversed(range(_TRIES)):
        try:
            _acquire(descriptor)
        except OSError as error:
            if not _is_taken(error):
                _log.warning("%s: cannot be locked (%s); do not train in it from two processes", folder, error.strerror)
                return False
            if left:
                time.sleep(_WAIT)
        else:
            return True
    os.lseek(descriptor, 0, os.SEEK_SET)
    owner = os.read(descriptor, 20).decode(errors="replace").strip()
    raise CheckpointError(f"{folder}: is being trained by process {owner or '(unknown)'}; wait for its end, or stop it")


def _is_taken(error: OSError) -> bool:
    return error.errno in (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
