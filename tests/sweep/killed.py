"""A study in a process of its own, to be killed: ``python -m tests.sweep.killed FOLDER ENGINE CHUNK CHIPS``."""

from __future__ import annotations

import sys
from pathlib import Path

import neurosim as ns
from neurosim.sweep.results import Results
from tests.sweep import tiny


def study(out: Path | None, engine: str, chunk: int, chips: int) -> Results:
    """The study that is killed, and, without a folder and in this process, the one that is not."""
    how = {"kind": engine, "workers": 2, "chunk": chunk, "retries": 20}
    return ns.sensitivity(
        tiny.model(), tiny.data(), tiny.plan(chips=chips, engine=how, scopes=["all", "each"]), tiny.slow_hits, out=out
    ).results


if __name__ == "__main__":
    study(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
