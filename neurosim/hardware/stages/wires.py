"""Wires with resistance: a tile multiplies with other conductances than its cells have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.parasitics import Crossbar, Ends, exact_conductance, fast_conductance, parasitic_load
from neurosim.hardware.stage import STAGES, Context, Params, Spec, Stage, Unit

_METHODS = {"fast": fast_conductance, "exact": exact_conductance}


class Wires(Spec):
    """Replaces conductances by those that a tile with resistive wires acts with; a matrix larger than a tile is split."""

    kind: Literal["wires"] = "wires"
    rows: Annotated[int, Field(ge=1), Unit("inputs")]
    """Inputs of a tile. A matrix with more takes several of one size, the last perhaps smaller; their wires end where they end."""
    columns: Annotated[int, Field(ge=1), Unit("outputs")]
    """Outputs of a tile."""
    r_row_ohm: Annotated[float, Field(ge=0)]
    """Resistance of a row wire from one cell to the next, and from its driver to the first."""
    r_column_ohm: Annotated[float, Field(ge=0)]
    """Resistance of a column wire from one cell to the next, and from the last to its converter."""
    driven: Ends = "first"
    """Where rows have their drivers: beside the first column, the last, or both."""
    sensed: Ends = "last"
    """Where columns have their converters: beside the first row, the last, or both, whose currents are added."""
    method: Literal["fast", "exact"] = "fast"
    """``fast`` is good to 1 % of full scale up to a load of 0.4 (roughly resistance × conductance × cells); ``exact`` always holds."""
    interleaved: bool = False
    """Whether planes 0 and 1, 2 and 3, … stand in pairs on the same column wires, driven with opposite voltages."""

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        if self.method == "exact" and self.rows > 4096:
            raise ValueError(f"method 'exact' solves systems as large as a tile has rows, at most 4096, got rows {self.rows}")
        return self

    @property
    def crossbar(self) -> Crossbar:
        """The wires of one tile."""
        return Crossbar(self.r_row_ohm, self.r_column_ohm, self.driven, self.sensed)


def wired(x: Tensor, spec: Wires) -> Tensor:
    """Effective conductances of every tile.

    Args:
        x: Conductances, siemens, ≥ 0.
        spec: Tiles and wires.

    Shapes:
        x ``(planes, groups, out, in)``, or fewer leading axes; result the same.

    Returns:
        Siemens, in the type of ``x``; the gradient is the true derivative.

    Raises:
        ConfigError: ``interleaved``, and the planes are no pairs.

    Source:
        See :mod:`neurosim.hardware.parasitics`.
    """
    solve = _METHODS[spec.method]
    return _together(_tiles(_apart(x, spec), spec, lambda tile: solve(tile, spec.crossbar)), spec)


def wire_loads(x: Tensor, spec: Wires) -> Tensor:
    """Load of every tile: above :data:`neurosim.hardware.parasitics.LOAD_LIMIT`, method ``fast`` may be more than 1 % of full scale off.

    Shapes:
        x ``(planes, groups, out, in)``, or fewer leading axes; result ``(planes, groups, tiles of outputs, tiles of inputs)``; a pair of
        ``interleaved`` planes is one.
    """
    return _tiles(_apart(x, spec), spec, lambda tile: parasitic_load(tile, spec.crossbar)[..., None, None, None]).squeeze(-3)


def _apart(x: Tensor, spec: Wires) -> Tensor:
    """With an axis of the lines that share columns before the last two."""
    if not spec.interleaved:
        return x.unsqueeze(-3)
    if x.dim() < 3 or x.shape[0] % 2:
        raise ConfigError(f"wires: interleaved needs planes in pairs, (planes, groups, out, in) with an even number, got {tuple(x.shape)}")
    return x.reshape(x.shape[0] // 2, 2, *x.shape[1:]).movedim(1, -3)


def _together(x: Tensor, spec: Wires) -> Tensor:
    return x.movedim(-3, 1).flatten(0, 1) if spec.interleaved else x.squeeze(-3)


def _tiles(x: Tensor, spec: Wires, act: Callable[[Tensor], Tensor]) -> Tensor:
    """The function of every tile, put back in its place."""
    return _along(x, -2, spec.columns, lambda strip: _along(strip, -1, spec.rows, act))


def _along(x: Tensor, dim: int, size: int, act: Callable[[Tensor], Tensor]) -> Tensor:
    """The function of all pieces of one axis, as few as hold it, all of one length at once but for a shorter last one."""
    n = x.shape[dim]
    even = max(-(-n // max(-(-n // size), 1)), 1)
    done = []
    for start, pieces, length in ((0, n // even, even), (n - n % even, 1, n % even)):
        if pieces and length:
            part = x.narrow(dim, start, pieces * length).reshape(*x.shape[:dim], pieces, length, *x.shape[dim:][1:])
            done.append(act(part.movedim(dim - 1, 0)).movedim(0, dim - 1).flatten(dim - 1, dim))
    return torch.cat(done, dim) if done else act(x)


def _apply(x: Tensor, spec: Wires, params: Params, device: None, ctx: Context) -> Tensor:
    return x if spec.r_row_ohm == spec.r_column_ohm == 0 else wired(x, spec)


def _describe(spec: Wires) -> str:
    if spec.r_row_ohm == spec.r_column_ohm == 0:
        return "ideal wires"
    pairs = ", differential pairs on common columns" if spec.interleaved else ""
    wires = f"{spec.r_row_ohm:g} Ω along rows and {spec.r_column_ohm:g} Ω along columns from cell to cell"
    return f"wires of {wires}, tiles of {spec.rows} × {spec.columns}, {spec.method}{pairs}"


STAGES.add("wires", Stage(Wires, _apply, _describe))
