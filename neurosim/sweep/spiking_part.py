"""What a report says of neurons, for its digest.

.. code-block:: text

    samples, chip, level    how many samples were shown, the seed of the chip on the side ``hardware``, the confidence of intervals
    layers                  name, type, units, dt, and of both sides (``digital``, ``hardware``): rate (an interval over samples), rate_hz,
                            dead, saturated (shares of units), spikes_per_sample; or null where the side could not be measured
    total                   units, and of both sides: dead, saturated, spikes_per_sample; or null
    over_time               steps, and of both sides the metric after so many steps, as intervals over samples; or null
    raster                  of the first sample, one entry a unit: layer, unit, and of both sides a text of 0 and 1, a character a step
    errors                  of both sides, why it could not be measured; empty where it could
"""

from __future__ import annotations

import math
from typing import Any, Final

from neurosim.analysis.spike_trains import LEVEL
from neurosim.sweep.spiking import NeuronFiring, Spiking
from neurosim.sweep.statistics import Interval, wilson
from neurosim.sweep.study import Study, known, numbers

SIDES: Final = ("digital", "hardware")


def spiking_part(study: Study) -> dict[str, Any] | None:
    """See the top of this file; ``None`` for models without neurons."""
    spiking = study.results.spiking
    if spiking is None:
        return None
    sides = {name: firing for name in SIDES if not (firing := getattr(spiking, name)).error}
    return {
        "samples": spiking.samples,
        "chip": spiking.chip,
        "level": LEVEL,
        "layers": [
            {
                "name": layer.name or "(model)",
                "type": layer.type,
                "units": layer.units,
                "dt": known(layer.dt),
                **{name: _layer(sides.get(name), i, layer.dt, spiking.samples) for name in SIDES},
            }
            for i, layer in enumerate(spiking.layers)
        ],
        "total": {
            "units": sum(layer.units for layer in spiking.layers),
            **{name: _total(sides.get(name), spiking) for name in SIDES},
        },
        "over_time": _over_time(study, spiking),
        "raster": [
            {
                "layer": spiking.layers[layer].name or "(model)",
                "unit": unit,
                **{name: "".join(map(str, getattr(spiking, name).raster[:, row].tolist())) for name in SIDES},
            }
            for row, (layer, unit) in enumerate(spiking.shown.tolist())
        ],
        "errors": {name: getattr(spiking, name).error for name in SIDES},
    }


def _layer(firing: NeuronFiring | None, i: int, dt: float, samples: int) -> dict[str, Any] | None:
    if firing is None:
        return None
    rate = Interval(float(firing.rate[i]), float(firing.rate_low[i]), float(firing.rate_high[i]), samples, "t")
    return {
        "rate": numbers(rate),
        "rate_hz": known(rate.value / dt),
        "dead": known(float(firing.dead[i])),
        "saturated": known(float(firing.saturated[i])),
        "spikes_per_sample": known(float(firing.spikes_per_sample[i])),
    }


def _total(firing: NeuronFiring | None, spiking: Spiking) -> dict[str, Any] | None:
    if firing is None:
        return None
    units = [layer.units for layer in spiking.layers]
    dead, saturated = (float((share * units).sum() / max(sum(units), 1)) for share in (firing.dead, firing.saturated))
    return {"dead": dead, "saturated": saturated, "spikes_per_sample": float(firing.spikes_per_sample.sum())}


def _over_time(study: Study, spiking: Spiking) -> dict[str, Any] | None:
    if not len(spiking.steps):
        return None
    hits = len(study.results.baseline.bits) > 0

    def over_samples(value: float) -> dict[str, Any] | None:
        if not hits or math.isnan(value):
            return numbers(Interval(value, math.nan, math.nan, spiking.samples, "none"))
        return numbers(wilson(round(value * spiking.samples), spiking.samples))

    return {"steps": spiking.steps.tolist(), **{name: [over_samples(v) for v in getattr(spiking, name).values.tolist()] for name in SIDES}}
