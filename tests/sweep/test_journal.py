import math
import sqlite3
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from neurosim.errors import CheckpointError
from neurosim.sweep.journal import Journal, fingerprint, journal_mode
from neurosim.sweep.results import FAILED, NON_FINITE, TrialRow

STUDY = {"model": "a", "threads": 1}
ROW = TrialRow(3, "each", 1, 2**63 - 1, 4, 0.1 + 0.2, math.pi, 5, 6, 7.5, NON_FINITE, "é\n", b"\x00\xff")


def test_a_row_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite", STUDY) as journal:
        journal.add("k", ROW)
    with Journal(tmp_path / "j.sqlite", STUDY) as journal:
        assert journal.rows() == {"k": ROW}


def test_not_a_number_comes_back_as_not_a_number() -> None:
    with Journal(None, STUDY) as journal:
        journal.add("k", TrialRow(0, "all", -1, 0, 0))
        assert math.isnan(journal.rows()["k"].value)
        assert math.isinf(journal.rows()["k"].loss) is False


def test_a_row_written_twice_counts_once_and_stays_the_first() -> None:
    with Journal(None, STUDY) as journal:
        journal.add("k", ROW)
        journal.add("k", ROW._replace(value=9.0))
        assert journal.rows() == {"k": ROW}


def test_failed_trials_are_tried_again_when_the_study_is_resumed(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", STUDY) as journal:
        journal.add("failed", ROW._replace(status=FAILED))
        journal.add("kept", ROW)
        assert set(journal.rows()) == {"failed", "kept"}
    with Journal(tmp_path / "j", STUDY) as journal:
        assert set(journal.rows()) == {"kept"}


def test_rows_are_on_disk_without_closing(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", STUDY) as first:
        first.add("k", ROW)
        with Journal(tmp_path / "j", STUDY) as second:
            assert second.rows() == {"k": ROW}


def test_the_journal_of_another_study_is_refused_and_the_difference_is_said(tmp_path: Path) -> None:
    Journal(tmp_path / "j", STUDY).close()
    with pytest.raises(CheckpointError, match=r'is that of another one \(model "a" -> "b", torch nothing -> 1\); choose another folder'):
        Journal(tmp_path / "j", {"model": "b", "threads": 1, "torch": 1})


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("something else " * 100)
    with pytest.raises(CheckpointError, match="must be the journal of a study, got: file is not a database"):
        Journal(tmp_path / "j", STUDY)


def test_a_torn_journal_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", STUDY) as journal:
        for number in range(200):
            journal.add(str(number), ROW)
    (tmp_path / "j").write_bytes((tmp_path / "j").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="must be the journal of a study"):
        Journal(tmp_path / "j", STUDY).rows()


def test_the_key_of_a_task_depends_on_the_task_and_on_the_study() -> None:
    with Journal(None, STUDY) as one, Journal(None, {**STUDY, "model": "b"}) as other:
        task = {"chip": 1, "changes": {"a": 1, "b": 2}}
        assert one.key(task) == one.key({"changes": {"b": 2, "a": 1}, "chip": 1})
        assert len({one.key(task), one.key({**task, "chip": 2}), other.key(task)}) == 3


def test_fingerprints_tell_a_number_from_its_text() -> None:
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})


MOUNTS = """disk / ext4 rw 0 0
nas:/x /home nfs4 rw 0 0
ssd /home/me/scratch xfs rw 0 0
//s/x /mnt/s cifs rw 0 0
l /mnt/l fuse.sshfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/tmp/j", "WAL"),
        ("/home/me/j", "TRUNCATE"),
        ("/home/me/scratch/j", "WAL"),
        ("/mnt/s/j", "TRUNCATE"),
        ("/mnt/l/j", "TRUNCATE"),
        ("/homework/j", "WAL"),
    ],
)
def test_network_drives_get_no_write_ahead_log(path: str, mode: str) -> None:
    assert journal_mode(PurePosixPath(path), MOUNTS) == mode


def test_a_windows_share_gets_no_write_ahead_log() -> None:
    assert journal_mode(PureWindowsPath(r"\\server\share\j"), "") == "TRUNCATE"
    assert journal_mode(PureWindowsPath(r"C:\j"), "") == "WAL"


def test_the_mode_is_the_one_the_file_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for mounts, mode in (("disk / ext4 rw", "wal"), ("nas / nfs rw", "truncate")):
        monkeypatch.setattr("neurosim.sweep.journal._mounts", lambda text=mounts: text)
        with Journal(tmp_path / mode, STUDY) as journal:
            journal.add("k", ROW)
            assert journal._db.execute("PRAGMA journal_mode").fetchone() == (mode,)
    with sqlite3.connect(tmp_path / "truncate") as db:
        assert db.execute("SELECT count(*) FROM trial").fetchone() == (1,)
    db.close()
