"""What commands write: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

_COLOURS: Final = {"red": 31, "green": 32, "yellow": 33, "bold": 1}


def result(text: str) -> None:
    """Write a result to stdout."""
    print(text, flush=True)


def result_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a result to stdout as JSON; numbers that are not finite become ``null``, paths become text."""
    result(json.dumps(_plain(value), indent=2, allow_nan=False, ensure_ascii=False))


def note(text: str) -> None:
    """Tell the user something that is not the result."""
    print(text, file=sys.stderr, flush=True)


def error(lines: Iterable[str]) -> None:
    """Write problems to stderr, one a line."""
    mark = paint("error:", "red", sys.stderr)
    for line in lines:
        note(f"{mark} {line}")


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """The text in a colour where it goes to a terminal and the user has not set ``NO_COLOR``."""
    target = sys.stdout if stream is None else stream
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not target.isatty():
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def table(rows: Sequence[Sequence[object]], head: Sequence[str] = ()) -> str:
    """Left-aligned columns, as wide as they need to be.

    >>> print(table([("relu", 1), ("gelu", 12)], head=("name", "count")))
    name  count
    relu  1
    gelu  12
    """
    cells = [[str(cell) for cell in row] for row in ([head, *rows] if head else rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def pairs(facts: Mapping[str, object]) -> str:
    """One ``name  value`` a line; fractions with four digits behind the point, small ones with their first three."""
    from neurosim.sweep.wording import decimal

    return table([(name, decimal(value) if isinstance(value, float) else value) for name, value in facts.items()])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None  # false for NaN too
    return value if isinstance(value, str | int | bool | None) else str(value)
