"""Draw ``mzi_mesh.png``: fidelity of imperfect meshes. Run it from the repository: ``python docs/figures/mzi_mesh.py``."""

from __future__ import annotations

import io
import math
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image

from neurosim.hardware.mesh import Layout, driven_phases, expected_infidelity, interferometers, mesh_fidelity, mesh_matrix, mesh_phases
from neurosim.plot.style import COLOURS, GREY, INK, WIDTH
from neurosim.random import stream

DRAWS = 12
SIGMAS = [0.003, 0.01, 0.02, 0.04, 0.07, 0.12, 0.2]
LAYOUTS: tuple[tuple[Layout, str], ...] = (("clements", "o"), ("reck", "x"))


def simulated(ports: int, layout: Layout, phase: float, splitter: float) -> float:
    """Mean fidelity of random unitaries, one chip each."""
    like = torch.empty(0, dtype=torch.float64)
    draw = stream(0, "mesh")
    gaussian = torch.complex(*draw.normal((2, DRAWS, ports, ports), like=like))
    wanted = torch.linalg.qr(gaussian)[0]
    offset = phase * draw.child("phase").normal((DRAWS, ports * ports), like=like)
    splitters = splitter * draw.child("splitters").normal((DRAWS, interferometers(ports), 2), like=like)
    got = mesh_matrix(driven_phases(mesh_phases(wanted, layout), layout, offset=offset), layout, splitters=splitters)
    return float(mesh_fidelity(wanted, got).mean())


def main() -> None:
    """Draw and save."""
    fig = Figure(figsize=(WIDTH, 3.0), layout="constrained", facecolor="white")
    axes = fig.subplots(1, 2, sharey=True)
    fine = torch.logspace(math.log10(SIGMAS[0]), math.log10(SIGMAS[-1]), 100).tolist()
    for ax, label, which in zip(axes, ("phase noise (rad)", "coupler error (rad)"), ((1, 0), (0, 1)), strict=True):
        for ports, colour in zip((8, 32), COLOURS, strict=False):
            lost = [expected_infidelity(ports, *(sigma * one for one in which)) for sigma in fine]
            ax.plot(fine, [1 - x for x in lost], "--", color=colour, linewidth=0.9)
            ax.plot(fine, [math.exp(-x) for x in lost], color=colour, linewidth=1.1)
            for layout, marker in LAYOUTS:
                points = [simulated(ports, layout, *(sigma * one for one in which)) for sigma in SIGMAS]
                ax.plot(SIGMAS, points, marker, color=colour, markersize=5, fillstyle="none", label=f"{layout.capitalize()}, {ports} ports")
        ax.set_xscale("log")
        ax.set_ylim(-0.02, 1.03)
        ax.set_xlabel(label, fontsize=8, color=INK)
        ax.tick_params(labelsize=7, color=GREY, length=2)
        ax.grid(visible=True, color="#d8dee4", linewidth=0.7)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("fidelity", fontsize=8, color=INK)
    axes[0].legend(fontsize=7, frameon=False, loc="lower left")
    axes[1].plot([], [], color=INK, linewidth=1.1, label="exp(−x)")
    axes[1].plot([], [], "--", color=INK, linewidth=0.9, label="1 − x, leading order")
    axes[1].legend(handles=axes[1].lines[-2:], fontsize=7, frameon=False, loc="lower left")
    drawn = io.BytesIO()
    fig.savefig(drawn, dpi=130)
    Image.open(drawn).convert("RGB").quantize(32).save(Path(__file__).with_suffix(".png"), optimize=True)  # a third of the size


if __name__ == "__main__":
    main()
