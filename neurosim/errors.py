"""Every error this package raises on purpose.

.. code-block:: text

    NeurosimError
    ├── ConfigError      a config, a profile, an argument: what the user wrote does not hold   (also a ValueError)
    ├── ConversionError  a model cannot be put on this hardware as asked                       (also a ValueError)
    ├── DataError        a data set is missing, truncated or not what it says it is            (also a ValueError)
    ├── CheckpointError  a checkpoint or result file cannot be used                            (also a ValueError)
    └── RunError         a run failed: it diverged, its worker died too often                  (also a RuntimeError)

A message reads ``where: what must hold, got what``, and names the nearest valid spelling where there is one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NeurosimError(Exception):
    """Base of all errors of this package."""


class ConfigError(NeurosimError, ValueError):
    """What the user wrote (config, profile, argument) does not hold.

    Args:
        message: One problem, or several joined by newlines.
        problems: The problems one by one; by default the lines of ``message``.
    """

    def __init__(self, message: str, problems: Iterable[str] | None = None) -> None:
        super().__init__(message)
        self.problems: tuple[str, ...] = tuple(problems) if problems is not None else tuple(message.splitlines())

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, tuple[str, ...]]]:
        return type(self), (str(self), self.problems)


class ConversionError(NeurosimError, ValueError):
    """A model cannot be put on this hardware as asked; the model is left as it was."""


class DataError(NeurosimError, ValueError):
    """A data set is missing, truncated, or not what it says it is."""


class CheckpointError(NeurosimError, ValueError):
    """A checkpoint or result file is missing, damaged, or belongs to something else."""


class RunError(NeurosimError, RuntimeError):
    """A run could not be finished."""


class DivergenceError(RunError):
    """A training left the finite numbers."""


def with_article(name: str) -> str:
    """A name in a sentence.

    >>> with_article("Identity"), with_article("Conv2d"), with_article("UnifiedNorm"), with_article("RMSNorm")
    ('an Identity', 'a Conv2d', 'a UnifiedNorm', 'an RMSNorm')
    """
    vowel = name[:1] in "AEIOaeio" or (name[:1] in "Uu" and name[:3].lower() != "uni")
    return f"an {name}" if vowel or name.startswith(("RMS", "FRN", "LSTM", "MPBN")) else f"a {name}"


def nearest(name: str, valid: Iterable[str]) -> str:
    """A suggestion to append to an error message: the closest valid names, or all of them when there are few.

    Args:
        name: What was given.
        valid: What would have been accepted.

    Returns:
        Text that begins with ``"; "``, or an empty string when there is nothing to suggest.

    >>> nearest("lod", ["load", "save"])
    "; did you mean 'load'?"
    >>> nearest("DyT", ["dyt", "layer"])
    "; did you mean 'dyt'?"
    >>> nearest("zzz", ["load", "save"])
    "; valid: 'load', 'save'"
    """
    names = sorted(set(valid))
    lower = {one.lower(): one for one in names}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {lower[close[0]]!r}?"
    if 0 < len(names) <= 12:
        return "; valid: " + ", ".join(map(repr, names))
    return ""
