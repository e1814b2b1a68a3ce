"""The file format of MNIST, Fashion-MNIST and their kin."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from neurosim.datasets.base import DATASETS, Dataset, Split
from neurosim.datasets.places import find_data
from neurosim.errors import DataError

DIGITS = tuple("0123456789")
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

_UINT8 = 0x08
_CHUNK = 1 << 20
_STEMS = {"train": "train", "test": "t10k"}


@DATASETS.register("idx")
def idx(path: str | Path, classes: Literal["digits", "fashion_mnist"] | list[str] = "digits") -> Dataset:
    """A folder with the four files of MNIST or of a data set in its format.

    They are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, as they
    are or with ``.gz``; a dot in place of the last dash but one (``train-images.idx3-ubyte``) is as good.

    Args:
        path: The folder; a relative one may lie in the working folder or in the data folder, so ``mnist`` finds what was fetched.
        classes: The names of the classes: those of MNIST, those of Fashion-MNIST, or a list of one's own.

    Raises:
        DataError: A file is missing, cut off, longer than it says, of another type, or has labels that are no classes.

    Source:
        Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", section "File formats".
        Class names: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", arXiv:1708.07747, table 2.
    """
    folder = find_data(path, "a folder with the four idx files")
    names = {"digits": DIGITS, "fashion_mnist": FASHION}[classes] if isinstance(classes, str) else tuple(classes)
    splits = {}
    for split, stem in _STEMS.items():
        image_file, label_file = _file(folder, f"{stem}-images", 3), _file(folder, f"{stem}-labels", 1)
        images, labels = read_idx(image_file, 3), read_idx(label_file, 1)
        if len(images) != len(labels):
            raise DataError(
                f"{label_file}: must hold a label for each of the {len(images)} images of {image_file.name}, holds {len(labels)}"
            )
        if len(labels) and labels.max() >= len(names):
            raise DataError(f"{label_file}: must hold labels from 0 to {len(names) - 1}, of {len(names)} classes, holds {labels.max()}")
        splits[split] = Split(torch.from_numpy(images[:, None]), torch.from_numpy(labels.astype(np.int64)))
    source = f"idx files in the folder {folder.resolve().name!r}"
    if classes == "fashion_mnist":
        source += "; Fashion-MNIST: H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747, MIT licence"
    return Dataset(folder.resolve().name, splits["train"], splits["test"], names, source)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of bytes in an idx file, gzipped or not.

    Args:
        path: The file; gzipped when its name ends in ``.gz``.
        dimensions: How many the array must have.

    Raises:
        DataError: The file is not exactly such an array.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            shape = _header(file, path, dimensions)
            expected = math.prod(shape)
            data = bytearray()
            while len(data) <= expected and (chunk := file.read(_CHUNK)):  # the header is not trusted with the size of the memory
                data += chunk
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: must be a whole gzip file, is cut off or damaged ({error}); get it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if len(data) != expected:
        held = f"{len(data)}: it is cut off" if len(data) < expected else "more"
        raise DataError(f"{path}: must hold {expected} values, for the shape {shape} in its header, holds {held}; get it again")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _header(file: IO[bytes] | gzip.GzipFile, path: Path, dimensions: int) -> tuple[int, ...]:
    size = 4 + 4 * dimensions
    head = file.read(size)
    magic = bytes((0, 0, _UINT8, dimensions))
    if head[:4] != magic:
        raise DataError(f"{path}: must begin with {magic.hex()}, as an idx file of {dimensions}-dimensional bytes, has {head[:4].hex()!r}")
    if len(head) < size:
        raise DataError(f"{path}: must have a header of {size} bytes, is cut off after {len(head)}; get it again")
    return tuple(int.from_bytes(head[at : at + 4]) for at in range(4, size, 4))


def _file(folder: Path, stem: str, dimensions: int) -> Path:
    names = [f"{stem}{joint}idx{dimensions}-ubyte{end}" for end in ("", ".gz") for joint in "-."]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    advice = "`neurosim data fetch` gets MNIST and Fashion-MNIST"
    raise DataError(f"{folder}: must be a folder with the file {names[0]} or {names[2]}, has neither; {advice}")
