"""What is measured: one number per sample, so that a mean, an interval or a comparison sample by sample can follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from neurosim.errors import DataError
from neurosim.registry import Registry

PerSample = Callable[[Tensor, Tensor], Tensor]  #: (outputs, targets) -> one float per sample


class Metric(NamedTuple):
    """A named measure of how good a model's outputs are; its value on a data set is the mean over the samples.

    Args:
        name: As a config says it, and as columns are called.
        fn: From outputs ``(N, classes)`` and targets ``(N,)`` int64 to a float tensor ``(N,)``.
        higher_is_better: Whether a larger mean is the better one.
    """

    name: str
    fn: PerSample
    higher_is_better: bool


METRICS: Final[Registry[Metric]] = Registry("metric")


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 where the largest output is the target's, else 0.

    Among equal outputs the first wins, as with :func:`torch.argmax`; this matters on hardware, whose converters make equal outputs common.
    A sample with a NaN among its outputs counts as wrong.

    Shapes:
        outputs ``(N, classes)``, targets ``(N,)``; result ``(N,)``.

    Raises:
        DataError: The shapes do not fit, or a target is not one of the classes.

    >>> accuracy(torch.tensor([[1.0, 2.0], [3.0, 3.0]]), torch.tensor([1, 1]))
    tensor([1., 0.])
    """
    _check(outputs, targets)
    hit = outputs.argmax(1) == targets
    return (hit & ~outputs.isnan().any(1)).float()


def top5(outputs: Tensor, targets: Tensor) -> Tensor:
    """1 where fewer than five classes stand before the target, else 0; ties and NaN as in :func:`accuracy`.

    Shapes:
        outputs ``(N, classes)``, targets ``(N,)``; result ``(N,)``.

    Raises:
        DataError: The shapes do not fit, or a target is not one of the classes.
    """
    _check(outputs, targets)
    own = outputs.gather(1, targets[:, None])
    earlier = torch.arange(outputs.shape[1], device=outputs.device) < targets[:, None]
    rank = ((outputs > own) | ((outputs == own) & earlier)).sum(1)
    return ((rank < 5) & ~outputs.isnan().any(1)).float()


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the softmax of the outputs, nats, computed in float32 at least.

    Shapes:
        outputs ``(N, classes)``, targets ``(N,)``; result ``(N,)``.

    Raises:
        DataError: The shapes do not fit, or a target is not one of the classes.
    """
    _check(outputs, targets)
    wide = outputs if outputs.dtype == torch.float64 else outputs.float()
    return functional.cross_entropy(wide, targets, reduction="none")


def _check(outputs: Tensor, targets: Tensor) -> None:
    """Shapes and labels of a classification; a wrong label would otherwise be a wrong number or a device fault."""
    if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
        raise DataError(
            f"metric: outputs must be (samples, classes) and targets (samples,), got {tuple(outputs.shape)} and {tuple(targets.shape)}"
        )
    if targets.numel() and not 0 <= int(targets.min()) <= int(targets.max()) < outputs.shape[1]:
        raise DataError(
            f"metric: targets must be class numbers from 0 to {outputs.shape[1] - 1}, got {int(targets.min())} to {int(targets.max())}"
        )


for _metric in (Metric("accuracy", accuracy, True), Metric("top5", top5, True), Metric("loss", loss, False)):
    METRICS.add(_metric.name, _metric)
