"""Losses on the number of spikes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from neurosim.checks import number, whole
from neurosim.errors import ConfigError
from neurosim.losses.base import (
    LOSSES,
    ClassWeights,
    Loss,
    Reduction,
    Smoothing,
    cross_entropy,
    labels,
    on_and_off,
    reduced,
    sequence,
)

Classes = Annotated[int, Field(ge=1)] | None


def population_counts(spikes: Tensor, classes: int) -> Tensor:
    r"""Spikes of each class, where equal groups of neighbouring units stand for one class.

    .. math:: n_c = \sum_t \sum_{i = cM}^{(c+1)M - 1} s_{t,i}

    Args:
        spikes: s, of classes · M units.
        classes: Number of groups, a divisor of the units.

    Shapes:
        spikes ``(time, batch, units)``; result ``(batch, classes)``, of at least 32 bits: 16 bits do not count beyond 2048, or 256.

    Raises:
        ConfigError: The units do not fall into that many groups.

    >>> import torch
    >>> population_counts(torch.ones(5, 1, 6), classes=2)
    tensor([[15., 15.]])
    """
    return _counts("population_counts", spikes, classes)


def count_cross_entropy(
    spikes: Tensor,
    targets: Tensor,
    *,
    classes: int | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Cross entropy of the spike counts: the right class fires most.

    .. math:: L = \mathrm{CE}(n, y), \qquad n = \sum_t s_t

    Args:
        spikes: s, output of the network.
        targets: Labels, or probabilities of the classes.
        classes: Number of classes, where each has several units; see :func:`population_counts`. None: every unit is a class.
        label_smoothing: Share of the probability that is spread over all classes, 0 ≤ ε < 1.
        class_weights: Weight of each class, ``(classes,)``; ``"mean"`` then divides by their sum over the batch, as torch does.
        reduction: Over the batch.

    Shapes:
        spikes ``(time, batch, units)``; targets ``(batch,)`` or ``(batch, classes)``; result ``()``, or ``(batch,)`` for ``"none"``.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        J. K. Eshraghian et al., "Training spiking neural networks using lessons from deep learning", Proc. IEEE 111 (2023) 1016-1054.
        Equals ``ce_count_loss`` of snnTorch for float32; with class weights that is a plain mean of weighted losses, and with
        ``population_code=True`` it counts in float32 whatever the input.
    """
    where = "count_cross_entropy"
    return cross_entropy(where, _counts(where, spikes, classes), targets, label_smoothing, class_weights, reduction)


def count_mse(
    spikes: Tensor,
    targets: Tensor,
    *,
    on: float = 1.0,
    off: float = 0.0,
    classes: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Squared distance of the spike counts from wanted rates, per step.

    .. math:: L = \frac{1}{T C} \sum_c (n_c - T M r_c)^2

    with n the counts, M the units per class, and :math:`r_c` the wanted rate of a unit.

    Args:
        spikes: Output of the network.
        targets: Labels.
        on: Wanted rate of the right class, spikes per step and unit.
        off: Wanted rate of the others.
        classes: Number of classes, where each has several units; see :func:`population_counts`. None: every unit is a class.
        reduction: Over the batch.

    Shapes:
        spikes ``(time, batch, units)``; targets ``(batch,)``; result ``()``, or ``(batch,)`` for ``"none"``.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        S. B. Shrestha, G. Orchard, "SLAYER: spike layer error reassignment in time", NeurIPS 2018. Equals ``mse_count_loss`` of snnTorch
        where T·M·r is whole; elsewhere that rounds the wanted counts down.

    >>> import torch
    >>> count_mse(torch.ones(5, 1, 2), torch.tensor([0]))  # the second unit fires 5 times too often: 25 / (5 · 2)
    tensor(2.5000)
    """
    where = "count_mse"
    counts = _counts(where, spikes, classes)
    target = labels(where, targets, counts)
    steps, full = len(spikes), spikes.shape[0] * (spikes.shape[2] // counts.shape[1])
    wanted = on_and_off(target, counts.shape[1], number(f"{where}: on", on) * full, number(f"{where}: off", off) * full, counts)
    return reduced((counts - wanted).square().mean(1) / steps, where, reduction)


def _counts(where: str, spikes: Tensor, classes: int | None) -> Tensor:
    found = sequence(f"{where}: spikes", spikes, "(time, batch, units)").sum(0)
    units = found.shape[1]
    if classes is None:
        return found
    if units % whole(f"{where}: classes", classes, 1):
        raise ConfigError(f"{where}: classes must divide the {units} units, got {classes}")
    return found.view(-1, classes, units // classes).sum(2)


@LOSSES.register("count_cross_entropy")
class CountCrossEntropy(Loss):
    """Cross entropy of the spike counts: :func:`count_cross_entropy` with its settings.

    Args:
        classes: Number of classes, where each has several neighbouring units; None: every unit is a class.
        label_smoothing: Share of the probability that is spread over all classes, 0 ≤ ε < 1.
        class_weights: Weight of each class.
        reduction: Over the batch: ``"mean"``, ``"sum"``, or ``"none"``, which gives one number per sample.
    """

    def __init__(
        self,
        classes: Classes = None,
        label_smoothing: Smoothing = 0.0,
        class_weights: ClassWeights = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        self.classes = None if classes is None else whole("CountCrossEntropy.classes", classes, 1)
        self._keep_classes(label_smoothing, class_weights)

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        """See :func:`count_cross_entropy`."""
        return count_cross_entropy(output, targets, classes=self.classes, **self._cross_entropy())


@LOSSES.register("count_mse")
class CountMSE(Loss):
    """Squared distance of the spike counts from wanted rates: :func:`count_mse` with its settings.

    Args:
        on: Wanted rate of the right class, spikes per step and unit.
        off: Wanted rate of the others.
        classes: Number of classes, where each has several neighbouring units; None: every unit is a class.
        reduction: Over the batch: ``"mean"``, ``"sum"``, or ``"none"``, which gives one number per sample.
    """

    def __init__(self, on: float = 1.0, off: float = 0.0, classes: Classes = None, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.on, self.off = number("CountMSE.on", on), number("CountMSE.off", off)
        self.classes = None if classes is None else whole("CountMSE.classes", classes, 1)

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        """See :func:`count_mse`."""
        return count_mse(output, targets, on=self.on, off=self.off, classes=self.classes, reduction=self.reduction)
