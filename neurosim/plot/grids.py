"""Cells over two hardware parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neurosim.plot.style import GREY, INK, label_axes, new_figure, number, plain, short_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Grid(NamedTuple):
    """A table of numbers over two axes: ``value[row][column]``, NaN where nothing was measured; ``undecided`` marks cells to hatch."""

    x: Sequence[float | str]
    y: Sequence[float | str]
    value: Sequence[Sequence[float]]
    undecided: Sequence[Sequence[bool]]


def heatmap(
    grid: Grid,
    *,
    xlabel: str,
    ylabel: str,
    zlabel: str,
    accept: float | None = None,
    digits: int = 1,
    most_numbers: int = 80,
    below: Sequence[Sequence[str]] | None = None,
) -> tuple[Figure, Axes]:
    """Cells over two hardware parameters.

    Undecided cells are hatched, a dotted border runs where ``accept`` is crossed, and a cell that was not measured is white.

    Args:
        grid: The numbers.
        xlabel: What the columns are.
        ylabel: What the rows are.
        zlabel: What the colour is, with its unit.
        accept: The value that must be reached.
        digits: Digits after the point of the numbers in the cells; numbers that lose all but one by three or more keep their first two.
        most_numbers: With more cells than this, or more than 10 columns, the numbers themselves are left out.
        below: What stands in small print below the number of each cell, such as its interval; left out with more than 5 columns.

    Returns:
        The figure and its axes.
    """
    columns, rows = len(grid.x), len(grid.y)
    small = below if below is not None and columns <= 5 else None
    fig, ax = new_figure(min(1.3 + (0.42 if small is None else 0.5) * max(rows, 3), 6.0))
    values = [[float(v) for v in row] for row in grid.value]
    mesh = ax.pcolormesh(range(columns + 1), range(rows + 1), values, cmap="cividis", edgecolors="white", linewidth=0.6)
    if all(math.isnan(v) for row in values for v in row):
        mesh.set_clim(0, 1)
    bar = fig.colorbar(mesh, ax=ax, pad=0.02, fraction=0.06)
    bar.set_label(plain(zlabel), parse_math=False)
    bar.outline.set_visible(False)
    colours = mesh.to_rgba(np.array(values))
    numbers = rows * columns <= most_numbers and columns <= 10
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            text = _shown(value, digits) if numbers else ""
            text += f"\n{plain(small[row][column])}" if text and small is not None and small[row][column] else ""
            _cell(ax, column, row, value, colours[row][column], hatched=bool(grid.undecided[row][column]), text=text)
    if accept is not None:
        _borders(ax, values, accept)
    ax.set_xticks(*_named(grid.x, 10, 12), parse_math=False)
    ax.set_yticks(*_named(grid.y, 16, 18), parse_math=False)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    label_axes(ax, xlabel, ylabel)
    return fig, ax


def _named(values: Sequence[float | str], most: int, longest: int) -> tuple[list[float], list[str]]:
    """Centres and names of the cells of a heatmap; every n-th one where there are more than ``most``."""
    step = math.ceil(len(values) / most)
    return [i + 0.5 for i in range(0, len(values), step)], short_names([number(v) for v in values[::step]], longest)


def _shown(value: float, digits: int) -> str:
    """The number in a cell."""
    lost = digits >= 3 and 0 < abs(value) < 10 ** (1 - digits)
    return f"{value:.2g}" if lost else f"{value:.{digits}f}"


def _cell(ax: Axes, column: int, row: int, value: float, colour: Any, *, hatched: bool, text: str) -> None:
    """Hatch of one cell, and its number on a patch of its colour."""
    from matplotlib.patches import Rectangle

    ink = "white" if math.isnan(value) or 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] < 0.55 else "black"
    if math.isnan(value):
        ax.text(column + 0.5, row + 0.5, "no data", ha="center", va="center", color=GREY, fontsize=7)
        return
    if hatched:
        ax.add_patch(Rectangle((column, row), 1, 1, fill=False, hatch="////", edgecolor=ink, linewidth=0, alpha=0.55))
    if text:
        patch = {"boxstyle": "round,pad=0.15", "facecolor": colour, "edgecolor": "none"} if hatched else None
        size = 8.5 if "\n" not in text else 6.8
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=ink, fontsize=size, bbox=patch, linespacing=1.1)


def _borders(ax: Axes, values: Sequence[Sequence[float]], accept: float) -> None:
    """Dotted lines between neighbouring cells on different sides of ``accept``."""
    from matplotlib.collections import LineCollection

    lines: list[list[tuple[float, float]]] = []
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            if c + 1 < len(row) and _crosses(value, row[c + 1], accept):
                lines.append([(c + 1, r), (c + 1, r + 1)])
            if r + 1 < len(values) and _crosses(value, values[r + 1][c], accept):
                lines.append([(c, r + 1), (c + 1, r + 1)])
    for width, colour, dash in ((4.0, "white", "solid"), (2.2, INK, (0, (1, 1)))):
        ax.add_collection(LineCollection(lines, linewidths=width, colors=colour, linestyles=[dash], zorder=3))


def _crosses(a: float, b: float, accept: float) -> bool:
    return not (math.isnan(a) or math.isnan(b)) and (a >= accept) != (b >= accept)
