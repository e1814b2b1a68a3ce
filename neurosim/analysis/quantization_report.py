"""What was quantised, layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from neurosim.convert.report import table


@dataclass(frozen=True)
class LayerQuantization:
    """One layer.

    Args:
        path: Its name in the model.
        weight_sqnr_db: Power of its weights over that of their rounding error, dB; None where they are not rounded.
        limit: Largest magnitude of its inputs, after the offset; None where it follows the signal, or where they are not rounded. Of
            channels with limits of their own the largest.
        clipped: Share of the inputs of the calibration beyond the limit.
        input_sqnr_db: As for the weights, of the inputs of the calibration.
        output_sqnr_db: Of limits that were chosen together, as for the weights, of what the layer gives, weights and inputs both rounded.
        separate_sqnr_db: The same with limits that were chosen each for itself.
    """

    path: str
    weight_sqnr_db: float | None
    limit: float | None
    clipped: float | None
    input_sqnr_db: float | None
    output_sqnr_db: float | None = None
    separate_sqnr_db: float | None = None


@dataclass(frozen=True)
class Quantization:
    """The report that :func:`neurosim.quantize` leaves at ``model.quantization``; ``print`` shows it as a table.

    Args:
        weights, activations, gradients: The formats; None where nothing is rounded.
        layers: One entry for every layer.
    """

    weights: str | None
    activations: str | None
    gradients: str | None
    layers: tuple[LayerQuantization, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        return asdict(self)

    def __str__(self) -> str:
        parts = (("weights", self.weights), ("activations", self.activations), ("gradients", self.gradients))
        head = f"{len(self.layers)} layers: " + ", ".join(f"{what} {form}" for what, form in parts if form is not None)
        joint = any(one.output_sqnr_db is not None for one in self.layers)
        rows = [
            (
                one.path or "(model)",
                _db(one.weight_sqnr_db),
                "" if one.limit is None else f"{one.limit:.4g}",
                "" if one.clipped is None else f"{100 * one.clipped:.2g} %",
                _db(one.input_sqnr_db),
                *((_db(one.output_sqnr_db), _db(one.separate_sqnr_db)) if joint else ()),
            )
            for one in self.layers
        ]
        names = ("layer", "weights", "limit", "clipped", "inputs", *(("outputs", "separately") if joint else ()))
        return "\n".join([head, *table(names, rows)])


def _db(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} dB"
