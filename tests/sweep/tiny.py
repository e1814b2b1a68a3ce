"""A model, data and plans small enough that a study takes a moment; importable by worker processes."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from torch import Tensor, nn

import neurosim as ns

SLEEP = "NEUROSIM_TEST_SLEEP"  #: environment variable: seconds that `slow_hits` sleeps


def model(seed: int = 17) -> nn.Sequential:
    """Two analog layers with weights from a formula."""
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            parameter.copy_(torch.sin(torch.arange(parameter.numel(), dtype=torch.float32) * (number + 1.3)).reshape(parameter.shape))
    ns.to_analog(net, "photonic_avnn", seed=seed, inplace=True)
    return net


def data(samples: int = 20, batch: int = 8) -> list[tuple[Tensor, Tensor]]:
    """Inputs from a formula; the targets are what the digital model answers, but every fifth is wrong."""
    x = torch.cos(torch.arange(samples * 6, dtype=torch.float32) * 0.7).reshape(samples, 6)
    with torch.no_grad():
        y = ns.to_digital(model())(x).argmax(1)
    y[::5] = (y[::5] + 1) % 3
    return list(zip(x.split(batch), y.split(batch), strict=True))


def plan(**changes: Any) -> dict[str, Any]:
    """A plan in this process; ``changes`` replaces its keys."""
    engine = {"kind": "serial", **changes.pop("engine", {})}
    return {"axes": {"leakage": {"*.noise.leakage": [0.0, 0.5]}}, "chips": 3, "engine": engine, **changes}


def slow_hits(outputs: Tensor, targets: Tensor) -> Tensor:
    """Hits, after a pause: a study long enough to be killed in."""
    time.sleep(float(os.environ.get(SLEEP, "0")))
    return outputs.argmax(1) == targets
