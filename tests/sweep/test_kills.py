"""SIGKILL at random moments, 20 times in all: nothing is lost, and the results are those of an undisturbed serial run, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import neurosim as ns
from neurosim.sweep.results import OK, Results
from tests.sweep import killed, tiny

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks Linux which processes are there")]

ROOT = Path(__file__).parents[2]
CHIPS = 60  # (2 points + 2 layers) × 60 chips: 240 trials


@pytest.fixture(scope="module")
def undisturbed() -> Results:
    return killed.study(None, "serial", 1, CHIPS)


class Driver:
    """One life of the process that runs the study."""

    def __init__(self, out: Path, engine: str, chunk: int, sleep: float) -> None:
        command = [sys.executable, "-m", "tests.sweep.killed", str(out), engine, str(chunk), str(CHIPS)]
        self.journal = out / "journal.sqlite"
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, tiny.SLEEP: str(sleep)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def workers(self) -> list[int]:
        """Process ids of its workers; waits until there is one."""
        while not (found := [pid for pid in self._children() if b"spawn_main" in _command(pid)]):
            assert self.process.poll() is None, f"the study ended before it could be killed: {self.errors()}"
        return found

    def _children(self) -> list[int]:
        return [int(pid) for thread in Path(f"/proc/{self.process.pid}/task").glob("*/children") for pid in _read(thread).split()]

    def stored(self) -> int:
        """Trials that are safe on disk."""
        if not self.journal.exists():
            return 0
        db = sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True, timeout=60)
        try:
            return int(db.execute("SELECT count(*) FROM trial").fetchone()[0])
        except sqlite3.OperationalError:  # not made yet
            return 0
        finally:
            db.close()

    def wait_for(self, trials: int) -> int:
        """Wait until at least that many trials are stored."""
        while (found := self.stored()) < trials:
            assert self.process.poll() is None, f"the study ended before it could be killed: {self.errors()}"
            time.sleep(0.01)
        return found

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def end(self) -> int:
        assert self.process.stderr is not None
        self.process.stderr.close()
        return self.process.wait()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process is gone
        return b""


def _command(pid: int) -> bytes:
    return _read(Path(f"/proc/{pid}/cmdline"))


@pytest.mark.parametrize(
    ("engine", "chunk", "seed", "victims"),
    [
        ("process", 1, 101, "wwwdwww"),  # w: one of the workers, d: the driver
        ("process", 7, 102, "wwwwdww"),
        ("serial", 1, 103, "dddddd"),
    ],
)
def test_a_study_killed_again_and_again_ends_as_if_nothing_had_happened(
    engine: str, chunk: int, seed: int, victims: str, undisturbed: Results, tmp_path: Path
) -> None:
    moment = random.Random(seed)
    kills = stored = 0
    driver = Driver(tmp_path, engine, chunk, 0.02)
    for victim in victims:
        stored = driver.wait_for(stored + 1)  # it lives and gets on
        time.sleep(moment.uniform(0.0, 0.3))
        pid = moment.choice(driver.workers()) if victim == "w" else driver.process.pid
        os.kill(pid, signal.SIGKILL)
        kills += 1
        if victim == "d":
            assert driver.end() == -signal.SIGKILL
            assert driver.stored() >= stored
            driver = Driver(tmp_path, engine, chunk, 0.02)
    last = driver.process.wait()
    assert last == 0, driver.errors()
    driver.end()
    assert kills == len(victims)
    found = ns.load_results(tmp_path)
    assert set(found.trials["status"].tolist()) == {OK}
    assert found.same(undisturbed, timing=False)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["journal.sqlite", "results.h5"]
