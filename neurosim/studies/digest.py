"""Everything the report of a study says, as plain data: the pages, the figures and ``report.json`` are made from it.

Keys: ``study`` (name, base, seeds, counts, versions), ``factors`` (settings by factor and level), ``metrics`` (for each: ``cells``,
``pairs``, ``effects``, ``interactions``, ``comparisons``), ``runs``, ``notes``, ``reproduce``. An interval is a mapping of ``value``,
``low``, ``high``, ``n`` and ``method``.
"""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

from neurosim.studies import analysis
from neurosim.studies.results import MetricFacts, StudyData, within
from neurosim.sweep.statistics import LEVEL, Interval
from neurosim.sweep.study import known, numbers


def digest(result: StudyData) -> dict[str, Any]:
    """The digest of a study."""
    seconds = [run.seconds for run in _distinct(result) if run.seconds is not None]
    status = [run.status for run in result.runs]
    return {
        "study": {
            "name": result.name,
            "base": result.meta.get("base"),
            "seeds": list(result.seeds),
            "level": LEVEL,
            "combinations": len({tuple(run.levels.values()) for run in result.runs}),
            "runs": len(result.runs),
            "planned": result.meta.get("planned"),
            "different": len(_distinct(result)),
            **{word: status.count(word) for word in ("finished", "diverged", "failed")},
            "seconds": math.fsum(seconds) if seconds else None,
            "versions": result.meta.get("versions") or [],
        },
        "factors": result.factors,
        "metrics": [_metric(result, facts) for facts in result.metrics],
        "runs": [run._asdict() for run in result.runs],
        "notes": _notes(result),
        "reproduce": {"command": result.meta.get("command"), "config_yaml": result.meta.get("config_yaml")},
    }


def _distinct(result: StudyData) -> list[Any]:
    """Each run once: combinations may share one."""
    return list({run.path or (tuple(run.levels.values()), run.seed): run for run in result.runs}.values())


def _metric(result: StudyData, facts: MetricFacts) -> dict[str, Any]:
    values, names = result.values(facts.name), list(result.factors)
    cells = [
        {
            "levels": result.levels_at(cell.place),
            "mean": numbers(within(cell.mean, facts)),
            "sd": known(cell.sd),
            "values": [known(value) for value in cell.values],
        }
        for cell in analysis.cells(values)
    ]
    effects = [_effects(result, facts, analysis.main_effects(values, at), at) for at in range(len(names))]
    pairs = [analysis.interaction(values, first, second) for first, second in itertools.combinations(range(len(names)), 2)]
    means = [_means(result, facts, first, second) for first, second in itertools.combinations(range(len(names)), 2)]
    compared = [one for at in range(len(names)) for one in analysis.comparisons(values, at)]
    return {
        "name": facts.name,
        "higher_is_better": facts.higher_is_better,
        "share": facts.share,
        "diverged": facts.diverged,
        "cells": cells,
        "effects": effects,
        "pairs": means,
        "interactions": [
            {"factors": [names[first], names[second]], **_interaction(found)}
            for (first, second), found in zip(itertools.combinations(range(len(names)), 2), pairs, strict=True)
        ],
        "comparisons": [_comparison(result, one) for one in compared],
    }


def _effects(result: StudyData, facts: MetricFacts, found: analysis.Effects | None, at: int) -> dict[str, Any]:
    factor = list(result.factors)[at]
    rows = []
    if found is not None and len(found.means) > 1:  # one level differs from nothing
        for level, mean, effect in zip(result.factors[factor], found.means, found.effects, strict=True):
            rows.append({"level": level, "mean": numbers(within(mean, facts)), "effect": numbers(effect)})
    return {"factor": factor, "rows": rows, "combinations": found.combinations if found else 0, "seeds": found.seeds if found else 0}


def _means(result: StudyData, facts: MetricFacts, first: int, second: int) -> dict[str, Any]:
    """Means over two factors, each cell over whatever combinations of the others it has."""
    names = list(result.factors)
    rows: list[list[dict[str, Any] | None]] = []
    for a in range(len(result.factors[names[first]])):
        line: list[dict[str, Any] | None] = []
        for b in range(len(result.factors[names[second]])):
            line.append(_over_the_others(result, facts, {first: a, second: b}))
        rows.append(line)
    return {"factors": [names[first], names[second]], "means": rows}


def _over_the_others(result: StudyData, facts: MetricFacts, held: dict[int, int]) -> dict[str, Any] | None:
    values = result.values(facts.name)
    index = tuple(held.get(axis, slice(None)) for axis in range(values.ndim - 1))
    found = analysis.main_effects(values[index][None], 0)
    return None if found is None else numbers(within(found.means[0], facts))


def _interaction(found: analysis.Interaction | None) -> dict[str, Any]:
    if found is None or 1 in (len(found.terms), len(found.terms[0])):
        return {"terms": [], "combinations": 0, "seeds": 0}
    return {"terms": [[numbers(one) for one in row] for row in found.terms], "combinations": found.combinations, "seeds": found.seeds}


def _comparison(result: StudyData, one: analysis.Comparison) -> dict[str, Any]:
    names = list(result.factors)
    levels, others = list(result.factors[names[one.factor]]), [name for name in names if name != names[one.factor]]
    at = None if one.at is None else {name: list(result.factors[name])[i] for name, i in zip(others, one.at, strict=True)}
    return {
        "factor": names[one.factor],
        "level": levels[one.level],
        "against": levels[one.against],
        "at": at,
        "difference": numbers(one.difference),
        "side": _side(one.difference),
        "combinations": one.combinations,
    }


def _side(difference: Interval) -> str:
    """Whether the whole interval lies on one side of 0."""
    if not difference.known or difference.low <= 0 <= difference.high:
        return "open"
    return "more" if difference.low > 0 else "less"


def _notes(result: StudyData) -> list[str]:
    """What a reader must know before the numbers."""
    found = []
    missing = int(result.meta.get("planned") or len(result.runs)) - len(result.runs)
    if missing:
        found.append(f"{missing} of the planned runs were not made yet.")
    diverged = sum(run.status == "diverged" for run in result.runs)
    counted = [f"{facts.name} {facts.diverged:g}" for facts in result.metrics if facts.diverged is not None]
    if diverged:
        found.append(f"{diverged} runs diverged" + (f"; each counts as {', '.join(counted)}." if counted else " and count in no mean."))
    if result.unfinished:
        found.append(f"{len(result.unfinished)} runs failed, see Runs; their combinations have a mean of the others and no interval.")
    if len(result.seeds) == 1:
        found.append("There is one seed only: nothing here has an interval, and no difference can be told from chance.")
    if len(result.meta.get("versions") or []) > 1:
        found.append("The runs were not all made with the same versions: see Reproduce.")
    return found


def to_json(data: dict[str, Any]) -> str:
    """A digest as a file."""
    return json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
