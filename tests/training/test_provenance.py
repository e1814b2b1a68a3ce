"""What a run writes down about where it was made."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import torch

from neurosim.training.provenance import environment, git_commit, packages


def test_the_record_is_json_and_names_the_versions() -> None:
    record = json.loads(json.dumps(environment()))
    assert record["torch"] == torch.__version__
    assert record["threads"] == torch.get_num_threads()
    assert record["ops"] in ("kernels", "reference")


def test_packages_are_listed_as_pip_does() -> None:
    lines = packages()
    assert f"torch=={torch.__version__}" in lines
    assert len(lines) == len({line.split("==")[0] for line in lines})


def test_the_commit_says_when_files_were_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    commit = git("rev-parse", "HEAD")
    assert git_commit(tmp_path) == commit
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == f"{commit}-dirty"


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
