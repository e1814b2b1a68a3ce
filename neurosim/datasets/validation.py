"""A validation set, taken out of the training set."""

from __future__ import annotations

import torch
from torch import Tensor

from neurosim.datasets.base import Split
from neurosim.errors import ConfigError, DataError
from neurosim.random import permutation, stream


def split_validation(train: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    r"""Divide a training set in two, each class in the same proportion.

    Of :math:`n` samples, :math:`\operatorname{round}(n f)` go to validation; each class gives its share rounded down, and the classes with
    the largest remainders one more. Which samples of a class go is drawn from the stream ``(seed, "data", "validation")``; both parts keep
    the order that the samples had.

    Args:
        train: All samples that may be trained on.
        fraction: Share to set aside, in [0, 1).
        seed: Of the run.

    Returns:
        What is left for training, and the validation set (empty when ``fraction`` is 0).

    Raises:
        ConfigError: The fraction is out of range.
        DataError: One of the two parts would be empty.

    >>> train, validation = split_validation(Split(torch.zeros(10, 1, 1, 1), torch.arange(10) % 2), 0.4, seed=0)
    >>> sorted(train.labels.tolist()), sorted(validation.labels.tolist())
    ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1])
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"validation: the fraction must be at least 0 and below 1, got {fraction!r}")
    labels = train.labels
    total = len(labels)
    wanted = round(total * fraction)
    if wanted == total or (wanted == 0 and fraction > 0):
        raise DataError(
            f"validation: both parts must hold a sample, a fraction of {fraction} of {total} gives {total - wanted} and {wanted}"
        )
    taken = torch.zeros(total, dtype=torch.bool)
    shuffled = permutation(stream(seed, "data", "validation"), total)
    for label, count in enumerate(_shares(torch.bincount(labels.cpu()), fraction, wanted)):
        of_class = shuffled[labels.cpu()[shuffled] == label]
        taken[of_class[:count]] = True
    taken = taken.to(labels.device)
    return _where(train, ~taken), _where(train, taken)


def _shares(counts: Tensor, fraction: float, wanted: int) -> list[int]:
    """How many of each class: the largest remainder method, equal remainders by class."""
    exact = counts.double() * fraction
    shares = exact.floor().long()
    order = torch.argsort(exact - shares, descending=True, stable=True)
    shares[order[: wanted - int(shares.sum())]] += 1
    return [int(share) for share in shares]


def _where(split: Split, mask: Tensor) -> Split:
    return Split(split.images[mask.to(split.images.device)], split.labels[mask])
