"""The numbers of a run as files: ``metrics.jsonl``, the same rows as ``metrics.csv``, and TensorBoard where it is wanted."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from neurosim.atomicfile import write_text
from neurosim.errors import CheckpointError, ConfigError

Value = float | int | str | bool | None


class MetricsLog:
    """Appends rows to ``metrics.jsonl`` and ``metrics.csv``; what is written is flushed at once.

    The CSV has a column for every key seen so far, in the order of their first appearance; it is written anew when a new one appears.
    Numbers that are not finite become ``null`` and an empty cell.

    Args:
        folder: Of the run; must exist.
    """

    def __init__(self, folder: Path) -> None:
        self.jsonl = folder / "metrics.jsonl"
        self.csv = folder / "metrics.csv"
        rows = self.read()
        self.rows = len(rows)  #: rows written so far; a checkpoint keeps this number
        self._columns = list(dict.fromkeys(key for row in rows for key in row))

    def read(self) -> list[dict[str, Any]]:
        """All whole rows of the file; a last line that was cut short by a kill is left out."""
        if not self.jsonl.exists():
            return []
        lines = self.jsonl.read_text(encoding="utf-8").split("\n")[:-1]
        try:
            return [json.loads(line) for line in lines]
        except json.JSONDecodeError as error:
            raise CheckpointError(f"{self.jsonl}: every line must be a JSON object, one is not ({error})") from None

    def add(self, row: Mapping[str, Value]) -> None:
        """Append one row."""
        clean = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
        _append(self.jsonl, json.dumps(clean, allow_nan=False) + "\n")
        self.rows += 1
        new = [key for key in clean if key not in self._columns]
        if new or not self.csv.exists():
            self._columns += new
            self._rewrite_csv()
        else:
            _append(self.csv, _csv_text(self._columns, [clean], header=False))

    def keep(self, rows: int) -> None:
        """Go back to the first ``rows`` rows: what came after the checkpoint will be written again.

        Raises:
            CheckpointError: The file holds fewer.
        """
        have = self.read()
        if len(have) < rows:
            raise CheckpointError(f"{self.jsonl}: the checkpoint was written after {rows} rows, the file holds {len(have)}")
        kept = have[:rows]
        write_text(self.jsonl, "".join(json.dumps(row, allow_nan=False) + "\n" for row in kept))
        self.rows = rows
        self._columns = list(dict.fromkeys(key for row in kept for key in row))
        self._rewrite_csv()

    def flush_to_disk(self) -> None:
        """Return when the rows would survive a power cut; done before a checkpoint counts them."""
        for path in (self.jsonl, self.csv):
            if path.exists():
                with path.open("rb") as file:
                    os.fsync(file.fileno())

    def _rewrite_csv(self) -> None:
        write_text(self.csv, _csv_text(self._columns, self.read(), header=True))


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text)


def _csv_text(columns: list[str], rows: list[dict[str, Any]], *, header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


class Scalars(Protocol):
    """Takes named numbers at a step; what :func:`tensorboard` gives and what another logger may offer."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Record one number."""

    def close(self) -> None:
        """Write what is left."""


def tensorboard(folder: Path, first_step: int) -> Scalars:
    """A TensorBoard writer into ``folder``; entries from ``first_step`` on of an earlier part of the run are hidden.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(
            "log.tensorboard: needs the package tensorboard, which is not installed; run `pip install tensorboard` or set it to false"
        ) from None
    writer: Scalars = SummaryWriter(str(folder), purge_step=first_step)
    return writer


def add_scalars(writer: Scalars, row: Mapping[str, Value], step: int) -> None:
    """Give every finite number of ``row`` to ``writer``."""
    for key, value in row.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            writer.add_scalar(key, value, step)
