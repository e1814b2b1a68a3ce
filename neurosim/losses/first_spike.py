"""Losses on the time of the first spike: the class is the unit that fires first."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from neurosim.checks import number
from neurosim.losses.base import (
    LOSSES,
    ClassWeights,
    Loss,
    Reduction,
    Smoothing,
    cross_entropy,
    labels,
    labels_or_values,
    on_and_off,
    reduced,
    sequence,
)
from neurosim.losses.spike_time import Silent, TimeGradient, check_time_rule, first_spike_time


def first_spike_cross_entropy(
    spikes: Tensor,
    targets: Tensor,
    *,
    tau: float = 1.0,
    gradient: TimeGradient = "flip",
    silent: Silent = "after",
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Cross entropy of negative first-spike times: the right class fires first.

    .. math:: L = \mathrm{CE}(-t/\tau,\; y)

    Args:
        spikes: Output of the network, 0 or 1.
        targets: Labels, or probabilities of the classes.
        tau: τ, the lead that makes a class e times as likely, steps, > 0.
        gradient: Of the time: see :func:`first_spike_time`.
        silent: The time of units that do not fire, likewise.
        label_smoothing: Share of the probability that is spread over all classes, 0 ≤ ε < 1.
        class_weights: Weight of each class, ``(classes,)``; ``"mean"`` then divides by their sum over the batch, as torch does.
        reduction: Over the batch.

    Shapes:
        spikes ``(time, batch, classes)``; targets ``(batch,)`` or ``(batch, classes)``; result ``()``, or ``(batch,)`` for ``"none"``.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        H. Mostafa, "Supervised learning based on temporal coding in spiking neural networks", IEEE Trans. Neural Netw. Learn. Syst. 29
        (2018) 3227-3235. With ``gradient="sign", silent="last"`` it equals ``ce_temporal_loss`` of snnTorch.
    """
    where = "first_spike_cross_entropy"
    time = first_spike_time(sequence(f"{where}: spikes", spikes), gradient=gradient, silent=silent)
    return cross_entropy(where, -time / number(f"{where}: tau, steps", tau, gt=0), targets, label_smoothing, class_weights, reduction)


def first_spike_mse(
    spikes: Tensor,
    targets: Tensor,
    *,
    on: float = 0.0,
    off: float | None = None,
    tolerance: float = 0.0,
    gradient: TimeGradient = "flip",
    silent: Silent = "after",
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Squared distance of first-spike times from wanted ones, relative to the length of the sequence.

    .. math:: L = \frac{1}{C} \sum_c \Big(\frac{t_c - \hat t_c}{T}\Big)^2, \qquad \text{0 where } |t_c - \hat t_c| < \text{tolerance}

    Args:
        spikes: Output of the network, 0 or 1.
        targets: Labels, or the wanted times themselves, steps.
        on: With labels, the wanted time of the right class, steps from 0.
        off: With labels, the wanted time of the others; None: that of units that do not fire.
        tolerance: Distance from which on there is a loss, steps, ≥ 0.
        gradient: Of the time: see :func:`first_spike_time`.
        silent: The time of units that do not fire, likewise.
        reduction: Over the batch.

    Shapes:
        spikes ``(time, batch, classes)``; targets ``(batch,)`` or ``(batch, classes)``; result ``()``, or ``(batch,)`` for ``"none"``.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        With ``gradient="sign", silent="last"`` and positive times it equals ``mse_temporal_loss`` of snnTorch. The default targets of that
        one come out as step 0 for every unit, and with ``multi_spike=True`` it loses spikes at steps at which other units fire first.

    >>> import torch
    >>> first_spike_mse(torch.eye(4)[:, None, :2], torch.tensor([0]))  # at steps 0 and 1; 0 and never are wanted: (3/4)² / 2
    tensor(0.2812)
    """
    where = "first_spike_mse"
    x = sequence(f"{where}: spikes", spikes)
    time = first_spike_time(x, gradient=gradient, silent=silent)
    early, near = number(f"{where}: on", on), number(f"{where}: tolerance", tolerance, ge=0)
    late = float(len(x) - (silent == "last")) if off is None else number(f"{where}: off", off)
    wanted = labels_or_values(where, targets, time, "times")
    if not wanted.is_floating_point():
        wanted = on_and_off(wanted, time.shape[1], early, late, time)
    miss = time - wanted.to(time.dtype)
    miss = torch.where(miss.abs() < near, 0, miss)
    return reduced((miss / len(x)).square().mean(1), where, reduction)


def first_spike_margin(
    spikes: Tensor,
    targets: Tensor,
    *,
    margin: float = 1.0,
    earliness: float = 0.0,
    gradient: TimeGradient = "flip",
    silent: Silent = "after",
    reduction: Reduction = "mean",
) -> Tensor:
    r"""The right class fires before all others by a margin, and early.

    .. math:: L = \frac{1}{T} \Big( \max\big(0,\; t_y + m - \min_{c \ne y} t_c\big) + \lambda\, t_y \Big)

    Once the margin is kept, only λ is left to act: decisions become earlier, which ends inference sooner on hardware.

    Args:
        spikes: Output of the network, 0 or 1, of two classes or more.
        targets: Labels.
        margin: m, lead over the next class, steps, ≥ 0.
        earliness: λ, price of a late decision, ≥ 0.
        gradient: Of the time: see :func:`first_spike_time`.
        silent: The time of units that do not fire, likewise.
        reduction: Over the batch.

    Shapes:
        spikes ``(time, batch, classes)``; targets ``(batch,)``; result ``()``, or ``(batch,)`` for ``"none"``.

    Raises:
        ConfigError: An argument is not as above.

    >>> import torch
    >>> spikes = torch.eye(4)[:, None]  # unit c fires at step c
    >>> first_spike_margin(spikes, torch.tensor([0])), first_spike_margin(spikes, torch.tensor([2]))
    (tensor(0.), tensor(0.7500))
    """
    where = "first_spike_margin"
    x = sequence(f"{where}: spikes", spikes)
    lead, price = number(f"{where}: margin", margin, ge=0), number(f"{where}: earliness", earliness, ge=0)
    time = first_spike_time(x, gradient=gradient, silent=silent)
    target = labels(where, targets, time)
    right = on_and_off(target, time.shape[1], 1, 0, time)
    own = (time * right).sum(1)
    others = (time + 2 * len(x) * right).min(1).values if time.shape[1] > 1 else own + lead
    return reduced(((own + lead - others).relu() + price * own) / len(x), where, reduction)


@LOSSES.register("first_spike_cross_entropy")
class FirstSpikeCrossEntropy(Loss):
    """Cross entropy of negative first-spike times: :func:`first_spike_cross_entropy` with its settings.

    Args:
        tau: The lead that makes a class e times as likely, steps, > 0.
        gradient: Of the time: ``"flip"``, what one spike more or less would change, or ``"sign"``, −1 at the first spike.
        silent: The time of units that do not fire: ``"after"`` the last step, or at the ``"last"``.
        label_smoothing: Share of the probability that is spread over all classes, 0 ≤ ε < 1.
        class_weights: Weight of each class.
        reduction: Over the batch: ``"mean"``, ``"sum"``, or ``"none"``, which gives one number per sample.
    """

    def __init__(
        self,
        tau: Annotated[float, Field(gt=0)] = 1.0,
        gradient: TimeGradient = "flip",
        silent: Silent = "after",
        label_smoothing: Smoothing = 0.0,
        class_weights: ClassWeights = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        self.tau = number("FirstSpikeCrossEntropy.tau, steps", tau, gt=0)
        self.gradient, self.silent = check_time_rule("FirstSpikeCrossEntropy.", gradient, silent)
        self._keep_classes(label_smoothing, class_weights)

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        """See :func:`first_spike_cross_entropy`."""
        rule = self._cross_entropy()
        return first_spike_cross_entropy(output, targets, tau=self.tau, gradient=self.gradient, silent=self.silent, **rule)


@LOSSES.register("first_spike_mse")
class FirstSpikeMSE(Loss):
    """Squared distance of first-spike times from wanted ones: :func:`first_spike_mse` with its settings.

    Args:
        on: With labels, the wanted time of the right class, steps from 0.
        off: With labels, the wanted time of the others; None: that of units that do not fire.
        tolerance: Distance from which on there is a loss, steps, ≥ 0.
        gradient: Of the time: ``"flip"``, what one spike more or less would change, or ``"sign"``, −1 at the first spike.
        silent: The time of units that do not fire: ``"after"`` the last step, or at the ``"last"``.
        reduction: Over the batch: ``"mean"``, ``"sum"``, or ``"none"``, which gives one number per sample.
    """

    def __init__(
        self,
        on: float = 0.0,
        off: float | None = None,
        tolerance: Annotated[float, Field(ge=0)] = 0.0,
        gradient: TimeGradient = "flip",
        silent: Silent = "after",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        self.on, self.off = number("FirstSpikeMSE.on", on), None if off is None else number("FirstSpikeMSE.off", off)
        self.tolerance = number("FirstSpikeMSE.tolerance", tolerance, ge=0)
        self.gradient, self.silent = check_time_rule("FirstSpikeMSE.", gradient, silent)

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        """See :func:`first_spike_mse`."""
        return first_spike_mse(
            output,
            targets,
            on=self.on,
            off=self.off,
            tolerance=self.tolerance,
            gradient=self.gradient,
            silent=self.silent,
            reduction=self.reduction,
        )


@LOSSES.register("first_spike_margin")
class FirstSpikeMargin(Loss):
    """The right class fires before all others by a margin: :func:`first_spike_margin` with its settings.

    Args:
        margin: Lead over the next class, steps, ≥ 0.
        earliness: Price of a late decision, ≥ 0.
        gradient: Of the time: ``"flip"``, what one spike more or less would change, or ``"sign"``, −1 at the first spike.
        silent: The time of units that do not fire: ``"after"`` the last step, or at the ``"last"``.
        reduction: Over the batch: ``"mean"``, ``"sum"``, or ``"none"``, which gives one number per sample.
    """

    def __init__(
        self,
        margin: Annotated[float, Field(ge=0)] = 1.0,
        earliness: Annotated[float, Field(ge=0)] = 0.0,
        gradient: TimeGradient = "flip",
        silent: Silent = "after",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin = number("FirstSpikeMargin.margin", margin, ge=0)
        self.earliness = number("FirstSpikeMargin.earliness", earliness, ge=0)
        self.gradient, self.silent = check_time_rule("FirstSpikeMargin.", gradient, silent)

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        """See :func:`first_spike_margin`."""
        return first_spike_margin(
            output,
            targets,
            margin=self.margin,
            earliness=self.earliness,
            gradient=self.gradient,
            silent=self.silent,
            reduction=self.reduction,
        )
