"""What other libraries gave for one drive: ``tests/neurons/data``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import h5py
import torch
from torch import Tensor

FILE = Path(__file__).parents[1] / "neurons/data/peers.h5"


class Record(NamedTuple):
    """One neuron's answer."""

    x: Tensor  #: drive, (time, batch, neuron)
    cotangent: Tensor  #: grad_x is the gradient of ``(spikes * cotangent).sum()``
    spikes: Tensor
    grad_x: Tensor
    settings: dict[str, float]


def record(name: str) -> Record:
    """A group of the file."""
    with h5py.File(FILE) as file:
        group = file[name]
        x, cotangent = (torch.from_numpy(file[key][()]) for key in ("x", "cotangent"))
        spikes, grad = torch.from_numpy(group["spikes"][()]).float(), torch.from_numpy(group["grad_x"][()])
        return Record(x, cotangent, spikes, grad, {key: float(value) for key, value in group.attrs.items() if key != "surrogate"})


def names(library: str) -> list[str]:
    """The groups of a library."""
    with h5py.File(FILE) as file:
        return sorted(name for name in file if name.startswith(library))
