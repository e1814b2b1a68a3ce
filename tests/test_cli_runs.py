"""Which run a command takes when it is given a config."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import neurosim as ns
from neurosim.cli import runs
from neurosim.errors import CheckpointError
from neurosim.training.lock import locked


@pytest.fixture
def config(tmp_path: Path) -> ns.RunConfig:
    """A config whose runs lie in a folder of their own."""
    data, model = {"kind": "digits"}, {"kind": "mlp", "sizes": [64, 10]}
    return ns.load_config({"name": "tiny", "data": data, "model": model, "log": {"dir": str(tmp_path)}})


def run_of(config: ns.RunConfig, name: str, *, age: int) -> Path:
    """The folder of a run that was stopped after a checkpoint, started ``age`` seconds ago."""
    folder = Path(config.log.dir) / config.name / name
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "step-00000001.pt").write_bytes(b"")
    (folder / "resolved.yaml").write_text("")
    os.utime(folder / "resolved.yaml", (2_000_000_000 - age, 2_000_000_000 - age))
    return folder


def test_the_newest_unfinished_run_is_one_that_nobody_is_training(config: ns.RunConfig) -> None:
    older, newer = run_of(config, "a", age=2), run_of(config, "b", age=1)
    assert runs.newest(config, finished=False) == newer
    with locked(newer):
        assert runs.newest(config, finished=False) == older


def test_when_every_unfinished_run_is_being_trained_the_message_says_so(config: ns.RunConfig) -> None:
    only = run_of(config, "a", age=1)
    with locked(only), pytest.raises(CheckpointError, match=f"holds none but {only}, which a process is training"):
        runs.newest(config, finished=False)


def test_a_run_without_a_checkpoint_is_none_to_go_on_with(config: ns.RunConfig) -> None:
    older, newer = run_of(config, "a", age=2), run_of(config, "b", age=1)
    (newer / "checkpoints" / "step-00000001.pt").unlink()
    assert runs.newest(config, finished=False) == older
    (older / "checkpoints" / "step-00000001.pt").unlink()
    with pytest.raises(CheckpointError, match="unfinished and has a checkpoint, holds none"):
        runs.newest(config, finished=False)
