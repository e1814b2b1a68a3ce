"""Digits that move over a square."""

from __future__ import annotations

import math

import pytest
import torch

import neurosim as ns
from neurosim.datasets import digits, moving_digits
from neurosim.datasets.moving_digits import reflect


def test_it_is_the_digits_with_frames_for_channels() -> None:
    still, data = digits(), moving_digits(frames=3, size=14)
    assert data.train.images.shape == (1437, 3, 14, 14)
    assert data.train.images.dtype == torch.uint8
    assert torch.equal(data.test.labels, still.test.labels)
    assert data.classes == still.classes


def test_a_square_of_the_size_of_a_digit_leaves_no_room_to_move() -> None:
    still, data = digits(), moving_digits(frames=2, size=8, speed=3.0)
    assert torch.equal(data.test.images, still.test.images.expand(-1, 2, -1, -1))


def test_without_speed_all_frames_are_equal() -> None:
    images = moving_digits(frames=4, speed=0.0).test.images
    assert torch.equal(images, images[:, :1].expand_as(images))


def test_no_ink_is_lost_and_its_centre_moves_at_the_speed_until_it_turns() -> None:
    """Bilinear weights sum to 1 and have the place as their mean: both hold up to the rounding of 144 pixels to integers."""
    speed = 0.4
    images = moving_digits(frames=5, speed=speed).test.images.double()
    ink = images.sum((2, 3))
    wanted = digits().test.images.double().sum((1, 2, 3))
    assert float((ink - wanted[:, None]).abs().max()) <= 144 * 0.5
    axis = torch.arange(12, dtype=torch.float64)
    centre = torch.stack([(images.sum(3) @ axis), (images.sum(2) @ axis)], -1) / ink[..., None]
    steps = (centre[:, 1:] - centre[:, :-1]).norm(dim=-1)
    rounding = 0.5 * 2 * 11 * 144 / float(ink.min())  # of every pixel, at its distance, in two frames: far more than is seen
    assert float(steps.max()) <= speed + rounding
    assert float(steps.median()) == pytest.approx(speed, abs=0.02)  # most have not met an edge


def test_slow_digits_change_less_than_fast_ones() -> None:
    changes = []
    for speed in (0.1, 0.5, 4.0):
        images = moving_digits(speed=speed).test.images.double()
        changes.append(float((images[:, 1:] - images[:, :-1]).abs().mean()))
    assert changes == sorted(changes)
    assert changes[0] < 0.2 * changes[2]


def test_the_seed_decides_where_digits_go_and_splits_differ() -> None:
    one, same, other = (moving_digits(frames=2, seed=seed).fingerprint for seed in (1, 1, 2))
    assert one == same != other


def test_reflection_turns_back_at_both_ends() -> None:
    places = torch.tensor([-1.0, 0.0, 1.5, 4.0, 5.0, 8.0, 9.0])
    assert reflect(places, 4.0).tolist() == [1.0, 0.0, 1.5, 4.0, 3.0, 0.0, 1.0]
    assert reflect(places, 0.0).tolist() == [0.0] * 7


@pytest.mark.parametrize(("size", "speed"), [(7, 1.0), (12, -1.0), (12, math.inf)])
def test_arguments_out_of_their_domain_are_refused(size: int, speed: float) -> None:
    with pytest.raises(ns.ConfigError, match="moving_digits: size must be at least 8 and speed finite and not negative"):
        moving_digits(size=size, speed=speed)
