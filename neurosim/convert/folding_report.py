"""What folding did, norm by norm."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from neurosim.convert.report import table

Fate = Literal["folded", "left"]


@dataclass(frozen=True)
class NormReport:
    """One norm.

    Args:
        path: Its name in the model; the first one if the model uses it under several.
        type: Its class.
        status: ``folded``, or ``left`` as it was.
        into: The layer that holds it now.
        reason: How it was folded, or why not, for people.
    """

    path: str
    type: str
    status: Fate
    into: str
    reason: str


@dataclass(frozen=True)
class Folding:
    """The report that :func:`neurosim.fold` leaves at ``model.folding``; ``print`` shows it as a table.

    Args:
        norms: One entry for every norm.
        deviation: The largest difference of an output from that of the model before, on the batch of the check; None without one.
        differing: The share of outputs that differ at all, likewise.
        unread: Modules whose ``forward`` cannot be read, and which are taken to use as it is what they hold and norms were folded in.
    """

    norms: tuple[NormReport, ...]
    deviation: float | None = None
    differing: float | None = None
    unread: tuple[str, ...] = ()

    def count(self, status: Fate) -> int:
        """How many norms have that status."""
        return sum(norm.status == status for norm in self.norms)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        check = "not checked on a batch"
        if self.deviation is not None and self.differing is not None:
            check = f"outputs differ by at most {self.deviation:.3g} ({self.differing:.2%} of them at all)"
        head = f"{self.count('folded')} norms folded, {self.count('left')} left; {check}"
        rows = [(norm.path or "(model)", norm.type, norm.status, norm.into, norm.reason) for norm in self.norms]
        shown = table(("norm", "type", "status", "into", "reason"), rows) if rows else []
        notes = [f"  the forward of {one} cannot be read: taken to use what it holds as it is, and no part of it" for one in self.unread]
        return "\n".join([head, *shown, *notes])
