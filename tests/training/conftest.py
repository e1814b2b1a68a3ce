"""A small configuration and runs of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., dict[str, Any]]

PHOTONIC_CNN: dict[str, Any] = {
    "version": 1,
    "name": "small",
    "seed": 5,
    "data": {"kind": "digits", "batch_size": 150, "validation": 0.2},
    "model": {
        "kind": "cnn",
        "input_shape": [1, 8, 8],
        "channels": [3],
        "hidden": [12],
        "classes": 10,
        "batch_norm": True,
        "dropout": 0.2,
    },
    "hardware": {"profile": "photonic_avnn", "seed": 17},
    "train": {
        "epochs": 2,
        "optimizer": {"kind": "adam", "lr": 3e-3},
        "scheduler": {"kind": "cosine", "warmup_steps": 3},
        "threads": 1,
        "device": "cpu",
    },
    "log": {"every_steps": 3},
}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Gives a fresh configuration: a noisy photonic network with batch norm and dropout, two epochs of eight steps on the digits.

    Keyword arguments are merged in; ``None`` takes a key out.
    """

    def build(**changes: Any) -> dict[str, Any]:
        config = copy.deepcopy(PHOTONIC_CNN)
        config["log"]["dir"] = str(tmp_path / "runs")
        return merged(config, changes)

    return build


@pytest.fixture
def make_digital(make: Make) -> Make:
    """The same for a small digital perceptron."""

    def build(**changes: Any) -> dict[str, Any]:
        config = make(hardware=None, model=None)
        config["model"] = {"kind": "mlp", "sizes": [64, 16, 10]}
        return merged(config, changes)

    return build


def merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``config`` with nested ``changes``."""
    for key, value in changes.items():
        if value is None:
            config.pop(key, None)
        elif isinstance(value, dict) and isinstance(config.get(key), dict):
            merged(config[key], value)
        else:
            config[key] = value
    return config
