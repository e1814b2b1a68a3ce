"""Draw ``encoding.png``: one row of a digit under every encoder. Run it from the repository: ``python docs/figures/encoding.py``."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

import neurosim as ns
from neurosim.plot.style import COLOURS, GREY, WIDTH

STEPS, ROW = 16, 3
CHANGE = LinearSegmentedColormap.from_list("fell, nothing, rose", [COLOURS[1], "white", COLOURS[0]])
SETTINGS = {
    "constant": {"steps": STEPS},
    "rate": {"steps": STEPS},
    "poisson": {"steps": STEPS, "rate_hz": 1000.0, "dt": 1e-3},
    "latency": {"steps": STEPS},
    "rc_latency": {"steps": STEPS, "tau": 8e-3, "dt": 1e-3, "threshold": 0.2},
    "phase": {"bits": 4, "periods": 4},
    "population": {"steps": STEPS, "cells": 5},
    "delta": {"threshold": 0.3},
}
TITLES = {"poisson": "poisson: counts", "phase": "phase: weighted digits", "delta": "delta: the row moves"}


def encoded(name: str, row: Tensor) -> Tensor:
    """``(units, time)`` under that encoder; for delta, which sees changes only, the row moves by a pixel every four steps."""
    x = torch.stack([row.roll(step // 4) for step in range(STEPS)])[:, None] if name == "delta" else row[None]
    out = ns.ENCODERS[name](**SETTINGS[name])(x, stream=ns.random.stream(1, "figure"))
    return out[:, 0].flatten(1).T


def main() -> None:
    """Draw and save."""
    image, _ = next(iter(ns.datasets.batches(ns.load_dataset("digits").test, batch_size=1)))
    row = image[0, 0, ROW]
    fig = Figure(figsize=(WIDTH, 5.6), layout="constrained", facecolor="white")
    for ax, name in zip(fig.subplots(4, 2, sharex=True).flat, SETTINGS, strict=True):
        out = encoded(name, row)
        most = float(out.abs().max())
        ax.imshow(out, cmap=CHANGE, vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
        ax.set_title(TITLES.get(name, name), fontsize=9, loc="left")
        ax.set_xticks(range(0, STEPS, 4))
        ax.set_yticks([0, len(out) - 1])
        ax.tick_params(labelsize=7, color=GREY, length=2)
        ax.spines[:].set_color("#d8dee4")
        ax.set_ylabel("unit", fontsize=8)
        if name in list(SETTINGS)[-2:]:
            ax.set_xlabel("step", fontsize=8)
    fig.savefig(Path(__file__).with_suffix(".png"), dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
