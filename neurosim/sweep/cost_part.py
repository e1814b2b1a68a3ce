"""What a report says of energy: from the digest of a study to sentences, a table and a figure.

.. code-block:: text

    configured   what `neurosim.analysis.Cost.to_dict` says of the configured hardware
    points       of this study and those beside it: study, point, settings, energy_j, latency_s, value (an interval over chips), unbeaten
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from neurosim import plot
from neurosim.analysis.cost_report import PARTS, count, si, square
from neurosim.plot.pareto import unbeaten
from neurosim.sweep.figures import Picture, scaled
from neurosim.sweep.slices import settings
from neurosim.sweep.study import Study, finished_mean, numbers
from neurosim.sweep.svg import svg
from neurosim.sweep.wording import Wording
from neurosim.sweep.wording import settings as shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def cost_part(main: Study, others: list[Study]) -> dict[str, Any] | None:
    """See the top of this file; ``None`` for profiles without constants."""
    found = main.results.meta.get("cost")
    if not found:
        return None
    points = [point for study in (main, *others) for point in _points(study)]
    best = unbeaten([p["energy_j"] for p in points], [p["value"]["value"] for p in points], higher_is_better=main.sign > 0)
    return {"configured": found["configured"], "points": [p | {"unbeaten": wins} for p, wins in zip(points, best, strict=True)]}


def _points(study: Study) -> list[dict[str, Any]]:
    """The points at which the whole model was measured and its energy is known."""
    cost = study.results.meta.get("cost") or {"energy_j": [], "latency_s": []}
    found = []
    for point, (energy, latency) in enumerate(zip(cost["energy_j"], cost["latency_s"], strict=True)):
        row = study.all(point)
        value = None if row is None else numbers(finished_mean(row.value, row.values))
        if energy is not None and value is not None and value["value"] is not None:
            here = settings(study.results, point)
            found.append({"study": study.name, "point": point, "settings": here, "energy_j": energy, "latency_s": latency, "value": value})
    return found


def cost_lines(digest: dict[str, Any]) -> list[str]:
    """What an inference takes, in sentences; nothing for profiles without constants."""
    part = digest["cost"]
    if part is None:
        return []
    cost = part["configured"]
    total = cost["total"]
    known = [si(total["energy_j"], "J"), si(total["latency_s"], "s"), square(total["area_m2"])]
    takes = ", ".join(one for one in known if one)
    lines = [f"One inference on the configured hardware: {takes}{'; ' if takes else ''}{count(total['arrays'], 'array')}."]
    if cost["missing"]:
        lines.append(f"The profile has no constants for {', '.join(cost['missing'])}: they are not counted.")
    if cost["indicative"]:
        lines.append(f"Indicative: {count(len(cost['unverified']), 'constant')} of the profile not verified.")
    if cost["digital_macs"]:
        lines.append(f"{cost['digital_macs']:,} multiplications stay digital: they are not counted.")
    return lines


def cost_layers(digest: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of layers."""
    part = digest["cost"]
    if part is None:
        return [], []
    layers = part["configured"]["layers"]
    parts = [one for one in PARTS if any(one in layer["energy_j"] for layer in layers)]
    head = ["layer", "multiplications", "DAC", "ADC", "arrays", "used", *(f"energy: {one}" for one in parts), "time"]
    rows = []
    for layer in layers:
        counts = [f"{layer[name]:,}" for name in ("macs", "dac", "adc", "arrays")]
        used = "" if layer["utilisation"] is None else f"{layer['utilisation']:.0%}"
        energy = [si(layer["energy_j"].get(one), "J") for one in parts]
        rows.append([layer["path"] or "(model)", *counts, used, *energy, si(layer["latency_s"], "s")])
    return head, rows


def cost_points(digest: dict[str, Any], words: Wording) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of points; nothing where there is only one."""
    points = digest["cost"]["points"] if digest["cost"] else []
    if len(points) < 2:
        return [], []
    head = ["study", "settings", "energy per inference", "time", f"{words.metric} [over chips]", "unbeaten"]
    body = []
    for point in points:
        takes = si(point["energy_j"], "J"), si(point["latency_s"], "s")
        wins = "yes" if point["unbeaten"] else ""
        body.append([point["study"], shown(point["settings"]), *takes, words.bare_value(point["value"]), wins])
    return head, body


def cost_picture(digest: dict[str, Any], words: Wording) -> Picture | None:
    """The metric against energy, where energy is not everywhere the same."""
    points = digest["cost"]["points"] if digest["cost"] else []
    if len({point["energy_j"] for point in points}) < 2:
        return None
    size, unit = _unit(max(point["energy_j"] for point in points))
    curves = []
    for study in dict.fromkeys(point["study"] for point in points):
        own = [point for point in points if point["study"] == study]
        mean, low, high = ([scaled(point["value"][end], words) for point in own] for end in ("value", "low", "high"))
        curves.append(plot.Curve(study, [point["energy_j"] / size for point in own], mean, low, high))
    accept = digest["acceptance"]["value"] if digest["acceptance"] else None

    def draw() -> tuple[Figure, Axes]:
        limit = None if accept is None else accept * words.scale
        label = f"energy per inference ({unit})"
        return plot.pareto(curves, xlabel=label, ylabel=words.name, higher_is_better=words.higher_is_better, accept=limit)

    how = "Each point is one setting of the hardware, the mean over chips with its interval; nothing measured is both cheaper and better"
    how += " than the line."
    best = [point for point in points if point["unbeaten"]]
    cheap = min(best, key=lambda point: point["energy_j"])
    alt = f"Points of {words.name} against energy: {len(best)} of {len(points)} are unbeaten, the cheapest of them at"
    alt += f" {si(cheap['energy_j'], 'J')} with {words.value(cheap['value']['value'])}."
    title = f"{words.metric.capitalize()} against energy"
    return Picture("energy-1", title, how, alt, svg(draw, "energy-1", alt), [], *cost_points(digest, words))


def _unit(joules: float) -> tuple[float, str]:
    """Size and name of the unit in which the largest energy is read best."""
    power = 3 * math.floor(math.log10(joules) / 3)
    names = {-15: "fJ", -12: "pJ", -9: "nJ", -6: "µJ", -3: "mJ", 0: "J"}
    power = min(max(power, -15), 0)
    return 10.0**power, names[power]
