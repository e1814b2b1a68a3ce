"""The journal of a running study: what is finished is on disk, so a killed study goes on where it stopped.

SQLite, because it survives a kill at any moment. Only the driver writes; a trial that is written twice counts once.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Mapping
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, Final, Self

from neurosim.errors import CheckpointError
from neurosim.sweep.results import FAILED, TrialRow

SCHEMA_VERSION: Final = 1
#: File systems on which SQLite's write-ahead log does not work: it needs memory shared between all who open the file.
NETWORK: Final = (
    "nfs",
    "cifs",
    "smb",
    "lustre",
    "gpfs",
    "afs",
    "9p",
    "ceph",
    "gluster",
    "beegfs",
    "fuse",
    "ncp",
    "ocfs",
    "virtiofs",
    "orangefs",
)

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS study (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trial (
    task_key TEXT PRIMARY KEY, point INTEGER, scope TEXT, layer INTEGER, chip TEXT, read INTEGER,
    value REAL, loss REAL, n_correct INTEGER, n_total INTEGER, wall_s REAL, status INTEGER, error TEXT, bits BLOB
);
"""
_INSERT: Final = f"INSERT OR IGNORE INTO trial VALUES ({', '.join('?' * 14)})"


def fingerprint(facts: Any) -> str:
    """Sha256 of the canonical JSON of ``facts``: the same for equal content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()).hexdigest()


def journal_mode(path: PurePath, mounts: str) -> str:
    r"""How SQLite should guard a file: ``WAL`` on local disks, ``TRUNCATE`` on network ones.

    Args:
        path: The absolute path of the journal.
        mounts: What is mounted, as in ``/proc/mounts``; empty where that is not known.

    >>> journal_mode(PurePath("/home/a/j.sqlite"), "disk / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0")
    'TRUNCATE'
    """
    fields = [line.split() for line in mounts.splitlines()]
    over = [(len(place), kind) for _, place, kind, *_ in (f for f in fields if len(f) >= 3) if path.is_relative_to(place)]
    kind = max(over)[1] if over else ""
    return "TRUNCATE" if kind.startswith(NETWORK) or str(path).startswith("\\\\") else "WAL"


class Journal:
    """Finished trials of one study, by task key.

    Trials that failed are forgotten when the journal is opened again, so a rerun tries them once more.

    Args:
        path: The SQLite file; ``None`` keeps it in memory.
        study: What makes this study this study (model, data, metric, batch size, threads, versions), JSON-able, one level deep.

    Raises:
        CheckpointError: The file is damaged, or is the journal of another study; the message says what differs.
    """

    def __init__(self, path: Path | None, study: Mapping[str, Any]) -> None:
        self.path = path
        self.study = {"schema": SCHEMA_VERSION, **study}
        self._db = sqlite3.connect(path if path is not None else ":memory:", timeout=60.0, isolation_level=None)
        try:
            self._prepare()
        except BaseException as error:
            self._db.close()
            raise self._problem(error) from None

    def _prepare(self) -> None:
        if self.path is not None:
            mode = journal_mode(self.path.resolve(), _mounts())
            self._db.execute(f"PRAGMA journal_mode={mode}")
            self._db.execute(f"PRAGMA synchronous={'NORMAL' if mode == 'WAL' else 'FULL'}")
        self._db.executescript(_CREATE)
        wanted = {name: json.dumps(value, sort_keys=True) for name, value in self.study.items()}
        stored = dict(self._db.execute("SELECT name, value FROM study").fetchall())
        if stored and stored != wanted:
            different = sorted(name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name))
            changes = ", ".join(f"{name} {_short(stored.get(name))} -> {_short(wanted.get(name))}" for name in different)
            raise CheckpointError(
                f"{self.path}: must be the journal of this study, is that of another one ({changes}); "
                "choose another folder (--out), or remove the file"
            )
        self._db.executemany("INSERT OR IGNORE INTO study VALUES (?, ?)", wanted.items())
        self._db.execute("DELETE FROM trial WHERE status = ?", (FAILED,))

    def _problem(self, error: BaseException) -> BaseException:
        if not isinstance(error, sqlite3.DatabaseError):
            return error
        return CheckpointError(f"{self.path}: must be the journal of a study, got: {error}; remove it or choose another folder")

    def key(self, task: Mapping[str, Any]) -> str:
        """Name of a task within all studies: sha256 of the study and the task."""
        return fingerprint({"study": self.study, "task": task})

    def add(self, key: str, row: TrialRow) -> None:
        """Write one finished trial; it is safe from a kill when this returns. A key that is there already stays as it is."""
        values: list[Any] = [key, *row]
        values[1 + TrialRow._fields.index("chip")] = str(row.chip)  # SQLite has no unsigned 64-bit integers
        self._db.execute(_INSERT, values)

    def rows(self) -> dict[str, TrialRow]:
        """All finished trials.

        Raises:
            CheckpointError: The file is damaged.
        """
        found = {}
        try:
            stored = self._db.execute("SELECT * FROM trial").fetchall()
        except sqlite3.DatabaseError as error:
            raise self._problem(error) from None
        for key, *values in stored:
            facts: dict[str, Any] = {
                name: math.nan if v is None else v for name, v in zip(TrialRow._fields, values, strict=True)
            }  # NaN is kept as NULL
            facts["chip"] = int(facts["chip"])
            found[str(key)] = TrialRow(**facts)
        return found

    def close(self) -> None:
        """Close the file; nothing is lost without it."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _short(value: str | None) -> str:
    return "nothing" if value is None else value if len(value) <= 24 else value[:21] + "..."
