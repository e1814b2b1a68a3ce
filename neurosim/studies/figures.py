"""The figures of the report of a study, from its digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neurosim import plot
from neurosim.sweep.figures import Picture, scaled
from neurosim.sweep.svg import svg
from neurosim.sweep.wording import Wording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 40  #: levels in one bar figure; the table below it has all


def grid_picture(pair: dict[str, Any], factors: dict[str, Any], words: Wording, ident: str) -> Picture:
    """The metric over two factors."""
    across, down = _turned(pair["factors"], factors)
    cells = _by_place(pair["factors"], pair["means"], across)
    texts = [[_small_print(cell, words) if cell and cell["low"] is not None else "" for cell in row] for row in cells]
    others = [name for name in factors if name not in pair["factors"]]
    how = f"Mean over seeds{f' and over {_listed(others)}' if others else ''}; small print is the 95 % interval over seeds."
    return _grid(cells, texts, across, down, factors, words, (words.name, f"{words.metric} by {down} and {across}", how), ident, None)


def interaction_picture(found: dict[str, Any], factors: dict[str, Any], words: Wording, ident: str) -> Picture | None:
    """What two factors do together beyond what each does."""
    if not found["terms"]:
        return None
    across, down = _turned(found["factors"], factors)
    cells = _by_place(found["factors"], found["terms"], across)
    hatched = [[cell["low"] is None or cell["low"] <= 0 <= cell["high"] for cell in row] for row in cells]
    unit = " (points)" if words.percent else ""
    how = "What is left of each cell after both main effects are taken away. Hatched: the interval over seeds holds 0, or there is none."
    label = f"interaction{unit}"
    return _grid(cells, None, across, down, factors, words, (label, f"{down} × {across}", how), ident, hatched)


def effect_picture(found: dict[str, Any], words: Wording, ident: str) -> Picture | None:
    """What each level of a factor does."""
    rows = found["rows"][:MOST_BARS]
    if not rows:
        return None
    bars = [plot.Bar(row["level"], *(scaled(row["effect"][end], words) for end in ("value", "low", "high"))) for row in rows]
    unit = " (points)" if words.percent else ""

    def draw() -> tuple[Figure, Axes]:
        return plot.layer_bars(bars, xlabel=f"{words.metric}, difference to the mean{unit}", longest_name=28)

    best = max(rows, key=lambda row: (row["effect"]["value"] or 0.0) * (1 if words.higher_is_better else -1))
    alt = f"Bars of the effect of {found['factor']} on {words.metric}; the best level is {best['level']}."
    how = f"Each level against the mean of all, averaged over {found['combinations']} settings of the other factors, paired by seed."
    return Picture(ident, f"Effect of {found['factor']}", how, alt, svg(draw, ident, alt), [], [], [])


def _grid(
    cells: list[list[Any]],
    texts: list[list[str]] | None,
    across: str,
    down: str,
    factors: dict[str, Any],
    words: Wording,
    said: tuple[str, str, str],
    ident: str,
    hatched: list[list[bool]] | None,
) -> Picture:
    label, title, how = said
    values = [[scaled(cell["value"] if cell else None, words) for cell in row] for row in cells]
    open_cells = hatched or [[False for _ in row] for row in cells]
    levels, small = list(factors[down]), texts
    if not all(map(_is_number, levels)):  # numbers rise from below, names are read from above
        levels, values, open_cells, small = levels[::-1], values[::-1], open_cells[::-1], texts[::-1] if texts else None
    grid = plot.Grid(list(factors[across]), levels, values, open_cells)

    def draw() -> tuple[Figure, Axes]:
        return plot.heatmap(grid, xlabel=across, ylabel=down, zlabel=label, digits=1 if words.percent else 3, below=small)

    alt = f"Heat map: {title}."
    show = words.bare_value if hatched is None else words.bare_points
    rows = [[level, *(show(cell) for cell in row)] for level, row in zip(factors[down], cells, strict=True)]
    return Picture(ident, title, how, alt, svg(draw, ident, alt), [], [down, *factors[across]], rows)


def _small_print(cell: dict[str, Any], words: Wording) -> str:
    """The interval, short enough for a cell; the table below the figure has all digits."""
    return words.interval(cell) if words.percent else f"[{cell['low']:.2g}, {cell['high']:.2g}]"


def _turned(pair: list[str], factors: dict[str, Any]) -> tuple[str, str]:
    """Columns and rows: the factor with fewer levels has the columns."""
    first, second = pair
    return (first, second) if len(factors[first]) < len(factors[second]) else (second, first)


def _by_place(pair: list[str], cells: list[list[Any]], across: str) -> list[list[Any]]:
    """The cells as ``[row][column]``; as they come, the first factor of the pair has the rows."""
    return cells if across == pair[1] else [list(column) for column in zip(*cells, strict=True)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
