"""What came of giving units another start."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from neurosim.convert.report import table


@dataclass(frozen=True)
class RevivedReport:
    """A layer whose units feed another.

    Args:
        layer: Path of the layer.
        feeds: Path of the next.
        units: How many it has.
        status: Whether units could be given another start.
        dormant: How many of them were.
        reason: Why they were left, for people.
    """

    layer: str
    feeds: str
    units: int
    status: Literal["revived", "left"]
    dormant: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Revival:
    """The report that :func:`neurosim.revive_units` leaves at ``model.revival``; ``print`` shows it as a table.

    Args:
        layers: One entry for every layer with weights that is followed by another.
    """

    layers: tuple[RevivedReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        head = f"{sum(one.dormant for one in self.layers)} of {sum(one.units for one in self.layers)} units given another start"
        rows = [(one.layer, one.feeds, str(one.units), one.status, str(one.dormant), one.reason) for one in self.layers]
        return "\n".join([head, *(table(("layer", "feeds", "units", "status", "dormant", "reason"), rows) if rows else [])])
