"""The figure of a link budget shows the numbers of its budgets."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest

import neurosim as ns
from neurosim import plot

LINK = ns.Link(1.0, 10e9, 50.0, rin_db_per_hz=-145.0)
POWERS = [10.0 ** (-6 + at / 10) for at in range(41)]


def draw(link: ns.Link = LINK) -> tuple[Any, Any, dict[str, Any]]:
    """The figure, its axes and its lines by the text of the legend."""
    fig, ax = plot.link_budget([ns.link_budget(link, power) for power in POWERS])
    (legend,) = fig.legends
    return fig, ax, dict(zip([text.get_text() for text in legend.get_texts()], ax.lines, strict=True))


def test_the_lines_are_those_of_the_budgets() -> None:
    _, _, lines = draw()
    x, y = lines["all noise"].get_data()
    assert list(x) == pytest.approx([10 * math.log10(power) + 30 for power in POWERS])
    assert list(y) == pytest.approx([LINK.resolution(power).snr_db for power in POWERS])
    alone = [lines[f"{name} alone"].get_ydata() for name in ("shot", "thermal", "source")]
    for at in range(len(POWERS)):  # the powers of independent noises add
        assert sum(10 ** (-part[at] / 10) for part in alone) == pytest.approx(10 ** (-y[at] / 10))


def test_the_crossover_is_where_the_source_makes_half_of_the_noise() -> None:
    _, _, lines = draw()
    (name,) = [name for name in lines if name.startswith("cross-over")]
    place = lines[name].get_xdata()[0]
    shot, thermal, rin = LINK.variances(10 ** (place / 10 - 3))
    assert rin == pytest.approx(shot + thermal, rel=0.01)
    assert name == f"cross-over, {place:.1f} dBm"


def test_a_source_without_noise_has_no_line_and_no_crossover() -> None:
    _, _, lines = draw(ns.Link(1.0, 10e9, 50.0))
    assert list(lines) == ["all noise", "shot alone", "thermal alone"]


@pytest.mark.parametrize("balanced", [False, True])
def test_the_scale_on_the_right_is_effective_bits(balanced: bool) -> None:
    link = ns.Link(1.0, 10e9, 50.0, rin_db_per_hz=-145.0, balanced=balanced)
    fig, ax, _ = draw(link)
    target = io.BytesIO()
    fig.savefig(target, format="png", dpi=40)
    assert target.getvalue().startswith(b"\x89PNG")
    (bits,) = ax.child_axes
    low, high = ax.get_ylim()
    noise = link.resolution(1e-4)
    there = (noise.snr_db - low) / (high - low)
    assert bits.get_ylim()[0] + there * (bits.get_ylim()[1] - bits.get_ylim()[0]) == pytest.approx(noise.enob)


def test_budgets_that_make_no_curve_are_an_error() -> None:
    one, other = ns.link_budget(LINK, 1e-3), ns.link_budget(ns.Link(1.0, 1e9, 50.0), 2e-3)
    for budgets in ([], [one], [one, one], [one, other]):
        with pytest.raises(ns.ConfigError, match="at least two budgets of the same link at rising powers"):
            plot.link_budget(budgets)
