from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neurosim.config import load_config
from neurosim.errors import ConfigError

BASE = """\
version: 1
name: digits_mlp
seed: 3
data: {kind: digits, batch_size: 32}
model:
  kind: mlp
  sizes: [64, 32, 10]
train:
  epochs: 5
  optimizer: {kind: adam, lr: 1e-3, betas: [0.8, 0.9]}
  scheduler: {kind: cosine, warmup_steps: 10}
sensitivity:
  axes:
    leakage:
      "*.noise.leakage": [0, 0.2, 0.5]
    precision: {"*.noise.precision": [4, 16], "*.quantize.levels": [9, 33]}
  chips: [17, 18]
"""

Problems = Callable[..., list[str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the present one, with a good config ``base.yaml``."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)
    return tmp_path


@pytest.fixture
def problems(here: Path) -> Problems:
    """What is wrong with a config on top of ``base.yaml``: ``run.yaml`` holds the given text from line 2 on."""

    def problems_of(text: str = "", *overrides: str) -> list[str]:
        Path("run.yaml").write_text(f"extends: base.yaml\n{text}")
        with pytest.raises(ConfigError) as caught:
            load_config("run.yaml", overrides)
        assert str(caught.value) == "\n".join(caught.value.problems)
        assert not any("\n" in problem for problem in caught.value.problems)
        return list(caught.value.problems)

    return problems_of
