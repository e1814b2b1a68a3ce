"""One process to a run folder."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import neurosim as ns
from neurosim.errors import CheckpointError
from neurosim.training import lock

HOLDING = """
import sys
from pathlib import Path
from neurosim.training.lock import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    environment = {**os.environ, "PYTHONPATH": str(Path(ns.__file__).parents[1])}
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_what_another_process_holds_is_refused_with_its_number_until_it_is_killed(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert lock.is_locked(tmp_path)
    with pytest.raises(CheckpointError, match=f"is being trained by process {holder.pid};"), lock.locked(tmp_path):
        pass
    holder.kill()
    holder.wait()
    assert not lock.is_locked(tmp_path)
    with lock.locked(tmp_path):
        assert lock.is_locked(tmp_path)


def test_the_lock_ends_with_the_block_also_when_it_raises(tmp_path: Path) -> None:
    with pytest.raises(MemoryError), lock.locked(tmp_path):
        raise MemoryError
    assert not lock.is_locked(tmp_path)


def test_asking_leaves_nothing_behind(tmp_path: Path) -> None:
    assert not lock.is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_drive_without_locks_gives_a_warning_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unsupported(_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_acquire", unsupported)
    with caplog.at_level(logging.WARNING), lock.locked(tmp_path):
        assert not lock.is_locked(tmp_path)
    assert "No locks available" in caplog.text
