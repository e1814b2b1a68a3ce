"""One horizontal bar per layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from neurosim.plot.style import COLOURS, INK, MARKERS, add_legend, label_axes, new_figure, short_names, whiskers

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure


class Bar(NamedTuple):
    """One bar. ``low`` and ``high`` are the ends of its interval; NaN where there is none."""

    name: str
    value: float
    low: float
    high: float


def layer_bars(
    bars: Sequence[Bar],
    *,
    xlabel: str,
    label: str = "",
    others: Sequence[tuple[str, Sequence[Bar]]] = (),
    longest_name: int = 22,
) -> tuple[Figure, Axes]:
    """Horizontal bars with intervals, the first at the top.

    Args:
        bars: The bars, already in order.
        xlabel: What the length of a bar is, with its unit.
        label: Name of the series in the legend, shown only beside ``others``.
        others: Other series over the same names, drawn as points beside the bars.
        longest_name: Longer names are shortened, as far as they stay distinct.

    Returns:
        The figure and its axes.
    """
    fig, ax = new_figure(0.95 + 0.25 * len(bars))
    rows = {bar.name: row for row, bar in enumerate(bars)}
    body = ax.barh(list(rows.values()), [bar.value for bar in bars], height=0.62, color=COLOURS[0], alpha=0.8, linewidth=0)
    _whiskers(ax, bars, rows, INK, "none")
    handles: list[tuple[Artist, str]] = [(body[0], label)] if len(body) else []
    for i, (other, points) in enumerate(others, start=1):
        known = [bar for bar in points if bar.name in rows]
        whiskers = _whiskers(ax, known, rows, COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], 0.12 * i)
        handles.append((whiskers.lines[0], other))
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_yticks(list(rows.values()), short_names(list(rows), longest_name), parse_math=False, fontsize=9.5)
    ax.set_ylim(len(bars) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    label_axes(ax, xlabel, "")
    add_legend(fig, handles if others else [])
    return fig, ax


def _whiskers(ax: Axes, bars: Sequence[Bar], rows: dict[str, int], colour: str, marker: str, shift: float = 0.0) -> ErrorbarContainer:
    values = [bar.value for bar in bars]
    ends = whiskers(values, [bar.low for bar in bars], [bar.high for bar in bars])
    places = [rows[bar.name] + shift for bar in bars]
    return ax.errorbar(values, places, xerr=ends, fmt=marker, color=colour, markersize=5, elinewidth=1.2, capsize=2.5, linestyle="none")
