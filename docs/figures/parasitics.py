"""Draw ``parasitics.png``: what each way to a crossbar with resistive wires gets wrong. Run it: ``python docs/figures/parasitics.py``."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from neurosim.hardware.nodal import nodal_conductance
from neurosim.hardware.parasitics import LOAD_LIMIT, Crossbar, fast_conductance, relaxed_currents
from neurosim.plot.style import COLOURS, DASHES, GREY, INK, new_figure
from neurosim.random import stream

CELLS = 32
PRODUCTS = np.logspace(-3, 1, 17)  # R G n², where G is the largest conductance


def relaxed(g: Tensor, wires: Crossbar) -> Tensor:
    """Effective conductances from the currents for one volt on each row."""
    volts = torch.eye(g.shape[-1], dtype=g.dtype).unsqueeze(-2)
    return relaxed_currents(g, volts, wires, tolerance=1e-6).T.unsqueeze(0)


def main() -> None:
    """Draw and save."""
    like = torch.empty(0, dtype=torch.float64)
    tiles = {
        "all cells full": torch.ones(1, CELLS, CELLS).double(),
        "random cells": stream(0, "tile").uniform((1, CELLS, CELLS), like=like),
    }
    ways = {"wires ignored": lambda g, wires: g, "fast": fast_conductance, "line relaxation, tolerance 1e-6": relaxed}
    fig, ax = new_figure(3.4)
    for dash, (tile, g) in zip(DASHES, tiles.items(), strict=False):
        errors: dict[str, list[float]] = {way: [] for way in ways}
        for product in PRODUCTS:
            wires = Crossbar(product / CELLS**2, product / CELLS**2)
            truth = nodal_conductance(g, wires)
            for way, solve in ways.items():
                errors[way].append(float((solve(g, wires) - truth).abs().sum(-1).max()) / CELLS)
        for colour, way in zip(COLOURS, ways, strict=False):
            ax.plot(PRODUCTS, 100 * np.array(errors[way]), color=colour, linestyle=dash, linewidth=1.3, label=f"{way}: {tile}")
    ax.axhline(1, color=GREY, linewidth=0.8)
    ax.axvline(LOAD_LIMIT, color=GREY, linewidth=0.8)
    ax.annotate(f"load {LOAD_LIMIT:g}", (LOAD_LIMIT, 3e-7), xytext=(4, 0), textcoords="offset points", fontsize=7, color=INK)
    ax.annotate("1 %", (PRODUCTS[0], 1), xytext=(0, 3), textcoords="offset points", fontsize=7, color=INK)
    ax.set(xscale="log", yscale="log", ylim=(1e-7, 100))
    ax.set_xlabel("wire resistance × largest conductance × cells, R G n²", fontsize=8)
    ax.set_ylabel("worst error over all inputs (% of full scale)", fontsize=8)
    ax.tick_params(labelsize=7)
    fig.legend(fontsize=6.5, frameon=False, ncols=2, loc="outside upper left")
    drawn = io.BytesIO()
    fig.savefig(drawn, dpi=130)
    Image.open(drawn).convert("RGB").quantize(32).save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
