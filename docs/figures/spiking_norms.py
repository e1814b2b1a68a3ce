"""The figure of docs/spiking_norms.md: spike rates of MPBN in training and in evaluation, step by step.

python docs/figures/spiking_norms.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

import neurosim as ns
from neurosim.plot.style import COLOURS, DASHES, MARKERS, label_axes, new_figure

STEPS, UNITS = 8, 40


def drive(batch: int, name: str) -> Tensor:
    """A noisy current of mean 0.3."""
    return 0.3 + 0.5 * ns.random.stream(0, name).normal((STEPS, batch, UNITS), like=torch.empty(0))


fig, ax = new_figure(3.4)
lines = []
for at, statistics in enumerate(("per_step", "merged")):
    layer = ns.nn.MPBN(ns.LIF(tau_mem=5e-3, dt=1e-3, reset="hard"), UNITS, statistics=statistics)
    with torch.no_grad():
        for batch in range(100):
            layer(drive(64, f"batch {batch}"))
        for training in (True, False):
            rates = layer.train(training)(drive(512, "test")).mean((1, 2))
            style = {"color": COLOURS[at], "linestyle": DASHES[0 if training else 1], "marker": MARKERS[at], "markersize": 5}
            (line,) = ax.plot(range(1, STEPS + 1), rates.tolist(), markerfacecolor=COLOURS[at] if training else "white", **style)
            lines.append((line, f"{statistics}, {'training' if training else 'evaluation'}"))
ax.set_ylim(bottom=0)
label_axes(ax, "step", "spikes per neuron and step")
fig.legend(*zip(*lines, strict=True), loc="outside upper left", ncols=2, frameon=False)
fig.savefig(Path(__file__).with_suffix(".png"), dpi=130)
