import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from neurosim.errors import CheckpointError
from neurosim.sweep.archive import load_results, write_results
from neurosim.sweep.results import COLUMNS, Baseline, Results, TrialRow, columns
from tests.sweep.test_results import made

AXES: dict[str, list[Any]] = {
    "whole": [1, 2],
    "part": [0.5, 1.0],
    "text": ["gaußian", "b"],
    "mixed": ["configured", 0.5],
    "a/b": [0.0, 1.0],
}


def full() -> Results:
    keys = {axis: {"*.noise.x": values, "y/z": [None, {"kind": "quantize"}]} for axis, values in AXES.items()}
    meta = {
        "name": "ümlaut",
        "created_utc": "2026-01-01",
        "config_yaml": "a: 1\n",
        "config_sha256": "ab",
        "packages": "x==1\n",
        "accept": {"drop_at_most": 0.1},
    }
    meta |= {"versions": {"python": "3", "torch": "2", "numpy": "2"}, "run_id": "r", "nominal": {"whole": 1}}
    return dataclasses.replace(made(), meta=meta, axes=AXES, keys=keys)


@pytest.mark.parametrize("make", [made, full])
def test_what_is_read_equals_what_was_written(make: Callable[[], Results], tmp_path: Path) -> None:
    written = make()
    read = load_results(write_results(tmp_path / "results.h5", written))
    assert read.same(written)
    assert {name: column.dtype.kind for name, column in read.trials.items()} == {
        name: np.dtype(kind).kind for name, kind in COLUMNS.items()
    }


def test_a_folder_is_read_by_the_file_in_it(tmp_path: Path) -> None:
    write_results(tmp_path / "deep" / "results.h5", made())
    assert load_results(tmp_path / "deep").same(made())


def test_a_study_without_trials_layers_axes_or_hits_is_read_back(tmp_path: Path) -> None:
    trials, bits = columns([], 0)
    empty = Results({}, [], {}, {}, trials, bits, Baseline(0.5, 0.1, 0, 4, np.zeros(0, np.uint8)))
    assert load_results(write_results(tmp_path / "r.h5", empty)).same(empty)


def test_thousands_of_trials_with_long_errors_are_read_back(tmp_path: Path) -> None:
    rows = [TrialRow(i, "all", -1, i, 0, i / 7, error="é" * (i % 50), bits=bytes([i % 256, 1])) for i in range(5000)]
    trials, bits = columns(rows, 2)
    many = dataclasses.replace(made(), trials=trials, bits=bits, axes={}, keys={}, baseline=Baseline(0.0, 0.0, 0, 16, bits[0]))
    assert load_results(write_results(tmp_path / "r.h5", many)).same(many)


def test_the_file_describes_itself_to_other_tools(tmp_path: Path) -> None:
    with h5py.File(write_results(tmp_path / "r.h5", full()), "r") as file:
        wanted = {
            "format",
            "schema_version",
            "created_utc",
            "neurosim_version",
            "git_commit",
            "python",
            "torch",
            "numpy",
            "hdf5",
            "platform",
            "run_id",
            "complete",
        }
        assert set(file.attrs) == wanted
        assert file.attrs["format"] == "neurosim.results"
        assert set(file["trials"]) == {*COLUMNS, "correct_bits"}
        assert file["config/yaml"].asstr()[()] == "a: 1\n"
        assert json.loads(file["meta"].asstr()[()])["name"] == "ümlaut"
        value = file["trials/value"]
        assert (value.compression, value.compression_opts, value.shuffle, value.fletcher32) == ("gzip", 4, True, True)
        assert file["axes/part"].dtype == np.float64
        assert file["axes/whole"].dtype == np.int64


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", made())
    broken = dataclasses.replace(made(), meta={"name": object()})
    with pytest.raises(TypeError):
        write_results(path, broken)
    assert load_results(path).same(made())
    assert [item.name for item in tmp_path.iterdir()] == ["r.h5"]


def damage_attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def replace(place: str, values: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[place]
        file[place] = values

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_attribute("format", "else"), "/@format: must be 'neurosim.results', got 'else'"),
        (damage_attribute("schema_version", 99), "/@schema_version: must be 1, got 99"),
        (damage_attribute("complete", False), "/@complete: must be true"),
        (lambda file: file.__delitem__("trials/loss"), "/trials/loss: must be there, is missing"),
        (replace("trials/value", np.zeros(3)), r"/trials/value: must be float64 of shape \(2\), got float64 of shape \(3,\)"),
        (replace("trials/chip", np.zeros(2)), r"/trials/chip: must be uint64 of shape \(2\), got float64"),
        (replace("trials/scope", np.array([b"all", b"none"])), "/trials/scope: must be one of all, each, all_but_one, got 'none'"),
        (replace("trials/layer", np.array([-1, 1], "i4")), "/trials/layer: must be from -1 to 0, got -1 to 1"),
        (replace("trials/status", np.array([0, 3], "u1")), "/trials/status: must be from 0 to 2"),
        (replace("trials/error", np.array([0, 1], "i4")), "/trials/error: must be from -1 to 0"),
        (replace("trials/correct_bits", np.zeros((2, 2), "u1")), r"/baseline/correct_bits: must be uint8 of shape \(2\)"),
        (replace("axes/leakage", np.zeros(0)), "/axes/leakage: must have a value for each of 1 points, got 0"),
        (replace("layers/in", np.zeros(2, "u4")), r"/layers/in: must be uint32 of shape \(1\)"),
        (replace("meta", "{"), "/meta: must be JSON"),
        (replace("meta", "[]"), "/meta: must be a JSON object, got list"),
        (lambda file: file["baseline/digital"].attrs.__delitem__("loss"), "/baseline/digital: must have the attribute 'loss'"),
    ],
)
def test_what_does_not_hold_is_named_by_its_dataset(damage: Callable[[h5py.File], None], message: str, tmp_path: Path) -> None:
    path = write_results(tmp_path / "r.h5", made())
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(CheckpointError, match=message):
        load_results(path)


def test_bits_that_do_not_fit_the_samples_are_refused(tmp_path: Path) -> None:
    wrong = dataclasses.replace(made(), baseline=made().baseline._replace(n_total=9))
    with pytest.raises(CheckpointError, match="/trials/correct_bits: must be 2 bytes wide for 9 samples, got 1"):
        load_results(write_results(tmp_path / "r.h5", wrong))


def test_a_flipped_byte_is_found_by_its_checksum(tmp_path: Path) -> None:
    rows = [TrialRow(0, "all", -1, i, 0, float(np.sin(i))) for i in range(500)]
    trials, bits = columns(rows, 0)
    path = write_results(
        tmp_path / "r.h5",
        dataclasses.replace(made(), trials=trials, bits=bits, axes={}, keys={}, baseline=Baseline(0.0, 0.0, 0, 1, bits[0])),
    )
    with h5py.File(path, "r") as file:
        chunk = file["trials/value"].id.get_chunk_info(0)
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match="/trials/value: must be readable, is damaged"):
        load_results(path)


@pytest.mark.parametrize("content", [b"", b"not hdf5", b"\x89HDF\r\n\x1a\n"])
def test_a_file_that_is_no_hdf5_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.h5").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"r\.h5: must be a readable HDF5 file"):
        load_results(tmp_path / "r.h5")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"results\.h5: must be a results\.h5 or a folder that holds one"):
        load_results(tmp_path)
