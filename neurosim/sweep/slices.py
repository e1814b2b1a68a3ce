"""Which points of a study one figure shows: a line along one axis, a table over two, and the point everything else speaks of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from neurosim.sweep.results import Results

Value = float | int | str


class Line(NamedTuple):
    """Points along one axis, all other axes held."""

    axis: str
    held: dict[str, Value]  #: value of every other axis
    points: list[int]  #: in the order of the axis


class Table(NamedTuple):
    """Points over two axes, all other axes held."""

    axes: tuple[str, str]  #: columns, rows
    held: dict[str, Value]
    values: tuple[list[Value], list[Value]]  #: of the columns, of the rows, rising
    points: list[list[int | None]]  #: ``points[row][column]``; ``None`` where the plan has none


def reference_point(results: Results) -> int | None:
    """The point of the configured hardware, or the measured point nearest to it; ``None`` where the whole model was never measured."""
    measured = _measured(results)
    nominal = results.meta.get("nominal_point")
    if nominal in measured:
        return int(nominal)
    ranks = {axis: _ranks(results, axis) for axis in results.axes}
    return min(measured, key=lambda point: (_distance(results, ranks, point, results.axes), point), default=None)


def line(results: Results, axis: str, prefer: Mapping[str, Value] | None = None) -> Line | None:
    """The longest line along an axis; among equally long ones that nearest to the configured hardware.

    Args:
        results: A study.
        axis: One of its axes.
        prefer: Values of the other axes to stay nearest to instead.

    Returns:
        The line, or ``None`` where no two points differ in this axis only.
    """
    others = [name for name in results.axes if name != axis]
    best = _best(results, (axis,), others, prefer)
    points = {results.axes[axis][point]: point for point in reversed(best)}
    along = [points[value] for value in _ordered(results, axis, points)]
    return Line(axis, {name: results.axes[name][best[0]] for name in others}, along) if len(along) > 1 else None


def table(results: Results, columns: str, rows: str) -> Table | None:
    """The fullest table over two axes, or ``None`` where the points only make a cross (each axis varied by itself)."""
    others = [name for name in results.axes if name not in (columns, rows)]
    best = _best(results, (columns, rows), others, None)
    cells = {(results.axes[columns][point], results.axes[rows][point]): point for point in reversed(best)}
    xs = [x for x in _ordered(results, columns, (x for x, _ in cells)) if sum(a == x for a, _ in cells) > 1]
    ys = [y for y in _ordered(results, rows, (y for _, y in cells)) if sum(b == y for _, b in cells) > 1]
    filled = sum(x in xs and y in ys for x, y in cells)
    if len(xs) < 2 or len(ys) < 2 or filled <= len(xs) + len(ys) - 1:
        return None
    held = {name: results.axes[name][best[0]] for name in others}
    return Table((columns, rows), held, (xs, ys), [[cells.get((x, y)) for x in xs] for y in ys])


def settings(results: Results, point: int) -> dict[str, Value]:
    """The value of every axis at a point."""
    return {axis: values[point] for axis, values in results.axes.items()}


def _measured(results: Results) -> list[int]:
    return sorted({int(point) for point in results.trials["point"][results.where(scope="all")]})


def _best(results: Results, free: Sequence[str], others: Sequence[str], prefer: Mapping[str, Value] | None) -> list[int]:
    """Measured points that share the values of ``others``: the group with most values of the free axes, then the nearest to the nominal."""
    groups: dict[tuple[Value, ...], list[int]] = {}
    for point in _measured(results):
        groups.setdefault(tuple(results.axes[name][point] for name in others), []).append(point)
    ranks = {axis: _ranks(results, axis) for axis in others}

    def quality(group: list[int]) -> tuple[int, float, int]:
        distinct = {tuple(results.axes[name][point] for name in free) for point in group}
        return -len(distinct), _distance(results, ranks, group[0], others, prefer), group[0]

    return min(groups.values(), key=quality, default=[])


def _distance(
    results: Results,
    ranks: Mapping[str, Mapping[Value, float]],
    point: int,
    axes: Iterable[str],
    prefer: Mapping[str, Value] | None = None,
) -> float:
    """How many steps of the plan a point is from the wanted values, summed over axes."""
    wanted = prefer if prefer is not None else _nominal(results)
    return sum(abs(ranks[axis][results.axes[axis][point]] - _rank(ranks[axis], wanted[axis])) for axis in axes if axis in wanted)


def _nominal(results: Results) -> dict[str, Value]:
    point = results.meta.get("nominal_point")
    found = settings(results, point) if point is not None else {}
    stated = {axis: value for axis, value in (results.meta.get("nominal") or {}).items() if isinstance(value, float | int | str)}
    return {**stated, **found}


def _ranks(results: Results, axis: str) -> dict[Value, float]:
    values = results.axes[axis]
    ordered = {value: float(rank) for rank, value in enumerate(_ordered(results, axis, values))}
    return {value: ordered.get(value, -1.0) for value in values}


def _rank(ranks: Mapping[Value, float], wanted: Value) -> float:
    """Rank of a value; in between where the plan has only its neighbours."""
    if wanted in ranks:
        return ranks[wanted]
    numbers = sorted((float(value), rank) for value, rank in ranks.items() if not isinstance(value, str))
    if isinstance(wanted, str) or not numbers:
        return 0.0
    return float(np.interp(wanted, [value for value, _ in numbers], [rank for _, rank in numbers]))


def _ordered(results: Results, axis: str, present: Iterable[Value]) -> list[Value]:
    """Those values of an axis: numbers rising, without the text that stands where the configured hardware has no single number.

    Where there are not two numbers, all values in the order of the plan.
    """
    wanted = set(present)
    listed = [value for value in dict.fromkeys(results.axes[axis]) if value in wanted]
    numbers = sorted(value for value in listed if not isinstance(value, str))
    return [*numbers] if len(numbers) > 1 or len(numbers) == len(listed) else listed
