"""Draw ``devices.png``: phase-change memory from a minute to a year. Run it from the repository: ``python docs/figures/devices.py``."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image

from neurosim.hardware.devices import Logarithmic, Polynomial, Power
from neurosim.hardware.stage import STAGES, Context
from neurosim.hardware.stages import Pcm
from neurosim.plot.style import COLOURS, GREY, INK, WIDTH, label_axes
from neurosim.random import stream

MINUTE, HOUR, DAY, YEAR = 60.0, 3600.0, 86400.0, 31536000.0
DEVICES, SHOWN, SEED = 2000, 5, 4
CELL = Pcm(
    g_ref_siemens=25e-6,
    sigma=Polynomial(coefficients=(0.26348e-6, 1.9650e-6, -1.1731e-6)),
    exponent=Logarithmic(slope=-0.0155, offset=0.0244, low=0.049, high=0.1),
    spread=Logarithmic(slope=-0.0125, offset=-0.0059, low=0.008, high=0.045),
    read=Power(factor=0.0088, exponent=-0.65, high=0.2),
    t0_s=20.0,
    read_s=250e-9,
)


def over_time(target: float, times: torch.Tensor) -> torch.Tensor:
    """Conductance in µS at every time (rows) of devices that were programmed to one target (columns)."""
    pcm, x = STAGES["pcm"], torch.full((DEVICES,), target * 1e-6, dtype=torch.float64)
    chip, reads = pcm.program(CELL, {}, x.shape, stream(SEED, "chip", f"{target}")), stream(SEED, "reads")
    rows = [pcm.apply(x, CELL, {}, chip, Context(reads._replace(draw=at), time)) for at, time in enumerate(times.tolist())]
    return torch.stack(rows) * 1e6


def main() -> None:
    """Draw and save."""
    times = torch.logspace(torch.tensor(MINUTE).log10().item(), torch.tensor(YEAR).log10().item(), 60, dtype=torch.float64)
    fig = Figure(figsize=(WIDTH, 3.4), layout="constrained", facecolor="white")
    ax = fig.subplots()
    for colour, target in zip(COLOURS, (25.0, 12.5, 5.0, 1.0), strict=False):
        g = over_time(target, times)
        low, high = g.quantile(0.05, dim=1), g.quantile(0.95, dim=1)
        ax.fill_between(times, low, high, color=colour, alpha=0.22, linewidth=0)
        ax.plot(times, g[:, :SHOWN], color=colour, linewidth=0.35, alpha=0.6)
        ax.plot(times, g.mean(1), color=colour, linewidth=1.8)
        ax.axhline(target, color=GREY, linewidth=0.6, linestyle=":")
        ax.annotate(f"{target:g} µS", (YEAR, target), (4, 0), textcoords="offset points", va="center", color=colour, fontsize=8)
        print(f"{target:5g} µS: {g[0].mean():.2f} after a minute, {g[-1].mean():.2f} ± {g[-1].std():.2f} after a year")
    ax.set_xscale("log")
    ax.set_xlim(MINUTE, YEAR)
    ax.set_xticks([MINUTE, HOUR, DAY, 30 * DAY, YEAR], ["1 minute", "1 hour", "1 day", "1 month", "1 year"])
    ax.minorticks_off()
    ax.set_ylim(0, None)
    ax.grid(visible=True, color="#d8dee4", linewidth=0.7)
    ax.spines[["top", "right"]].set_visible(False)
    label_axes(ax, "time since programming", "conductance (µS)")
    ax.tick_params(colors=INK)
    target_file = io.BytesIO()
    fig.savefig(target_file, format="png", dpi=130)
    Image.open(target_file).convert("RGB").quantize(64).save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
