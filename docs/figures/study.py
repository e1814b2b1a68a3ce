"""Draw ``study.png``: accuracy over two factors, and what each width does. Run it from the repository: ``python docs/figures/study.py``.

It first runs the study of ``study.yaml`` beside it, in ``studies/digits_figure``: 75 trainings in about two minutes.
"""

from __future__ import annotations

from pathlib import Path

from stacked import save_stacked

import neurosim as ns
from neurosim import plot
from neurosim.studies import analysis

HERE = Path(__file__).parent


def main() -> None:
    """Draw both halves and put one below the other."""
    result = ns.study(HERE / "study.yaml")
    activations, widths = (list(levels) for levels in result.factors.values())
    cells = {tuple(row.levels.values()): row for row in result.table()}
    grid = [[cells[activation, width] for activation in activations] for width in widths]
    means = [[100 * cell.mean for cell in row] for row in grid]
    ends = [[f"[{100 * cell.low:.1f}, {100 * cell.high:.1f}]" for cell in row] for row in grid]
    nothing = [[False for _ in row] for row in grid]
    above, _ = plot.heatmap(
        plot.Grid(activations, widths, means, nothing), xlabel="activation", ylabel="hidden units", zlabel="accuracy (%)", below=ends
    )
    found = analysis.main_effects(100 * result.values(), 1)
    if found is None:
        raise SystemExit("every width must have been run with every activation")
    bars = [plot.Bar(width, *one[:3]) for width, one in zip(widths, found.effects, strict=True)]
    below, ax = plot.layer_bars(bars, xlabel="accuracy, difference to the mean of all widths (points)")
    ax.set_ylabel("hidden units")
    save_stacked([above, below], HERE / "study.png", dpi=150)


if __name__ == "__main__":
    main()
