"""Draw ``signal_propagation.png``: mean² and variance of the stream behind every block of deep residual networks before training.

PYTHONPATH=. python docs/figures/signal_propagation.py # from the root of the repository
"""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from benchmarks.signal_propagation import expected, measured
from neurosim.plot.style import COLOURS, GREY, WIDTH

DEPTH = 50
NAMES = {
    "plain": "plain",
    "batch norm": "batch norm",
    "γ of relu": "scaled weights, γ of ReLU",
    "γ of silu": "γ of SiLU",
    "γ of selu": "γ of SELU",
}


def main() -> None:
    """Draw and save."""
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True)
    blocks = range(1, DEPTH + 1)
    for colour, (kind, name) in zip(COLOURS, NAMES.items(), strict=False):
        found, theory = (list(zip(*of(kind, DEPTH), strict=True)) for of in (measured, expected))
        for at, ax in enumerate(axes):
            ax.plot(blocks, found[at], color=colour, label=None if at else name)
            if theory[at][-1] > 0:
                ax.plot(blocks, theory[at], ":", color=GREY)
    axes[0].plot([], [], ":", color=GREY, label="theory, wide networks")
    for ax, title, limits in zip(axes, ("mean² of channels", "variance of channels"), ((5e-4, 100), (0.8, 200)), strict=True):
        ax.set(yscale="log", xlabel="behind block", title=title, ylim=limits)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=110)
    Image.open(target).convert("RGB").quantize(64).save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
