"""A study under the name a report gives it, and how its numbers are held."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from neurosim.sweep.results import Results
from neurosim.sweep.slices import settings
from neurosim.sweep.statistics import ROUNDING, Floats, Interval
from neurosim.sweep.summary import Summary, summarise

Cell = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """Results under the name they have in a report, with their intervals made once."""

    name: str
    results: Results

    @cached_property
    def rows(self) -> dict[tuple[int, str, int], Summary]:
        """Intervals by point, scope and layer."""
        return {(row.point, row.scope, row.layer): row for row in summarise(self.results)}

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.results.meta.get("higher_is_better", True) else -1

    @property
    def accept(self) -> Mapping[str, Any]:
        """What the study was asked to prove."""
        return self.results.meta.get("accept") or {}

    def drops(self, values: Floats) -> Floats:
        """How much worse than the digital model each value is."""
        return self.sign * (self.results.baseline.value - values)

    def all(self, point: int | None) -> Summary | None:
        """The whole model on hardware at a point."""
        return None if point is None else self.rows.get((point, "all", -1))


def finished_mean(found: Interval, values: Floats) -> Interval:
    """The interval as found; where some values are missing, the mean of the others, with no interval: the missing may be the worst."""
    finite = values[np.isfinite(values)]
    if len(finite) in (0, len(values)):
        return found
    return Interval(float(finite.mean()), math.nan, math.nan, len(finite), "none")


def numbers(i: Interval | None) -> dict[str, Any] | None:
    """An interval as JSON holds it."""
    return None if i is None else {"value": known(i.value), "low": known(i.low), "high": known(i.high), "n": i.n, "method": i.method}


def known(x: float) -> float | None:
    """The number, or ``None`` where it is none."""
    return float(x) if math.isfinite(x) else None


def cell(study: Study, row: Summary) -> Cell:
    """One point, scope and layer; see `finished_mean` for chips without a number."""
    value, drop = finished_mean(row.value, row.values), finished_mean(row.drop.over_chips, study.drops(row.values))
    return {
        "point": row.point,
        "settings": settings(study.results, row.point),
        "nominal": row.point == study.results.meta.get("nominal_point"),
        "chips": len(row.chips),
        "finished": int(np.isfinite(row.values).sum()),
        "unfinished_trials": row.unfinished,
        "value": numbers(value),
        "value_over_samples": numbers(row.value_over_samples),
        "drop": numbers(drop),
        "drop_over_samples": numbers(row.drop.over_samples),
        "yield": numbers(row.share),
        "side": _side(study, row),
    }


def _side(study: Study, row: Summary) -> str | None:
    """Which side of the accepted drop every known interval lies on; ``open`` where they straddle it or there is none."""
    limit = study.accept.get("drop_at_most")
    if limit is None:
        return None
    ends = [i for i in (row.drop.over_chips, row.drop.over_samples) if i is not None and i.known]
    if ends and not row.unfinished and all(i.high <= limit + ROUNDING for i in ends):
        return "good"
    return "bad" if ends and all(i.low > limit + ROUNDING for i in ends) else "open"
