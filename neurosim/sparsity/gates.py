"""Gates in front of a layer that leave out inputs: the rest of the layer need not be computed, or driven."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.nn.wrappers import unwrapped
from neurosim.sparsity.thresholds import above, check_sparsity, largest


class Gate(nn.Module, ABC):
    r"""Base of the gates: what is left out is replaced by the centre.

    .. math:: y_i = \begin{cases} x_i - d & \text{if } x_i \text{ is kept} \\ m - d & \text{else} \end{cases}

    d is 0, or m where :func:`neurosim.sparsity.fold_centres` has given :math:`W m` to the bias: then what is left out is 0.

    Args:
        axis: That of the channels.
        centre: m.
        weights: What magnitudes are multiplied by to be scores, one a channel; None is 1.
    """

    centre: Tensor
    shift: Tensor
    weights: Tensor | None

    def __init__(self, axis: int = -1, centre: Tensor | None = None, weights: Tensor | None = None) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("centre", torch.zeros(()) if centre is None else centre)
        self.register_buffer("shift", torch.zeros_like(self.centre))
        self.register_buffer("weights", weights)

    def forward(self, x: Tensor) -> Tensor:
        """The input, thinned out."""
        return torch.where(self.keeps(x), x - self.shift.to(x.dtype), (self.centre - self.shift).to(x.dtype))

    def scores(self, x: Tensor) -> Tensor:
        """How much each input counts."""
        apart = (x - self.centre.to(x.dtype)).detach()
        return apart if self.weights is None else apart * self.along(self.weights, x)

    def along(self, value: Tensor, x: Tensor) -> Tensor:
        """One number a channel, or one for all, to be broadcast to the inputs."""
        after = x.dim() - 1 - self.axis % x.dim()
        return value.to(x.dtype).reshape(-1, *(1,) * after) if value.dim() else value.to(x.dtype)

    @abstractmethod
    def keeps(self, x: Tensor) -> Tensor:
        """A mask: which inputs are kept."""


class ThresholdGate(Gate):
    """Keeps inputs whose score is above a threshold: TEAL, CHESS, CATS and SCAP; nothing has to be sorted.

    Args:
        threshold: One for all, or one a channel.
        axis, centre, weights: As for :class:`Gate`.
    """

    threshold: Tensor

    def __init__(self, threshold: Tensor, axis: int = -1, centre: Tensor | None = None, weights: Tensor | None = None) -> None:
        super().__init__(axis, centre, weights)
        self.register_buffer("threshold", threshold)

    def keeps(self, x: Tensor) -> Tensor:
        """A mask: which inputs are kept."""
        return above(self.scores(x), self.along(self.threshold, x))

    def extra_repr(self) -> str:
        """For ``print``."""
        shown = f"{float(self.threshold):.4g}" if self.threshold.dim() == 0 else f"{len(self.threshold)} channels"
        return f"threshold={shown}, centre={float(self.centre):.4g}"


class LargestGate(Gate):
    """Keeps so many inputs of every vector, those of the largest scores: WINA.

    Args:
        sparsity: The share that is left out, in 0 … 1, without 1.
        axis, centre, weights: As for :class:`Gate`.
    """

    def __init__(self, sparsity: float, axis: int = -1, centre: Tensor | None = None, weights: Tensor | None = None) -> None:
        super().__init__(axis, centre, weights)
        self.sparsity = check_sparsity("LargestGate.sparsity", sparsity)

    def keeps(self, x: Tensor) -> Tensor:
        """A mask: which inputs are kept."""
        return largest(self.scores(x), self.sparsity, self.axis)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"sparsity={self.sparsity:g}, centre={float(self.centre):.4g}"


class Gated(nn.Module):
    """A layer with a gate before it, or behind it.

    Args:
        gate: The gate.
        layer: The layer.
        behind: Whether the gate takes what the layer gives.
    """

    def __init__(self, gate: Gate, layer: nn.Module, *, behind: bool = False) -> None:
        super().__init__()
        self.gate, self.layer, self.behind = gate, layer, behind
        self.biased = getattr(layer, "bias", None) is not None  #: a centre that is folded gives it one

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """What the layer makes of what the gate lets through: the first argument, or ``input`` or ``x``, by position or by name."""
        if self.behind:
            y: Tensor = self.gate(self.layer(*args, **kwargs))
        elif args:
            y = self.layer(self.gate(args[0]), *args[1:], **kwargs)
        else:
            y = self.layer(**{name: self.gate(value) if name in ("input", "x") else value for name, value in kwargs.items()})
        return y


def gated_layers(model: nn.Module) -> dict[str, Gated]:
    """The layers of a model that have gates, by path, each once."""
    return {path: module for path, module in unwrapped(model).named_modules() if isinstance(module, Gated)}
