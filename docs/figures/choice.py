"""Draw ``choice.png``: accuracy by activation and norm with 4 bits, on a photonic link and on phase-change memory.

python docs/figures/choice.py                    # from choice.json beside it
python docs/figures/choice.py studies/choice     # writes choice.json from a study first
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure
from stacked import save_stacked

import neurosim as ns
from neurosim import plot

HERE = Path(__file__).parent
TITLES = {"photonic": "photonic link, 4 bits, leakage 0.5: accuracy (%)", "memory": "phase-change memory, 4 bits: accuracy (%)"}


def read(study: Path) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Mean and ends of the interval in per cent, by hardware, norm and activation."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in ns.load_study(study).table():
        numbers = [round(100 * one, 2) for one in (row.mean, row.low, row.high)]
        found.setdefault(row.levels["hardware"], {}).setdefault(row.levels["norm"], {})[row.levels["activation"]] = numbers
    return found


def draw(cells: dict[str, dict[str, list[float]]], title: str) -> Figure:
    """One heat map."""
    norms, activations = list(cells), list(next(iter(cells.values())))
    means = [[cells[norm][activation][0] for activation in activations] for norm in norms]
    ends = [["[{1:.1f}, {2:.1f}]".format(*cells[norm][activation]) for activation in activations] for norm in norms]
    nothing = [[False for _ in activations] for _ in norms]
    figure, _ = plot.heatmap(plot.Grid(activations, norms, means, nothing), xlabel="activation", ylabel="norm", zlabel=title, below=ends)
    return figure


def main() -> None:
    """Draw both halves and put one below the other."""
    data = HERE / "choice.json"
    if len(sys.argv) > 1:
        data.write_text(json.dumps(read(Path(sys.argv[1])), indent=1) + "\n", encoding="utf-8")
    found = json.loads(data.read_text(encoding="utf-8"))
    save_stacked([draw(found[name], title) for name, title in TITLES.items()], HERE / "choice.png", dpi=130)


if __name__ == "__main__":
    main()
