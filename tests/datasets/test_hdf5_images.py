"""A user's own images in HDF5: read right, or refused with the dataset and what is there."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from neurosim.datasets import load_dataset
from neurosim.errors import ConfigError, DataError

COUNTS = {"train": 9, "test": 4}


def pixels(count: int, *shape: int) -> NDArray[np.uint8]:
    return ((np.arange(count * int(np.prod(shape))) * 37) % 256).astype(np.uint8).reshape(count, *shape)


def labels(count: int) -> NDArray[np.uint8]:
    return (np.arange(count) % 3).astype(np.uint8)


def jpegs(count: int, *, size: int = 8, colour: bool = True) -> list[bytes]:
    """Smooth pictures, so that what comes back is close to what went in."""
    ramp = np.linspace(0, 200, size)[:, None] + np.linspace(0, 50, size)[None]
    files = []
    for at in range(count):
        picture = np.stack([ramp, ramp.T, ramp[::-1] / 2 + at], -1) if colour else ramp + at
        target = io.BytesIO()
        Image.fromarray(picture.astype(np.uint8)).save(target, "JPEG", quality=98, subsampling=0)
        files.append(target.getvalue())
    return files


def write_jpegs(group: h5py.Group, files: list[bytes]) -> None:
    group["jpeg"] = np.frombuffer(b"".join(files), np.uint8)
    group["offsets"] = np.cumsum([0, *map(len, files)])
    group["labels"] = labels(len(files))


def file(path: Path, change: Callable[[h5py.File], object] = lambda _: None, shape: tuple[int, ...] = (4, 5)) -> Path:
    """A good file, and what ``change`` makes of it."""
    with h5py.File(path, "w") as made:
        for split, count in COUNTS.items():
            made[f"{split}/images"] = pixels(count, *shape)
            made[f"{split}/labels"] = labels(count)
        change(made)
    return path


def jpeg_file(path: Path, change: Callable[[h5py.File], object] = lambda _: None, *, colour: bool = True) -> Path:
    with h5py.File(path, "w") as made:
        for split, count in COUNTS.items():
            write_jpegs(made.create_group(split), jpegs(count, colour=colour))
        change(made)
    return path


def replace(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(made: h5py.File) -> None:
        del made[name]
        made[name] = value

    return change


def load(path: Path, **arguments: Any) -> Any:
    return load_dataset("hdf5_images", path=path, **arguments)


def test_grayscale_arrays_come_out_with_one_channel(tmp_path: Path) -> None:
    data = load(file(tmp_path / "mine.h5"))
    assert torch.equal(data.train.images, torch.from_numpy(pixels(9, 4, 5))[:, None])
    assert data.test.labels.tolist() == labels(4).tolist()
    assert (data.name, data.classes) == ("mine", ("0", "1", "2"))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_few_last_values_are_channels(tmp_path: Path, channels: int) -> None:
    data = load(file(tmp_path / "mine.h5", shape=(6, 5, channels)))
    assert torch.equal(data.train.images, torch.from_numpy(pixels(9, 6, 5, channels).transpose(0, 3, 1, 2).copy()))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_few_second_values_are_channels(tmp_path: Path, channels: int) -> None:
    data = load(file(tmp_path / "mine.h5", shape=(channels, 6, 5)))
    assert torch.equal(data.train.images, torch.from_numpy(pixels(9, channels, 6, 5)))


@pytest.mark.parametrize("shape", [(3, 6, 3), (8, 6, 9)], ids=["both could be", "neither could be"])
def test_a_shape_that_does_not_tell_asks_for_the_layout(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"'/train/images': the shape must tell where the channels are.*NHWC or NCHW"):
        load(file(tmp_path / "mine.h5", shape=shape))


def set_layouts(layout: object) -> Callable[[h5py.File], None]:
    def change(made: h5py.File) -> None:
        for split in COUNTS:
            made[f"{split}/images"].attrs["layout"] = layout

    return change


def test_the_layout_attribute_decides_and_the_argument_overrules_it(tmp_path: Path) -> None:
    path = file(tmp_path / "mine.h5", set_layouts("NHWC"), shape=(3, 6, 3))
    turned = torch.from_numpy(pixels(9, 3, 6, 3).transpose(0, 3, 1, 2).copy())
    assert torch.equal(load(path).train.images, turned)
    assert torch.equal(load(path, layout="NCHW").train.images, torch.from_numpy(pixels(9, 3, 6, 3)))


@pytest.mark.parametrize("layout", ["NHW", "CHWN", "uint8, any", 3])
def test_a_layout_that_does_not_fit_the_shape_is_refused(tmp_path: Path, layout: object) -> None:
    with pytest.raises(DataError, match=r"'/train/images': the layout must be NHWC or NCHW for the shape"):
        load(file(tmp_path / "mine.h5", set_layouts(layout), shape=(3, 6, 3)))


def test_float_images_keep_their_values(tmp_path: Path) -> None:
    values = {split: np.linspace(-2, 3, count * 20, dtype=np.float64).reshape(count, 4, 5) for split, count in COUNTS.items()}

    def change(made: h5py.File) -> None:
        for split, array in values.items():
            replace(f"{split}/images", array)(made)

    images = load(file(tmp_path / "mine.h5", change)).train.images
    assert images.dtype == torch.float32
    assert torch.equal(images[:, 0], torch.from_numpy(values["train"]).float())


def test_bytes_of_another_scale_become_bytes_of_255(tmp_path: Path) -> None:
    def change(made: h5py.File) -> None:
        for split, count in COUNTS.items():
            replace(f"{split}/images", pixels(count, 4, 5) % 16)(made)
            made[f"{split}/images"].attrs["max_value"] = 15

    images = load(file(tmp_path / "mine.h5", change)).train.images
    assert torch.equal(images[:, 0], torch.from_numpy(pixels(9, 4, 5) % 16 * 17))  # 255 = 15 · 17


def test_jpeg_files_come_out_as_the_pictures_they_hold(tmp_path: Path) -> None:
    data = load(jpeg_file(tmp_path / "mine.h5"))
    expected = [np.asarray(Image.open(io.BytesIO(part))).transpose(2, 0, 1) for part in jpegs(9)]
    assert torch.equal(data.train.images, torch.from_numpy(np.stack(expected)))


def test_grayscale_jpeg_files_have_one_channel(tmp_path: Path) -> None:
    assert load(jpeg_file(tmp_path / "mine.h5", colour=False)).shape == (1, 8, 8)


def test_a_limit_reads_the_first_samples_and_keeps_all_classes(tmp_path: Path) -> None:
    for path in (file(tmp_path / "a.h5"), jpeg_file(tmp_path / "b.h5")):
        whole, part = load(path), load(path, limit={"train": 2, "test": 100})
        assert torch.equal(part.train.images, whole.train.images[:2])
        assert torch.equal(part.train.labels, whole.train.labels[:2])
        assert len(part.test.labels) == COUNTS["test"]
        assert part.classes == whole.classes


def test_only_the_files_within_the_limit_are_decoded(tmp_path: Path) -> None:
    def spoil_the_last(made: h5py.File) -> None:
        offsets = made["train/offsets"]
        made["train/jpeg"][int(offsets[-2]) :] = 0

    path = jpeg_file(tmp_path / "mine.h5", spoil_the_last)
    assert len(load(path, limit={"train": 8}).train.labels) == 8
    with pytest.raises(DataError, match="image 8: must be a whole JPEG file"):
        load(path)


@pytest.mark.parametrize("limit", [{"train": 0}, {"train": True}, {"training": 3}, {"test": 1.5}])
def test_a_limit_that_is_no_count_is_refused(tmp_path: Path, limit: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="limit must give at least 1 sample for train, test, validation"):
        load(file(tmp_path / "mine.h5"), limit=limit)


def test_a_limit_for_a_split_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="limit names the split 'validation'; the file holds no '/validation'"):
        load(file(tmp_path / "mine.h5"), limit={"validation": 3})


def test_a_validation_split_is_read_where_there_is_one(tmp_path: Path) -> None:
    def change(made: h5py.File) -> None:
        made["validation/images"], made["validation/labels"] = pixels(2, 4, 5), labels(2)

    assert load(file(tmp_path / "a.h5")).validation is None
    assert len(load(file(tmp_path / "b.h5", change)).validation.labels) == 2


def test_the_file_may_name_classes_and_source(tmp_path: Path) -> None:
    def change(made: h5py.File) -> None:
        made.attrs.update({"classes": ["ant", "bée", "cow", "dog"], "source": "me, CC0"})

    data = load(file(tmp_path / "mine.h5", change))
    assert (data.classes, data.source) == (("ant", "bée", "cow", "dog"), "me, CC0")


def test_class_names_may_be_bytes(tmp_path: Path) -> None:
    path = file(tmp_path / "mine.h5", lambda made: made.attrs.update({"classes": np.array([b"ant", b"bee", b"cow"])}))
    assert load(path).classes == ("ant", "bee", "cow")


DAMAGE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "no test set": (
        lambda made: made.pop("test"),
        r"must hold the dataset '/test/labels'; holds /train/images uint8 \(9, 4, 5\), /train/labels",
    ),
    "no images": (
        lambda made: made.pop("test/images"),
        r"'/test/images' or '/test/jpeg' with '/test/offsets'; holds /test/labels uint8 \(4,\)",
    ),
    "nothing at all": (lambda made: made.clear(), "must hold the dataset '/train/labels'; holds no dataset at all"),
    "a group for a dataset": (
        lambda made: (made.pop("test/images"), made.create_group("test/images")),
        "must hold the dataset '/test/images'",
    ),
    "a dataset for a group": (lambda made: (made.pop("test"), made.update({"test": 3})), "must hold the dataset '/test/labels'"),
    "another name for validation": (
        lambda made: made.copy("test", "val"),
        "splits must be named train, test, validation; the file holds '/val'",
    ),
    "two dimensions": (replace("train/images", pixels(9, 20)), r"'/train/images' must have the shape .* has \(9, 20\)"),
    "integers": (replace("train/images", pixels(9, 4, 5).astype(np.int16)), r"must be uint8 .* or floating point, is int16"),
    "an image too few": (replace("train/images", pixels(8, 4, 5)), "as many images as '/train/labels' holds labels, 9, holds 8"),
    "another size": (replace("test/images", pixels(4, 4, 4)), r"test\.images must be like train\.images"),
    "NaN": (replace("test/images", np.full((4, 4, 5), np.nan)), "test.images must be"),
    "no label": (replace("test/labels", labels(0)), "'/test/labels' must hold at least one label"),
    "labels in a table": (
        replace("test/labels", labels(4)[:, None]),
        r"'/test/labels' must be integers of one dimension, is uint8 \(4, 1\)",
    ),
    "labels with a point": (replace("test/labels", labels(4) * 1.0), "'/test/labels' must be integers"),
    "a negative label": (
        replace("test/labels", np.array([0, 1, -1, 0])),
        "'/test/labels' must be from 0 to 2, there are 3 classes; holds -1 to 1",
    ),
    "a label beyond the names": (lambda made: made.attrs.update({"classes": ["a", "b"]}), "from 0 to 1, there are 2 classes; holds 0 to 2"),
    "a label beyond all reason": (
        replace("test/labels", np.array([0, 1, 10**9, 0])),
        "labels must be below 65536 where no attribute 'classes'",
    ),
    "a name for the classes": (lambda made: made.attrs.update({"classes": "abc"}), "'classes' must be a list of texts"),
    "numbers for the classes": (lambda made: made.attrs.update({"classes": [1, 2, 3]}), "'classes' must be a list of texts"),
    "a value above the largest": (
        lambda made: made["train/images"].attrs.update({"max_value": 16}),
        "must be from 0 to 16, its attribute 'max_value'",
    ),
    "a largest value of nothing": (
        lambda made: made["train/images"].attrs.update({"max_value": 0}),
        "'max_value' must be an integer from 1 to 255",
    ),
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_a_file_that_does_not_hold_is_refused_with_its_name_and_the_dataset(tmp_path: Path, damage: str) -> None:
    change, message = DAMAGE[damage]
    with pytest.raises(DataError, match=message) as caught:
        load(file(tmp_path / "mine.h5", change))
    assert "mine" in str(caught.value)


def truncated(made: h5py.File) -> None:
    files = jpegs(9)
    files[4] = files[4][: len(files[4]) // 2]
    del made["train"]
    write_jpegs(made.create_group("train"), files)


def odd_one(odd: bytes) -> Callable[[h5py.File], None]:
    def change(made: h5py.File) -> None:
        del made["train"]
        write_jpegs(made.create_group("train"), [*jpegs(8), odd])

    return change


def png() -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels(1, 8, 8, 3)[0]).save(target, "PNG")
    return target.getvalue()


def cmyk() -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels(1, 8, 8, 4)[0], "CMYK").save(target, "JPEG")
    return target.getvalue()


JPEG_DAMAGE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "offsets missing": (lambda made: made.pop("train/offsets"), "must hold the dataset '/train/offsets'; holds /test/jpeg"),
    "offsets and labels disagree": (
        replace("train/labels", labels(8)),
        r"'/train/offsets' must be 9 integers, one more than '/train/labels'",
    ),
    "offsets of floats": (replace("train/offsets", np.linspace(0, 1, 10)), "'/train/offsets' must be 10 integers"),
    "offsets that begin late": (
        lambda made: made["train/offsets"].write_direct(np.array([5]), dest_sel=np.s_[:1]),
        "must go from 0 to .*; goes from 5",
    ),
    "offsets that end early": (replace("train/jpeg", np.zeros(10, np.uint8)), "must go from 0 to 10, the size of '/train/jpeg'"),
    "offsets that go back": (
        lambda made: made["train/offsets"].write_direct(np.array([1]), dest_sel=np.s_[3:4]),
        "must increase; element 2 is .* the next one 1",
    ),
    "an empty file": (
        lambda made: made["train/offsets"].write_direct(made["train/offsets"][3:4], dest_sel=np.s_[4:5]),
        "must increase; element 3",
    ),
    "files in a table": (
        replace("train/jpeg", np.zeros((2, 2), np.uint8)),
        r"'/train/jpeg' must be uint8 of one dimension, is uint8 \(2, 2\)",
    ),
    "both kinds": (lambda made: made.update({"train/images": pixels(9, 8, 8)}), "'/train' must hold either 'images' or 'jpeg', holds both"),
    "a file cut off": (truncated, "image 4: must be a whole JPEG file"),
    "a file of another format": (odd_one(png()), "image 8: must be a whole JPEG file"),
    "a file of another size": (odd_one(jpegs(1, size=9)[0]), r"image 8: .* must be \(3, 8, 8\) as those of the first, are \(3, 9, 9\)"),
    "a file without colour": (odd_one(jpegs(1, colour=False)[0]), r"must be \(3, 8, 8\) as those of the first, are \(1, 8, 8\)"),
    "a file for the press": (odd_one(cmyk()), "image 8: must be grayscale or RGB, is CMYK"),
}


@pytest.mark.parametrize("damage", list(JPEG_DAMAGE))
def test_jpeg_files_that_do_not_hold_are_refused_with_their_number(tmp_path: Path, damage: str) -> None:
    change, message = JPEG_DAMAGE[damage]
    with pytest.raises(DataError, match=message) as caught:
        load(jpeg_file(tmp_path / "mine.h5", change))
    assert "mine.h5" in str(caught.value)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    whole = file(tmp_path / "whole.h5").read_bytes()
    cut = tmp_path / "cut.h5"
    for size in range(0, len(whole) - 1, len(whole) // 40):
        cut.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"cut\.h5: must be a whole HDF5 file"):
            load(cut)


def test_damage_inside_compressed_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as made:
        for split, count in COUNTS.items():
            made.create_dataset(f"{split}/images", data=pixels(count, 30, 30), compression="gzip")
            made[f"{split}/labels"] = labels(count)
        place = made["train/images"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[place.byte_offset + 20 : place.byte_offset + place.size] = bytes(place.size - 20)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"mine\.h5: must be a whole HDF5 file, is damaged"):
        load(path)


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.h5"
    path.write_bytes(b"PK\x03\x04 not at all")
    with pytest.raises(DataError, match="must be a whole HDF5 file"):
        load(path)


def test_a_layout_of_another_name_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataError), match="layout must be NHW"):
        load(file(tmp_path / "mine.h5"), layout="HWN")


def real_files() -> list[Path]:
    """Larger files, where a checkout has them beside it."""
    return sorted((Path(__file__).parents[3] / "shared" / "data").glob("*.h5"))


@pytest.mark.parametrize("path", [None, *real_files()], ids=lambda path: path.stem if path else "made here")
def test_a_whole_file_loads(tmp_path: Path, path: Path | None) -> None:
    data = load(path or jpeg_file(tmp_path / "mine.h5"), limit={"train": 300, "test": 100})
    assert 9 <= len(data.train.labels) <= 300
    assert set(data.train.labels.tolist()) == set(range(len(data.classes)))
    assert float(data.train.images.float().std()) > 0
