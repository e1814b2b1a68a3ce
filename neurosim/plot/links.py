"""Resolution of an optical link against the power of its source."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neurosim.errors import ConfigError
from neurosim.hardware.resolution import Resolution
from neurosim.plot.style import COLOURS, DASHES, GREY, INK, MARKERS, add_legend, label_axes, new_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neurosim.hardware.budget import LinkBudget

_A_BIT = 20.0 * math.log10(2.0)  #: dB
_PARTS = (("shot", "shot_a"), ("thermal", "thermal_a"), ("source", "rin_a"))


def link_budget(budgets: Sequence[LinkBudget]) -> tuple[Figure, Axes]:
    """Signal-to-noise ratio and effective bits against power, as they are and as each noise alone would leave them.

    A dotted vertical line marks the cross-over, where the noise of the source overtakes all other: more power hardly helps from there.

    Args:
        budgets: Budgets of one link at rising powers, at least two; see :func:`neurosim.link_budget`.

    Returns:
        The figure and its axes; the scale of bits is on the right.

    Raises:
        ConfigError: There are fewer than two, they are of different links, or their powers do not rise.
    """
    powers = [10.0 * math.log10(one.power_w / 1e-3) for one in budgets]
    if len(budgets) < 2 or any(a >= b for a, b in itertools.pairwise(powers)) or any(one.link != budgets[0].link for one in budgets):
        raise ConfigError("link_budget: must be at least two budgets of the same link at rising powers")
    fig, ax = new_figure(3.6)
    handles: list[tuple[Artist, str]] = []
    (line,) = ax.plot(powers, [one.snr_db for one in budgets], color=INK, linewidth=2.4, zorder=3)
    handles.append((line, "all noise"))
    for i, (name, part) in enumerate(_PARTS):
        if all(getattr(one, part) > 0 for one in budgets):
            alone = [20.0 * math.log10(one.swing_a / getattr(one, part)) for one in budgets]
            style: dict[str, Any] = {
                "linestyle": DASHES[i + 1],
                "marker": MARKERS[i],
                "markevery": max(len(budgets) // 6, 1),
                "markersize": 4.5,
            }
            (line,) = ax.plot(powers, alone, color=COLOURS[i], linewidth=1.5, **style)
            handles.append((line, f"{name} alone"))
    crossing = _crossing(budgets, powers)
    if crossing is not None:
        handles.append((ax.axvline(crossing, color=GREY, linestyle=":", linewidth=1.6), f"cross-over, {crossing:.1f} dBm"))
    zero = Resolution.from_enob(0.0, budgets[0].resolution.span).snr_db

    def to_bits(db: Any) -> Any:
        return (db - zero) / _A_BIT

    def to_db(bits: Any) -> Any:
        return bits * _A_BIT + zero

    bits = ax.secondary_yaxis("right", functions=(to_bits, to_db))
    bits.set_ylabel("effective bits", parse_math=False)
    label_axes(ax, "power of the source (dBm)", "signal-to-noise ratio (dB)")
    add_legend(fig, handles)
    return fig, ax


def _crossing(budgets: Sequence[LinkBudget], powers: Sequence[float]) -> float | None:
    """Where the noise of the source equals all other, in dBm, between the given powers; linear between two of them."""
    excess = [20.0 * math.log10(one.rin_a / math.hypot(one.shot_a, one.thermal_a)) if one.rin_a > 0 else -math.inf for one in budgets]
    for (p0, e0), (p1, e1) in itertools.pairwise(zip(powers, excess, strict=True)):
        if e0 < 0 <= e1:
            return p0 + (p1 - p0) * -e0 / (e1 - e0)
    return None
