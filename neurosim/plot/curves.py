"""Lines with bands: a quantity against a hardware parameter, and the share of chips that reach a value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from neurosim.plot.style import COLOURS, DASHES, GREY, INK, MARKERS, add_legend, label_axes, new_figure, number, whiskers

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_Place = Callable[[Any], float]


class Curve(NamedTuple):
    """One line of a figure. ``low`` and ``high`` are the ends of its interval; NaN where there is none."""

    label: str
    x: Sequence[float | str]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    level: float = math.nan  #: a thin line across in the colour of the series: what it is to be compared with


def noise_curve(
    curves: Sequence[Curve],
    *,
    xlabel: str,
    ylabel: str,
    baseline: float | None = None,
    accept: float | None = None,
) -> tuple[Figure, Axes]:
    """A quantity against a hardware parameter, with an interval for each series.

    Args:
        curves: The series. Numbers on ``x`` are placed to scale, or on a logarithmic scale where they span a factor of 8 and their ratios
            are more even than their differences. If any is text, all are placed side by side, as points with whiskers.
        xlabel: What ``x`` is.
        ylabel: What ``y`` is, with its unit.
        baseline: The digital model's value: a grey line.
        accept: The value that must be reached: a dotted line.

    Returns:
        The figure and its axes.
    """
    fig, ax = new_figure(3.3)
    words = any(isinstance(x, str) for curve in curves for x in curve.x)
    place = _scale(ax, [x for curve in curves for x in curve.x])
    handles: list[tuple[Artist, str]] = []
    for i, curve in enumerate(curves):
        colour, xs = COLOURS[i % len(COLOURS)], [place(x) for x in curve.x]
        marker, dash = MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)]
        if words:
            shifted = [x + 0.12 * (i - (len(curves) - 1) / 2) for x in xs]
            ends = whiskers(curve.y, curve.low, curve.high)
            points = ax.errorbar(shifted, list(curve.y), yerr=ends, color=colour, fmt=marker, markersize=6, elinewidth=1.6, capsize=3)
            line = points.lines[0]
        else:
            ax.fill_between(xs, list(curve.low), list(curve.high), color=colour, alpha=0.18, linewidth=0)
            (line,) = ax.plot(xs, list(curve.y), color=colour, marker=marker, linestyle=dash, markersize=5, linewidth=1.8)
        if not math.isnan(curve.level):
            ax.axhline(curve.level, color=colour, linewidth=0.9, linestyle=dash)
        handles.append((line, curve.label))
    handles += _levels(ax, baseline, accept)
    label_axes(ax, xlabel, ylabel)
    add_legend(fig, handles)
    return fig, ax


def yield_curve(
    curves: Sequence[Curve],
    *,
    xlabel: str,
    accept: float | None = None,
    target: float | None = None,
    at_most: bool = False,
) -> tuple[Figure, Axes]:
    """Share of chips that reach each value: steps, with a band for each series.

    Args:
        curves: ``x`` is the value reached, rising; ``y``, ``low``, ``high`` are shares in percent.
        xlabel: What ``x`` is, with its unit.
        accept: The value a chip must reach: a dotted vertical line.
        target: The share of chips that must reach it, percent: a dotted horizontal line.
        at_most: Reaching a value means staying at or below it (a loss), not at or above.

    Returns:
        The figure and its axes.
    """
    fig, ax = new_figure(3.3)
    handles: list[tuple[Artist, str]] = []
    where: Literal["pre", "post"] = "post" if at_most else "pre"
    for i, curve in enumerate(curves):
        colour, xs = COLOURS[i % len(COLOURS)], [float(x) for x in curve.x]
        ax.fill_between(xs, list(curve.low), list(curve.high), step=where, color=colour, alpha=0.18, linewidth=0)
        (line,) = ax.step(xs, list(curve.y), where=where, color=colour, linestyle=DASHES[i % len(DASHES)], linewidth=1.8)
        handles.append((line, curve.label))
    if accept is not None:
        handles.append((ax.axvline(accept, color=INK, linestyle=":", linewidth=1.4), "acceptance"))
    if target is not None:
        ax.axhline(target, color=INK, linestyle=":", linewidth=1.4)
    ax.set_ylim(-3, 103)
    label_axes(ax, xlabel, "share of chips (%)")
    add_legend(fig, handles)
    return fig, ax


def _levels(ax: Axes, baseline: float | None, accept: float | None) -> list[tuple[Artist, str]]:
    found: list[tuple[Artist, str]] = []
    if baseline is not None:
        found.append((ax.axhline(baseline, color=GREY, linewidth=1.6), "digital"))
    if accept is not None:
        found.append((ax.axhline(accept, color=INK, linestyle=":", linewidth=1.4), "acceptance"))
    return found


def _scale(ax: Axes, values: Sequence[float | str]) -> _Place:
    """Set the scale and the ticks of the horizontal axis; what maps a value to its place."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    numbers = sorted({float(v) for v in values if not isinstance(v, str)})
    if not numbers or any(isinstance(v, str) for v in values):
        names = list(dict.fromkeys(number(v) for v in values))
        ax.set_xticks(range(len(names)), names, parse_math=False)
        return lambda v: float(names.index(number(v)))
    logarithmic = numbers[0] > 0 and numbers[-1] / numbers[0] >= 8 and _spread(list(map(math.log, numbers))) < _spread(numbers)
    if logarithmic:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_minor_locator(NullLocator())
    ticks = _apart(numbers, math.log if logarithmic else float)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FixedFormatter([number(v) for v in ticks]))
    return lambda v: float(v)


def _spread(values: Sequence[float]) -> float:
    """How unequal the gaps are: the largest over the smallest."""
    gaps = [b - a for a, b in itertools.pairwise(values)]
    return max(gaps) / min(gaps)


def _apart(values: Sequence[float], place: _Place, least: float = 0.085) -> list[float]:
    """Those of the rising values whose labels do not run into each other; the first and the last are always kept."""
    if len(values) < 2:
        return list(values)
    width = place(values[-1]) - place(values[0])
    kept = [values[0]]
    for value in values[1:-1]:
        if place(value) - place(kept[-1]) >= least * width <= place(values[-1]) - place(value):
            kept.append(value)
    return [*kept, values[-1]]
