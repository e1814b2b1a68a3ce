"""Synaptic operations, as a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from neurosim.convert.report import table


@dataclass(frozen=True)
class LayerSynOps:
    """One layer with weights.

    Args:
        path: Its name in the model.
        type: Its class, the digital one.
        dense: Operations that an input without zeros would cause, a sample; zeros of a padding are in neither number.
        operations: Operations that the data cause, a sample: over all steps, of numbers that are not 0, one for each weight they meet.
        accumulates: Whether nothing but 1, -1 and 0 arrived: nothing has to be multiplied.
    """

    path: str
    type: str
    dense: float
    operations: float
    accumulates: bool

    @property
    def share(self) -> float:
        """Which share of the dense operations that is; 0 where there are none."""
        return self.operations / self.dense if self.dense else 0.0


@dataclass(frozen=True)
class SynOps:
    """What :func:`neurosim.synops` found; ``print`` shows it as a table.

    Args:
        layers: The layers that ran, in the order in which they did.
        samples: How many samples were shown.
        left_out: Types of layers that ran and whose products nobody can see, by path: not counted.
    """

    layers: tuple[LayerSynOps, ...]
    samples: int
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def dense(self) -> float:
        """Operations of inputs without zeros in all layers, a sample."""
        return sum(layer.dense for layer in self.layers)

    @property
    def operations(self) -> float:
        """Operations that the data cause in all layers, a sample: :attr:`accumulates` and :attr:`multiplies`."""
        return sum(layer.operations for layer in self.layers)

    @property
    def accumulates(self) -> float:
        """Those of layers to which nothing but 1, -1 and 0 arrives (AC), a sample."""
        return sum(layer.operations for layer in self.layers if layer.accumulates)

    @property
    def multiplies(self) -> float:
        """Those of all other layers (MAC), a sample."""
        return self.operations - self.accumulates

    @property
    def share(self) -> float:
        """Operations over dense ones; 0 where there are none."""
        return self.operations / self.dense if self.dense else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data: JSON-able."""
        total = {name: getattr(self, name) for name in ("dense", "operations", "accumulates", "multiplies", "share")}
        names = (*LayerSynOps.__dataclass_fields__, "share")
        layers = [{name: getattr(layer, name) for name in names} for layer in self.layers]
        return {"samples": self.samples, "total": total, "layers": layers, "left_out": dict(self.left_out)}

    def __str__(self) -> str:
        head = (
            f"{self.samples:,} sample{'' if self.samples == 1 else 's'}: {_shown(self.operations)} operations each, "
            f"{self.share:.1%} of {_shown(self.dense)}; {_shown(self.accumulates)} only accumulate"
        )
        rows = [
            (
                layer.path or "(model)",
                layer.type,
                _shown(layer.dense),
                _shown(layer.operations),
                f"{layer.share:.1%}",
                "AC" if layer.accumulates else "MAC",
            )
            for layer in self.layers
        ]
        lines = [head, *table(("layer", "type", "dense", "operations", "share", "kind"), rows)]
        if self.left_out:
            named = (f"{path or '(model)'} ({kind})" for path, kind in self.left_out.items())
            lines.append(f"not counted: {', '.join(named)}")
        return "\n".join(lines)


def _shown(number: float) -> str:
    return f"{number:,.1f}".removesuffix(".0")
