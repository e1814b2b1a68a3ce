"""What a conversion did, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["converted", "digital", "refused"]


@dataclass(frozen=True)
class LayerReport:
    """One layer that owns weights.

    Args:
        path: Its name in the model; the first one if the model uses the layer under several.
        type: Its class before conversion.
        status: ``converted``; ``digital``: left so by choice or by nature; ``refused``: it computes a product that cannot be put on this
            hardware yet.
        reason: Why, for people.
        inputs, outputs: Features or channels; 0 where that has no meaning.
        weights: Number of elements in its own parameters.
    """

    path: str
    type: str
    status: Status
    reason: str
    inputs: int = 0
    outputs: int = 0
    weights: int = 0


@dataclass(frozen=True)
class Conversion:
    """The report that :func:`neurosim.to_analog` leaves at ``model.conversion``; ``print`` shows it as a table."""

    profile: str
    seed: int
    layers: tuple[LayerReport, ...]

    def count(self, status: Status) -> int:
        """How many layers have that status."""
        return sum(layer.status == status for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        on_chip = sum(layer.weights for layer in self.layers if layer.status == "converted")
        share = on_chip / max(1, sum(layer.weights for layer in self.layers))
        head = (
            f"{self.profile}, chip {self.seed}: {self.count('converted')} layers converted, {self.count('digital')} left digital, "
            f"{self.count('refused')} refused; {on_chip:,} weights on the chip ({share:.0%})"
        )
        rows = [(layer.path or "(model)", layer.type, _size(layer), layer.status, layer.reason) for layer in self.layers]
        return "\n".join([head, *_table(("layer", "type", "size", "status", "reason"), rows)])


def _size(layer: LayerReport) -> str:
    return f"{layer.inputs}→{layer.outputs}" if layer.inputs else f"{layer.weights:,}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)]
