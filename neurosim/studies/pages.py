"""The digest of a study as text: the HTML page, the Markdown file, the table for the terminal."""

from __future__ import annotations

from typing import Any

from neurosim.config.plan_study import cell_title
from neurosim.studies import figures
from neurosim.studies.results import StudyData
from neurosim.sweep.templating import environment
from neurosim.sweep.wording import Wording, count, duration

_TEMPLATES = ("neurosim.studies", "neurosim.sweep")


def html(digest: dict[str, Any]) -> str:
    """The report as one self-contained page: no script, no font, no picture, no style from anywhere else."""
    templates = environment(*_TEMPLATES)
    css = templates.get_template("report.css").render()
    context = _context(digest)
    for at, metric in enumerate(context["metrics"]):
        metric |= _pictures(digest["metrics"][at], digest["factors"], metric["u"], at)
    return templates.get_template("study.html.j2").render(**context, css=css)


def markdown(digest: dict[str, Any]) -> str:
    """The report in Markdown: the same numbers, tables instead of figures."""
    return environment(*_TEMPLATES).get_template("study.md.j2").render(**_context(digest))


def terminal(result: StudyData) -> str:
    """The first metric as a table: the last factor across, the others down."""
    facts = result.metrics[0]
    words = Wording(facts.name, facts.higher_is_better, facts.share)
    last = list(result.factors)[-1]
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in result.table():
        place = tuple(level for factor, level in row.levels.items() if factor != last)
        lines.setdefault(place, {})[row.levels[last]] = _mean_and_sd(row.mean, row.sd, words)
    head = [*(name for name in result.factors if name != last), *(f"{last} = {level}" for level in result.factors[last])]
    body = [[*place, *(cells.get(level, "") for level in result.factors[last])] for place, cells in lines.items()]
    widths = [max(len(line[at]) for line in [head, *body]) for at in range(len(head))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in [head, *body]]
    ended = [f"{what} {word}" for word in ("diverged", "failed") if (what := sum(run.status == word for run in result.runs))]
    spread = "mean ± standard deviation over" if len(result.seeds) > 1 else "of"
    said = f"{words.name}, {spread} {count(len(result.seeds), 'seed')}; {count(len(result.runs), 'run')}"
    return "\n".join([*table, "", "; ".join([said, *ended])])


def _context(digest: dict[str, Any]) -> dict[str, Any]:
    return {
        "d": digest,
        "metrics": [_metric(metric, digest["factors"]) for metric in digest["metrics"]],
        "facts": _facts(digest["study"]),
        "levels": _levels(digest["factors"]),
        "run_head": [*digest["factors"], "seed", "result", "time", "folder"],
        "run_rows": [_run(run, digest["metrics"][0]) for run in digest["runs"]],
        "versions": [["runs", *_version_names(digest)], *_versions(digest)],
        "title": cell_title,
    }


def _metric(metric: dict[str, Any], factors: dict[str, Any]) -> dict[str, Any]:
    words = Wording(metric["name"], metric["higher_is_better"], metric["share"])
    unit = " (points)" if words.percent else ""
    cells = [
        [
            *cell["levels"].values(),
            _mean_and_sd(cell["mean"]["value"], cell["sd"], words),
            words.interval(cell["mean"]),
            _values(cell, words),
        ]
        for cell in metric["cells"]
    ]
    effects = [
        [one["factor"], row["level"], words.bare_value(row["mean"]), words.bare_points(row["effect"]), one["combinations"]]
        for one in metric["effects"]
        for row in one["rows"]
    ]
    compared = [
        [
            one["factor"],
            f"{one['level']} − {one['against']}",
            f"mean of {one['combinations']}" if one["at"] is None else cell_title(one["at"]),
            words.bare_points(one["difference"]),
            {"open": "", "more": "more", "less": "less"}[one["side"]],
        ]
        for one in metric["comparisons"]
    ]
    interactions = [
        [" × ".join(one["factors"]), f"{first}, {second}", words.bare_points(term)]
        for one in metric["interactions"]
        for first, row in zip(factors[one["factors"][0]], one["terms"], strict=False)
        for second, term in zip(factors[one["factors"][1]], row, strict=True)
    ]
    whole = [row for row in compared if row[2].startswith("mean of ")]
    return {
        "name": metric["name"],
        "u": words,
        "cell_head": [*factors, f"{words.name}, mean ± sd", "95 % interval", "by seed"],
        "cell_rows": cells,
        "effect_head": [
            "factor",
            "level",
            f"{words.name}, mean over the others",
            f"difference to the mean of all levels{unit}",
            "averaged over",
        ],
        "effect_rows": effects,
        "interaction_head": ["factors", "levels", f"interaction{unit}"],
        "interaction_rows": interactions,
        "compare_head": ["factor", "levels", "at", f"difference{unit}", "interval without 0"],
        "compare_rows": whole or compared,
        "compare_at_rows": compared if whole and len(factors) > 1 else [],
    }


def _pictures(metric: dict[str, Any], factors: dict[str, Any], words: Wording, at: int) -> dict[str, Any]:
    effects = [figures.effect_picture(one, words, f"effect-{at}-{i}") for i, one in enumerate(metric["effects"])]
    together = [figures.interaction_picture(one, factors, words, f"interaction-{at}-{i}") for i, one in enumerate(metric["interactions"])]
    return {
        "grids": [figures.grid_picture(pair, factors, words, f"grid-{at}-{i}") for i, pair in enumerate(metric["pairs"])],
        "effects": [picture for picture in effects if picture is not None],
        "interactions": [picture for picture in together if picture is not None],
    }


def _mean_and_sd(mean: float | None, sd: float | None, words: Wording) -> str:
    """``95.2 ± 0.4``, in per cent where the metric is a share."""
    if mean is None or mean != mean:
        return "n/a"
    spread = f" ± {words.bare(sd)}" if sd is not None and sd == sd else ""
    return f"{words.bare(mean)}{spread}"


def _values(cell: dict[str, Any], words: Wording) -> str:
    return ", ".join("n/a" if value is None else words.bare(value) for value in cell["values"])


def _levels(factors: dict[str, Any]) -> list[list[str]]:
    """What each level sets."""
    rows = []
    for factor, levels in factors.items():
        for level, settings in levels.items():
            rows.append([factor, level, "; ".join(f"{key} = {value}" for key, value in settings.items()) or "the base as it is"])
    return rows


def _run(run: dict[str, Any], metric: dict[str, Any]) -> dict[str, Any]:
    words = Wording(metric["name"], metric["higher_is_better"], metric["share"])
    shown = words.value(run["metrics"].get(metric["name"])) if run["status"] == "finished" else run["status"]
    time = duration(run["seconds"])
    return {"cells": [*run["levels"].values(), run["seed"], shown, time, run["path"]], "error": run["error"], "command": run["command"]}


def _facts(study: dict[str, Any]) -> list[tuple[str, str]]:
    found = [
        ("base", study["base"]),
        ("combinations", study["combinations"]),
        ("seeds", ", ".join(map(str, study["seeds"]))),
        ("runs", study["different"]),
        ("diverged", study["diverged"] or None),
        ("failed", study["failed"] or None),
        ("time of training", duration(study["seconds"]) if study["seconds"] is not None else None),
    ]
    return [(label, str(value)) for label, value in found if value not in (None, "")]


def _version_names(digest: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(name for made in digest["study"]["versions"] for name in made if name != "runs"))


def _versions(digest: dict[str, Any]) -> list[list[str]]:
    names = _version_names(digest)
    return [[str(made["runs"]), *(str(made.get(name, "")) for name in names)] for made in digest["study"]["versions"]]
