"""Ranges of converters that are not the same for all: one for each plane of the weights, or for each pass of the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.stage import STAGES, Context, Params, Spec, Stage, Unit

Factor = Annotated[float, Field(gt=0)]


class Ranges(Spec):
    """Gains in front of the output converter, which are taken back digitally: its range is that many times as wide."""

    kind: Literal["ranges"] = "ranges"
    planes: Annotated[tuple[Factor, ...] | None, Field(min_length=1, strict=False), Unit("1")] = None
    """Of each plane of conductances that is converted by itself, or of each slice of the weights for both of its signs, the least
    significant first; one number is for all, null is 1."""
    passes: Annotated[tuple[Factor, ...] | None, Field(min_length=1, strict=False), Unit("1")] = None
    """Likewise of each pass of the inputs, in the order in which ``slices`` sends them; both factors are multiplied."""

    def factors(self, of: Literal["planes", "passes"]) -> tuple[float, ...]:
        """What is given, or 1 for all."""
        found: tuple[float, ...] | None = getattr(self, of)
        return (1.0,) if found is None else found


def spread(factors: Sequence[float], places: int) -> list[float]:
    """One factor for each place: each of them is for as many neighbours.

    Raises:
        ConfigError: They are not for equally many.

    >>> spread([16.0, 1.0], 4)
    [16.0, 16.0, 1.0, 1.0]
    """
    if places % len(factors):
        raise ConfigError(f"ranges: {places} places need one factor, or one for each or for equally many of them, got {len(factors)}")
    return [factor for factor in factors for _ in range(places // len(factors))]


def widths(spec: Ranges, x: Tensor) -> Tensor:
    """How many times as wide the range is for each part of a signal ``(…, passes, products, tiles, planes, groups, outputs)``."""
    by_plane, by_pass = spec.factors("planes"), spec.factors("passes")
    if len(by_plane) == len(by_pass) == 1:
        return torch.tensor(by_plane[0] * by_pass[0], dtype=x.dtype, device=x.device)
    if x.dim() < 6:
        raise ConfigError(f"ranges: a signal must be (passes, products, tiles, planes, groups, outputs), got the shape {tuple(x.shape)}")
    both = (by_pass, x.shape[-6]), (by_plane, x.shape[-3])
    passes, planes = (torch.tensor(spread(*one), dtype=x.dtype, device=x.device) for one in both)
    return passes.reshape(-1, 1, 1, 1, 1, 1) * planes.reshape(-1, 1, 1)


def _apply(x: Tensor, spec: Ranges, params: Params, device: None, ctx: Context) -> Tensor:
    return x / widths(spec, x)


def _describe(spec: Ranges) -> str:
    parts = [
        f"{what} {', '.join(f'{one:.4g}' for one in factors)}"
        for what, factors in (("of planes", spec.factors("planes")), ("of passes", spec.factors("passes")))
        if len(factors) > 1 or factors[0] != 1
    ]
    return f"range of the converter times as wide: {'; '.join(parts)}" if parts else "one range of the converter"


STAGES.add("ranges", Stage(Ranges, _apply, _describe))
