"""What a report shows of neurons: sentences, tables and figures, from its digest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from neurosim import plot
from neurosim.analysis import LayerRecording
from neurosim.sweep.figures import MOST_BARS, Picture, scaled
from neurosim.sweep.svg import svg
from neurosim.sweep.wording import Wording, count, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDES = ("digital", "hardware")


def spiking_lines(digest: dict[str, Any]) -> list[str]:
    """What matters most, in sentences; nothing for models without neurons."""
    part = digest["spiking"]
    if part is None:
        return []
    digital, chip, units = part["total"]["digital"], part["total"]["hardware"], part["total"]["units"]
    who = f"{units:,} {'neuron sends' if units == 1 else 'neurons send'}"
    lines = []
    if chip is not None:
        beside = [f" ({found})" if digital else "" for found in _totals(digital)]
        spikes, dead, saturated = (f"{own}{other}" for own, other in zip(_totals(chip), beside, strict=True))
        lines.append(
            f"On chip {part['chip']}, {who} {spikes} spikes a sample; {dead} of them are dead, {saturated} "
            f"saturated{'; in brackets, the same without hardware' if digital else ''}."
        )
    elif digital is not None:
        spikes, dead, saturated = _totals(digital)
        lines.append(f"Without hardware, {who} {spikes} spikes a sample; {dead} of them are dead, {saturated} saturated.")
    whose = {"digital": "the digital model", "hardware": f"chip {part['chip']}"}
    return lines + [f"The neurons of {whose[side]} could not be looked at: {text}" for side, text in part["errors"].items() if text]


def spiking_layers(digest: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of layers, two rows a layer: without hardware, and on the chip."""
    part = digest["spiking"]
    if part is None:
        return [], []
    head = ["layer", "type", "neurons", "on", "spikes per neuron and step", "rate", "dead", "saturated", "spikes per sample"]
    rows = []
    for layer in part["layers"]:
        own = [layer["name"], layer["type"], f"{layer['units']:,}"]
        rows += [[*own, name, *_cells(layer[side])] for side, name in _names(part).items()]
    return head, rows


def over_time_table(digest: dict[str, Any], words: Wording) -> tuple[list[str], list[list[str]]]:
    """Head and rows: the metric after each number of steps."""
    part = digest["spiking"]
    if part is None or part["over_time"] is None:
        return [], []
    found = part["over_time"]
    rows = [[str(step), *(words.bare_value(found[side][i]) for side in _SIDES)] for i, step in enumerate(found["steps"])]
    return ["time steps", f"{words.metric}, digital [over samples]", f"{words.metric}, on chip {part['chip']} [over samples]"], rows


def spiking_pictures(digest: dict[str, Any], words: Wording) -> list[Picture]:
    """The metric against time steps, rates of layers, rasters."""
    part = digest["spiking"]
    if part is None:
        return []
    found = [_over_time(digest, words), _rates(part), *(_raster(part, side) for side in _SIDES)]
    return [picture for picture in found if picture is not None]


def _names(part: dict[str, Any]) -> dict[str, str]:
    return {"digital": "digital", "hardware": f"chip {part['chip']}"}


def _over_time(digest: dict[str, Any], words: Wording) -> Picture | None:
    part = digest["spiking"]
    over_time = part["over_time"]
    if over_time is None or len(over_time["steps"]) < 2:
        return None
    names = _names(part)
    seen = [side for side in _SIDES if not part["errors"][side]]
    curves = []
    for side in seen:
        mean, low, high = ([scaled(i[end], words) for i in over_time[side]] for end in ("value", "low", "high"))
        curves.append(plot.Curve(names[side], over_time["steps"], mean, low, high))
    if not curves:
        return None
    accept = digest["acceptance"]["value"] if digest["acceptance"] else None

    def draw() -> tuple[Figure, Axes]:
        return plot.noise_curve(curves, xlabel="time steps", ylabel=words.name, accept=None if accept is None else accept * words.scale)

    how = f"What the model gives when it is asked after fewer steps than the {over_time['steps'][-1]} it was studied with"
    if any(i["low"] is not None for side in _SIDES for i in over_time[side]):
        how += f"; the band is the {percent(part['level'])} interval over test samples"
    how += "; dotted is what acceptance requires." if digest["acceptance"] else "."
    last = ", ".join(f"{names[side]} {words.value(over_time[side][-1]['value'])}" for side in seen)
    alt = f"Line chart of {words.name} against time steps, from 1 to {over_time['steps'][-1]}; after the last: {last}."
    head, rows = over_time_table(digest, words)
    title = f"{words.metric.capitalize()} against time steps"
    return Picture("spiking-time", title, how, alt, svg(draw, "spiking-time", alt), [], head, rows)


def _rates(part: dict[str, Any]) -> Picture | None:
    layers, sides = part["layers"][:MOST_BARS], [side for side in reversed(_SIDES) if not part["errors"][side]]
    if not layers or not sides:
        return None
    names = _names(part)
    series = [(names[side], [_bar(layer["name"], layer[side]["rate"]) for layer in layers]) for side in sides]

    def draw() -> tuple[Figure, Axes]:
        return plot.layer_bars(series[0][1], xlabel="spikes per neuron and step", label=series[0][0], others=series[1:])

    how = "A layer that hardly fires passes on little; one that fires at almost every step tells inputs apart no better."
    how += f" Whiskers are the {percent(part['level'])} interval over test samples." if part["samples"] > 1 else ""
    listed = ", ".join(f"{bar.name} {bar.value:.3g}" for bar in series[0][1][:8])
    alt = f"Bar chart of the firing rate of {count(len(part['layers']), 'layer')}, {series[0][0]}: {listed}."
    notes = [f"The first {MOST_BARS} of {len(part['layers'])} layers; all are in the table."] if len(part["layers"]) > MOST_BARS else []
    return Picture("spiking-rates", "Firing rate of each layer", how, alt, svg(draw, "spiking-rates", alt), notes, [], [])


def _raster(part: dict[str, Any], side: str) -> Picture | None:
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in part["raster"]:
        rows.setdefault(row["layer"], []).append(row)
    if part["errors"][side] or not rows:
        return None
    layers = {layer["name"]: layer for layer in part["layers"]}
    recordings = {name: _recording(layers[name], found, side) for name, found in rows.items()}

    def draw() -> tuple[Figure, Axes]:
        return plot.raster(recordings)

    ident, steps = f"spiking-raster-{side}", max(len(row[side]) for row in part["raster"])
    title = "Spikes without hardware" if side == "digital" else f"Spikes on chip {part['chip']}"
    how = "The first test sample: a mark for every spike, one row a neuron, one band a layer, the first at the top."
    fewer = len(part["raster"]) < part["total"]["units"]
    chosen = f"{len(part['raster'])} of {part['total']['units']:,} neurons, evenly spread over those of each layer that ever fire."
    notes = [chosen] if fewer else []
    spikes = sum(row[side].count("1") for row in part["raster"])
    alt = f"Raster of {count(len(part['raster']), 'neuron')} over {count(steps, 'step')}: {count(spikes, 'spike')}."
    return Picture(ident, title, how, alt, svg(draw, ident, alt), notes, [], [])


def _recording(layer: dict[str, Any], rows: list[dict[str, Any]], side: str) -> LayerRecording:
    """The rows of one layer as a recording of one sample."""
    spikes = torch.tensor([[int(mark) for mark in row[side]] for row in rows], dtype=torch.uint8).T.unsqueeze(1)
    kept = torch.tensor([row["unit"] for row in rows])
    return LayerRecording(layer["name"], layer["type"], dt=layer["dt"], calls={"spikes": [spikes]}, unit_index=kept)


def _bar(name: str, rate: dict[str, Any]) -> plot.Bar:
    return plot.Bar(name, *(math.nan if rate[end] is None else rate[end] for end in ("value", "low", "high")))


def _totals(total: dict[str, Any] | None) -> tuple[str, str, str]:
    return ("", "", "") if total is None else (_spikes(total["spikes_per_sample"]), percent(total["dead"]), percent(total["saturated"]))


def _cells(side: dict[str, Any] | None) -> list[str]:
    if side is None:
        return ["n/a"] * 5
    hertz = "n/a" if side["rate_hz"] is None else f"{side['rate_hz']:.4g} Hz"
    return [_rate(side["rate"]), hertz, percent(side["dead"]), percent(side["saturated"]), _spikes(side["spikes_per_sample"])]


def _rate(rate: dict[str, Any]) -> str:
    if rate["value"] is None:
        return "n/a"
    return f"{rate['value']:.4f}" + ("" if rate["low"] is None else f" [{rate['low']:.4f}, {rate['high']:.4f}]")


def _spikes(number: float | None) -> str:
    return "n/a" if number is None else f"{number:,.1f}"
