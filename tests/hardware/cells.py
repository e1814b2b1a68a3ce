"""The memory cells of ``data/cells.yaml``, and how to run one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neurosim.hardware.stage import STAGES, Context, Spec
from neurosim.random import stream
from neurosim.yamlfile import read_yaml

FILE = Path(__file__).parent / "data/cells.yaml"
HOUR, DAY, YEAR = 3600.0, 86400.0, 31536000.0


@cache
def cells() -> Mapping[str, Mapping[str, Any]]:
    """The slots of each cell by its name, as the file has them."""
    return read_yaml(FILE).data


def cell(name: str) -> dict[str, Spec]:
    """The stages of a cell, by slot."""
    return {slot: STAGES[stage["kind"]].spec.model_validate(_values(stage)) for slot, stage in cells()[name].items()}


def run(spec: Spec, x: Tensor, *, seed: int = 1, noisy: bool = True, **context: Any) -> Tensor:
    """One stage, programmed for the shape of its input."""
    stage, source = STAGES[spec.kind], stream(seed, "cell", spec.kind)
    device = stage.program(spec, {}, x.shape, source.child("device"))
    return stage.apply(x, spec, {}, device, Context(source if noisy else None, **context))


def draws(spec: Spec, siemens: float, n: int = 20_000, **context: Any) -> Tensor:
    """Many devices of one conductance, in float64."""
    return run(spec, torch.full((n,), siemens, dtype=torch.float64), **context)


def _values(node: Any) -> Any:
    if isinstance(node, Mapping):
        return node["value"] if "value" in node else {key: _values(value) for key, value in node.items()}
    return [_values(value) for value in node] if isinstance(node, list) else node
