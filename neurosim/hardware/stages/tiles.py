"""Tiles: the size of one physical array."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from neurosim.hardware.stage import STAGES, Spec, Stage, Unit, unchanged


class Tiles(Spec):
    """A layer with more inputs or outputs than one array has takes several."""

    kind: Literal["tiles"] = "tiles"
    rows: Annotated[int | None, Field(ge=1), Unit("inputs")] = None
    """Inputs of one array; None for any number. Each array converts its outputs; their sum over the arrays is digital."""
    columns: Annotated[int | None, Field(ge=1), Unit("outputs")] = None
    """Outputs of one array, every plane of conductances by itself; None for any number."""
    filled: bool = False
    """Whether all arrays but the last are filled, the last holding the rest; otherwise their inputs are as equal in number as can be."""


def _describe(spec: Tiles) -> str:
    filled = ", filled one after the other" if spec.filled else ""
    return f"arrays of {spec.rows or 'any number of'} rows × {spec.columns or 'any number of'} columns{filled}"


STAGES.add("tiles", Stage(Tiles, unchanged, _describe, structural=True))
