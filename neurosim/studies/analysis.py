"""What the numbers of a study say: cells, main effects, interactions, comparisons, each with an interval over seeds.

The numbers stand in an array with one axis per factor and the seeds last; NaN where there is none. Runs of one seed share the split of the
data and the order of the samples, so effects are differences within a seed first, and only then a mean over seeds with its interval. Where
a seed lacks a run, there is a mean of the others and no interval: what is missing may be the worst. Nor is there one where all seeds agree.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from neurosim.sweep.statistics import ROUNDING, Floats, Interval, mean_interval
from neurosim.sweep.study import finished_mean

Index = tuple[int, ...]


class Cell(NamedTuple):
    """One combination."""

    place: Index  #: of its levels, by factor
    mean: Interval  #: over seeds
    sd: float  #: of a single run: over seeds, n - 1
    values: Floats  #: by seed, NaN where there is none


class Effects(NamedTuple):
    """What a factor does on the average over all others."""

    factor: int
    means: list[Interval]  #: by level: mean over the other factors
    effects: list[Interval]  #: by level: difference to the mean over all levels
    combinations: int  #: of the other factors that are averaged over
    seeds: int  #: that have all runs of these


class Interaction(NamedTuple):
    """What two factors do together, averaged over all others."""

    factors: tuple[int, int]
    means: list[list[Interval]]  #: by level of the first and of the second: mean over the other factors
    terms: list[list[Interval]]  #: what is left of them after both main effects are taken away
    combinations: int
    seeds: int


class Comparison(NamedTuple):
    """A level against another one of the same factor, run by run."""

    factor: int
    level: int
    against: int
    at: Index | None  #: levels of the other factors; ``None``: averaged over all at which both were run
    difference: Interval  #: the level minus the other, over seeds
    combinations: int


def cells(values: Floats) -> list[Cell]:
    """Mean, spread and interval of every combination that was run.

    Args:
        values: By level of every factor and by seed, (levels, ..., seeds).

    >>> found = cells(np.array([[1.0, 2.0, 3.0], [np.nan, np.nan, np.nan]]))
    >>> [(cell.place, cell.mean.value, cell.sd) for cell in found]
    [((0,), 2.0, 1.0)]
    """
    found = []
    for index in np.ndindex(values.shape[:-1]):
        own = values[index]
        known = own[np.isfinite(own)]
        if len(known):
            sd = float(known.std(ddof=1)) if len(known) > 1 else math.nan
            found.append(Cell(index, over_seeds(own), sd, own))
    return found


def main_effects(values: Floats, factor: int) -> Effects | None:
    r"""What each level of a factor does.

    .. math:: m_{a,s} = \frac{1}{|R|}\sum_{r \in R} y_{a,r,s}, \qquad e_{a,s} = m_{a,s} - \frac{1}{A}\sum_{b} m_{b,s}

    over the combinations R of the other factors at which every level was run; mean and interval over the seeds s.

    Args:
        values: By level of every factor and by seed, (levels, ..., seeds).
        factor: Its axis.

    Returns:
        ``None`` where no combination of the others has every level, or no seed has all of these.
    """
    table = np.moveaxis(values, factor, 0).reshape(values.shape[factor], -1, values.shape[-1])
    means, combinations, seeds = _averaged(table)
    if not seeds:
        return None
    effects = means - means.mean(axis=0)
    return Effects(factor, _intervals(means, table), _intervals(effects, table), combinations, seeds)


def interaction(values: Floats, first: int, second: int) -> Interaction | None:
    r"""What two factors do together beyond what each does.

    .. math:: t_{ab,s} = m_{ab,s} - m_{a\cdot,s} - m_{\cdot b,s} + m_{\cdot\cdot,s}

    with m as in `main_effects`; all terms are 0 where effects add up.

    Args:
        values: By level of every factor and by seed, (levels, ..., seeds).
        first: Axis of a factor.
        second: Axis of another.

    Returns:
        ``None`` where no combination of the others has all pairs of levels, or no seed has all of these.
    """
    rows, columns = values.shape[first], values.shape[second]
    table = np.moveaxis(values, (first, second), (0, 1)).reshape(rows * columns, -1, values.shape[-1])
    flat, combinations, seeds = _averaged(table)
    if not seeds:
        return None
    means = flat.reshape(rows, columns, -1)
    terms = means - means.mean(axis=1, keepdims=True) - means.mean(axis=0, keepdims=True) + means.mean(axis=(0, 1), keepdims=True)
    return Interaction(
        (first, second), [_intervals(row, table) for row in means], [_intervals(row, table) for row in terms], combinations, seeds
    )


def comparisons(values: Floats, factor: int) -> Iterator[Comparison]:
    """Every pair of levels of a factor, averaged over the other factors and at each of their combinations; paired by seed.

    Args:
        values: By level of every factor and by seed, (levels, ..., seeds).
        factor: Its axis.
    """
    moved = np.moveaxis(values, factor, 0)
    others = moved.shape[1:-1]
    table = moved.reshape(len(moved), -1, moved.shape[-1])

    for against, level in itertools.combinations(range(len(moved)), 2):
        means, combinations, seeds = _averaged(table[[level, against]])
        if seeds:
            yield Comparison(factor, level, against, None, over_seeds(means[0] - means[1], table), combinations)
        for at, index in enumerate(np.ndindex(others) if others else ()):
            difference = table[level, at] - table[against, at]
            if np.isfinite(difference).any():
                yield Comparison(factor, level, against, index, over_seeds(difference, table), 1)


def over_seeds(values: Floats, among: Floats | None = None) -> Interval:
    """Mean of one number per seed with its interval; without one where some are missing, or where all are the same number but 0.

    The same number a few times says nothing of how it spreads; 0 is most often what must be: nothing differs, nothing is wrong.

    Args:
        values: By seed.
        among: Numbers that these are differences of; a billionth of the largest is rounding.
    """
    sizes = np.abs(values if among is None else among)
    largest = float(np.max(sizes, where=np.isfinite(sizes), initial=0.0))
    unit = 2.0 ** math.floor(math.log2(largest)) if largest else 1.0  # a power of two: no digit changes
    found = finished_mean(mean_interval(values / unit), values / unit)
    found = found._replace(**{end: at * unit for end in ("value", "low", "high") if math.isfinite(at := getattr(found, end))})
    nothing = abs(found.value) <= ROUNDING * largest
    return found if nothing or found.method != "constant" else found._replace(low=math.nan, high=math.nan, method="none")


def _averaged(table: Floats) -> tuple[Floats, int, int]:
    """Of (levels, combinations, seeds): means over the combinations that every level has, how many these are, seeds that have all."""
    run = np.isfinite(table).any(axis=2).all(axis=0)
    if not run.any():
        return np.full((len(table), table.shape[-1]), math.nan), 0, 0
    means = table[:, run].mean(axis=1)
    return means, int(run.sum()), int(np.isfinite(means).all(axis=0).sum())


def _intervals(rows: Floats, among: Floats) -> list[Interval]:
    return [over_seeds(row, among) for row in rows]
