"""Random flips and crops: right, and the same however samples are batched."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from neurosim.datasets import Augment, Split, augmentation, batches
from neurosim.errors import ConfigError


def augment(name: str, seed: int = 1, epoch: int = 0) -> Augment:
    found = augmentation(name, seed=seed, epoch=epoch)  # type: ignore[arg-type]  # the names come from the parameters of the tests
    assert found is not None
    return found


class Some(NamedTuple):
    """What is multiplied, and by what."""

    share: float = 0.25
    factor: float = 8.0


def outliers(some: Some, seed: int = 1, epoch: int = 0) -> Augment:
    found = augmentation(some, seed=seed, epoch=epoch)
    assert found is not None
    return found


def pictures(count: int, size: int = 16) -> Tensor:
    """The same picture again and again: every pixel another value, none of them 0."""
    return (torch.arange(2 * size * size, dtype=torch.float32) + 1).reshape(1, 2, size, size).repeat(count, 1, 1, 1)


@pytest.mark.parametrize("name", ["flip", "crop_flip"])
def test_what_happens_to_a_sample_depends_on_its_index_alone(name: str) -> None:
    images, order = pictures(20), torch.randperm(20, generator=torch.Generator().manual_seed(0))
    together = augment(name)(images, torch.arange(20))
    pieces = torch.cat([augment(name)(images[part], part) for part in (order[:7], order[7:8], order[8:])])
    assert torch.equal(pieces, together[order])


@pytest.mark.parametrize("change", [{"seed": 2}, {"epoch": 1}], ids=["seed", "epoch"])
def test_another_seed_or_epoch_changes_other_samples(change: dict[str, int]) -> None:
    images, indices = pictures(64), torch.arange(64)
    assert not torch.equal(augment("flip", **change)(images, indices), augment("flip")(images, indices))


def test_a_flip_mirrors_left_and_right_or_leaves_the_sample() -> None:
    images = pictures(64)
    for before, after in zip(images, augment("flip")(images, torch.arange(64)), strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(-1))


def test_about_half_of_the_samples_are_flipped() -> None:
    count = 4000
    images = pictures(count, size=2)
    flipped = int((augment("flip")(images, torch.arange(count)) != images).any(dim=(1, 2, 3)).sum())
    assert abs(flipped - count / 2) < 5 * (count / 4) ** 0.5  # five standard deviations of a fair coin


def shifts(images: Tensor, result: Tensor) -> list[tuple[bool, int, int]]:
    """For each sample the flip and the shift that explain it; fails where none does."""
    size = images.shape[-1]
    pad = size // 8
    padded = torch.nn.functional.pad(images[0], (pad, pad, pad, pad))
    candidates = {
        (flip, down, right): (crop.flip(-1) if flip else crop)
        for flip in (False, True)
        for down in range(2 * pad + 1)
        for right in range(2 * pad + 1)
        for crop in [padded[:, down : down + size, right : right + size]]
    }
    return [next(key for key, crop in candidates.items() if torch.equal(crop, sample)) for sample in result]


def test_a_crop_is_a_window_of_the_image_with_a_black_frame() -> None:
    images = pictures(600)
    found = shifts(images, augment("crop_flip")(images, torch.arange(600)))
    assert set(found) == {(flip, down, right) for flip in (False, True) for down in range(5) for right in range(5)}


def test_shifts_are_equally_likely() -> None:
    count = 600
    images = pictures(count)
    found = shifts(images, augment("crop_flip")(images, torch.arange(count)))
    for axis in (1, 2):
        hits = torch.bincount(torch.tensor([key[axis] for key in found]), minlength=5).double()
        assert float((hits - count / 5).abs().max()) < 5 * (count * 0.2 * 0.8) ** 0.5


def test_images_smaller_than_eight_are_only_flipped() -> None:
    images = pictures(8, size=4)
    assert torch.equal(augment("crop_flip")(images, torch.arange(8)), augment("flip")(images, torch.arange(8)))


def test_sides_of_unequal_length_keep_their_size() -> None:
    images = torch.rand(5, 1, 8, 24)
    assert augment("crop_flip")(images, torch.arange(5)).shape == images.shape


def test_bytes_stay_bytes() -> None:
    assert augment("crop_flip")(pictures(3, 8).to(torch.uint8), torch.arange(3)).dtype == torch.uint8


def test_none_is_no_function() -> None:
    assert augmentation("none", seed=1, epoch=0) is None


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'crop_flip'"):
        augment("cropflip")


def test_samples_that_are_no_images_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(C, H, W\) images"):
        augment("flip")(torch.rand(4, 5), torch.arange(4))


# outliers


def test_a_share_of_the_samples_is_multiplied_and_the_others_stay() -> None:
    images = torch.rand(4000, 1, 2, 2, generator=torch.Generator().manual_seed(0)) + 0.5
    ratios = (outliers(Some())(images, torch.arange(4000)) / images).flatten(1)
    assert torch.equal(ratios, ratios[:, :1].expand_as(ratios))  # all of a sample alike
    assert set(ratios.unique().tolist()) == {1.0, 8.0}
    assert abs(float((ratios[:, 0] > 1).double().mean()) - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 4000)


def test_which_samples_are_outliers_depends_on_index_seed_and_epoch_alone() -> None:
    images, order = torch.ones(64, 1, 2, 2), torch.randperm(64, generator=torch.Generator().manual_seed(0))
    together = outliers(Some())(images, torch.arange(64))
    pieces = torch.cat([outliers(Some())(images[part], part) for part in (order[:20], order[20:])])
    assert torch.equal(pieces, together[order])
    for other in (outliers(Some(), seed=2), outliers(Some(), epoch=1)):
        assert not torch.equal(other(images, torch.arange(64)), together)


def test_no_share_changes_no_batch_and_all_of_it_every_one() -> None:
    split = Split(torch.arange(256, dtype=torch.uint8).reshape(64, 1, 2, 2), torch.zeros(64, dtype=torch.int64))
    for dtype in (torch.float32, torch.float64):
        (plain, _), (none, _), (every, _) = (
            next(batches(split, 64, augment=change, dtype=dtype))
            for change in (None, outliers(Some(0.0)), outliers(Some(1.0, 2.0)))  # twice as much is exact
        )
        assert torch.allclose(none, plain, rtol=1e-7, atol=0)  # of float64, the arithmetic is float32
        assert torch.equal(every, 2 * none)
    assert none.dtype == torch.float64


def test_samples_of_any_shape_can_be_outliers_and_stay_as_precise() -> None:
    for images in (torch.rand(5, 7), torch.rand(5, 3, 2, 4, 4, dtype=torch.float64)):
        out = outliers(Some(1.0, 3.0))(images, torch.arange(5))
        assert out.dtype == images.dtype
        assert torch.equal(out, 3 * images)


@pytest.mark.parametrize(
    ("some", "message"),
    [
        (Some(share=1.5), r"augment\.share: must be at most 1, got 1\.5"),
        (Some(share=-0.1), r"augment\.share: must be a finite number ≥ 0"),
        (Some(factor=0.0), r"augment\.factor: must be a finite number > 0"),
    ],
)
def test_outliers_that_cannot_be_are_refused(some: Some, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        outliers(some)
