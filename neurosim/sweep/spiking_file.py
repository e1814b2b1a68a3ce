"""The part of ``results.h5`` that says what neurons did.

.. code-block:: text

    /spiking                             attrs samples, chip
    /spiking/layers/{name,type}          utf-8; /spiking/layers/units u4, /spiking/layers/dt f8 (seconds; NaN: none)   (layers,)
    /spiking/steps                       u4: after how many steps the metric was taken                                 (asked,)
    /spiking/shown                       u4: layer and unit of each row of the rasters                                 (rows, 2)
    /spiking/{digital,hardware}          attr error
    /spiking/<side>/{rate,rate_low,rate_high,dead,saturated,spikes_per_sample}                                    f8   (layers,)
    /spiking/<side>/values               f8: the metric                                                                (asked,)
    /spiking/<side>/raster               u1: 1 where a unit fired                                                      (time, rows)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurosim.hdf5 import Reader, write
from neurosim.sweep.spiking import OF_LAYERS, NeuronFiring, NeuronInfo, Spiking

if TYPE_CHECKING:
    import h5py


def write_spiking(group: h5py.Group, spiking: Spiking) -> None:
    """Write what neurons did into an empty group."""
    group.attrs["samples"] = spiking.samples
    group.attrs["chip"] = np.uint64(spiking.chip)
    for name, kind in (("name", "U"), ("type", "U"), ("units", "u4"), ("dt", "f8")):
        write(group, f"layers/{name}", np.array([getattr(layer, name) for layer in spiking.layers], dtype=kind))
    write(group, "steps", spiking.steps)
    write(group, "shown", spiking.shown)
    for side, firing in (("digital", spiking.digital), ("hardware", spiking.hardware)):
        found = group.create_group(side)
        found.attrs["error"] = firing.error
        for name in (*OF_LAYERS, "values", "raster"):
            write(found, name, getattr(firing, name))


def read_spiking(reader: Reader, place: str) -> Spiking:
    """Read it back.

    Raises:
        CheckpointError: A dataset is missing, damaged, or does not fit the others.
    """
    names = reader.strings(f"{place}/layers/name", None)
    kinds = reader.strings(f"{place}/layers/type", len(names))
    units, dts = (reader.array(f"{place}/layers/{name}", kind, (len(names),)) for name, kind in (("units", "u4"), ("dt", "f8")))
    layers = [NeuronInfo(str(n), str(k), int(u), float(dt)) for n, k, u, dt in zip(names, kinds, units, dts, strict=True)]
    steps, shown = reader.array(f"{place}/steps", "u4", (None,)), reader.array(f"{place}/shown", "u4", (None, 2))
    reader.check_range(f"{place}/shown", shown[:, 0], 0, len(layers) - 1)
    sides = [_firing(reader, f"{place}/{side}", len(layers), len(steps), len(shown)) for side in ("digital", "hardware")]
    return Spiking(layers, int(reader.attribute(place, "samples")), int(reader.attribute(place, "chip")), steps, shown, *sides)


def _firing(reader: Reader, place: str, layers: int, asked: int, rows: int) -> NeuronFiring:
    columns = {name: reader.array(f"{place}/{name}", "f8", (layers,)) for name in OF_LAYERS}
    values, raster = reader.array(f"{place}/values", "f8", (asked,)), reader.array(f"{place}/raster", "u1", (None, rows))
    return NeuronFiring(**columns, values=values, raster=raster, error=str(reader.attribute(place, "error")))
