"""``recording.h5``: a recording in one self-describing file that other tools and languages read too.

.. code-block:: text

    / attrs format, schema_version, created_utc, neurosim_version, python, torch, numpy, hdf5, platform, command, notes (JSON), complete,
            and dt_s, n_steps, batch where all layers agree
    /layers/<path>                 attrs name, type, index, along, timed, samples_seen, n_steps, batch, n_units, unit_shape, dt_s
    /layers/<path>/sample_index    i8, which samples, counted over all calls                            (batch,)
    /layers/<path>/unit_index      i8, which of the flattened units, where some were chosen             (n_units,)
    /layers/<path>/v_threshold     f4 or f8, and v_reset, where it has one                              () or as it broadcasts to the units
    /layers/<path>/spikes          attrs encoding, dtype
        packbits: data             u1, eight units a byte, the first in the highest bit                 (time, batch, bytes)
        csr:      t, unit          u2 or u4, one entry a spike, by sample, then by time                 (spikes,)
                  ptr              u8, where the spikes of each sample begin, and their number          (batch + 1,)
        dense:    data             numbers other than 0 and 1                                           (time, batch, n_units)
    /layers/<path>/v               membrane, attr dtype                                                 (time, batch, n_units)
    /layers/<path>/output          likewise; without the axis of time if not timed

Spikes are packed, or listed where fewer than one in fifty is there. Datasets are compressed and checksummed. The file appears under its
name only when it is whole.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurosim.analysis.layer import LayerRecording
from neurosim.atomicfile import replacing
from neurosim.errors import ConfigError

if TYPE_CHECKING:
    import h5py

FORMAT: Final = "neurosim.recording"
SCHEMA_VERSION: Final = 1
SPARSE: Final = 0.02  #: below this share of spikes a list of them is the smaller file
META: Final = ("created_utc", "neurosim_version", "python", "torch", "numpy", "platform", "command")
_CHUNK: Final = 1 << 16  #: least size of a chunk in bytes, where there is so much
PLACES: Final = {"membrane": "v", "output": "output"}


def write_recording(
    path: str | os.PathLike[str], layers: Sequence[LayerRecording], notes: Mapping[str, Any], meta: Mapping[str, Any]
) -> Path:
    """Write a recording to ``path``, atomically: a reader sees the old file or the whole new one.

    Args:
        path: Where to; its folder is made.
        layers: The layers; those that were not called are left out.
        notes: What the user writes beside them.
        meta: Texts under the names in ``META``.

    Returns:
        The path.

    Raises:
        ConfigError: Nothing was recorded, the calls of a layer do not fit together, or notes are not JSON.
    """
    import h5py

    called = [layer for layer in layers if layer.signals]
    if not called:
        raise ConfigError("recording: nothing was recorded; run the model inside of the block of neurosim.record")
    try:
        noted = json.dumps(dict(notes), ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"recording.notes: must be texts, numbers, lists and mappings of them, got: {error}") from None
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["schema_version"] = SCHEMA_VERSION
        for name in META:
            file.attrs[name] = str(meta.get(name, ""))
        file.attrs["hdf5"] = h5py.version.hdf5_version
        file.attrs["notes"] = noted
        for name, values in (
            ("dt_s", {layer.dt for layer in called} - {None}),
            ("n_steps", {layer.n_steps for layer in called}),
            ("batch", {layer.batch for layer in called}),
        ):
            if len(values) == 1:
                file.attrs[name] = values.pop()
        for index, layer in enumerate(called):
            group = file.create_group(f"layers/{quote(layer.path, safe=' *[]') or '(model)'}")
            group.attrs["index"] = index
            _write_layer(group, layer)
        file.attrs["complete"] = True
    return target


def _write_layer(group: h5py.Group, layer: LayerRecording) -> None:
    values = {name: layer.joined(name) for name in layer.signals}
    lead = 2 if layer.timed else 1
    flat = {name: value.reshape(*value.shape[:lead], math.prod(value.shape[lead:])) for name, value in values.items()}
    attrs = {"name": layer.path, "type": layer.type, "along": layer.along, "timed": layer.timed, "samples_seen": layer.samples_seen}
    sizes = {"n_steps": layer.n_steps, "batch": layer.batch, "n_units": next(iter(flat.values())).shape[-1]}
    for name, value in {**attrs, **sizes, "unit_shape": np.array(layer.unit_shape, dtype="i8")}.items():
        group.attrs[name] = value
    if layer.dt is not None:
        group.attrs["dt_s"] = layer.dt
    group["sample_index"] = layer.sample_index.cpu().numpy()
    if layer.unit_index is not None:
        group["unit_index"] = layer.unit_index.cpu().numpy()
    for name, number in (("v_threshold", layer.v_threshold), ("v_reset", layer.v_reset)):
        if number is not None:
            group[name] = np.asarray(_array(number) if isinstance(number, Tensor) else number)
    for name, value in flat.items():
        if name == "spikes":
            _write_spikes(group.create_group("spikes"), value)
        else:
            place = PLACES[name]
            _write(group, place, _array(value))
            group[place].attrs["dtype"] = _dtype(value)


def _write_spikes(group: h5py.Group, spikes: Tensor) -> None:
    array = _array(spikes)
    group.attrs["dtype"] = _dtype(spikes)
    fired = array != 0
    if not (array == fired).all():
        group.attrs["encoding"] = "dense"
        _write(group, "data", array)
    elif fired.size and fired.mean() < SPARSE:
        group.attrs["encoding"] = "csr"
        sample, time, unit = np.nonzero(fired.swapaxes(0, 1))
        for name, column, size in (("t", time, len(array)), ("unit", unit, array.shape[2])):
            _write(group, name, column.astype("u2" if size <= 1 << 16 else "u4"))
        _write(group, "ptr", np.searchsorted(sample, np.arange(array.shape[1] + 1)).astype("u8"))
    else:
        group.attrs["encoding"] = "packbits"
        _write(group, "data", np.packbits(fired, axis=-1))


def _array(value: Tensor) -> NDArray[Any]:
    value = value.detach().cpu()
    array: NDArray[Any] = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return array


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _write(group: h5py.Group, name: str, array: NDArray[Any]) -> None:
    if array.size == 0:  # nothing to compress
        group.create_dataset(name, data=array)
        return
    if array.ndim == 3:  # whole stretches of time of few samples: what a plot reads
        steps = min(len(array), 64)
        samples = max(1, min(array.shape[1], _CHUNK // (steps * array.shape[2] * array.itemsize)))
        chunks: tuple[int, ...] = (steps, samples, array.shape[2])
    else:
        row = array.itemsize * math.prod(array.shape[1:])
        chunks = (max(1, min(len(array), _CHUNK // row)), *array.shape[1:])
    group.create_dataset(name, data=array, chunks=chunks, compression="gzip", compression_opts=4, shuffle=True, fletcher32=True)
