"""What a calibration set, range by range."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from neurosim.convert.report import table

Ends = tuple[float, float]  #: lowest and highest value of a range


@dataclass(frozen=True)
class RangeReport:
    """One range.

    Args:
        layer: Path of the layer.
        slot: Place in its chain; with the limiter in front of it that was set with it.
        before, after: The range; that of a scale is ± its factor.
        clipped_before, clipped_after: Share of the signal that lies outside.
        largest: Largest magnitude of the signal.
        note: What is special, for people.
    """

    layer: str
    slot: str
    before: Ends
    after: Ends
    clipped_before: float
    clipped_after: float
    largest: float
    note: str = ""


@dataclass(frozen=True)
class Calibration:
    """The report of :func:`calibrate`; ``print`` shows it as a table.

    Args:
        ranges: In the order of the forward.
        method: How ranges were chosen.
        samples: How many inputs were looked at.
    """

    ranges: tuple[RangeReport, ...]
    method: str
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        head = f"{len(self.ranges)} ranges set from {self.samples} inputs, by {self.method}"
        rows = [
            (
                *(one.layer or "(model)", one.slot, _ends(one.before), _ends(one.after)),
                *(f"{100 * one.clipped_before:.3g} %", f"{100 * one.clipped_after:.3g} %", f"{one.largest:.3g}", one.note),
            )
            for one in self.ranges
        ]
        names = ("layer", "slot", "range", "now", "clipped", "now", "largest", "note")
        return "\n".join([head, *(table(names, rows) if rows else [])])


def _ends(ends: Ends) -> str:
    low, high = ends
    return f"±{high:.4g}" if low == -high else f"{low:.4g} … {high:.4g}"
