"""The encoders that every test of the contract runs over, and data for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import neurosim as ns
from neurosim import encoding

SOURCE = ns.random.stream(3, "encoders under test")

#: by registered name and kind: a fresh encoder
CASES: dict[tuple[str, str], Callable[[], ns.Encoder]] = {
    ("constant", "plain"): lambda: encoding.Constant(7),
    ("delta", "sent"): lambda: encoding.Delta(0.1),
    ("delta", "previous"): lambda: encoding.Delta(0.1, reference="previous", from_zero=False),
    ("delta", "rises only"): lambda: encoding.Delta(0.1, off_spikes=False),
    ("latency", "plain"): lambda: encoding.Latency(7),
    ("rc_latency", "plain"): lambda: encoding.RCLatency(7, tau=3e-3, dt=1e-3, threshold=0.3),
    ("phase", "weighted"): lambda: encoding.Phase(4, periods=2),
    ("phase", "as spikes"): lambda: encoding.Phase(4, weighted=False),
    ("poisson", "plain"): lambda: encoding.Poisson(7, rate_hz=800.0, dt=1e-3),
    ("population", "latency"): lambda: encoding.Population(7, cells=5),
    ("population", "rate"): lambda: encoding.Population(7, cells=5, code="rate"),
    ("population", "constant"): lambda: encoding.Population(7, cells=5, code="constant"),
    ("rate", "plain"): lambda: encoding.Rate(7, gain=0.8),
}

RANDOM = [case for case in CASES if case[0] in ("rate", "poisson") or case == ("population", "rate")]
EXTRA_UNITS = {"population": (5,)}


def steps_of(name: str, kind: str) -> int:
    """Length of what the case gives for :func:`values_for` it."""
    return {"phase": 8 if kind == "weighted" else 4, "delta": 9}.get(name, 7)


def values_for(name: str, batch: int = 3, *units: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Values from 0 to 1, the same at every call; a sequence of 9 steps for encoders that take one."""
    shape = (batch, *(units or (6,)))
    like = torch.empty(0, dtype=dtype)
    return ns.random.stream(4, "values").uniform((9, *shape) if name == "delta" else shape, like=like)
