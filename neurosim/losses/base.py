"""What the losses share: their base, their checks, cross entropy and its reduction."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypedDict, get_args

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from neurosim.checks import number, one_of
from neurosim.errors import ConfigError
from neurosim.registry import Registry

Reduction = Literal["mean", "sum", "none"]  #: over the batch; "none" gives one number per sample
Smoothing = Annotated[float, Field(ge=0, lt=1)]
ClassWeights = Annotated[list[float], Field(min_length=1)] | None


class CrossEntropySettings(TypedDict):
    """Keyword arguments of the cross entropies."""

    label_smoothing: float
    class_weights: Tensor | None
    reduction: Reduction


class Loss(nn.Module, ABC):
    """Base of the losses: settings and one method.

    Args:
        reduction: Over the batch: ``"mean"``, ``"sum"``, or ``"none"``, which gives one number per sample.
    """

    class_weights: Tensor | None

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        one_of(f"{type(self).__name__}.reduction", reduction, get_args(Reduction))
        self.reduction: Reduction = reduction

    @abstractmethod
    def forward(self, output: Tensor, targets: Tensor) -> Tensor:
        """The loss.

        Args:
            output: Spikes or potentials, ``(time, batch, classes)``.
            targets: Labels ``(batch,)`` of int64, or what else the loss takes.
        """

    def extra_repr(self) -> str:
        """The settings that differ from their defaults, for ``print``."""
        return shown_settings(self)

    def _keep_classes(self, label_smoothing: float, class_weights: Sequence[float] | None) -> None:
        """Take over what every cross entropy may be given."""
        self.label_smoothing = number(f"{type(self).__name__}.label_smoothing", label_smoothing, ge=0, lt=1)
        weights = None if class_weights is None else torch.tensor([float(weight) for weight in class_weights])
        self.register_buffer("class_weights", weights, persistent=False)

    def _cross_entropy(self) -> CrossEntropySettings:
        return {"label_smoothing": self.label_smoothing, "class_weights": self.class_weights, "reduction": self.reduction}


LOSSES: Final[Registry[type[Loss]]] = Registry("loss")


def shown_settings(module: nn.Module) -> str:
    """The arguments of a module that differ from their defaults."""
    parts = []
    for name, one in inspect.signature(type(module)).parameters.items():
        value = getattr(module, name)
        value = value.tolist() if isinstance(value, Tensor) else value
        if value != one.default:
            parts.append(f"{name}={value!r}")
    return ", ".join(parts)


def sequence(where: str, x: object, axes: str = "(time, batch, classes)", least: int = 3, most: int | None = 3) -> Tensor:
    """What a network gave, in at least 32 bits.

    Raises:
        ConfigError: It is no floating-point tensor with these axes, or has no steps.
    """
    if not isinstance(x, Tensor):
        raise ConfigError(f"{where}: must be a tensor, got {type(x).__name__}")
    if x.dim() < least or (most is not None and x.dim() > most):
        raise ConfigError(f"{where}: must be {axes}, got shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ConfigError(f"{where}: must be floating point, got {x.dtype}; spikes as numbers are x.float()")
    if len(x) == 0:
        raise ConfigError(f"{where}: must have one step or more, got shape {tuple(x.shape)}")
    return x.float() if x.dtype.itemsize < 4 else x


def labels(where: str, targets: object, like: Tensor) -> Tensor:
    """Labels of a batch.

    Args:
        where: The loss, for the message.
        targets: What was given.
        like: What they are the labels of, ``(*, batch, classes)``.

    Raises:
        ConfigError: They are no int64 tensor ``(batch,)`` beside ``like``, or one is no class. On a GPU, and in compiled code, values are
            not looked at.
    """
    batch, classes = like.shape[-2:]
    targets = _beside(where, targets, like)
    if targets.dtype != torch.int64 or targets.shape != (batch,):
        given = f"{targets.dtype} of shape {tuple(targets.shape)}"
        raise ConfigError(f"{where}: targets must be labels, int64 of shape {(batch,)}, got {given}")
    if targets.device.type == "cpu" and batch and not torch.compiler.is_compiling():
        low, high = (int(value) for value in targets.aminmax())
        if low < 0 or high >= classes:
            raise ConfigError(f"{where}: targets must be classes from 0 to {classes - 1}, got {low if low < 0 else high}")
    return targets


def labels_or_values(where: str, targets: object, like: Tensor, what: str) -> Tensor:
    """Labels ``(batch,)``, or floating-point values of the shape of ``like``, ``(*, batch, classes)``, or of its last two axes.

    Raises:
        ConfigError: They are neither.
    """
    if not (isinstance(targets, Tensor) and targets.is_floating_point()):
        return labels(where, targets, like)
    wanted = dict.fromkeys((tuple(like.shape[-2:]), tuple(like.shape)))
    if tuple(targets.shape) not in wanted:
        raise ConfigError(f"{where}: {what} must have the shape {' or '.join(map(str, wanted))}, got {tuple(targets.shape)}")
    return _beside(where, targets, like)


def _beside(where: str, targets: object, like: Tensor) -> Tensor:
    if not isinstance(targets, Tensor):
        raise ConfigError(f"{where}: targets must be a tensor, got {type(targets).__name__}")
    if targets.device != like.device:
        raise ConfigError(f"{where}: targets must be on the device of the output, {like.device}, got {targets.device}")
    return targets


def on_and_off(targets: Tensor, classes: int, on: float, off: float, like: Tensor) -> Tensor:
    """``on`` for the class of a sample and ``off`` for the others, ``(batch, classes)``."""
    hit = targets[:, None] == torch.arange(classes, device=targets.device)
    return torch.where(hit, like.new_full((), on), off)


def cross_entropy(
    where: str, logits: Tensor, targets: object, label_smoothing: float, class_weights: Tensor | None, reduction: Reduction
) -> Tensor:
    """Cross entropy of logits ``(*, batch, classes)``, averaged over the axes before the batch.

    Targets are labels ``(batch,)`` or probabilities ``(batch, classes)``. With class weights, ``"mean"`` is the weighted mean, as in torch.
    """
    batch, classes = logits.shape[-2:]
    target = labels_or_values(where, targets, logits[(0,) * (logits.dim() - 2)], "probabilities")
    number(f"{where}: label_smoothing", label_smoothing, ge=0, lt=1)
    one_of(f"{where}: reduction", reduction, get_args(Reduction))
    if class_weights is not None:
        if class_weights.shape != (classes,):
            raise ConfigError(f"{where}: class_weights must have the shape {(classes,)}, got {tuple(class_weights.shape)}")
        class_weights = class_weights.to(logits)
    repeats = logits.shape[:-2].numel()
    if target.is_floating_point():
        target = target.to(logits.dtype).expand(repeats, batch, classes).flatten(0, 1)
    else:
        target = target.expand(repeats, batch).flatten()
    found = F.cross_entropy(logits.reshape(-1, classes), target, weight=class_weights, label_smoothing=label_smoothing, reduction=reduction)
    if reduction == "none":
        return found.view(repeats, batch).mean(0)
    return found / repeats if reduction == "sum" else found


def reduced(per_sample: Tensor, where: str, reduction: Reduction) -> Tensor:
    """Losses ``(batch,)`` as ``reduction`` says."""
    one_of(f"{where}: reduction", reduction, get_args(Reduction))
    if reduction == "none":
        return per_sample
    return per_sample.mean() if reduction == "mean" else per_sample.sum()
