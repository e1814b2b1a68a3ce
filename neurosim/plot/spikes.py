"""Spikes and membranes: rasters, traces, and how rates are distributed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurosim.errors import ConfigError
from neurosim.plot.style import COLOURS, DASHES, GREY, INK, add_legend, label_axes, new_figure, new_rows, short_names

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neurosim.analysis.firing import Activity
    from neurosim.analysis.layer import LayerRecording
    from neurosim.analysis.recording import Recording

Floats = NDArray[np.float64]
_MANY: int = 20_000  #: from so many spikes on, they are drawn as pixels in vector graphics too


class _Layer(NamedTuple):
    """One layer to draw."""

    name: str
    values: Floats  #: (time, batch, units)
    dt: float | None
    kept: Sequence[int] | None  #: which units these are, where not all were kept
    recording: Any  #: what it is taken from; None for arrays


def raster(source: Recording | LayerRecording | Any, *, sample: int = 0, dt: float | None = None) -> tuple[Figure, Axes]:
    """A mark for every spike: time to the right, one row a unit; layers stand in bands, the first at the top.

    Args:
        source: A recording, one layer of it, or an array or tensor of spikes: ``(time, batch, *units)``, or ``(time, units)``.
        sample: Which sample to show.
        dt: Step, seconds; by default that of the recording. Without one, the axis counts steps.

    Returns:
        The figure and its axes.

    Raises:
        ConfigError: There are no spikes recorded, there is no such sample, or the shape is none of these.
    """
    layers = [_of_sample(layer, sample, "raster") for layer in _layers(source, "spikes", "raster", dt)]
    counts, steps = [layer.values.shape[1] for layer in layers], max(len(layer.values) for layer in layers)
    bands = [max(count, 0.15 * max(counts), 1.0) for count in counts]  # small layers beside large ones are drawn larger
    rows = sum(bands)
    height = min(max(1.5, 0.9 + 0.11 * rows), 4.4)
    fig, ax = new_figure(height)
    unit, scale = _time_axis(ax, layers, steps)
    many = sum(np.count_nonzero(layer.values) for layer in layers) > _MANY
    top = 0.0
    for i, (layer, count, band) in enumerate(zip(layers, counts, bands, strict=True)):
        time, row = np.nonzero(layer.values)
        points = (height - 0.8) * 72 / rows * band / max(count, 1)
        ax.plot(
            time * scale,
            top + (row + 0.5) * band / max(count, 1) - 0.5,
            linestyle="none",
            marker="|",
            color=COLOURS[i % len(COLOURS)],
            markersize=min(max(0.75 * points, 1.2), 12),
            markeredgewidth=min(max(0.6 * 330 / max(steps, 1), 0.5), 1.4),
            rasterized=many,
        )
        top += band
        if i + 1 < len(layers):
            ax.axhline(top - 0.5, color=GREY, linewidth=0.8)
    if not any(layer.values.any() for layer in layers):
        ax.text(0.5, 0.5, "no spikes", transform=ax.transAxes, ha="center", va="center", color=GREY)
    ax.set_xlim(-0.5 * scale, (max(steps, 1) - 0.5) * scale)
    ax.set_ylim(rows - 0.5, -0.5)
    if len(layers) > 1:
        centres = np.cumsum(bands) - np.array(bands) / 2 - 0.5
        ax.set_yticks(centres.tolist(), short_names([layer.name for layer in layers], 18), parse_math=False)
        ax.grid(visible=False, axis="y")
    elif counts[0] <= 12 or layers[0].kept is not None:
        shown, names = range(0, counts[0], math.ceil(counts[0] / 12) or 1), layers[0].kept or range(counts[0])
        ax.set_yticks(list(shown), [str(names[row]) for row in shown])
    label_axes(ax, unit, "layer" if len(layers) > 1 else "unit")
    return fig, ax


def membrane_traces(
    source: Recording | LayerRecording | Any,
    *,
    sample: int = 0,
    units: int | Sequence[int] = 4,
    spikes: Any = None,
    v_threshold: float | Any = None,
    dt: float | None = None,
) -> tuple[Figure, list[Axes]]:
    """The membrane of some units, one below the other, with the threshold and a mark where they fire.

    The potential is that after the reset, as neurons hand it on: it need not reach the threshold where there is a spike.

    Args:
        source: One layer of a recording, a recording of one layer, or an array or tensor: ``(time, batch, *units)``, or ``(time, units)``.
        sample: Which sample to show.
        units: How many units, or which, counted in the flattened units that are there.
        spikes: Spikes, shaped as the potential; by default those of the recording.
        v_threshold: A number, or what broadcasts to the units; by default that of the recording.
        dt: Step, seconds; by default that of the recording. Without one, the axis counts steps.

    Returns:
        The figure and its axes, one for each unit.

    Raises:
        ConfigError: There are several layers or no membrane, there is no such sample or unit, or shapes do not fit together.
    """
    found = _layers(source, "membrane", "membrane_traces", dt)
    if len(found) > 1:
        names = ", ".join(repr(one.name) for one in found)
        raise ConfigError(f"membrane_traces: must be given one layer, as in recording[{found[0].name!r}], got {names:.200}")
    layer = _of_sample(found[0], sample, "membrane_traces")
    steps, count = layer.values.shape
    chosen = list(range(min(units, count))) if isinstance(units, int) else [int(one) for one in units]
    if not chosen or not all(0 <= one < count for one in chosen):
        raise ConfigError(f"membrane_traces: units must be some of 0 to {count - 1}, got {units!r}")
    recording = layer.recording
    if spikes is None and recording is not None and "spikes" in recording.signals:
        spikes = recording.spikes
    fired = None
    if spikes is not None:
        (given,) = _layers(spikes, "spikes", "membrane_traces: spikes", dt)
        fired = _of_sample(given, sample, "membrane_traces: spikes").values
        if fired.shape != layer.values.shape:
            raise ConfigError(f"membrane_traces: spikes must have {layer.values.shape} steps and units, got {fired.shape}")
    thresholds = _thresholds(layer, v_threshold, count)
    fig, axes = new_rows(len(chosen), 0.75 + 0.85 * len(chosen))
    unit, scale = _time_axis(axes[0], [layer], steps)
    time = np.arange(steps) * scale
    handles: dict[str, Artist] = {}
    for ax, one in zip(axes, chosen, strict=True):
        v, threshold = layer.values[:, one], thresholds[one]
        (handles["membrane"],) = ax.plot(time, v, color=COLOURS[0], linewidth=1.5, marker="o" if steps == 1 else "", markersize=4)
        known = [*v[np.isfinite(v)], *([threshold] if math.isfinite(threshold) else [])]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        span = high - low or 1.0
        if math.isfinite(threshold):
            handles["threshold"] = ax.axhline(threshold, color=INK, linestyle=":", linewidth=1.3)
        if fired is not None and fired[:, one].any():
            at = time[fired[:, one] != 0]
            handles["spike"] = ax.vlines(at, high + 0.06 * span, high + 0.34 * span, color=COLOURS[1], linewidth=1.6)
        ax.set_ylim(low - 0.08 * span, high + (0.08 if fired is None else 0.4) * span)
        label_axes(ax, unit if ax is axes[-1] else "", f"unit {one if layer.kept is None else layer.kept[one]}")
    axes[0].set_xlim(-0.5 * scale, (max(steps, 1) - 0.5) * scale)
    add_legend(fig, [(handle, name) for name, handle in handles.items()])
    return fig, axes


def rate_histogram(source: Recording | LayerRecording | Activity | Any, *, dt: float | None = None, bins: int = 20) -> tuple[Figure, Axes]:
    """How the firing rates of units are distributed, one line a layer; the legend says how many never fire.

    Args:
        source: A recording, one layer of it, what :func:`neurosim.activity` gave, or spikes: ``(time, batch, *units)``, ``(time, units)``.
        dt: Step, seconds; by default that of the recording. Where there is none, or layers differ in it, rates are in spikes per step.
        bins: How many, from 0 to the highest rate, > 0.

    Returns:
        The figure and its axes.

    Raises:
        ConfigError: There are no spikes recorded, the shape is none of these, or there are no bins.
    """
    if bins < 1:
        raise ConfigError(f"rate_histogram: bins must be at least 1, got {bins}")
    if hasattr(source, "layers") and not isinstance(source, Mapping):
        found = [(layer.path or "(model)", _array(layer.rates).ravel(), layer.dt if dt is None else dt) for layer in source.layers]
    else:
        found = [(layer.name, _mean(layer.values), layer.dt) for layer in _layers(source, "spikes", "rate_histogram", dt)]
    steps = {step for _, _, step in found}
    step = steps.pop() if len(steps) == 1 else None
    fig, ax = new_figure(3.0)
    rates = [values[np.isfinite(values)] / (step or 1.0) for _, values, _ in found]
    top = max((float(values.max()) for values in rates if len(values)), default=0.0)
    edges = np.linspace(0, top or 1.0, bins + 1)
    handles: list[tuple[Artist, str]] = []
    names = short_names([name for name, _, _ in found], 30)
    for i, (name, values) in enumerate(zip(names, rates, strict=True)):
        share = 100 * np.histogram(values, edges)[0] / max(len(values), 1)
        colour = COLOURS[i % len(COLOURS)]
        if len(found) == 1:
            ax.stairs(share, edges, fill=True, color=colour, alpha=0.25)
        handles.append((ax.stairs(share, edges, color=colour, linewidth=1.8, linestyle=DASHES[i % len(DASHES)], baseline=None), ""))
        silent = 100 * float((values == 0).mean()) if len(values) else 0.0
        handles[-1] = (handles[-1][0], f"{f'{name}: ' if name else ''}{silent:.3g} % never fire")
    ax.set_ylim(bottom=0)
    ax.set_xlim(0, 1.01 * edges[-1])
    label_axes(ax, "firing rate (Hz)" if step else "firing rate (spikes per step)", "share of units (%)")
    add_legend(fig, handles)
    return fig, ax


def _layers(source: Any, signal: str, where: str, dt: float | None) -> list[_Layer]:
    """What to draw of a recording, of a layer of one, or of an array."""
    if dt is not None and not 0 < dt < math.inf:
        raise ConfigError(f"{where}: dt must be more than 0 seconds and finite, got {dt!r}")
    if isinstance(source, Mapping):
        found = [one for one in source.values() if signal in one.signals]
        if not found:
            raise ConfigError(f"{where}: the recording must hold a layer with {signal}, holds none")
        return [_of_recording(one, signal, where, dt) for one in found]
    if hasattr(source, "signals"):
        return [_of_recording(source, signal, where, dt)]
    values = _array(source)
    if values.ndim not in range(2, 9):
        raise ConfigError(f"{where}: must be (time, batch, *units) or (time, units), got shape {values.shape}")
    return [_Layer("", values[:, None] if values.ndim == 2 else _flat(values), dt, None, None)]


def _of_recording(layer: LayerRecording, signal: str, where: str, dt: float | None) -> _Layer:
    values = _array(layer.spikes if signal == "spikes" else layer.membrane)
    index = None if layer.unit_index is None else layer.unit_index.tolist()
    return _Layer(layer.path or "(model)", _flat(values), layer.dt if dt is None else dt, index, layer)


def _of_sample(layer: _Layer, sample: int, where: str) -> _Layer:
    """The layer with values ``(time, units)``."""
    if not -layer.values.shape[1] <= sample < layer.values.shape[1]:
        raise ConfigError(f"{where}: sample must be below {layer.values.shape[1]}, got {sample}")
    return layer._replace(values=layer.values[:, sample])


def _thresholds(layer: _Layer, given: Any, count: int) -> Floats:
    """One threshold a unit; NaN where there is none."""
    recording = layer.recording
    value = given if given is not None or recording is None else recording.v_threshold
    if value is None:
        return np.full(count, math.nan)
    shape = (count,) if recording is None else recording.unit_shape
    try:
        whole = np.broadcast_to(_array(value), shape).ravel()
    except ValueError:
        raise ConfigError(f"membrane_traces: v_threshold must broadcast to the units {shape}, got shape {tuple(np.shape(value))}") from None
    return whole if layer.kept is None else whole[list(layer.kept)]


def _time_axis(ax: Axes, layers: Sequence[_Layer], steps: int) -> tuple[str, float]:
    """Label of the axis, and what one step is in its unit; steps have whole numbers for ticks."""
    from matplotlib.ticker import MaxNLocator

    found = {layer.dt for layer in layers}
    dt = found.pop() if len(found) == 1 else None
    if dt is None:
        ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        return "step", 1.0
    return ("time (ms)", 1e3 * dt) if steps * dt < 2 else ("time (s)", dt)


def _array(value: Any) -> Floats:
    tensor = value.detach().cpu().double() if hasattr(value, "detach") else value
    return np.asarray(tensor, dtype=np.float64)


def _flat(values: Floats) -> Floats:
    return values.reshape(*values.shape[:2], math.prod(values.shape[2:]))


def _mean(values: Floats) -> Floats:
    """Spikes per step of every unit; NaN without steps or samples."""
    count = values.shape[0] * values.shape[1]
    return values.sum((0, 1)) / count if count else np.full(values.shape[2], math.nan)
