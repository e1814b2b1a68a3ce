"""Runs that die."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import neurosim as ns
from neurosim.training.loop import Loop


def crash(config: dict[str, Any], at_step: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that died in the middle of a step, counted from 1, without a chance to save."""
    update = Loop.update
    folders: list[Path] = []

    def dying(loop: Loop, *batch: torch.Tensor) -> None:
        if loop.state.step + 1 == at_step:
            folders.append(loop.folder.path)
            raise MemoryError
        update(loop, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "update", dying)
        with pytest.raises(MemoryError):
            ns.train(config)
    return folders[0]
