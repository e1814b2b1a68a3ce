"""``recording.h5``: what is written comes back, and what is broken is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis.layer import LayerRecording
from neurosim.analysis.recording_file import META


def uniform(shape: tuple[int, ...], name: str = "x") -> Tensor:
    return ns.random.stream(3, name).uniform(shape, like=torch.empty(0))


@pytest.fixture
def recording() -> ns.Recording:
    """A quiet layer, a busy one with a threshold a unit, a read-out, and the output of a layer; some units and samples of them."""
    net = ns.nn.SpikingSequential(
        ns.LIF(5e-3, 1e-3, v_threshold=torch.linspace(0.5, 3, 11)),
        nn.Linear(11, 9),
        ns.LIF(5e-3, 1e-3, v_threshold=100.0),
        ns.LI(5e-3, 1e-3),
    )
    with ns.record(net, ["*"], units=slice(0, 9), samples=[0, 2]) as found:
        net(uniform((30, 3, 11)))
        net(uniform((30, 3, 11), "y"))
    found.notes.update(seed=3, checkpoint="best", list=[1, 2.5])
    return found


def same(one: ns.Recording, other: ns.Recording) -> None:
    assert list(one) == list(other)
    for path, layer in one.items():
        twin = other[path]
        assert layer.signals == twin.signals
        for signal in layer.signals:
            a, b = layer.joined(signal), twin.joined(signal)
            assert a.dtype == b.dtype
            assert torch.equal(a, b)
        for name in ("path", "type", "dt", "along", "timed", "unit_shape", "samples_seen", "n_steps", "batch"):
            assert getattr(layer, name) == getattr(twin, name), name
        for name in ("v_threshold", "v_reset", "unit_index", "sample_index"):
            value, found = getattr(layer, name), getattr(twin, name)
            assert torch.equal(value, found) if isinstance(value, Tensor) else value == found, name
    assert one.notes == other.notes
    assert {name: str(one.meta.get(name, "")) for name in META} == other.meta


def test_what_is_written_comes_back(recording: ns.Recording, tmp_path: Path) -> None:
    path = recording.save(tmp_path / "new" / "recording.h5")
    same(recording, ns.load_recording(path))
    assert [file.name for file in path.parent.iterdir()] == ["recording.h5"]


def _layer(spikes: Tensor, **more: Any) -> ns.Recording:
    batch = spikes.shape[1]
    layer = LayerRecording("a.b", "LIF", calls={"spikes": [spikes]}, unit_shape=tuple(spikes.shape[2:]), **more)
    layer.sample_index, layer.samples_seen = torch.arange(batch), batch
    return ns.Recording({"a.b": layer})


@pytest.mark.parametrize(
    ("share", "encoding"), [(0.0, "csr"), (0.01, "csr"), (0.1, "packbits"), (1.1, "packbits")], ids=["none", "few", "many", "all"]
)
@pytest.mark.parametrize("shape", [(40, 5, 13), (7, 2, 3, 4, 5), (3, 1, 70_000), (70_000, 1, 3), (9, 4)])
def test_spikes_come_back_however_many_there_are(shape: tuple[int, ...], share: float, encoding: str, tmp_path: Path) -> None:
    spikes = (uniform(shape) < share).float()
    path = _layer(spikes).save(tmp_path / "r.h5")
    same(_layer(spikes), ns.load_recording(path))
    with h5py.File(path) as file:
        assert file["layers/a.b/spikes"].attrs["encoding"] == encoding


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (4, 2, 0)])
def test_recordings_of_nothing_come_back(shape: tuple[int, ...], tmp_path: Path) -> None:
    same(_layer(torch.zeros(shape)), ns.load_recording(_layer(torch.zeros(shape)).save(tmp_path / "r.h5")))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_counts_and_types_come_back(dtype: torch.dtype, tmp_path: Path) -> None:
    recording = _layer((uniform((10, 2, 4)) * 3).floor().to(dtype))
    recording["a.b"].calls["membrane"] = [uniform((10, 2, 4), "v").to(dtype)]
    same(recording, ns.load_recording(recording.save(tmp_path / "r.h5")))


def test_packed_spikes_can_be_read_by_hand(recording: ns.Recording, tmp_path: Path) -> None:
    with h5py.File(recording.save(tmp_path / "r.h5")) as file:
        assert (file.attrs["format"], file.attrs["schema_version"], bool(file.attrs["complete"])) == ("neurosim.recording", 1, True)
        assert (file.attrs["dt_s"], file.attrs["n_steps"], file.attrs["batch"]) == (1e-3, 30, 4)
        group = file["layers/0"]
        bits = np.unpackbits(group["spikes/data"][()], axis=-1)[..., :9]
        np.testing.assert_array_equal(bits, recording["0"].spikes.numpy())
        np.testing.assert_array_equal(group["v"][()], recording["0"].membrane.numpy())
        assert group.attrs["dt_s"] == 1e-3
        assert group["sample_index"][()].tolist() == [0, 2, 3, 5]


def test_listed_spikes_can_be_read_by_hand(tmp_path: Path) -> None:
    spikes = torch.zeros(100, 2, 5)
    spikes[3, 1, 4] = spikes[90, 0, 2] = spikes[7, 1, 0] = 1
    with h5py.File(_layer(spikes).save(tmp_path / "r.h5")) as file:
        group = file["layers/a.b/spikes"]
        assert group["ptr"][()].tolist() == [0, 1, 3]
        assert group["t"][()].tolist() == [90, 3, 7]
        assert group["unit"][()].tolist() == [2, 4, 0]


def test_facts_that_all_layers_share_are_those_of_the_file(tmp_path: Path) -> None:
    with h5py.File(_layer(torch.ones(4, 2, 3), dt=2e-3).save(tmp_path / "r.h5")) as file:
        assert (file.attrs["dt_s"], file.attrs["n_steps"], file.attrs["batch"]) == (2e-3, 4, 2)


def test_packing_makes_the_file_smaller(tmp_path: Path) -> None:
    spikes = (uniform((100, 16, 512)) < 0.1).float()
    size = _layer(spikes).save(tmp_path / "r.h5").stat().st_size
    assert size < spikes.numel() / 8 * 1.1  # a bit a step, and little else


def test_a_layer_may_be_the_model_itself(tmp_path: Path) -> None:
    with ns.record(neuron := ns.LIF(5e-3, 1e-3)) as recording:
        neuron(uniform((5, 2, 3)))
    same(recording, ns.load_recording(recording.save(tmp_path / "r.h5")))


def test_an_older_file_stays_when_writing_fails(recording: ns.Recording, tmp_path: Path) -> None:
    path = recording.save(tmp_path / "r.h5")
    before = path.read_bytes()
    recording["0"].calls["spikes"].append(torch.zeros(1, 1, 1))
    with pytest.raises(ns.ConfigError, match="must fit together"):
        recording.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["r.h5"]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ns.ConfigError, match="nothing was recorded; run the model inside of the block"):
        ns.Recording({}).save(tmp_path / "r.h5")
    recording = _layer(torch.ones(2, 1, 1))
    recording.notes["model"] = object()
    with pytest.raises(ns.ConfigError, match=r"recording.notes: must be texts, numbers, lists"):
        recording.save(tmp_path / "r.h5")


def _set(place: str, name: str, value: Any) -> Any:
    def change(file: h5py.File) -> None:
        file[place].attrs[name] = value

    return change


def _drop(place: str, name: str = "") -> Any:
    def change(file: h5py.File) -> None:
        if name:
            del file[place].attrs[name]
        else:
            del file[place]

    return change


def _put(place: str, value: Any) -> Any:
    def change(file: h5py.File) -> None:
        del file[place]
        file[place] = value

    return change


BROKEN: dict[str, tuple[Any, str]] = {
    "format": (_set("/", "format", "neurosim.results"), r"/@format: must be 'neurosim.recording', got 'neurosim.results'"),
    "version": (_set("/", "schema_version", 2), r"/@schema_version: must be 1, got 2; a newer release"),
    "unfinished": (_drop("/", "complete"), r"/@complete: must be true"),
    "notes": (_set("/", "notes", "[1]"), r"/@notes: must be a JSON object"),
    "no layers": (_drop("/layers"), r"/layers: must be there, is missing"),
    "no name": (_drop("/layers/0", "name"), r"/layers/0/@name: must be there, is missing"),
    "along": (_set("/layers/0", "along", "x"), r"/layers/0/@along: must be 'batch' or 'time', got 'x'"),
    "steps": (_set("/layers/0", "n_steps", 31), r"/layers/0/spikes/data: must be numbers of shape \(31, 4, 2\), got uint8 of shape"),
    "no signals": (lambda file: [_drop(f"/layers/3/{one}")(file) for one in ("v",)], r"/layers/3: must hold spikes, v or output"),
    "samples": (_put("/layers/0/sample_index", [0, 1]), r"/layers/0/sample_index: must be numbers of shape \(4,\)"),
    "words": (_put("/layers/0/v", "text"), r"/layers/0/v: must be numbers of shape \(30, 4, 9\), got bytes"),
    "encoding": (
        _set("/layers/0/spikes", "encoding", "zip"),
        r"/layers/0/spikes/@encoding: must be 'packbits', 'csr' or 'dense', got 'zip'",
    ),
    "dtype": (_set("/layers/0/v", "dtype", "nn"), r"/layers/0/v/@dtype: must be a type of torch, got 'nn'"),
    "ptr": (_put("/layers/2/spikes/ptr", np.array([1, 0, 0, 0, 0], "u8")), r"/layers/2/spikes/ptr: must begin at 0 and not fall"),
    "units": (_drop("/layers/0/unit_index"), r"/layers/0/@unit_shape: must be the shape of 9 units, got \(11,\)"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_with_its_place(case: str, recording: ns.Recording, tmp_path: Path) -> None:
    path = recording.save(tmp_path / "r.h5")
    change, message = BROKEN[case]
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(ns.CheckpointError, match=message):
        ns.load_recording(path)


def test_a_spike_beyond_the_units_is_refused(tmp_path: Path) -> None:
    spikes = torch.zeros(100, 2, 5)
    spikes[3, 1, 4] = 1
    path = _layer(spikes).save(tmp_path / "r.h5")
    with h5py.File(path, "a") as file:
        _put("/layers/a.b/spikes/unit", np.array([5], "u2"))(file)
    with pytest.raises(ns.CheckpointError, match=r"/layers/a.b/spikes/unit: must be below 5, got 5"):
        ns.load_recording(path)


def test_a_damaged_file_is_refused(recording: ns.Recording, tmp_path: Path) -> None:
    path = recording.save(tmp_path / "r.h5")
    with h5py.File(path) as file:
        place = file["layers/0/v"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[place + 20] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ns.CheckpointError, match=r"/layers/0/v: must be readable, is damaged"):
        ns.load_recording(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(ns.CheckpointError, match=r"must be a readable HDF5 file"):
        ns.load_recording(path)
    with pytest.raises(ns.CheckpointError, match=r"gone.h5: must be a recording, there is no such file"):
        ns.load_recording(tmp_path / "gone.h5")


def test_the_file_says_with_what_it_was_made(recording: ns.Recording, tmp_path: Path) -> None:
    with h5py.File(recording.save(tmp_path / "r.h5")) as file:
        assert file.attrs["neurosim_version"] == ns.__version__
        assert file.attrs["torch"] == str(torch.__version__)
        assert file.attrs["command"]
        assert json.loads(file.attrs["notes"])["seed"] == 3
