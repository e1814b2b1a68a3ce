"""What a data set is, and how one is found by name."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neurosim.errors import ConfigError, DataError, nearest
from neurosim.registry import Registry


class Split(NamedTuple):
    """Samples that belong together: the training set, the test set. ``len(split.labels)`` is how many there are.

    uint8 images mean 0 … 255, of which :func:`neurosim.datasets.batches` makes 0 … 1; float32 values and int8 counts are taken as they are.
    """

    images: Tensor  #: uint8 ``(N, C, H, W)``; int8 ``(N, *)`` for counts, such as those of events; float32 ``(N, *)`` for anything else
    labels: Tensor  #: int64 ``(N,)``, the index of the class


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels, in memory, in splits that share no sample.

    Args:
        name: What it is called in logs and reports.
        train: For training; validation samples are taken from it by :func:`neurosim.datasets.split_validation`.
        test: For the final figure and nothing else.
        classes: Names of the classes, in the order of the labels.
        source: Who made it and under what terms, for reports.
        validation: The validation set, where the data set has one of its own.

    Raises:
        DataError: A split is empty, its arrays do not fit each other or the other splits, a label is out of range, or a value is not
            finite.

    >>> images, labels = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    >>> data = Dataset("mine", train=Split(images, labels), test=Split(images, labels), classes=("cat", "dog"), source="made up")
    >>> data.shape, len(data.fingerprint)
    ((1, 2, 2), 64)
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    source: str
    validation: Split | None = None

    def __post_init__(self) -> None:
        for split_name, split in self.splits.items():
            _check_split(f"{self.name}: {split_name}", split, len(self.classes))
            if split.images.shape[1:] != self.shape or split.images.dtype != self.train.images.dtype:
                raise DataError(
                    f"{self.name}: {split_name}.images must be like train.images, {_kind(self.train.images)}, got {_kind(split.images)}"
                )

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name: ``train``, ``test``, and ``validation`` where there is one."""
        given = {"train": self.train, "test": self.test}
        return given if self.validation is None else {**given, "validation": self.validation}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, ``(C, H, W)`` for images."""
        return tuple(self.train.images.shape[1:])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over class names, shapes, types and values: equal for equal data, wherever it was read from."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for name, split in self.splits.items():
            for array in split:
                digest.update(repr((name, str(array.dtype), tuple(array.shape))).encode())
                digest.update(array.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()


DATASETS: Registry[Callable[..., Dataset]] = Registry("data set")


def load_dataset(kind: str, **arguments: Any) -> Dataset:
    """The data set of that kind: what ``data.kind`` and the keys beside it say in a config.

    Args:
        kind: A registered name.
        arguments: For the entry of that name.

    Raises:
        ConfigError: No such kind, an argument it does not have or needs, or an entry that returns something else.
        DataError: The files are missing, damaged, or not what they should be.

    >>> load_dataset("digits").shape
    (1, 8, 8)
    >>> load_dataset("idx", paht="mnist")
    Traceback (most recent call last):
    neurosim.errors.ConfigError: data set 'idx': has no argument 'paht'; did you mean 'path'?
    """
    entry = DATASETS[kind]
    signature = inspect.signature(entry)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    for name in arguments:
        if name not in signature.parameters and not open_ended:
            raise ConfigError(f"data set {kind!r}: has no argument {name!r}{nearest(name, signature.parameters)}")
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"data set {kind!r}: {error}") from None
    found = entry(**arguments)
    if not isinstance(found, Dataset):
        raise ConfigError(f"data set {kind!r}: the registered entry must return a neurosim.datasets.Dataset, got {type(found).__name__}")
    return found


def _check_split(where: str, split: Split, classes: int) -> None:
    images, labels = split
    if (
        images.dtype not in (torch.uint8, torch.int8, torch.float32)
        or images.ndim < 2
        or (images.dtype == torch.uint8 and images.ndim != 4)
    ):
        raise DataError(f"{where}.images must be uint8 (N, C, H, W), int8 (N, ...) or float32 (N, ...), got {_kind(images)}")
    if images.numel() == 0:
        raise DataError(f"{where}.images must hold at least one sample of at least one value, got {_kind(images)}")
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise DataError(f"{where}.labels must be int64 ({len(images)},), one per image, got {_kind(labels)}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"{where}.labels must be from 0 to {classes - 1}, there are {classes} classes; got {low} to {high}")
    if images.is_floating_point() and not bool(images.isfinite().all()):
        bad = int((~images.flatten(1).isfinite().all(1)).nonzero()[0, 0])
        raise DataError(f"{where}.images must be finite, sample {bad} (counted from 0) holds NaN or infinity")


def _kind(array: Tensor) -> str:
    return f"{str(array.dtype).removeprefix('torch.')} {tuple(array.shape)}"
