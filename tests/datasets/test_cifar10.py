"""CIFAR-10 from the binary archive; everything else is refused with a reason."""

from __future__ import annotations

import importlib
import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from neurosim.datasets import cifar10 as load
from neurosim.datasets import load_dataset
from neurosim.errors import DataError

PER_FILE = 4
RECORD = 3073
TRAIN = [f"data_batch_{at}.bin" for at in range(1, 6)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images a file in place of ten thousand."""
    monkeypatch.setattr(importlib.import_module("neurosim.datasets.cifar10"), "IMAGES_PER_FILE", PER_FILE)


def files() -> dict[str, bytes]:
    """Image ``i`` of file ``f`` has label ``(f + i) % 10``; its planes are ``i``, ``64 + f`` and 0, 1, 2, … from the top left corner."""
    made = {}
    for f, name in enumerate([*TRAIN, "test_batch.bin"]):
        records = [
            bytes([(f + i) % 10]) + bytes([i]) * 1024 + bytes([64 + f]) * 1024 + (np.arange(1024) % 256).astype(np.uint8).tobytes()
            for i in range(PER_FILE)
        ]
        made[name] = b"".join(records)
    return made


def archive(path: Path, members: Mapping[str, bytes], folder: str = "cifar-10-batches-bin/") -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(folder + name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def unpacked(folder: Path) -> Path:
    folder.mkdir()
    for name, data in files().items():
        (folder / name).write_bytes(data)
    return folder


def test_records_become_labels_and_colour_planes(tmp_path: Path) -> None:
    data = load(archive(tmp_path / "cifar-10-binary.tar.gz", files()))
    assert data.train.images.shape == (5 * PER_FILE, 3, 32, 32)
    assert data.train.labels.tolist() == [(f + i) % 10 for f in range(5) for i in range(PER_FILE)]
    sample = data.train.images[2 * PER_FILE + 3]
    assert set(sample[0].flatten().tolist()) == {3}
    assert set(sample[1].flatten().tolist()) == {64 + 2}
    assert sample[2, 1].tolist() == list(range(32, 64))
    assert set(data.test.images[:, 1].flatten().tolist()) == {64 + 5}
    assert data.classes[3] == "cat"


def test_archive_folder_and_folder_above_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar10").mkdir()
    file = archive(tmp_path / "cifar10" / "cifar-10-binary.tar.gz", files())
    inner = unpacked(tmp_path / "cifar-10-batches-bin")
    monkeypatch.setenv("NEUROSIM_DATA", str(tmp_path))
    prints = {load(place).fingerprint for place in (file, file.parent, inner, tmp_path)} | {load_dataset("cifar10").fingerprint}
    assert len(prints) == 1


def test_members_are_found_by_name_and_never_written(tmp_path: Path) -> None:
    """Absolute and climbing paths are only names here."""
    file = archive(tmp_path / "odd.tar.gz", files(), folder="../../../outside/")
    before = sorted(tmp_path.parent.rglob("*"))
    assert len(load(file).test.labels) == PER_FILE
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_a_link_in_the_archive_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(files()["test_batch.bin"])
    made = files()
    del made["test_batch.bin"]
    path = archive(tmp_path / "link.tar", made)
    with tarfile.open(tmp_path / "linked.tar", "w") as tar, tarfile.open(path) as old:
        for member in old:
            tar.addfile(member, old.extractfile(member))
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
    with pytest.raises(DataError, match=r"must hold test_batch\.bin"):
        load(tmp_path / "linked.tar")


def test_the_version_for_python_is_refused_unread(tmp_path: Path) -> None:
    names = [f"data_batch_{at}" for at in range(1, 6)]
    bomb = pickle.dumps({b"data": b""})
    packed = archive(tmp_path / "cifar-10-python.tar.gz", dict.fromkeys(names, bomb), folder="cifar-10-batches-py/")
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(bomb)
    for place in (packed, folder, tmp_path):
        with pytest.raises(DataError, match=r"pickles, which can run any code.*`neurosim data fetch cifar10`.*cifar-10-binary\.tar\.gz"):
            load(place)


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "whole.tar.gz", files()).read_bytes()
    cut = tmp_path / "cut.tar.gz"
    for size in range(0, len(whole) - 9, len(whole) // 20):
        cut.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"cut\.tar\.gz"):
            load(cut)


def test_an_archive_of_something_else_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold data_batch_1\.bin, holds train\.bin"):
        load(archive(tmp_path / "cifar-100-binary.tar.gz", {"train.bin": b"x"}))


def test_a_folder_of_something_else_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").touch()
    with pytest.raises(DataError, match=r"must hold data_batch_1\.bin or cifar-10-binary\.tar\.gz, holds photos\.zip"):
        load(tmp_path)


@pytest.mark.parametrize("change", [-1, RECORD], ids=["cut off", "an image too many"])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_a_file_of_another_size_is_refused_by_name(tmp_path: Path, change: int, packed: bool) -> None:
    made = files()
    made["data_batch_3.bin"] = (made["data_batch_3.bin"] + bytes(RECORD))[: len(made["data_batch_3.bin"]) + change]
    if packed:
        place = archive(tmp_path / "a.tar.gz", made)
    else:
        place = unpacked(tmp_path / "b")
        (place / "data_batch_3.bin").write_bytes(made["data_batch_3.bin"])
    expected, held = PER_FILE * RECORD, PER_FILE * RECORD + change
    with pytest.raises(DataError, match=rf"data_batch_3\.bin: must hold .* {expected} bytes, holds {held}"):
        load(place)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "b")
    (folder / "data_batch_4.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_4\.bin: cannot be read"):
        load(folder)


def test_a_label_that_is_no_class_is_refused(tmp_path: Path) -> None:
    made = files()
    made["data_batch_2.bin"] = b"\x0a" + made["data_batch_2.bin"][1:]
    with pytest.raises(DataError, match=r"data_batch_2\.bin: labels must be from 0 to 9, holds 10"):
        load(archive(tmp_path / "a.tar.gz", made))


def test_nothing_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROSIM_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="neurosim data fetch cifar10"):
        load_dataset("cifar10")


def test_images_may_be_written_to(tmp_path: Path) -> None:
    images = load(archive(tmp_path / "a.tar.gz", files())).train.images
    images[0].zero_()
    assert torch.equal(images[0], torch.zeros(3, 32, 32, dtype=torch.uint8))
