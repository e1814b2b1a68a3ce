"""The files a run writes its numbers into, and the progress it shows."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pickle
import signal
import sys
import threading
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from neurosim.errors import CheckpointError, ConfigError
from neurosim.training.interrupt import Interrupted, StopSignals
from neurosim.training.logs import MetricsLog, add_scalars, tensorboard
from neurosim.training.progress import EVERY_SECONDS, Progress


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_both_files_hold_the_same_rows(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.add({"step": 1, "loss": 0.1 + 0.2, "event": "a, b"})
    log.add({"step": 2, "loss": 1e-9, "event": None})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": 1, "loss": 0.1 + 0.2, "event": "a, b"}, {"step": 2, "loss": 1e-9, "event": None}]
    assert [(int(row["step"]), float(row["loss"]), row["event"]) for row in table(tmp_path / "metrics.csv")] == [
        (1, 0.1 + 0.2, "a, b"),
        (2, 1e-9, ""),
    ]


def test_a_row_is_on_file_when_add_returns(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in range(3):
        log.add({"step": step})
        assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == len(table(tmp_path / "metrics.csv")) == log.rows == step + 1


def test_a_new_column_is_added_to_the_table(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.add({"step": 1, "loss": 0.5})
    log.add({"step": 2, "accuracy": 0.25})
    assert table(tmp_path / "metrics.csv") == [{"step": "1", "loss": "0.5", "accuracy": ""}, {"step": "2", "loss": "", "accuracy": "0.25"}]


def test_a_number_that_is_not_finite_is_an_empty_cell_and_valid_json(tmp_path: Path) -> None:
    MetricsLog(tmp_path).add({"a": math.nan, "b": math.inf, "c": 1.0})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"a": None, "b": None, "c": 1.0}


def test_going_back_and_writing_again_gives_the_files_of_an_undisturbed_run(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    rows = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}, {"step": 2, "accuracy": 0.75}, {"step": 3, "loss": 0.125}]
    undisturbed, stopped = MetricsLog(tmp_path / "a"), MetricsLog(tmp_path / "b")
    for row in rows:
        undisturbed.add(row)
    for row in rows[:3]:
        stopped.add(row)
    with (tmp_path / "b" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')  # killed in the middle of a line
    resumed = MetricsLog(tmp_path / "b")
    resumed.keep(1)
    for row in rows[1:]:
        resumed.add(row)
    for name in ("metrics.csv", "metrics.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_log_shorter_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.add({"step": 1})
    with pytest.raises(CheckpointError, match="after 2 rows, the file holds 1"):
        log.keep(2)


def test_a_log_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("hello\n")
    with pytest.raises(CheckpointError, match="must be a JSON object"):
        MetricsLog(tmp_path)


def test_tensorboard_gets_the_finite_numbers(tmp_path: Path) -> None:
    writer = tensorboard(tmp_path, 0)
    add_scalars(writer, {"loss": 0.5, "event": "epoch", "bad": math.nan, "ok": True}, 3)
    writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["scalars"] == ["loss"]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 0.5)]


def test_tensorboard_that_is_not_installed_is_named_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        tensorboard(tmp_path, 0)


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_line_comes_every_half_minute() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress("run", 100, 10, stream=stream, clock=clock)
    for step in range(1, 31):
        clock.now = 2.0 * step
        progress.advance(f"loss {step}")
    progress.close()
    lines = stream.getvalue().splitlines()
    assert EVERY_SECONDS == 30.0
    assert lines == [
        "run: step 25 of 100, loss 15, about 2.5 min left",  # 75 steps of 2 s
        "run: step 40 of 100, loss 30, about 2.0 min left",
    ]


def test_on_a_terminal_a_bar_shows_step_and_text() -> None:
    stream = Terminal()
    progress = Progress("run", 2, stream=stream)
    progress.advance("loss 0.5")
    progress.advance("loss 0.25")
    progress.close()
    assert "run" in stream.getvalue()
    assert "2/2" in stream.getvalue()
    assert "loss 0.25" in stream.getvalue()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_noted_and_handlers_are_put_back(number: signal.Signals, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert signals.received is None
        os.kill(os.getpid(), number)
        assert signals.received == number
        assert signal.getsignal(number) == before  # a second one would act at once
    assert signal.getsignal(number) == before
    assert "send it again" in capfd.readouterr().err
    assert Interrupted(number, "neurosim train --resume x").exit_code == code


def test_signals_are_left_alone_after_a_quiet_block() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    seen: list[object] = []

    def work() -> None:
        with StopSignals() as signals:
            seen.append(signals.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]


def test_an_interruption_is_no_ordinary_exception_and_says_how_to_go_on() -> None:
    error = Interrupted(signal.SIGTERM, "neurosim train --resume runs/a")
    assert isinstance(error, KeyboardInterrupt)
    assert not isinstance(error, Exception)
    assert "SIGTERM" in str(error)
    assert "neurosim train --resume runs/a" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
