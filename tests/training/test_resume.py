"""Stopping and going on: the same numbers as without the stop, to the last bit."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import neurosim as ns
from neurosim.datasets import DATASETS, Dataset, Split
from neurosim.errors import CheckpointError, ConfigError
from neurosim.training.checkpoint import digest, load_checkpoint
from neurosim.training.loop import Loop
from neurosim.training.recipe import recipe_file
from neurosim.training.weights import read_weights
from tests.training.crashes import crash

Make = Callable[..., dict[str, Any]]
STEPS_PER_EPOCH = 8  # 1,149 or 1,150 samples in batches of 150

#: sends itself a signal before step ``stop_at`` is finished
STOPPING = """
import json, os, signal, sys
import neurosim as ns
from neurosim.training import Interrupted
from neurosim.training.loop import Loop

config, stop_at, number = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
update = Loop.update

def stopping(self, *batch):
    if self.state.step + 1 == stop_at:
        os.kill(os.getpid(), number)
    update(self, *batch)

Loop.update = stopping
try:
    ns.train(config)
except Interrupted as stop:
    print(stop.resume_command)
    sys.exit(stop.exit_code)
"""


def interrupt(config: dict[str, Any], stop_at: int, number: signal.Signals) -> tuple[Path, int, str]:
    """The folder of a run that was stopped by a signal in the middle of a step, its exit code and what it wrote to stderr."""
    command = [sys.executable, "-W", "error", "-c", STOPPING, json.dumps(config), str(stop_at), str(int(number))]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    match = re.fullmatch(r"neurosim train --resume (\S+)\n", ended.stdout)
    assert match, ended.stderr
    return Path(match[1]), ended.returncode, ended.stderr


def _die(*_: object) -> None:
    raise MemoryError


def rows(folder: Path) -> list[dict[str, Any]]:
    """The log without wall-clock columns."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def table(folder: Path) -> list[list[str]]:
    """The table without wall-clock columns."""
    with (folder / "metrics.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    at = lines[0].index("seconds")
    return [line[:at] + line[at + 1 :] for line in lines]


def end_state(folder: Path) -> dict[str, Any]:
    """Everything the last checkpoint holds, wall-clock time apart: weights, optimiser, generators, noise counters, sums."""
    content = load_checkpoint(sorted((folder / "checkpoints").glob("step-*.pt"))[-1])
    content["state"].pop("seconds")
    return content


def assert_same_run(folder: Path, other: Path) -> None:
    """Equal to the last bit, in everything but the time it took."""
    ours, theirs = end_state(folder), end_state(other)
    assert {key: digest(value) for key, value in ours.items()} == {key: digest(value) for key, value in theirs.items()}
    assert rows(folder) == rows(other)
    assert table(folder) == table(other)
    for which in ("best", "last"):
        mine, yours = (read_weights(path / which / "weights.safetensors")[1]["sha256"] for path in (folder, other))
        assert mine == yours


@pytest.mark.parametrize(("number", "code", "stop_at"), [(signal.SIGTERM, 143, STEPS_PER_EPOCH + 3), (signal.SIGINT, 130, STEPS_PER_EPOCH)])
def test_a_run_stopped_by_a_signal_goes_on_as_if_nothing_had_happened(make: Make, number: signal.Signals, code: int, stop_at: int) -> None:
    undisturbed = ns.train(make())
    folder, exit_code, errors = interrupt(make(), stop_at, number)
    assert exit_code == code
    assert number.name in errors
    assert load_checkpoint(folder / "checkpoints" / f"step-{stop_at:08d}.pt")["state"]["step"] == stop_at  # the step was finished
    assert digest(end_state(folder)) != digest(end_state(undisturbed.path))
    resumed = ns.train(resume=folder)
    assert resumed.path == folder
    assert resumed.metrics == undisturbed.metrics
    assert_same_run(folder, undisturbed.path)


def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make(train={"checkpoint": {"every_steps": 5}, "noise": {"schedule": "linear_ramp", "ramp_epochs": 2, "redraw": "epoch"}})
    undisturbed = ns.train(config)
    folder = crash(config, STEPS_PER_EPOCH + 5, monkeypatch)  # the last checkpoint is of step 10, rows are there of 12
    assert rows(folder)[-1]["step"] == 12
    ns.train(resume=folder)
    assert_same_run(folder, undisturbed.path)


def test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = make(train={"checkpoint": {"every_steps": 2}})
    undisturbed = ns.train(config)
    folder = crash(config, 7, monkeypatch)
    newest = folder / "checkpoints" / "step-00000006.pt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    with caplog.at_level(logging.WARNING):
        ns.train(resume=folder)
    assert "step-00000006.pt" in caplog.text
    assert_same_run(folder, undisturbed.path)


def test_a_run_that_died_before_its_first_checkpoint_starts_again(make_digital: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = ns.train(make_digital())
    folder = crash(make_digital(), 5, monkeypatch)
    assert rows(folder)
    ns.train(resume=folder)
    assert_same_run(folder, undisturbed.path)


def test_a_finished_run_resumed_gives_the_same_again(make_digital: Make) -> None:
    run = ns.train(make_digital())
    before = rows(run.path)
    again = ns.train(resume=run.path)
    assert again.metrics == run.metrics
    assert rows(run.path) == before


def test_more_epochs_are_those_of_a_run_that_was_longer_from_the_start(make_digital: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    constant = {"scheduler": {"kind": "constant", "warmup_steps": None}}
    long = ns.train(make_digital(train={**constant, "epochs": 3}))
    short = ns.train(make_digital(train={**constant, "epochs": 2}))
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "update", _die)
        with pytest.raises(MemoryError):
            ns.train(resume=short.path, overrides=["train.epochs=3"])
    assert not (short.path / "metrics.json").exists()  # it is not a finished run any more
    ns.train(resume=short.path)
    assert digest(end_state(short.path)["model"]) == digest(end_state(long.path)["model"])
    assert [row["event"] for row in rows(short.path)].count("epoch") == 3


@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_that_is_being_trained_is_not_resumed(make_digital: Make, monkeypatch: pytest.MonkeyPatch, resumed: bool) -> None:
    undisturbed = ns.train(make_digital())
    update = Loop.update
    refusals: list[str] = []

    def intruding(loop: Loop, *batch: torch.Tensor) -> None:
        if loop.state.step == STEPS_PER_EPOCH + 2:
            with pytest.raises(CheckpointError, match="is being trained by process") as refusal:
                ns.train(resume=loop.folder.path, overrides=["train.epochs=3"])
            refusals.append(str(refusal.value))
        update(loop, *batch)

    started = crash(make_digital(), 2, monkeypatch) if resumed else None
    monkeypatch.setattr(Loop, "update", intruding)
    run = ns.train(resume=started) if started else ns.train(make_digital())
    assert len(refusals) == 1
    assert f"process {os.getpid()};" in refusals[0]
    assert ns.load_config(run.path / "resolved.yaml").train.epochs == 2
    assert_same_run(run.path, undisturbed.path)


@pytest.mark.parametrize("edited", [False, True])
def test_a_recipe_that_was_edited_since_the_start_gives_a_warning(
    make_digital: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, edited: bool
) -> None:
    recipe = tmp_path / "mine.py"
    recipe.write_bytes(recipe_file("classify").read_bytes())
    run = ns.train(make_digital(train={"epochs": 1}), recipe=recipe)
    if edited:
        recipe.write_text(recipe.read_text() + "# another\n")
    with caplog.at_level(logging.WARNING):
        ns.train(resume=run.path, recipe=recipe)
    assert ("mine.py was changed since the run was started" in caplog.text) == edited


def test_what_would_make_it_another_run_is_refused(make_digital: Make) -> None:
    run = ns.train(make_digital(train={"epochs": 1}))
    with pytest.raises(ConfigError, match=r"resume: seed: must be 5 as when the run was started, got 6"):
        ns.train(make_digital(seed=6, train={"epochs": 1}), resume=run.path)
    with pytest.raises(ConfigError, match=r"resume: train\.optimizer\.lr"):
        ns.train(resume=run.path, overrides=["train.optimizer.lr=0.5"])


def test_a_folder_that_holds_no_run_is_refused_and_the_one_meant_is_named(make_digital: Make, tmp_path: Path) -> None:
    run = ns.train(make_digital(train={"epochs": 1}))
    with pytest.raises(CheckpointError, match=f"did you mean {run.path}"):
        ns.train(resume=run.path.parent)
    with pytest.raises(CheckpointError, match=f"did you mean {run.path}"):
        ns.train(resume=run.path / "best")
    with pytest.raises(CheckpointError, match="does not exist"):
        ns.train(resume=tmp_path / "nothing")


def test_a_checkpoint_of_another_model_is_refused_with_reasons(make_digital: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ns.train(make_digital(train={"epochs": 1}))
    other = make_digital(train={"epochs": 1}, model={"sizes": [64, 17, 10]})
    folder = crash(other, 2, monkeypatch)
    (folder / "checkpoints").mkdir()
    for path in (run.path / "checkpoints").iterdir():
        (folder / "checkpoints" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CheckpointError, match=re.escape("fc1.weight: must have shape (17, 64), got (16, 64)")):
        ns.train(resume=folder)


def test_other_data_under_the_same_name_are_refused(make_digital: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ns.load_dataset("digits")
    darker = Dataset("mine", Split(data.train.images // 2, data.train.labels), data.test, data.classes, data.source)
    versions = iter([data, darker])
    monkeypatch.setattr(DATASETS, "_entries", {**DATASETS._entries, "mine": lambda: next(versions)})
    run = ns.train(make_digital(data={"kind": "mine"}, train={"epochs": 1}))
    with pytest.raises(CheckpointError, match="must go on with the data it was started on"):
        ns.train(resume=run.path)


def test_a_run_whose_log_was_lost_goes_on_with_a_warning(
    make_digital: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = crash(make_digital(), STEPS_PER_EPOCH + 3, monkeypatch)
    for name in ("metrics.jsonl", "metrics.csv"):
        (folder / name).unlink()
    with caplog.at_level(logging.WARNING):
        run = ns.train(resume=folder)
    assert "the checkpoint was written after 3 rows, the file holds 0" in caplog.text
    assert run.metrics["best_epoch"] > 0
    assert [row["event"] for row in rows(folder)] == ["step", "step", "step", "epoch", "test"]
