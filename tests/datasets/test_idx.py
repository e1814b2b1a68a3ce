"""The idx files of MNIST and its kin: read right, or refused with a reason."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from neurosim.datasets import load_dataset
from neurosim.errors import DataError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, *, zipped: bool = False, dot: bool = False) -> dict[str, NDArray[np.uint8]]:
    """A folder of small files; returns what is in them."""
    made: dict[str, NDArray[np.uint8]] = {}
    for at, (stem, count) in enumerate((("train", 12), ("t10k", 5))):
        made[f"{stem}-images-idx3-ubyte"] = ((np.arange(count * 6) * (37 + at)) % 256).astype(np.uint8).reshape(count, 3, 2)
        made[f"{stem}-labels-idx1-ubyte"] = (np.arange(count) % 10).astype(np.uint8)
    for name, array in made.items():
        on_disk = name.replace("-idx", ".idx") if dot else name
        if zipped:
            (folder / f"{on_disk}.gz").write_bytes(gzip.compress(idx_bytes(array)))
        else:
            (folder / on_disk).write_bytes(idx_bytes(array))
    return made


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("dot", [False, True], ids=["dash", "dot"])
def test_images_and_labels_come_out_as_they_were_written(tmp_path: Path, zipped: bool, dot: bool) -> None:
    made = write(tmp_path, zipped=zipped, dot=dot)
    data = load_dataset("idx", path=tmp_path)
    for split, stem in ((data.train, "train"), (data.test, "t10k")):
        assert torch.equal(split.images[:, 0], torch.from_numpy(made[f"{stem}-images-idx3-ubyte"]))
        assert split.labels.tolist() == made[f"{stem}-labels-idx1-ubyte"].tolist()
    assert data.classes == tuple("0123456789")


def test_a_name_stands_for_the_classes_of_fashion_mnist(tmp_path: Path) -> None:
    write(tmp_path)
    data = load_dataset("idx", path=tmp_path, classes="fashion_mnist")
    assert (data.classes[0], data.classes[9]) == ("T-shirt/top", "Ankle boot")
    assert "Zalando" in data.source or "arXiv:1708.07747" in data.source


def test_labels_may_go_as_far_as_the_names_that_are_given(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / LABELS).write_bytes(idx_bytes(np.full(12, 11, np.uint8)))
    assert len(load_dataset("idx", path=tmp_path, classes=list("abcdefghijkl")).classes) == 12


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "bad magic": (IMAGES, lambda data: b"\x89PNG" + data[4:], "must begin with 00000803.*has '89504e47'"),
    "labels in place of images": (IMAGES, lambda _: idx_bytes(np.zeros(12, np.uint8)), "must begin with 00000803.*has '00000801'"),
    "empty": (IMAGES, lambda _: b"", "must begin with 00000803"),
    "cut in the header": (IMAGES, lambda data: data[:9], "header of 16 bytes, is cut off after 9"),
    "cut in the data": (
        IMAGES,
        lambda data: data[:-1],
        r"must hold 72 values, for the shape \(12, 3, 2\) in its header, holds 71: it is cut off",
    ),
    "too long": (IMAGES, lambda data: data + b"\0", "must hold 72 values.*holds more"),
    "header that promises the moon": (IMAGES, lambda data: data[:4] + b"\xff" * 12 + data[16:], "holds 72: it is cut off"),
    "a label too few": (LABELS, lambda _: idx_bytes(np.zeros(11, np.uint8)), "a label for each of the 12 images of .*, holds 11"),
    "a label out of range": (LABELS, lambda data: data[:-1] + b"\x0a", "labels from 0 to 9, of 10 classes, holds 10"),
    "no images": (IMAGES, lambda _: idx_bytes(np.zeros((0, 3, 2), np.uint8)), "a label for each of the 0 images"),
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    write(tmp_path)
    name, spoil, message = DAMAGE[damage]
    (tmp_path / name).write_bytes(spoil((tmp_path / name).read_bytes()))
    with pytest.raises(DataError, match=f"{IMAGES if damage != 'no images' and name == IMAGES else LABELS}.*{message}"):
        load_dataset("idx", path=tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(lambda data: data[:-12], "cut off or damaged"), (lambda data: b"PK" + data[2:], "cannot be read: Not a gzipped file")],
    ids=["cut off", "not gzip"],
)
def test_a_damaged_gzip_file_is_refused_by_name(tmp_path: Path, spoil: Callable[[bytes], bytes], message: str) -> None:
    write(tmp_path, zipped=True)
    file = tmp_path / f"{IMAGES}.gz"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(DataError, match=f"{IMAGES}.gz: .*{message}"):
        load_dataset("idx", path=tmp_path)


def test_every_shorter_version_of_a_gzip_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, zipped=True)
    file = tmp_path / f"{LABELS}.gz"
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(DataError, match=LABELS):
            load_dataset("idx", path=tmp_path)


def test_a_missing_file_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz, has neither; `neurosim data fetch`"):
        load_dataset("idx", path=tmp_path)
