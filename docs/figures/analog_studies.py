"""Draw ``analog_studies.png`` from two studies of ``benchmarks/analog_studies.py``: ``python docs/figures/analog_studies.py``."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from neurosim.plot.style import COLOURS, DASHES, GREY, INK, MARKERS, WIDTH, label_axes, whiskers

HERE = Path(__file__).parent
TIMES = {"1 minute": 60.0, "1 hour": 3600.0, "1 day": 86400.0, "1 month": 2592000.0, "1 year": 31536000.0}


def lines(ax: Axes, rows: dict[str, Any], points: dict[str, float]) -> None:
    """One line with intervals for every row."""
    for (name, cells), colour, marker, dash in zip(rows.items(), COLOURS, MARKERS, DASHES, strict=False):
        value, low, high = ([100 * min(cells[column][end], 1.0) for column in points] for end in range(3))
        style = {"color": colour, "marker": marker, "markersize": 4, "linestyle": dash, "linewidth": 1.4, "elinewidth": 0.8}
        ax.errorbar(list(points.values()), value, whiskers(value, low, high), capsize=2, label=name, **style)
    ax.set_xscale("log")
    ax.minorticks_off()
    ax.set_ylim(0, 100)
    ax.grid(visible=True, color="#d8dee4", linewidth=0.7)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=INK, labelsize=8)


def main() -> None:
    """Draw and save."""
    drift, power = (json.loads((HERE / f"{name}.json").read_text()) for name in ("study_drift", "study_power"))
    fig = Figure(figsize=(WIDTH, 5.6), layout="constrained", facecolor="white")
    above, below = fig.subplots(2, 1)
    rows = {f"batch norm, {name}": cells for name, cells in drift["Batch norm"].items()}
    rows["no norm, compensation: none"] = drift["No norm"]["compensation: none"]
    lines(above, rows, TIMES)
    above.set_xticks(list(TIMES.values()), list(TIMES))
    label_axes(above, "time since programming", "test accuracy (%)")
    (table,) = power.values()
    watts = {column: 1e-6 * float(column.split()[0]) for column in next(iter(table.values()))}
    lines(below, table, watts)
    below.set_xticks([1e-6, 1e-5, 1e-4, 1e-3], ["1 µW", "10 µW", "100 µW", "1 mW"])
    label_axes(below, "optical power of the source per full-scale input", "test accuracy (%)")
    for ax in (above, below):
        ax.axhline(10, color=GREY, linewidth=0.6, linestyle=":")
        ax.legend(fontsize=7.5, frameon=False, loc="lower left" if ax is above else "lower right")
    drawn = io.BytesIO()
    fig.savefig(drawn, format="png", dpi=130)
    Image.open(drawn).convert("RGB").quantize(48).save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
