"""A validation set, taken out of the training set."""

from __future__ import annotations

import pytest
import torch

from neurosim.datasets import Split, split_validation
from neurosim.errors import ConfigError, DataError

COUNTS = (40, 25, 7, 1)


def numbered() -> Split:
    """Samples whose only pixel is their number; unequal classes, mixed."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(COUNTS)])
    labels = labels[torch.arange(len(labels)) * 29 % len(labels)]
    return Split(torch.arange(len(labels), dtype=torch.float32).reshape(-1, 1, 1, 1), labels)


def numbers(split: Split) -> list[int]:
    return [int(value) for value in split.images.flatten()]


@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.1, 0.15, 0.5, 0.9])
def test_every_sample_is_in_exactly_one_part_with_its_label(fraction: float) -> None:
    whole = numbered()
    parts = split_validation(whole, fraction, seed=3)
    assert sorted(numbers(parts[0]) + numbers(parts[1])) == numbers(whole)
    for part in parts:
        assert part.labels.tolist() == whole.labels[numbers(part)].tolist()


@pytest.mark.parametrize("fraction", [0.1, 0.15, 0.5, 0.9])
def test_the_total_is_rounded_and_each_class_is_within_one_of_its_share(fraction: float) -> None:
    validation = split_validation(numbered(), fraction, seed=3)[1]
    found = torch.bincount(validation.labels, minlength=len(COUNTS))
    assert int(found.sum()) == round(sum(COUNTS) * fraction)
    assert all(abs(float(count) - exact * fraction) < 1 for count, exact in zip(found, COUNTS, strict=True))


def test_the_seed_alone_decides() -> None:
    torch.manual_seed(1)
    first = numbers(split_validation(numbered(), 0.2, seed=3)[1])
    torch.manual_seed(2)
    assert numbers(split_validation(numbered(), 0.2, seed=3)[1]) == first
    assert numbers(split_validation(numbered(), 0.2, seed=4)[1]) != first


def test_no_global_random_state_is_touched() -> None:
    before = torch.get_rng_state()
    split_validation(numbered(), 0.2, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_both_parts_keep_the_order_of_the_samples() -> None:
    for part in split_validation(numbered(), 0.3, seed=3):
        assert numbers(part) == sorted(numbers(part))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="at least 0 and below 1"):
        split_validation(numbered(), fraction, seed=3)


@pytest.mark.parametrize(("fraction", "parts"), [(0.001, "73 and 0"), (0.999, "0 and 73")], ids=["nothing", "everything"])
def test_an_empty_part_is_refused(fraction: float, parts: str) -> None:
    with pytest.raises(DataError, match=f"both parts must hold a sample, a fraction of {fraction} of 73 gives {parts}"):
        split_validation(numbered(), fraction, seed=3)
