"""Figures draw exactly the numbers they are given, show labels letter for letter, and leave no global state."""

from __future__ import annotations

import io
import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from neurosim import plot

Draw = Callable[..., tuple[Any, Any]]  # matplotlib types its artists more widely than they are
noise_curve: Draw = plot.noise_curve
layer_bars: Draw = plot.layer_bars
heatmap: Draw = plot.heatmap
yield_curve: Draw = plot.yield_curve

NAN = math.nan
CURVE = plot.Curve("a", [0.0, 0.2, 0.5], [97.0, 95.0, 80.0], [96.0, 94.0, 77.0], [98.0, 96.0, 83.0])
BARS = [plot.Bar("fc1", 3.0, 2.5, 3.5), plot.Bar("fc2", -1.0, -2.0, 0.0)]
GRID = plot.Grid([0.0, 0.1, 0.2], [4, 16], [[80.0, 85.0, NAN], [90.0, 95.0, 96.0]], [[False, True, False], [False, False, False]])

DRAWN: dict[str, Draw] = {
    "noise_curve": lambda: noise_curve([CURVE], xlabel="x", ylabel="y", baseline=97.5, accept=95.5),
    "layer_bars": lambda: layer_bars(BARS, xlabel="drop", label="mine", others=[("theirs", BARS[:1])]),
    "heatmap": lambda: heatmap(GRID, xlabel="x", ylabel="y", zlabel="z", accept=88.0),
    "yield_curve": lambda: yield_curve([CURVE._replace(y=[100.0, 60.0, 0.0])], xlabel="x", accept=0.1, target=90.0),
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_is_drawn_without_a_window_and_without_a_warning(name: str) -> None:
    fig, ax = DRAWN[name]()
    assert ax.figure is fig
    target = io.BytesIO()
    fig.savefig(target, format="png")
    assert target.getvalue().startswith(b"\x89PNG")


def test_figures_need_neither_matplotlib_at_import_nor_pyplot_ever() -> None:
    code = (
        "import sys; from neurosim import plot; assert 'matplotlib' not in sys.modules\n"
        "plot.layer_bars([plot.Bar('a', 1.0, 0.5, 1.5)], xlabel='x')[0].savefig('/dev/null', format='svg')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_curve_is_the_numbers_given() -> None:
    _, ax = noise_curve([CURVE], xlabel="x", ylabel="y", baseline=97.5)
    line = ax.lines[0]
    assert list(line.get_xdata()) == CURVE.x
    assert list(line.get_ydata()) == CURVE.y
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (77.0, 98.0)
    assert list(ax.lines[1].get_ydata()) == [97.5, 97.5]


def test_without_an_interval_there_is_no_band() -> None:
    _, ax = noise_curve([CURVE._replace(low=[NAN] * 3, high=[NAN] * 3)], xlabel="x", ylabel="y")
    assert not ax.collections[0].get_paths()


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([4, 8, 16, 32, 64], "log"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], "linear"),
        ([1, 2, 4], "linear"),
        ([0.0, 1.0, 100.0], "linear"),
        ([5], "linear"),
    ],
)
def test_the_scale_is_logarithmic_where_ratios_are_more_even_than_differences(values: list[float], scale: str) -> None:
    n = len(values)
    _, ax = noise_curve([plot.Curve("a", values, [1.0] * n, [1.0] * n, [1.0] * n)], xlabel="x", ylabel="y")
    assert ax.get_xscale() == scale


def test_ticks_are_swept_values_and_their_labels_do_not_touch() -> None:
    values = [0.0, 0.001, 0.002, 0.1, 0.2, 0.4, 0.499, 0.5]
    fig, ax = noise_curve([plot.Curve("a", values, values, values, values)], xlabel="x", ylabel="y")
    fig.draw_without_rendering()
    ticks = list(ax.get_xticks())
    assert set(ticks) <= set(values)
    assert (ticks[0], ticks[-1]) == (0.0, 0.5)
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_words_on_the_axis_are_points_with_whiskers_side_by_side() -> None:
    curve = plot.Curve("a", ["mzi", "mrr"], [90.0, 80.0], [89.0, 78.0], [91.0, 82.0])
    _, ax = noise_curve([curve], xlabel="device", ylabel="y")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["mzi", "mrr"]
    assert ax.lines[0].get_linestyle() == "None"
    (segments,) = [c.get_segments() for c in ax.collections]
    assert [tuple(s[:, 1]) for s in segments] == [(89.0, 91.0), (78.0, 82.0)]


def test_bars_are_the_numbers_given_from_the_top() -> None:
    _, ax = layer_bars(BARS, xlabel="drop")
    assert [patch.get_width() for patch in ax.patches] == [3.0, -1.0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["fc1", "fc2"]
    bottom, top = ax.get_ylim()
    assert bottom > top  # row 0 is at the top
    whiskers = ax.collections[0].get_segments()
    assert [tuple(s[:, 0]) for s in whiskers] == [(2.5, 3.5), (-2.0, 0.0)]


def test_another_series_is_drawn_at_the_row_of_its_name_and_unknown_names_are_left_out() -> None:
    others = [plot.Bar("fc2", 7.0, 6.0, 8.0), plot.Bar("gone", 9.0, 9.0, 9.0)]
    _, ax = layer_bars(BARS, xlabel="drop", others=[("theirs", others)])
    (points,) = [line for line in ax.lines if list(line.get_xdata()) == [7.0]]
    assert round(float(points.get_ydata()[0])) == 1


def test_a_heatmap_shows_every_number_hatches_the_undecided_and_says_where_there_is_none() -> None:
    _, ax = heatmap(GRID, xlabel="x", ylabel="y", zlabel="z")
    texts = {(t.get_position()): t.get_text() for t in ax.texts}
    assert texts[0.5, 0.5] == "80.0"
    assert texts[2.5, 1.5] == "96.0"
    assert texts[2.5, 0.5] == "no data"
    assert [patch.get_xy() for patch in ax.patches if patch.get_hatch()] == [(1, 0)]


def test_the_border_of_a_heatmap_runs_between_cells_on_different_sides_of_acceptance() -> None:
    _, ax = heatmap(GRID, xlabel="x", ylabel="y", zlabel="z", accept=88.0)
    lines = {tuple(map(tuple, s)) for s in ax.collections[-1].get_segments()}
    assert lines == {((0.0, 1.0), (1.0, 1.0)), ((1.0, 1.0), (2.0, 1.0))}  # below 90 | 80 and 95 | 85; the empty cell borders on nothing


def test_a_large_heatmap_leaves_its_numbers_out() -> None:
    n = 30
    grid = plot.Grid(list(range(n)), list(range(n)), np.ones((n, n)).tolist(), np.zeros((n, n), dtype=bool).tolist())
    fig, ax = heatmap(grid, xlabel="x", ylabel="y", zlabel="z")
    assert not ax.texts
    assert len(ax.get_xticks()) <= 10
    assert fig.get_size_inches()[1] <= 6.0


@pytest.mark.parametrize(("at_most", "where"), [(False, "steps-pre"), (True, "steps-post")])
def test_a_yield_curve_steps_towards_the_side_that_reaches_the_value(at_most: bool, where: str) -> None:
    _, ax = yield_curve([CURVE], xlabel="x", at_most=at_most)
    assert ax.lines[0].get_drawstyle() == where


@pytest.mark.parametrize("label", ["$\\frac{", "_hidden", "a\nb", "a$b$c", "精度", "%s {} {x}"])
def test_labels_are_shown_letter_for_letter(label: str) -> None:
    shown = label.replace("\n", " ")
    fig, ax = noise_curve([CURVE._replace(label=label)], xlabel=label, ylabel=label, accept=90.0)
    assert ax.get_xlabel() == shown
    assert fig.legends[0].get_texts()[0].get_text() == shown
    assert not any(text.get_parse_math() for text in (*fig.legends[0].get_texts(), ax.xaxis.label, ax.yaxis.label))
    _, ax = layer_bars([plot.Bar(label, 1.0, 0.5, 1.5)], xlabel=label)
    assert [text.get_text() for text in ax.get_yticklabels()] == [shown]
    assert not any(text.get_parse_math() for text in ax.get_yticklabels())


def test_short_names_stay_distinct() -> None:
    names = [f"encoder.blocks.{i}.attention.projection_of_the_values.{part}" for i in range(12) for part in ("weight_in", "weight_out")]
    short = plot.short_names(names, 22)
    assert len(set(short)) == len(names)
    assert max(map(len, short)) < max(map(len, names))


def test_no_label_is_cut_off_at_the_edge_of_the_figure() -> None:
    names = [f"encoder.blocks.{i}.attention.projection" for i in range(30)]
    fig, ax = layer_bars([plot.Bar(name, 1.0, 0.5, 1.5) for name in names], xlabel="drop")
    fig.draw_without_rendering()
    assert all(label.get_window_extent().x0 >= 0 for label in ax.get_yticklabels())
    fig, ax = noise_curve([CURVE], xlabel="x", ylabel="accuracy (%)", baseline=97.5, accept=92.5)
    fig.draw_without_rendering()
    assert ax.yaxis.label.get_window_extent().x0 >= 0
