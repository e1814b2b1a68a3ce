"""What a probe found, layer by layer."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from neurosim.analysis.stage_levels import StageProbe
from neurosim.atomicfile import replacing, write_text
from neurosim.convert.report import table
from neurosim.errors import ConfigError, nearest

#: what every layer has a number of, in the order in which tables show it; None where it has none
NUMBERS: Final = (
    *("mean_square", "variance", "branch_variance", "snr", "saturated", "clipped", "levels_used", "levels", "rate"),
    *("membrane_mean", "membrane_std", "kurtosis", "dormant", "dead", "effective_rank"),
)
_HEAD: Final = {
    "mean_square": "mean²",
    "branch_variance": "branch",
    "snr": "SNR",
    "membrane_mean": "membrane",
    "membrane_std": "±",
    "effective_rank": "rank",
    "levels_used": "levels",
}
_SHARES: Final = ("saturated", "clipped", "dormant", "dead")


@dataclass(frozen=True)
class LayerProbe:
    """What one layer gave.

    Args:
        path: Its name in the model; ``""`` is the model itself. A layer that gives several shapes has an entry for each.
        type: Its class.
        units: Shape of what it gives for a sample (and step).
        channels: How many channels that is.
        mean_square: Mean over channels of the squared channel mean.
        variance: Mean over channels of the channel variance.
        branches: Paths of the modules that end a residual branch of this block.
        branch_variance: Variance of the last of them, likewise; None where there is none.
        noise: Mean squared difference between passes with and without noise; None where the model has none.
        kurtosis: Excess kurtosis of all numbers together; NaN for a constant.
        dormant: Share of channels whose mean magnitude is at most τ of the layer's.
        dead: Share of units that were 0 on every sample and step.
        effective_rank: Of its channels about their means.
        signal: Variance of the channels without noise; None where the model has none.
        at_bounds: Of an activation with two bounds: share of the numbers at one of them.
        stages: Of a layer on hardware, its limits and converters of signals and weights; of a :class:`~neurosim.quantizers.Quantizer`, or a
            layer whose weights have one, that.
        rate: Of neurons, spikes per unit and step.
        membrane_mean, membrane_std: Of neurons, of the potential after every step.
    """

    path: str
    type: str
    units: tuple[int, ...]
    channels: int
    mean_square: float
    variance: float
    branches: tuple[str, ...]
    branch_variance: float | None
    signal: float | None
    noise: float | None
    kurtosis: float
    dormant: float
    dead: float
    effective_rank: float
    at_bounds: float | None = None
    stages: tuple[StageProbe, ...] = ()
    rate: float | None = None
    membrane_mean: float | None = None
    membrane_std: float | None = None

    @property
    def snr(self) -> float | None:
        """Variance of the signal over the power of the noise; infinite where no noise arrives, None where nothing was compared."""
        if self.signal is None or self.noise is None:
            return None
        return math.inf if self.noise == 0 else self.signal / self.noise

    @property
    def saturated(self) -> float | None:
        """The largest share at the rails: of the clamps of signals in its chain, and of its own bounds."""
        return _largest([self.at_bounds, *(stage.saturated for stage in self._of_signals)])

    @property
    def clipped(self) -> float | None:
        """The largest share that is cut off, of the converters of signals in its chain."""
        return _largest(stage.clipped for stage in self._of_signals)

    @property
    def converter(self) -> StageProbe | None:
        """The converter of signals of which the smallest share of levels is used; those of weights are among :attr:`stages`."""
        known = [stage for stage in self._of_signals if stage.used is not None and stage.levels]
        return min(known, key=lambda stage: (stage.used or 0) / (stage.levels or 1), default=None)

    @property
    def levels_used(self) -> int | None:
        """How many of its levels that converter used."""
        return None if self.converter is None else self.converter.used

    @property
    def levels(self) -> int | None:
        """How many it has."""
        return None if self.converter is None else self.converter.levels

    @property
    def _of_signals(self) -> list[StageProbe]:
        return [stage for stage in self.stages if stage.slot.startswith(("input.", "output."))]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-able: what is no finite number is None."""
        stages = [{name: getattr(one, name) for name in StageProbe.__dataclass_fields__} for one in self.stages]
        found = {name: known(getattr(self, name)) for name in NUMBERS}
        more = {"signal": known(self.signal), "noise": known(self.noise), "branches": list(self.branches), "stages": stages}
        return {"path": self.path, "type": self.type, "units": list(self.units), "channels": self.channels, **found, **more}


@dataclass(frozen=True)
class Probe:
    """What :func:`neurosim.probe` found; ``print`` shows it as a table.

    Args:
        layers: In the order in which they ran.
        samples: How many samples were shown.
        passes: How many passes with noise were compared with one without; 0 where nothing was compared.
        against: What they were compared with: ``off``, the hardware without random errors; ``ideal``, the digital model.
        tau: Up to which share of the mean magnitude of its layer a channel is dormant.
    """

    layers: tuple[LayerProbe, ...]
    samples: int
    passes: int
    against: Literal["off", "ideal"]
    tau: float

    def __getitem__(self, path: str) -> LayerProbe:
        """The layer of that path.

        Raises:
            ConfigError: It is not there.
        """
        found = next((layer for layer in self.layers if layer.path == path), None)
        if found is None:
            raise ConfigError(f"probe: no layer {path!r} was looked at{nearest(str(path), [layer.path for layer in self.layers])}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-able."""
        head = {name: getattr(self, name) for name in ("samples", "passes", "against", "tau")}
        return {**head, "layers": [layer.to_dict() for layer in self.layers]}

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """The figure, :func:`neurosim.plot.propagation`; with a path it is also written there, as PNG, SVG or PDF.

        Returns:
            The figure and its axes.

        Raises:
            ConfigError: The file has another ending, or its folder is missing.
        """
        from neurosim import plot

        drawn = plot.propagation(self)
        if path is not None:
            target = _target(path, (".png", ".svg", ".pdf"))
            with replacing(target) as temporary:
                drawn[0].savefig(temporary, format=target.suffix[1:], dpi=130)
        return drawn

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the numbers, atomically: ``.json`` all of them, ``.csv`` a line a layer.

        Raises:
            ConfigError: The file has another ending, or its folder is missing.
        """
        makers: dict[str, Callable[[], str]] = {".json": self._json, ".csv": self._csv}
        target = _target(path, tuple(makers))
        write_text(target, makers[target.suffix]())
        return target

    def _json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def _csv(self) -> str:
        target = io.StringIO()
        writer = csv.writer(target, lineterminator="\n")
        names = ("path", "type", "units", "channels", *NUMBERS, "signal", "noise")
        writer.writerow(names)
        for layer in self.layers:
            row = layer.to_dict() | {"units": "x".join(map(str, layer.units))}
            writer.writerow(["" if row[name] is None else row[name] for name in names])
        return target.getvalue()

    def __str__(self) -> str:
        count = f"{len(self.layers)} {'layer' if len(self.layers) == 1 else 'layers'}"
        head = f"{self.samples:,} {'sample' if self.samples == 1 else 'samples'} through {count}"
        if self.passes:
            what = {"off": "the same without random errors", "ideal": "the digital model"}[self.against]
            head += f"; SNR of {self.passes} {'pass' if self.passes == 1 else 'passes'} against {what}"
        names, rows = rows_of([layer.to_dict() | {"snr": layer.snr} for layer in self.layers])
        return "\n".join([head, *table(names, rows)])


def rows_of(layers: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table of what :meth:`LayerProbe.to_dict` gives: the columns in which some layer has a number."""
    names = [name for name in NUMBERS if name != "levels" and any(layer[name] is not None for layer in layers)]
    rows = []
    for layer in layers:
        units = "×".join(map(str, layer["units"])) or "1"
        rows.append([layer["path"] or "(model)", layer["type"], units, *(shown(name, layer) for name in names)])
    return ["layer", "type", "units", *(_HEAD.get(name, name) for name in names)], rows


def shown(name: str, layer: dict[str, Any]) -> str:
    """One number as a table shows it."""
    value = layer[name]
    if name == "snr" and value is None and layer["noise"] == 0:
        value = math.inf
    if value is None or value != value:
        return ""
    if name in _SHARES:
        return f"{value:.1%}"
    if name == "snr":
        return "∞" if value == math.inf else "0" if value == 0 else f"{10 * math.log10(value):.1f} dB"
    if name == "levels_used":
        return f"{value} of {layer['levels']}"
    return f"{value:.1f}" if name == "effective_rank" else f"{value:.3g}"


def known(value: float | None) -> float | None:
    """The number; None where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def _largest(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _target(path: str | os.PathLike[str], endings: tuple[str, ...]) -> Path:
    target = Path(path)
    if target.suffix not in endings:
        raise ConfigError(f"probe: the file must end in {' or '.join(endings)}, got {target.name!r}{nearest(target.suffix, endings)}")
    if not target.parent.is_dir():
        raise ConfigError(f"probe: the folder {target.parent} must exist, it does not; make it, or save to another")
    return target
