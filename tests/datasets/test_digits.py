"""The shipped digits."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import h5py
import numpy as np
import torch
from sklearn.datasets import load_digits

from neurosim.assets import asset
from neurosim.datasets import load_dataset


def test_the_file_holds_exactly_the_digits_of_the_repository() -> None:
    original = load_digits()
    expected = sorted((image.astype(np.uint8).tobytes(), int(label)) for image, label in zip(original.images, original.target, strict=True))
    with h5py.File(asset("datasets/digits/digits.h5")) as file:
        found = [
            (image.tobytes(), int(label))
            for split in ("train", "test")
            for image, label in zip(file[f"{split}/images"][()], file[f"{split}/labels"][()], strict=True)
        ]
    assert sorted(found) == expected


def test_full_ink_is_255_and_the_others_are_in_proportion() -> None:
    with h5py.File(asset("datasets/digits/digits.h5")) as file:
        stored = torch.from_numpy(file["train/images"][()]).double()
    found = load_dataset("digits").train.images[:, 0].double()
    assert float(stored.max()) == 16
    assert float((found - stored * 255 / 16).abs().max()) <= 0.5


def test_every_class_has_the_same_share_in_the_test_set() -> None:
    data = load_dataset("digits")
    train, test = (torch.bincount(split.labels, minlength=10) for split in (data.train, data.test))
    share = len(data.test.labels) / (len(data.train.labels) + len(data.test.labels))
    assert float((test - (train + test) * share).abs().max()) < 1


def test_the_attribution_names_authors_place_and_licence() -> None:
    source = load_dataset("digits").source
    assert all(part in source for part in ("Alpaydin", "Kaynak", "UCI", "10.24432/C50P49", "CC BY 4.0"))


def test_the_script_makes_the_shipped_file_again(tmp_path: Path) -> None:
    shipped = asset("datasets/digits/digits.h5")
    spec = importlib.util.spec_from_file_location("make_digits", shipped.with_name("make.py"))
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.make(tmp_path / "again.h5")
    again = load_dataset("hdf5_images", path=tmp_path / "again.h5")
    assert again.fingerprint == load_dataset("digits").fingerprint
    assert again.source == load_dataset("digits").source
