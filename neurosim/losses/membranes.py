"""Losses on every step of the output, or on its mean or maximum: for potentials, and for spikes as they are."""

from __future__ import annotations

from torch import Tensor

from neurosim.checks import number
from neurosim.losses.base import (
    LOSSES,
    ClassWeights,
    Loss,
    Reduction,
    Smoothing,
    cross_entropy,
    labels_or_values,
    on_and_off,
    reduced,
    sequence,
)


def step_cross_entropy(
    output: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    r"""Cross entropy at every step, averaged over time: the right class leads all the time.

    .. math:: L = \frac{1}{T} \sum_t \mathrm{CE}(o_t, y)

    Args:
        output: o, spikes or potentials.
        targets: Labels, or probabilities of the classes.
        label_smoothing: Share of the probability that is spread over all classes, 0 ≤ ε < 1.
        class_weights: Weight of each class, ``(classes,)``; ``"mean"`` then divides by their sum over the batch, as torch does.
        reduction: Over the batch.

    Shapes:
        output ``(time, batch, classes)``; targets ``(batch,)`` or ``(batch, classes)``; result ``()``, or ``(batch,)`` for ``"none"``.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        S. Deng, Y. Li, S. Zhang, S. Gu, "Temporal efficient training of spiking neural network via gradient re-weighting", ICLR 2022.
        On spikes it is the ``ce_rate_loss`` of snnTorch, which loops over time, adds up in float32 whatever the input, returns
        shape ``(1,)``, and with ``population_code=True`` needs class weights, of which it uses two.

    >>> import torch
    >>> step_cross_entropy(torch.zeros(5, 1, 10), torch.tensor([3])).exp()
    tensor(10.)
    """
    where = "step_cross_entropy"
    return cross_entropy(where, sequence(f"{where}: output", output), targets, label_smoothing, class_weights, reduction)


def mean_cross_entropy(
    output: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    r"""Cross entropy of the mean over time: for read-outs that do not fire, and for converted networks.

    .. math:: L = \mathrm{CE}\Big(\frac{1}{T} \sum_t o_t,\; y\Big)

    Arguments, shapes and errors as in :func:`step_cross_entropy`, which is never smaller: cross entropy is convex.

    Source:
        H. Zheng, Y. Wu, L. Deng, Y. Hu, G. Li, "Going deeper with directly-trained larger spiking neural networks", AAAI 2021.
    """
    where = "mean_cross_entropy"
    logits = sequence(f"{where}: output", output).mean(0)
    return cross_entropy(where, logits, targets, label_smoothing, class_weights, reduction)


def max_cross_entropy(
    output: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    r"""Cross entropy of the largest potential of each unit: when that is does not matter.

    .. math:: L = \mathrm{CE}(\max_t o_t,\; y)

    Arguments, shapes and errors as in :func:`step_cross_entropy`. The gradient goes to one step per unit, of several equal ones too.

    Source:
        B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, "The Heidelberg spiking data sets for the systematic evaluation of spiking neural
        networks", IEEE Trans. Neural Netw. Learn. Syst. 33 (2022) 2744-2757 (max-over-time loss). Equals ``ce_max_membrane_loss`` of
        snnTorch.
    """
    where = "max_cross_entropy"
    logits = sequence(f"{where}: output", output).max(0).values
    return cross_entropy(where, logits, targets, label_smoothing, class_weights, reduction)


def membrane_mse(v: Tensor, targets: Tensor, *, on: float = 1.0, off: float = 0.0, reduction: Reduction = "mean") -> Tensor:
    r"""Squared distance of the potential from a target, averaged over time and units.

    .. math:: L = \frac{1}{T C} \sum_{t,c} (v_{t,c} - \hat v_{t,c})^2

    Args:
        v: Potentials.
        targets: Labels, or the target potentials themselves: constant, or for every step.
        on: With labels, the target of the right class.
        off: With labels, the target of the others.
        reduction: Over the batch.

    Shapes:
        v ``(time, batch, classes)``; targets ``(batch,)``, ``(batch, classes)`` or like v; result ``()``, or ``(batch,)`` for ``"none"``.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        Equals ``mse_membrane_loss`` of snnTorch where ``off`` is not negative, which it reads as 0. Time-varying targets, which its
        docstring offers, it reads as labels, and fails.

    >>> import torch
    >>> membrane_mse(torch.zeros(5, 1, 4), torch.tensor([2]))
    tensor(0.2500)
    """
    where = "membrane_mse"
    found = sequence(f"{where}: v", v)
    target = labels_or_values(where, targets, found, "potentials")
    high, low = number(f"{where}: on", on), number(f"{where}: off", off)
    if not target.is_floating_point():
        target = on_and_off(target, found.shape[-1], high, low, found)
    return reduced((found - target.to(found.dtype)).square().mean((0, 2)), where, reduction)


@LOSSES.register("step_cross_entropy")
class StepCrossEntropy(Loss):
    """Cross entropy at every step, averaged over time: :func:`step_cross_entropy` with its settings.

    Args:
        label_smoothing: Share of the probability that is spread over all classes, 0 ≤ ε < 1.
        class_weights: Weight of each class.
        reduction: Over the batch: ``"mean"``, ``"sum"``, or ``"none"``, which gives one number per sample.
    """

    def __init__(self, label_smoothing: Smoothing = 0.0, class_weights: ClassWeights = None, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self._keep_classes(label_smoothing, class_weights)

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        """See :func:`step_cross_entropy`."""
        return step_cross_entropy(output, targets, **self._cross_entropy())


@LOSSES.register("mean_cross_entropy")
class MeanCrossEntropy(Loss):
    """Cross entropy of the mean over time: :func:`mean_cross_entropy` with its settings.

    Args:
        label_smoothing: Share of the probability that is spread over all classes, 0 ≤ ε < 1.
        class_weights: Weight of each class.
        reduction: Over the batch: ``"mean"``, ``"sum"``, or ``"none"``, which gives one number per sample.
    """

    def __init__(self, label_smoothing: Smoothing = 0.0, class_weights: ClassWeights = None, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self._keep_classes(label_smoothing, class_weights)

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        """See :func:`mean_cross_entropy`."""
        return mean_cross_entropy(output, targets, **self._cross_entropy())


@LOSSES.register("max_cross_entropy")
class MaxCrossEntropy(Loss):
    """Cross entropy of the largest potential of each unit: :func:`max_cross_entropy` with its settings.

    Args:
        label_smoothing: Share of the probability that is spread over all classes, 0 ≤ ε < 1.
        class_weights: Weight of each class.
        reduction: Over the batch: ``"mean"``, ``"sum"``, or ``"none"``, which gives one number per sample.
    """

    def __init__(self, label_smoothing: Smoothing = 0.0, class_weights: ClassWeights = None, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self._keep_classes(label_smoothing, class_weights)

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        """See :func:`max_cross_entropy`."""
        return max_cross_entropy(output, targets, **self._cross_entropy())


@LOSSES.register("membrane_mse")
class MembraneMSE(Loss):
    """Squared distance of the potential from a target: :func:`membrane_mse` with its settings.

    Args:
        on: With labels, the target of the right class.
        off: With labels, the target of the others.
        reduction: Over the batch: ``"mean"``, ``"sum"``, or ``"none"``, which gives one number per sample.
    """

    def __init__(self, on: float = 1.0, off: float = 0.0, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.on, self.off = number("MembraneMSE.on", on), number("MembraneMSE.off", off)

    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        """See :func:`membrane_mse`."""
        return membrane_mse(output, targets, on=self.on, off=self.off, reduction=self.reduction)
