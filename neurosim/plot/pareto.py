"""What is won for what it takes: points, and the line of those that no other beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from neurosim.plot.curves import Curve
from neurosim.plot.style import COLOURS, GREY, MARKERS, add_legend, label_axes, new_figure, whiskers

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def unbeaten(x: Sequence[float], y: Sequence[float], *, higher_is_better: bool = True) -> list[bool]:
    """Which points no other is at least as good as in both, and better in one; less of ``x`` is better.

    >>> unbeaten([1, 2, 3, 2], [80, 90, 90, 85])
    [True, True, False, False]
    """
    sign = 1 if higher_is_better else -1
    points = [(a, -sign * b) for a, b in zip(x, y, strict=True)]
    return [not any(p != q and q[0] <= p[0] and q[1] <= p[1] for q in points) for p in points]


def pareto(
    curves: Sequence[Curve], *, xlabel: str, ylabel: str, higher_is_better: bool = True, accept: float | None = None
) -> tuple[Figure, Axes]:
    """Points of several series with whiskers, and the line of those among all of them that are unbeaten.

    Args:
        curves: ``x`` is what it takes, ``y`` what is won.
        xlabel: What ``x`` is, with its unit.
        ylabel: What ``y`` is, with its unit.
        higher_is_better: Whether more of ``y`` is better.
        accept: The value that must be reached: a dotted line.

    Returns:
        The figure and its axes; ``x`` is logarithmic where it spans a factor of 8.
    """
    fig, ax = new_figure(3.3)
    xs, ys = [float(x) for curve in curves for x in curve.x], [y for curve in curves for y in curve.y]
    best = sorted((x, y) for x, y, wins in zip(xs, ys, unbeaten(xs, ys, higher_is_better=higher_is_better), strict=True) if wins)
    if min(xs) > 0 and max(xs) / min(xs) >= 8:
        ax.set_xscale("log")
    (front,) = ax.plot([x for x, _ in best], [y for _, y in best], color=GREY, linewidth=1.4, drawstyle="steps-post", zorder=1)
    handles: list[tuple[Artist, str]] = []
    for i, curve in enumerate(curves):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        places, ends = [float(x) for x in curve.x], whiskers(curve.y, curve.low, curve.high)
        points = ax.errorbar(places, list(curve.y), yerr=ends, color=colour, fmt=marker, markersize=6, elinewidth=1.4, capsize=3)
        handles.append((points.lines[0], curve.label))
    if len(best) > 1:
        handles.append((front, "unbeaten"))
    if accept is not None:
        handles.append((ax.axhline(accept, color=GREY, linestyle=":", linewidth=1.4), "acceptance"))
    label_axes(ax, xlabel, ylabel)
    add_legend(fig, handles)
    return fig, ax
