"""Where the loss comes from: which layers, which chips, which trials that did not finish."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np

from neurosim.sweep.results import FAILED, NON_FINITE, OK, SCOPES
from neurosim.sweep.slices import reference_point, settings
from neurosim.sweep.statistics import Interval, mean_interval, wilson
from neurosim.sweep.study import Study, finished_mean, known, numbers
from neurosim.sweep.summary import Summary

WORST: Final = 5  #: how many chips a report names
LISTED: Final = 20  #: how many errors, and how many gaps, a report lists
_RANK: Final[dict[str, int]] = {scope: rank for rank, scope in enumerate(SCOPES)}


def layer_part(main: Study, others: list[Study], reference: int | None) -> dict[str, Any] | None:
    """What each layer costs, at the reference point if layers were looked at there, else at the first point where they were.

    Returns:
        See `neurosim.sweep.digest`; ``None`` where no layer was looked at by itself.
    """
    point = _layer_point(main, reference)
    if point is None:
        return None
    compared = []
    for other in others:
        theirs = _layer_point(other, reference_point(other.results))
        if theirs is not None:
            compared.append({"name": other.name, "settings": settings(other.results, theirs), "rows": _layer_rows(other, theirs)})
    return {
        "point": point,
        "settings": settings(main.results, point),
        "nominal": point == main.results.meta.get("nominal_point"),
        "rows": _layer_rows(main, point),
        "others": compared,
    }


def chip_part(main: Study, others: list[Study], headline: Summary | None) -> dict[str, Any]:
    """The share of chips that reach each value, and the worst chips with the commands that run them again."""
    rows = [(study, study.all(reference_point(study.results))) for study in others]
    series = [(study, row) for study, row in [(main, headline), *rows] if row is not None and np.isfinite(row.values).any()]
    return {
        "series": [{"name": study.name, "steps": _steps(study, row)} for study, row in series if len(row.chips) > 1],
        "worst": _worst(main, headline) if headline is not None else [],
    }


def failure_part(study: Study) -> dict[str, Any]:
    """How many trials were planned, stored, finished; what is missing; the errors, most frequent first."""
    trials, planned = study.results.trials, study.results.meta.get("planned")
    bad = np.flatnonzero(trials["status"] != OK)
    texts = Counter(str(trials["error"][i]) or "the outputs were not finite" for i in bad)
    firsts = {str(trials["error"][i]) or "the outputs were not finite": int(i) for i in reversed(bad)}
    return {
        "planned": planned,
        "stored": len(study.results),
        "finished": len(study.results) - len(bad),
        "failed": int(np.sum(trials["status"] == FAILED)),
        "non_finite": int(np.sum(trials["status"] == NON_FINITE)),
        "missing": max(0, int(planned) - len(study.results)) if planned is not None else 0,
        "gaps": _gaps(study)[:LISTED],
        "more_gaps": max(0, len(_gaps(study)) - LISTED),
        "errors": [{"text": text, "trials": n, "first": _where(study, firsts[text])} for text, n in texts.most_common(LISTED)],
        "more_errors": max(0, len(texts) - LISTED),
    }


def _layer_point(study: Study, reference: int | None) -> int | None:
    found = sorted({point for point, scope, _ in study.rows if scope != "all"})
    return reference if reference in found else next(iter(found), None)


def _layer_rows(study: Study, point: int) -> list[dict[str, Any]]:
    rows = []
    for index, layer in enumerate(study.results.layers):
        alone, ideal = study.rows.get((point, "each", index)), study.rows.get((point, "all_but_one", index))
        if alone is None and ideal is None:
            continue
        gain = _gain(study, ideal, study.all(point)) if ideal is not None else None
        rows.append({**layer._asdict(), "alone": _drop(study, alone), "gain": numbers(gain)})
    return rows


def _gain(study: Study, ideal: Summary, full: Summary | None) -> Interval | None:
    """What making a layer ideal wins, chip by chip: the same chips are on both sides."""
    if full is None:
        return None
    _, left, right = np.intersect1d(ideal.chips, full.chips, return_indices=True)
    won = study.sign * (ideal.values[left] - full.values[right])
    return finished_mean(mean_interval(won), won)


def _drop(study: Study, row: Summary | None) -> dict[str, Any] | None:
    return None if row is None else numbers(finished_mean(row.drop.over_chips, study.drops(row.values)))


def _steps(study: Study, row: Summary) -> list[dict[str, Any]]:
    """Share of chips at least as good as each value found; a chip without a number is as good as none."""
    score, n = study.sign * row.values, len(row.values)
    levels = np.unique(score[np.isfinite(score)])
    return [{"value": float(study.sign * s), "share": numbers(wilson(int(np.sum(score >= s)), n))} for s in levels[:: study.sign]]


def _worst(study: Study, row: Summary) -> list[dict[str, Any]]:
    score = np.where(np.isfinite(row.values), study.sign * row.values, -np.inf)
    command = study.results.meta.get("rerun")
    return [
        {
            "chip": int(row.chips[i]),
            "value": known(row.values[i]),
            "drop": known(study.sign * (study.results.baseline.value - row.values[i])),
            "command": str(command).replace("{chip}", str(int(row.chips[i]))) if command else None,
        }
        for i in np.argsort(score, kind="stable")[:WORST]
    ]


def _gaps(study: Study) -> list[dict[str, Any]]:
    """Combinations of point, scope and layer with fewer trials than the fullest one, and points with none for the whole model."""
    results = study.results
    found: Counter[tuple[int, str, int]] = Counter(
        (int(p), str(s), int(k)) for p, s, k in zip(*(results.trials[c] for c in ("point", "scope", "layer")), strict=True)
    )
    points = max((len(values) for values in results.axes.values()), default=1)
    full = max(found.values(), default=0)
    if any(scope == "all" for _, scope, _ in found):
        found.update({(point, "all", -1): 0 for point in range(points)})
    short = [(cell, n) for cell, n in found.items() if n < full]
    short.sort(key=lambda entry: (entry[0][0], _RANK[entry[0][1]], entry[0][2]))
    return [{"settings": settings(results, p), "scope": s, "layer": _layer(study, k), "trials": n, "of": full} for (p, s, k), n in short]


def _where(study: Study, trial: int) -> dict[str, Any]:
    row = {name: study.results.trials[name][trial] for name in ("point", "scope", "layer", "chip", "read")}
    return {
        "settings": settings(study.results, int(row["point"])),
        "scope": str(row["scope"]),
        "layer": _layer(study, int(row["layer"])),
        "chip": int(row["chip"]),
        "read": int(row["read"]),
    }


def _layer(study: Study, index: int) -> str | None:
    return study.results.layers[index].name if index >= 0 else None
