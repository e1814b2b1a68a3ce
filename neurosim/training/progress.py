"""How far a run is: a bar on a terminal, a line now and then elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

EVERY_SECONDS = 30.0  #: between two lines where there is no terminal


class Progress:
    """Counts the steps of a run.

    Args:
        name: Shown in front.
        total: Steps of the whole run.
        done: Steps done before, in an earlier part of the run.
        stream: Where to write; ``None`` is stderr.
        clock: Seconds from any origin; a parameter for tests.
    """

    def __init__(
        self, name: str, total: int, done: int = 0, *, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._total, self._first, self._done = name, total, done, done
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._start = self._last = clock()
        terminal = self._stream.isatty()
        self._bar = tqdm(total=total, initial=done, desc=name, unit="step", dynamic_ncols=True, file=self._stream) if terminal else None

    def advance(self, text: str) -> None:
        """One more step is done; ``text`` says how it looks now."""
        self._done += 1
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
        elif (now := self._clock()) - self._last >= EVERY_SECONDS:
            self._last = now
            left = (now - self._start) / (self._done - self._first) * (self._total - self._done)
            self._stream.write(f"{self._name}: step {self._done} of {self._total}, {text}, about {_duration(left)} left\n")
            self._stream.flush()

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        if self._bar is not None:
            self._bar.close()


def _duration(seconds: float) -> str:
    """A time in words a person reads at a glance.

    >>> _duration(42.3), _duration(150), _duration(7300)
    ('42 s', '2.5 min', '2.0 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
