"""Work for engines, importable by worker processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from neurosim.errors import ConfigError

Payload = dict[str, Any]


def square(payload: Payload, task: int) -> int:
    """The square; kills its own process for tasks in ``payload["deadly"]``, only once if there is a folder to remember it in."""
    if task in payload.get("deadly", ()):
        mark = Path(payload["once"], str(task)) if "once" in payload else None
        if mark is None or not mark.exists():
            if mark is not None:
                mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return task * task


def facts(payload: Payload, task: int) -> tuple[int, int, bool]:
    """Process, torch's threads, and whether the payload is the one loaded at first."""
    time.sleep(0.05)
    payload["count"] = payload.get("count", 0) + 1
    return os.getpid(), torch.get_num_threads(), payload["count"] > 1


def refuse(payload: Payload, task: int) -> int:
    """Always an error of the user's."""
    raise ConfigError(f"task {task}: is refused\nsecond line")


def interrupt(payload: Payload, task: int) -> int:
    """As if Ctrl-C came in the middle of a serial task."""
    if task == payload["at"]:
        raise KeyboardInterrupt
    return task


class Unloadable:
    """Can be pickled but not loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _explode, ()


def _explode() -> None:
    raise AttributeError("no such thing here")


class Deadly:
    """Kills the process that loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _die, ()


def _die() -> None:
    os._exit(3)


def end_of_file(payload: Payload, task: int) -> int:
    """An error that also says that a pipe has ended."""
    raise EOFError("of the user's own file")


class OwnError(Exception):
    """Cannot be pickled: its arguments are not those of ``__init__``."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def fail_oddly(payload: Payload, task: int) -> int:
    """Raise what cannot travel."""
    raise OwnError(1, 2)
