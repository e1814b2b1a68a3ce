"""Being asked to stop: finish the step, save, say how to go on."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; its state is saved.

    Args:
        signum: The signal that asked.
        resume_command: What to type to go on.
    """

    def __init__(self, signum: int, resume_command: str) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}, the state is saved; go on with: {resume_command}")
        self.signum = signum
        self.resume_command = resume_command

    @property
    def exit_code(self) -> int:
        """What a shell expects: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.signum

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int, str]]:
        return type(self), (self.signum, self.resume_command)


class StopSignals:
    """While entered, the first SIGINT or SIGTERM is only noted; a second one acts as it always did.

    Outside the main thread, where Python allows no handlers, nothing is noted.
    """

    def __init__(self) -> None:
        self.received: int | None = None  #: the signal that came, if one has
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
        self._restore()
        text = f"{signal.Signals(signum).name}: finishing the step and saving; send it again to stop at once without saving"
        with contextlib.suppress(OSError):
            os.write(2, f"\n{text}\n".encode())  # not sys.stderr: it may be in the middle of a write

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned
        self._before = {}
