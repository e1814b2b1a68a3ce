"""Data sets as such: what they promise, and what their errors say."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from neurosim.datasets import DATASETS, Dataset, Split, load_dataset
from neurosim.errors import ConfigError, DataError


def images(count: int = 4, value: int = 7) -> Tensor:
    return torch.full((count, 1, 2, 3), value, dtype=torch.uint8)


def made(**changes: Any) -> Dataset:
    split = Split(images(), torch.tensor([0, 1, 0, 1]))
    fields = {"name": "made", "train": split, "test": Split(images(2), torch.tensor([1, 0])), "classes": ("a", "b"), "source": "nobody"}
    return Dataset(**{**fields, **changes})


MISTAKES = {
    "an image more than labels": (Split(images(3), torch.zeros(2, dtype=torch.int64)), r"test\.labels must be int64 \(3,\), one per image"),
    "labels of another type": (Split(images(2), torch.zeros(2)), r"test\.labels must be int64 .* got float32 \(2,\)"),
    "a label too many": (Split(images(2), torch.tensor([0, 2])), "labels must be from 0 to 1, there are 2 classes; got 0 to 2"),
    "a negative label": (Split(images(2), torch.tensor([0, -1])), "got -1 to 0"),
    "no sample": (Split(images(0), torch.zeros(0, dtype=torch.int64)), "must hold at least one sample"),
    "float64": (Split(torch.zeros(2, 1, 2, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.int64)), "must be uint8 .* or float32"),
    "uint8 without channels": (Split(images(2)[:, 0], torch.zeros(2, dtype=torch.int64)), r"must be uint8 \(N, C, H, W\)"),
    "another size": (
        Split(images(2)[..., :2], torch.zeros(2, dtype=torch.int64)),
        r"test\.images must be like train\.images, uint8 \(4, 1, 2, 3\)",
    ),
    "another type": (Split(images(2).float(), torch.zeros(2, dtype=torch.int64)), r"test\.images must be like train\.images"),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_split_that_does_not_hold_is_refused(mistake: str) -> None:
    split, message = MISTAKES[mistake]
    with pytest.raises(DataError, match=message):
        made(test=split)


def test_a_value_that_is_not_finite_is_refused_with_its_sample() -> None:
    values = torch.zeros(4, 5)
    values[2, 1] = torch.nan
    with pytest.raises(DataError, match="sample 2"):
        made(train=Split(values, torch.tensor([0, 1, 0, 1])))


def test_float_samples_may_have_any_shape() -> None:
    split = Split(torch.rand(4, 5), torch.tensor([0, 1, 0, 1]))
    assert made(train=split, test=split).shape == (5,)


def test_counts_may_have_any_shape_and_tell_themselves_from_values() -> None:
    counts = Split(torch.ones(4, 5, 3, dtype=torch.int8), torch.tensor([0, 1, 0, 1]))
    data = made(train=counts, test=counts)
    assert data.shape == (5, 3)
    values = Split(counts.images.float(), counts.labels)
    assert made(train=values, test=values).fingerprint != data.fingerprint
    with pytest.raises(DataError, match=r"test\.images must be like train\.images, int8 \(4, 5, 3\), got float32"):
        made(train=counts, test=values)


def test_a_validation_set_of_its_own_is_checked_like_the_others() -> None:
    with pytest.raises(DataError, match="validation"):
        made(validation=Split(images(2), torch.tensor([0, 5])))


def test_equal_data_have_equal_fingerprints_whatever_their_name_and_memory_layout() -> None:
    turned = Split(images().permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2), torch.tensor([0, 1, 0, 1]))
    assert made(name="other", source="somebody", train=turned).fingerprint == made().fingerprint


CHANGES: dict[str, dict[str, Any]] = {
    "a pixel": {"train": Split(images(value=8), torch.tensor([0, 1, 0, 1]))},
    "a label": {"train": Split(images(), torch.tensor([0, 1, 1, 1]))},
    "a class": {"classes": ("a", "c")},
    "a split": {"validation": Split(images(2), torch.tensor([1, 0]))},
    "the shape": {
        "train": Split(images().reshape(4, 1, 3, 2), torch.tensor([0, 1, 0, 1])),
        "test": Split(images(2).reshape(2, 1, 3, 2), torch.tensor([1, 0])),
    },
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_other_data_have_another_fingerprint(change: str) -> None:
    assert dataclasses.replace(made(), **CHANGES[change]).fingerprint != made().fingerprint


def test_the_kinds_that_configs_name_are_registered() -> None:
    assert {"digits", "idx", "cifar10", "hdf5_images"} <= set(DATASETS)


def test_an_unknown_kind_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        load_dataset("digit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"paht": "x"}, "has no argument 'paht'; did you mean 'path'"), ({}, "missing a required argument: 'path'")],
    ids=["unknown", "missing"],
)
def test_arguments_that_do_not_fit_the_kind_are_a_config_error(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_dataset("idx", **arguments)


def test_an_entry_that_returns_something_else_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS._entries, "mine", lambda: (1, 2))
    with pytest.raises(ConfigError, match=r"'mine'.*must return a neurosim\.datasets\.Dataset, got tuple"):
        load_dataset("mine")


def test_importing_the_package_imports_no_file_format_and_no_downloader() -> None:
    code = "import sys, neurosim.datasets; print({'h5py', 'PIL', 'pooch', 'requests', 'torchvision'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
