"""The folder of a run."""

from __future__ import annotations

from pathlib import Path

from neurosim.config import load_config
from neurosim.training.folder import create_folder


def test_a_run_that_trained_nothing_leaves_no_folder_behind(tmp_path: Path) -> None:
    model = {"kind": "mlp", "sizes": [64, 10]}
    config = load_config({"name": "a", "data": {"kind": "digits"}, "model": model, "log": {"dir": str(tmp_path / "runs")}})
    one, other = create_folder(config, {}), create_folder(config, {})
    other.discard_if_unused()
    assert [path.name for path in (tmp_path / "runs/a").iterdir()] == [one.path.name]
    one.discard_if_unused()
    assert list((tmp_path / "runs").iterdir()) == []
