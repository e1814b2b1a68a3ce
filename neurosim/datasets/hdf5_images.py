"""Images in an HDF5 file: as arrays or as JPEG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt

from neurosim.datasets.base import DATASETS, Dataset, Split
from neurosim.datasets.hdf5_file import dataset, opened
from neurosim.datasets.jpeg import decode_jpegs
from neurosim.datasets.places import find_data
from neurosim.errors import DataError

Layout = Literal["NHW", "NHWC", "NCHW"]
SplitName = Literal["train", "test", "validation"]

_SPLITS = ("train", "test", "validation")
_LAYOUTS: dict[str, int] = {"NHW": 3, "NHWC": 4, "NCHW": 4}
_MAX_CHANNELS = 4  #: an axis longer than this is not taken for the channels unless the layout says so
_MAX_UNNAMED = 65_536  #: more classes than these are taken for a mistake unless they are named


@DATASETS.register("hdf5_images")
def hdf5_images(path: str | Path, layout: Layout | None = None, limit: dict[SplitName, PositiveInt] | None = None) -> Dataset:
    """One's own images in an HDF5 file.

    .. code-block:: text

        /train/images   (n, H, W), (n, H, W, C) or (n, C, H, W)    uint8, or floating point
        /train/labels   (n,)                                       integers from 0 on
        /test/...       likewise; /validation/... if there is one

    In place of ``images`` there may be ``jpeg`` (uint8, JPEG files one after the other) and ``offsets`` (n + 1 integers: where each begins
    and the last ends, so the first is 0). Attributes, all optional:

    - ``layout`` of ``images``: ``NHW``, ``NHWC`` or ``NCHW``. Without it, four dimensions are told apart by their channels: exactly one of
      the second and the last must be at most 4.
    - ``max_value`` of uint8 ``images``: what full brightness is, when it is not 255; the values are scaled to 0 … 255 and rounded (ties to
      even).
    - ``classes`` of the file: the names of the classes; by default 0, 1, … up to the largest label.
    - ``source`` of the file: who made it and under what terms.

    Args:
        path: The file; a relative path may lie in the working folder or in the data folder.
        layout: Overrules the attribute.
        limit: How many samples of a split to read, from its beginning: ``{train: 1000, test: 200}``.

    Raises:
        DataError: The file cannot be read or does not hold what it must; the message says which dataset and what is there.
    """
    return read_hdf5_images(find_data(path, "an HDF5 file with images"), layout=layout, limit=cast("dict[str, int] | None", limit))


def read_hdf5_images(path: Path, *, name: str | None = None, layout: Layout | None = None, limit: dict[str, int] | None = None) -> Dataset:
    """The same for a file whose place is known.

    Args:
        path: The file.
        name: Of the data set; by default the file's, without its ending.
        layout, limit: See :func:`hdf5_images`.

    Raises:
        DataError: See :func:`hdf5_images`.
    """
    for split, samples in (limit or {}).items():
        if split not in _SPLITS or not _is_count(samples):
            raise DataError(f"{path}: limit must give at least 1 sample for {', '.join(_SPLITS)}, got {split}: {samples!r}")
    with opened(path) as file:
        return _File(path, file, layout, limit or {}).read(name or path.stem)


class _File:
    """An open file, and how its user wants it read."""

    def __init__(self, path: Path, file: Any, layout: Layout | None, limit: dict[str, int]) -> None:
        self._path, self._file, self._layout, self._limit = path, file, layout, limit

    def read(self, name: str) -> Dataset:
        splits = [split for split in _SPLITS if split != "validation" or split in self._file]
        self._refuse_other_splits()
        for split in self._limit:
            if split not in splits:
                raise DataError(f"{self._path}: limit names the split {split!r}; the file holds no '/{split}'")
        labels = {split: self._labels(split) for split in splits}
        classes = self._classes(max(int(array.max(initial=0)) for array in labels.values()))
        for split, array in labels.items():
            if len(array) and not 0 <= array.min() <= array.max() < len(classes):
                raise DataError(
                    f"{self._path}: '/{split}/labels' must be from 0 to {len(classes) - 1}, there are {len(classes)} classes; "
                    f"holds {array.min()} to {array.max()}"
                )
        made = {split: self._split(split, array) for split, array in labels.items()}
        source = self._text_attribute("source") or f"HDF5 file {self._path.name!r}"
        return Dataset(name, made["train"], made["test"], classes, source, made.get("validation"))

    def _split(self, split: str, labels: NDArray[np.int64]) -> Split:
        count = min(len(labels), self._limit.get(split, len(labels)))
        pixels = self._decoded(split, len(labels), count) if f"{split}/jpeg" in self._file else self._images(split, len(labels), count)
        return Split(torch.from_numpy(pixels), torch.from_numpy(labels[:count]))

    def _images(self, split: str, total: int, count: int) -> NDArray[np.uint8] | NDArray[np.float32]:
        found = self._dataset(f"{split}/images", f" or '/{split}/jpeg' with '/{split}/offsets'")
        where = f"{self._path}: '{found.name}'"
        if found.ndim not in (3, 4):
            raise DataError(f"{where} must have the shape (n, H, W), (n, H, W, C) or (n, C, H, W), has {found.shape}")
        if found.shape[0] != total:
            raise DataError(f"{where} must hold as many images as '/{split}/labels' holds labels, {total}, holds {found.shape[0]}")
        if found.dtype != np.uint8 and found.dtype.kind != "f":
            raise DataError(f"{where} must be uint8 (0 … 255) or floating point, is {found.dtype}")
        layout = self._layout_of(where, found)
        values = found[:count]
        values = _full_scale(where, values, found.attrs.get("max_value", 255)) if found.dtype == np.uint8 else values.astype(np.float32)
        if layout == "NHWC":
            return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        return values[:, None] if layout == "NHW" else values

    def _layout_of(self, where: str, found: Any) -> str:
        layout = self._layout if self._layout is not None else found.attrs.get("layout")
        if layout is not None:
            if layout not in _LAYOUTS or _LAYOUTS[layout] != found.ndim:
                fitting = [name for name, dimensions in _LAYOUTS.items() if dimensions == found.ndim]
                raise DataError(f"{where}: the layout must be {' or '.join(fitting)} for the shape {found.shape}, is {layout!r}")
            return str(layout)
        if found.ndim == 3:
            return "NHW"
        first, last = found.shape[1] <= _MAX_CHANNELS, found.shape[3] <= _MAX_CHANNELS
        if first == last:
            raise DataError(
                f"{where}: the shape must tell where the channels are, is {found.shape}; give the argument `layout`, or the dataset an "
                "attribute `layout`: NHWC or NCHW"
            )
        return "NCHW" if first else "NHWC"

    def _decoded(self, split: str, total: int, count: int) -> NDArray[np.uint8]:
        if f"{split}/images" in self._file:
            raise DataError(f"{self._path}: '/{split}' must hold either 'images' or 'jpeg', holds both")
        data, found = self._dataset(f"{split}/jpeg"), self._dataset(f"{split}/offsets")
        where = f"{self._path}: '{found.name}'"
        if data.dtype != np.uint8 or data.ndim != 1:
            raise DataError(f"{self._path}: '{data.name}' must be uint8 of one dimension, is {data.dtype} {data.shape}")
        if found.dtype.kind not in "iu" or found.shape != (total + 1,):
            raise DataError(f"{where} must be {total + 1} integers, one more than '/{split}/labels', is {found.dtype} {found.shape}")
        offsets = found[()].astype(np.int64)
        if offsets[0] != 0 or offsets[-1] != len(data):
            ends = f"from 0 to {len(data)}, the size of '{data.name}'"
            raise DataError(f"{where} must go {ends}; goes from {offsets[0]} to {offsets[-1]}")
        if (wrong := np.flatnonzero(np.diff(offsets) <= 0)).size:
            at = int(wrong[0])
            raise DataError(f"{where} must increase; element {at} is {offsets[at]}, the next one {offsets[at + 1]}")
        return decode_jpegs(data[: offsets[count]], offsets[: count + 1], f"{self._path.name} '{data.name}'")

    def _labels(self, split: str) -> NDArray[np.int64]:
        found = self._dataset(f"{split}/labels")
        if found.dtype.kind not in "iu" or found.ndim != 1:
            raise DataError(f"{self._path}: '{found.name}' must be integers of one dimension, is {found.dtype} {found.shape}")
        if found.size == 0:
            raise DataError(f"{self._path}: '{found.name}' must hold at least one label, is empty")
        return cast("NDArray[np.int64]", found[()].astype(np.int64))

    def _classes(self, largest: int) -> tuple[str, ...]:
        names = self._file.attrs.get("classes")
        if names is None:
            if largest >= _MAX_UNNAMED:
                raise DataError(
                    f"{self._path}: labels must be below {_MAX_UNNAMED} where no attribute 'classes' names the classes, holds {largest}"
                )
            return tuple(str(label) for label in range(largest + 1))
        texts = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in np.atleast_1d(names).tolist()]
        if np.ndim(names) != 1 or not texts or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{self._path}: the attribute 'classes' must be a list of texts, is {names!r}")
        return tuple(texts)

    def _text_attribute(self, name: str) -> str:
        text = self._file.attrs.get(name, "")
        return text if isinstance(text, str) else ""

    def _refuse_other_splits(self) -> None:
        for name, group in self._file.items():
            if name not in _SPLITS and hasattr(group, "keys") and "labels" in group:
                raise DataError(f"{self._path}: the splits must be named {', '.join(_SPLITS)}; the file holds '/{name}' with labels")

    def _dataset(self, name: str, otherwise: str = "") -> Any:
        return dataset(self._path, self._file, name, otherwise)


def _full_scale(where: str, values: NDArray[np.uint8], largest: Any) -> NDArray[np.uint8]:
    """Values from 0 to ``largest``, scaled to 0 to 255."""
    if not isinstance(largest, int | np.integer) or not 1 <= largest <= 255:
        raise DataError(f"{where}: the attribute 'max_value' must be an integer from 1 to 255, is {largest!r}")
    if values.max(initial=0) > largest:
        raise DataError(f"{where} must be from 0 to {largest}, its attribute 'max_value'; holds {values.max()}")
    if largest == 255:
        return values
    table = np.rint(np.arange(largest + 1) * (255 / int(largest))).astype(np.uint8)
    return cast("NDArray[np.uint8]", table[values])


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
