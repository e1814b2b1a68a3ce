"""What a conversion did, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from neurosim.hardware.costs import Costs

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
    """The report that :func:`neurosim.to_analog` leaves at ``model.conversion``; ``print`` shows it as a table.

    Args:
        profile: Name of the device profile.
        seed: Which chip.
        layers: One entry for every layer that owns weights, and for neurons where the profile has some.
        summary: What the profile says of itself.
        not_modelled: Effects that the profile leaves out.
        slots: The stages of the profile's chain, before any override.
        sha256: Of the profile's content.
        before: What :func:`neurosim.to_spiking` reported of the model, a ``SpikingConversion``; None if it was not converted so.
            :func:`neurosim.to_digital` puts it back.
        costs: What the profile says that running it takes, for :func:`neurosim.cost`.
    """

    profile: str
    seed: int
    layers: tuple[LayerReport, ...]
    summary: str = ""
    not_modelled: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    sha256: str = ""
    before: Any = None
    costs: Costs = field(default_factory=Costs)

    def count(self, status: Status) -> int:
        """How many layers have that status."""
        return sum(layer.status == status for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self) | {"costs": self.costs.model_dump(exclude_none=True)}

    def __str__(self) -> str:
        on_chip = sum(layer.weights for layer in self.layers if layer.status == "converted")
        share = on_chip / max(1, sum(layer.weights for layer in self.layers))
        head = (
            f"{self.profile}, chip {self.seed}: {self.count('converted')} layers converted, {self.count('digital')} left digital, "
            f"{self.count('refused')} refused; {on_chip:,} weights on the chip ({_percent(share)})"
        )
        rows = [(layer.path or "(model)", layer.type, _size(layer), layer.status, layer.reason) for layer in self.layers]
        return "\n".join([head, *table(("layer", "type", "size", "status", "reason"), rows)])


def _percent(share: float) -> str:
    """Rounded down to a tenth where it is not whole: 910 of 911 weights are not all of them."""
    tenths = math.floor(1000 * share)
    return f"{tenths // 10}%" if tenths % 10 == 0 else f"{tenths / 10}%"


def _size(layer: LayerReport) -> str:
    if layer.inputs:
        return f"{layer.inputs}→{layer.outputs}"
    return f"{layer.weights:,}" if layer.weights else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)]
