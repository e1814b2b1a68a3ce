"""How good a model is on a set of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from neurosim.convert import ChipStack, keep_weights
from neurosim.errors import DataError
from neurosim.nn.modes import evaluation_mode as evaluation_mode
from neurosim.training.metrics import METRICS, Metric, PerSample

Batches = Iterable[tuple[Tensor, Tensor]]  #: (images, labels), (images, labels), …


def evaluate(model: nn.Module, batches: Batches, metric: str | Metric | PerSample = "accuracy") -> float:
    """The mean of ``metric`` over all samples, the model in evaluation mode and without gradients.

    An analog model is evaluated as its noise mode says, with fresh noise in every batch by default: twice the same call gives two reads of
    the same chip. Every submodule is left in the mode it was in.

    Args:
        model: From inputs to outputs ``(N, classes)``.
        batches: Inputs and targets; a list, a ``DataLoader``, or :func:`neurosim.datasets.batches`. They are moved to the model's device.
        metric: A registered name, a :class:`~neurosim.training.metrics.Metric`, or a function of outputs and targets that gives one number
            per sample.

    Raises:
        ConfigError: No metric has that name.
        DataError: There are no samples, or the metric does not give one number per sample.

    >>> evaluate(nn.Identity(), [(torch.eye(3), torch.tensor([0, 1, 1]))])
    0.6666666666666666
    """
    return next(iter(measure(model, batches, [metric]).values()))


def measure(model: nn.Module, batches: Batches, metrics: Sequence[str | Metric | PerSample]) -> dict[str, float]:
    """Several metrics in one pass, under different names; otherwise as :func:`evaluate`.

    Returns:
        Name of each metric → its mean over the samples.
    """
    place = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with evaluation_mode(model), torch.no_grad(), keep_weights(model):
        found = _means(lambda inputs: model(inputs.to(place)).unsqueeze(0), place, batches, metrics)
    return {name: float(mean) for name, mean in found.items()}


def evaluate_chips(chips: ChipStack, batches: Batches, metric: str | Metric | PerSample = "accuracy") -> Tensor:
    """The mean of ``metric`` over all samples for every chip of :func:`neurosim.chips`; arguments as of :func:`evaluate`.

    Returns:
        ``(n,)``, float64, on the CPU.

    Raises:
        ConfigError: No metric has that name.
        DataError: There are no samples, or the metric does not give one number per sample.

    >>> from neurosim.convert import chips, to_analog
    >>> stack = chips(to_analog(nn.Linear(4, 3), "photonic_avnn", seed=0), 5)
    >>> evaluate_chips(stack, [(torch.rand(6, 4), torch.arange(6) % 3)]).shape
    torch.Size([5])
    """
    place = next((parameter.device for parameter in chips.parameters()), torch.device("cpu"))
    return next(iter(_means(lambda inputs: chips(inputs.to(place)), place, batches, [metric]).values()))


def _means(
    outputs_of: Callable[[Tensor], Tensor], place: torch.device, batches: Batches, metrics: Sequence[str | Metric | PerSample]
) -> dict[str, Tensor]:
    """Every metric's mean over the samples for each row of outputs ``(rows, samples, …)``."""
    chosen = [_named(metric) for metric in metrics]
    sums: dict[str, Tensor] = {}
    count = 0
    for inputs, targets in batches:
        outputs, there = outputs_of(inputs), targets.to(place)
        for metric in chosen:
            rows = [metric.fn(row, there) for row in outputs]
            wrong = next((row for row in rows if row.shape != targets.shape[:1]), None)
            if wrong is not None:
                raise DataError(f"{metric.name}: must give one number per sample, {len(targets)}, got shape {tuple(wrong.shape)}")
            added = torch.stack([row.double().sum() for row in rows]).cpu()
            sums[metric.name] = sums.get(metric.name, torch.zeros(())) + added
        count += len(targets)
    if count == 0:
        raise DataError("evaluate: there must be at least one sample, the batches hold none")
    return {metric.name: sums[metric.name] / count for metric in chosen}


def _named(metric: str | Metric | PerSample) -> Metric:
    if isinstance(metric, str):
        return METRICS[metric]
    return metric if isinstance(metric, Metric) else Metric(getattr(metric, "__name__", "metric"), metric, higher_is_better=True)
