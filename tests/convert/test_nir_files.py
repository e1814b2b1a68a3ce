"""Files that are no NIR files, are damaged, or mean harm give errors of ours, and take neither memory nor other files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from torch import nn

import neurosim as ns


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A good one."""
    path = tmp_path / "net.nir"
    ns.to_nir(ns.nn.SpikingSequential(nn.Linear(2, 3), ns.LIF(1e-2, 1e-3, reset="hard")), path)
    return path


def _without(name: str) -> Callable[[h5py.File], None]:
    def change(opened: h5py.File) -> None:
        del opened[name]

    return change


def _with(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(opened: h5py.File) -> None:
        if name in opened:
            del opened[name]
        opened[name] = value

    return change


def _large(opened: h5py.File) -> None:
    del opened["node/nodes/0/weight"]
    opened.create_dataset("node/nodes/0/weight", shape=(1 << 20, 1 << 20), dtype="f4", chunks=(1024, 1024), compression="gzip")


def _itself(opened: h5py.File) -> None:
    opened["node/nodes/0/again"] = opened["node"]


def _deep(opened: h5py.File) -> None:
    opened.create_group("/".join(["a"] * 200))


def _elsewhere(opened: h5py.File) -> None:
    opened["node/nodes/0/metadata/other"] = h5py.ExternalLink("secret.h5", "/secret")


def _external(opened: h5py.File) -> None:
    del opened["node/nodes/0/weight"]
    opened.create_dataset("node/nodes/0/weight", shape=(3, 2), dtype="f4", external=[("/etc/hostname", 0, 24)])


def _virtual(opened: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 2), dtype="f4")
    layout[:] = h5py.VirtualSource("secret.h5", "secret", shape=(3, 2))
    del opened["node/nodes/0/weight"]
    opened.create_virtual_dataset("node/nodes/0/weight", layout)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_without("node"), "must be a NIR file, got KeyError"),
        (_without("node/nodes/0/weight"), "must be a NIR file, got TypeError"),
        (_without("node/nodes/0/type"), "must be a NIR file, got KeyError"),
        (_with("node/nodes/0/type", "Trojan"), "must be a NIR file, got AssertionError"),
        (_with("node/nodes/0/weight", "weights"), "must be a NIR file, got AttributeError"),
        (_with("node/nodes/0/weight", np.zeros(3)), "must be a NIR file, got AssertionError"),
        (_with("node/nodes/1/r", np.zeros(7)), "must be a NIR file, got AssertionError"),
        (_with("node/edges", np.zeros((2, 2))), "must be a NIR file, got TypeError"),
        (_with("node/nodes/1/metadata/dt", np.array([1.0, 2.0])), "metadata must be what to_nir writes"),
        (_with("node/type", "LIF"), "must be a NIR file"),
        (_with("node/nodes/1/metadata", 3), "1: metadata must be a group, got int64"),
        (_large, r"0/weight must hold what it declares, 4,398,046,511,104 bytes, holds 0"),
        (_itself, "must be there once, lies elsewhere in the file too"),
        (_deep, "must not lie more than 64 deep"),
        (_elsewhere, "other must lie in the file itself, is a link"),
        (_external, "weight must lie in the file itself, is a link to others"),
        (_virtual, "weight must lie in the file itself, is a link to others"),
    ],
)
def test_a_file_that_is_broken_or_means_harm_is_refused(change: Callable[[h5py.File], None], says: str, file: Path) -> None:
    ns.from_nir(file)
    with h5py.File(file, "a") as opened:
        change(opened)
    with pytest.raises(ns.ConversionError, match=says):
        ns.from_nir(file)


def test_a_writer_that_is_no_name_is_somebody_else(file: Path) -> None:
    with h5py.File(file, "a") as opened:
        _with("node/metadata/writer", np.zeros(3))(opened)
    assert len(list(ns.from_nir(file).children())) == 2
    with h5py.File(file, "a") as opened:
        _with("node/nodes/1/metadata/writer", np.zeros(3))(opened)
    with pytest.raises(ns.ConfigError, match="convention must be given"):
        ns.from_nir(file)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"text", pickle.dumps({"node": 1})])
def test_a_file_that_is_no_hdf5_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    path.write_bytes(content)
    with pytest.raises(ns.ConversionError, match="must be a NIR file, got OSError"):
        ns.from_nir(path)


def test_a_file_cut_short_is_refused_wherever_it_is_cut(file: Path) -> None:
    whole = file.read_bytes()
    for end in range(0, len(whole), max(1, len(whole) // 20)):
        file.write_bytes(whole[:end])
        with pytest.raises(ns.ConversionError):
            ns.from_nir(file)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be a file, and is none"):
        ns.from_nir(tmp_path / "none.nir")
    with pytest.raises(FileNotFoundError, match="must be a file, and is none"):
        ns.from_nir(str(tmp_path))


def test_a_file_that_cannot_be_written_leaves_the_old_one(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nir

    before = file.read_bytes()

    def fails(path: Path, graph: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(nir, "write", fails)
    with pytest.raises(OSError, match="no space left"):
        ns.to_nir(nn.Linear(2, 2), file)
    assert file.read_bytes() == before
    assert [one.name for one in file.parent.iterdir()] == ["net.nir"]
