"""The norms that every test of the contract runs over, and what other libraries gave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import torch
from torch import Tensor

import neurosim as ns
from neurosim.norms import TimeNorm

C, T = 6, 4

#: by registered name and kind: a fresh norm of 6 channels, or of units (6, 3, 2), for 4 steps
CASES: dict[tuple[str, str], Callable[[], TimeNorm]] = {
    ("bn_over_time", "merged"): lambda: ns.NORMS["bn_over_time"](C),
    ("bn_over_time", "per step"): lambda: ns.NORMS["bn_over_time"](C, "per_step"),
    ("bn_over_time", "elements"): lambda: ns.NORMS["bn_over_time"]((C, 3, 2), "per_step"),
    ("tdbn", "channels"): lambda: ns.NORMS["tdbn"](C, v_threshold=0.5, alpha=0.5**0.5),
    ("bntt", "channels"): lambda: ns.NORMS["bntt"](C, T),
    ("bntt", "elements"): lambda: ns.NORMS["bntt"]((C, 3, 2), T),
    ("tebn", "channels"): lambda: ns.NORMS["tebn"](C, T),
    ("tebn", "elements"): lambda: ns.NORMS["tebn"]((C, 3, 2), T),
}


def sequence(time: int = T, batch: int = 5, *units: int, name: str = "x", dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal numbers whose mean and spread differ from channel to channel and step to step: the same at every call."""
    shape = (time, batch, *(units or (C, 3, 2)))
    x = ns.random.stream(3, name).normal(shape, like=torch.empty(0, dtype=dtype))
    of_channels = torch.linspace(0.5, 2, shape[2], dtype=dtype).reshape(-1, *(1,) * (len(shape) - 3))
    return x * of_channels + torch.linspace(-1, 1, time, dtype=dtype).reshape(-1, *(1,) * (len(shape) - 1))


def varied(norm: TimeNorm, seed: int = 0) -> TimeNorm:
    """The norm with random parameters, negative scales among them."""
    with torch.no_grad():
        for name, value in norm.named_parameters():
            value.copy_(ns.random.stream(seed, name).normal(value.shape, like=value))
    return norm


def recorded(file: str, group: str = "/") -> dict[str, Tensor]:
    """The arrays of one group of a recording."""
    with h5py.File(Path(__file__).parents[1] / file) as store:
        return {name: torch.tensor(data[()]) for name, data in store[group].items() if isinstance(data, h5py.Dataset)}
