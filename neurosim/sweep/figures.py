"""The figures of a report, from its digest: drawn, titled, with a way to read each, a text for those who cannot see it, and its numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from neurosim import plot
from neurosim.sweep.statistics import wilson
from neurosim.sweep.svg import svg
from neurosim.sweep.wording import Wording, count, percent, settings, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 40  #: layers in one bar figure; the table below it has all


class Picture(NamedTuple):
    """One figure of the page."""

    ident: str
    title: str
    how: str  #: how to read it
    alt: str  #: what it shows, in words
    svg: str
    notes: list[str]
    head: list[str]  #: of the table of its numbers
    rows: list[list[str]]


def curve_pictures(digest: dict[str, Any], words: Wording) -> list[Picture]:
    """The metric against each axis."""
    return [_curve(curve, digest, words, f"curve-{i}") for i, curve in enumerate(digest["curves"], start=1)]


def table_pictures(digest: dict[str, Any], words: Wording) -> list[Picture]:
    """The metric over each pair of axes."""
    return [_table(table, digest, words, f"pair-{i}") for i, table in enumerate(digest["tables"], start=1)]


def layer_pictures(digest: dict[str, Any], words: Wording) -> list[Picture]:
    """What each layer costs by itself, and what making it ideal wins."""
    if digest["layers"] is None:
        return []
    gain = "gain" if words.higher_is_better else "fall"
    unit = " (points)" if words.percent else ""
    kinds = (
        (
            "alone",
            "Only this layer on hardware",
            words.worse_by,
            f"A long bar is a layer that costs {words.metric} by itself while all others are digital.",
        ),
        (
            "gain",
            "Only this layer ideal",
            f"{words.metric} {gain}{unit}",
            "A long bar is a layer worth building better: making it ideal, all others staying on hardware, wins this much.",
        ),
    )
    found = [_bars(digest, words, *kind) for kind in kinds]
    return [picture for picture in found if picture is not None]


def yield_picture(digest: dict[str, Any], words: Wording) -> Picture | None:
    """The share of chips that reach each value."""
    series, accept = digest["chips"]["series"], digest["acceptance"]
    if not series or series[0]["name"] != digest["study"]["name"]:
        return None
    values = [step["value"] * words.scale for one in series for step in one["steps"]]
    margin = 0.06 * (max(values) - min(values) or 1.0)
    ends = (min(values) - margin, max(values) + margin)
    curves = [_steps(one, words, ends) for one in series]
    level, target = _level(digest, words), accept["yield_at_least"] if accept else None

    def draw() -> tuple[Figure, Axes]:
        goal = None if target is None else 100 * target
        return plot.yield_curve(curves, xlabel=words.name, accept=level, target=goal, at_most=not words.higher_is_better)

    reach = "at least" if words.higher_is_better else "at most"
    band = f"Wilson's {percent(digest['study']['level'])} interval"
    how = f"Height is the share of chips with {words.metric} {reach} the value below; the band is {band}."
    if level is not None:
        how += " The verdict reads it where the vertical dotted line (acceptance) crosses"
        how += "; it must be above the horizontal one (required yield)." if target is not None else "."
    first = series[0]["steps"]
    span = f"from {words.value(first[0]['value'])} to {words.value(first[-1]['value'])}"
    alt = f"Step curve of the share of chips against {words.name}: {span}."
    rows = [[one["name"], words.value(step["value"]), share(step["share"])] for one in series for step in one["steps"]]
    title = f"Share of chips that {'reach' if words.higher_is_better else 'stay within'} each {words.metric}"
    return Picture("yield-1", title, how, alt, svg(draw, "yield-1", alt), [], ["study", words.metric, "chips [interval]"], rows)


def _level(digest: dict[str, Any], words: Wording) -> float | None:
    value = digest["acceptance"]["value"] if digest["acceptance"] else None
    return None if value is None else value * words.scale


def scaled(x: float | None, words: Wording) -> float:
    """A value in the unit it is drawn in; NaN where there is none."""
    return math.nan if x is None else x * words.scale


def _line(series: dict[str, Any], words: Wording, *, level: float | None) -> plot.Curve:
    rows = series["rows"]
    mean, low, high = ([scaled(row["value"][end], words) for row in rows] for end in ("value", "low", "high"))
    return plot.Curve(series["name"], [row["x"] for row in rows], mean, low, high, scaled(level, words))


def _curve(curve: dict[str, Any], digest: dict[str, Any], words: Wording, ident: str) -> Picture:
    main, *others = curve["series"]
    own = [None if other["digital"] == main["digital"] else other["digital"] for other in others]
    lines = [_line(main, words, level=None), *(_line(other, words, level=level) for other, level in zip(others, own, strict=True))]
    axis = curve["axis"]

    def draw() -> tuple[Figure, Axes]:
        baseline = scaled(main["digital"], words)
        return plot.noise_curve(lines, xlabel=axis, ylabel=words.name, baseline=baseline, accept=_level(digest, words))

    chips = max(row["chips"] for row in main["rows"])
    mark = "whisker" if any(isinstance(row["x"], str) for row in main["rows"]) else "band"
    if chips == 1:
        how = f"Each point is the one chip simulated, so there is no {mark}"
    else:
        how = f"Each point is the mean over {chips} chips and the {mark} its {percent(digest['study']['level'])} interval over chips"
    how += "; grey is the same model without hardware"
    how += ", dotted is what acceptance requires." if digest["acceptance"] else "."
    notes = [f"Changed{' together' if len(curve['keys']) > 1 else ''}: {', '.join(curve['keys'])}."] if curve["keys"] else []
    notes += [f"Held: {settings(main['held'])}."] if main["held"] else []
    notes += [f"{other['name']}: held {settings(other['held'])}." for other in others if other["held"] != main["held"]]
    if any(level is not None for level in own):
        notes.append("A thin level line in a study's colour is its own digital model; acceptance is drawn for the first study only.")
    for row in main["rows"]:
        if row["finished"] < row["chips"]:
            notes.append(f"At {plot.number(row['x'])} only {row['finished']} of {row['chips']} chips gave a number: no interval there.")
    first, last = main["rows"][0], main["rows"][-1]
    alt = (
        f"Line chart of {words.name} against {axis}: {words.value(_value(first))} at {plot.number(first['x'])}, "
        f"{words.value(_value(last))} at {plot.number(last['x'])}; digital {words.value(main['digital'])}."
    )
    head, rows = curve_table(curve, words)
    return Picture(ident, f"{words.metric.capitalize()} against {axis}", how, alt, svg(draw, ident, alt), notes, head, rows)


def _value(cell: dict[str, Any]) -> float | None:
    found: float | None = cell["value"]["value"]
    return found


def _mean(cell: dict[str, Any] | None, words: Wording) -> str:
    return "" if cell is None else words.bare_value(cell["value"])


def curve_table(curve: dict[str, Any], words: Wording) -> tuple[list[str], list[list[str]]]:
    """Head and rows: the axis, the keys where several changed together, then value, drop and yield of every study."""
    several, unit = len(curve["series"]) > 1, " (points)" if words.percent else ""
    keys = list(curve["keys"]) if len(curve["keys"]) > 1 else []
    head = [curve["axis"], *keys]
    for series in curve["series"]:
        lead = f"{series['name']}: " if several else ""
        head += [f"{lead}{words.metric} [over chips]", f"{lead}{words.worse}{unit}", f"{lead}chips within the limit"]
    rows = []
    for i, row in enumerate(curve["series"][0]["rows"]):
        line = [plot.number(row["x"]), *(str(curve["keys"][key][i]) for key in keys)]
        for series in curve["series"]:
            cell = next((other for other in series["rows"] if other["x"] == row["x"]), None)
            line += ["", "", ""] if cell is None else [_mean(cell, words), words.bare_points(cell["drop"]), share(cell["yield"])]
        rows.append(line)
    return head, rows


def _table(table: dict[str, Any], digest: dict[str, Any], words: Wording, ident: str) -> Picture:
    (columns, rows), (xs, ys), cells = table["axes"], table["values"], table["cells"]
    means = [[scaled(_value(cell), words) if cell else math.nan for cell in row] for row in cells]
    undecided = [[cell is not None and cell["side"] == "open" for cell in row] for row in cells]

    def draw() -> tuple[Figure, Axes]:
        grid = plot.Grid(xs, ys, means, undecided)
        accept, digits = _level(digest, words), 1 if words.percent else 3
        return plot.heatmap(grid, xlabel=columns, ylabel=rows, zlabel=words.name, accept=accept, digits=digits)

    how = "Each cell is the mean over chips"
    if digest["acceptance"]:
        how += "; hatched where an interval, over chips or over test samples, straddles acceptance; the dotted border is where"
        how += " the mean crosses it"
    found = [(value, x, y) for row, y in zip(means, ys, strict=True) for value, x in zip(row, xs, strict=True) if not math.isnan(value)]
    alt = f"Heatmap of {words.name} over {columns} and {rows}."
    if found:
        low, high = min(found, key=lambda f: f[0]), max(found, key=lambda f: f[0])
        for word, (value, x, y) in (("Lowest", low), ("Highest", high)):
            alt += f" {word} {value:.4g} at {settings({columns: x, rows: y})}."
    head, body = pair_table(table, words)
    notes = [f"Held: {settings(table['held'])}."] if table["held"] else []
    title = f"{words.metric.capitalize()} over {columns} and {rows}"
    return Picture(ident, title, how + ".", alt, svg(draw, ident, alt), notes, head, body)


def pair_table(table: dict[str, Any], words: Wording) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table over two axes."""
    (columns, rows), (xs, ys) = table["axes"], table["values"]
    body = [[plot.number(y), *(_mean(cell, words) for cell in row)] for row, y in zip(table["cells"], ys, strict=True)]
    return [f"{rows} \\ {columns}", *map(plot.number, xs)], body


def _bar(row: dict[str, Any], kind: str, words: Wording) -> plot.Bar:
    return plot.Bar(row["name"], *(scaled(row[kind][end], words) for end in ("value", "low", "high")))


def _bars(digest: dict[str, Any], words: Wording, kind: str, title: str, xlabel: str, how: str) -> Picture | None:
    layers = digest["layers"]
    rows = [row for row in layers["rows"] if row[kind] and row[kind]["value"] is not None]
    if not rows:
        return None
    rows.sort(key=lambda row: -row[kind]["value"])
    bars = [_bar(row, kind, words) for row in rows[:MOST_BARS]]
    others = []
    for other in layers["others"]:
        points = [_bar(row, kind, words) for row in other["rows"] if row[kind] and row[kind]["value"] is not None]
        others += [(other["name"], points)] if points else []

    def draw() -> tuple[Figure, Axes]:
        return plot.layer_bars(bars, xlabel=xlabel, label=digest["study"]["name"], others=others)

    ident = f"layers-{kind}"
    known = any(row[kind]["low"] is not None for row in rows)
    how += f" Whiskers are the {percent(digest['study']['level'])} interval over chips." if known else " One chip: no intervals."
    notes = [f"The {MOST_BARS} largest of {len(rows)} layers; all are in the table."] if len(rows) > MOST_BARS else []
    largest = f"{rows[0]['name']} with {words.points(rows[0][kind]['value'])}"
    alt = f"Bar chart, {title.lower()}: largest {largest}, of {count(len(rows), 'layer')}."
    return Picture(ident, title, how, alt, svg(draw, ident, alt), notes, [], [])


def _steps(series: dict[str, Any], words: Wording, ends: tuple[float, float]) -> plot.Curve:
    """The steps of a yield curve, led to both ends of the figure: no chip fails the easiest value there, none reaches the hardest."""
    steps = series["steps"]
    none = wilson(0, steps[0]["share"]["n"])
    shares = [[100 * step["share"][end] for end in ("value", "low", "high")] for step in steps]
    empty = [100 * none.value, 100 * none.low, 100 * none.high]
    shares = [shares[0], *shares, empty] if words.higher_is_better else [empty, *shares, shares[-1]]
    xs = [ends[0], *(step["value"] * words.scale for step in steps), ends[1]]
    value, low, high = ([s[i] for s in shares] for i in range(3))
    return plot.Curve(series["name"], xs, value, low, high)
