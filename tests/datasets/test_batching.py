"""Batches: scaled, in the order that is given, the same after a resume."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neurosim.datasets import Split, augmentation, batches
from neurosim.errors import ConfigError
from neurosim.random import permutation, stream


def split(count: int = 11) -> Split:
    """Every sample holds its own number in its first pixel."""
    images = (torch.arange(count * 12) * 31 % 256).to(torch.uint8).reshape(count, 1, 3, 4)
    images[:, 0, 0, 0] = torch.arange(count)
    return Split(images, torch.arange(count) % 3)


def test_without_an_order_every_sample_comes_once_as_it_lies() -> None:
    data = split()
    found = list(batches(data, 4))
    assert [len(labels) for _, labels in found] == [4, 4, 3]
    assert torch.equal(torch.cat([labels for _, labels in found]), data.labels)
    assert torch.equal(torch.cat([images for images, _ in found]), data.images.float() / 255)


def test_images_and_labels_follow_the_order() -> None:
    data, order = split(), permutation(stream(5, "order"), 11)
    found = list(batches(data, 4, order=order))
    assert [round(float(image[0, 0, 0]) * 255) for images, _ in found for image in images] == order.tolist()
    assert torch.equal(torch.cat([labels for _, labels in found]), data.labels[order])


def test_an_order_may_hold_a_part_of_the_samples() -> None:
    assert [labels.tolist() for _, labels in batches(split(), 2, order=torch.tensor([4, 2, 0]))] == [[1, 2], [0]]


@pytest.mark.parametrize("skip", [0, 1, 2, 3, 9])
def test_skipped_batches_are_those_an_uninterrupted_run_had_done(skip: int) -> None:
    order, augment = permutation(stream(5, "order"), 11), augmentation("crop_flip", seed=1, epoch=2)
    whole = list(batches(split(), 4, order=order, augment=augment))
    rest = list(batches(split(), 4, order=order, augment=augment, skip=skip))
    assert len(rest) == max(len(whole) - skip, 0)
    for (images, labels), (expected, classes) in zip(rest, whole[skip:], strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(labels, classes)


def test_counts_stay_what_they_are_unless_0_and_1_become_something_else() -> None:
    data = Split(torch.tensor([[0, 1, 127]], dtype=torch.int8), torch.tensor([0]))
    assert next(batches(data, 1))[0].tolist() == [[0.0, 1.0, 127.0]]
    assert next(batches(data, 1, value_range=(1, 3)))[0].tolist() == [[1.0, 3.0, 255.0]]


@pytest.mark.parametrize("value_range", [(0, 1), (-1, 1), (0.25, 4.0)])
def test_black_and_white_become_the_ends_of_the_range(value_range: tuple[float, float]) -> None:
    data = Split(torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1), torch.tensor([0, 1]))
    ((images, _),) = batches(data, 2, value_range=value_range)
    assert images.flatten().tolist() == list(value_range)


def test_float_images_are_taken_as_they_are() -> None:
    values = torch.tensor([-2.5, 0.0, 1.0, 7.0]).reshape(4, 1, 1, 1)
    ((images, _),) = batches(Split(values, torch.zeros(4, dtype=torch.int64)), 4)
    assert torch.equal(images, values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_images_are_rounded_once_to_the_type_asked_for(dtype: torch.dtype) -> None:
    data = Split(torch.arange(256).to(torch.uint8).reshape(256, 1, 1, 1), torch.zeros(256, dtype=torch.int64))
    ((images, _),) = batches(data, 256, dtype=dtype)
    exact = torch.arange(256, dtype=torch.float64) / 255
    assert images.dtype == dtype
    assert float((images.flatten().double() - exact).abs().max()) <= torch.finfo(dtype).eps / 2 + torch.finfo(torch.float32).eps / 4


def test_the_data_are_left_alone() -> None:
    data = Split(torch.rand(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))
    before = data.images.clone()
    for images, _ in batches(data, 4, order=torch.arange(4)):
        images.zero_()
    assert torch.equal(data.images, before)


MISTAKES: dict[str, tuple[int, dict[str, Any], str]] = {
    "batch size": (0, {}, "batch_size: must be a whole number, 1 or more, got 0"),
    "skip": (2, {"skip": -1}, "skip: must be a whole number, 0 or more, got -1"),
    "dtype": (2, {"dtype": torch.uint8}, "floating point"),
    "range upside down": (2, {"value_range": (1, 0)}, "value_range must be two finite numbers"),
    "endless range": (2, {"value_range": (0, float("inf"))}, "value_range must be two finite numbers"),
    "order too long": (2, {"order": torch.tensor([11])}, "indices from 0 to 10"),
    "order of another library": (2, {"order": [0, 1]}, "order must be a tensor of int64 indices, got list"),
    "order of floats": (2, {"order": torch.arange(3.0)}, "int64 indices"),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_wrong_argument_is_refused_by_the_call_itself(mistake: str) -> None:
    size, arguments, message = MISTAKES[mistake]
    with pytest.raises(ConfigError, match=message):
        batches(split(), size, **arguments)
