"""What brings signals into the range of analog hardware, as digital layers: the same functions as the stages of the signal chain."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from neurosim.checks import one_of
from neurosim.errors import ConfigError
from neurosim.hardware.stages.clamp import clamp
from neurosim.hardware.stages.lp_norm import Over, lp_norm
from neurosim.norms.base import Affine, Cost, Operations, Stats
from neurosim.norms.channels import ChannelNorm, MeasuredNorm
from neurosim.norms.registry import register

Gradient = Literal["through", "ste"]


@register("lp", "B13", formula="y = x / max(‖x‖_p, 1e-4), of all values of a sample", fold="F2")
class LpNorm(MeasuredNorm):
    r"""Every sample divided by its Lp norm: a signal that fits its range, not one with mean 0 and variance 1.

    .. math:: y = x / \max(\lVert x \rVert_p, \epsilon) \quad\text{and, with } \mathtt{max\_one},\quad y \leftarrow y / \max|y|

    Args:
        features: Channels.
        p: Order of the norm, ≥ 1.
        over: ``row``: a norm for every sample; ``whole``: one of the whole batch.
        max_one: Whether everything is divided by the largest magnitude of the batch afterwards, which couples its samples.
        floor: ε, > 0, the smallest norm that is divided by.
        grad: ``ste``, 1 wherever it divides, as AnalogVNN has it; ``through``, the derivative.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        V. Shah, N. Youngblood, "AnalogVNN: a fully modular framework for
        modeling and optimizing photonic neural networks", APL Machine Learning 1 (2023), classes ``LPNorm`` and ``LPNormW``.
    """

    stats: ClassVar[Stats] = "sample"

    def __init__(
        self,
        features: int,
        p: float = 2.0,
        *,
        over: Over = "row",
        max_one: bool = False,
        floor: float = 1e-4,
        grad: Gradient = "ste",
        channel_dim: int = 1,
    ) -> None:
        super().__init__(features, channel_dim, scale=False, shift=False)
        self.p = self._number("p", p, ge=1, lt=101)
        self.over: Over = one_of(f"{self._where}.over", over, get_args(Over))
        self.max_one = self._flag("max_one", max_one)
        self.floor = self._number("floor", floor, gt=0)
        self.grad: Gradient = one_of(f"{self._where}.grad", grad, get_args(Gradient))

    def measure(self, x: Tensor) -> tuple[Tensor, ...]:
        """What every sample is divided by, in all."""
        rows = x.reshape(1, -1) if self.over == "whole" else x.flatten(1)
        found = torch.linalg.vector_norm(rows, self.p, dim=1, keepdim=True).clamp(min=self.floor)
        if self.max_one:
            largest = (rows / found).abs().amax()
            found = found * torch.where(largest > 0, largest, 1)
        return (found.reshape(-1, *(1,) * (x.dim() - 1)),)

    def standardize_by(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """Divided by it."""
        return x / statistics[0]

    def standardize(self, x: Tensor) -> Tensor:
        """Divided by its norm, with the gradient that was chosen."""
        return lp_norm(x, self.p, over=self.over, max_one=self.max_one, floor=self.floor, grad=self.grad)

    def standard_bounds(self) -> tuple[float, float]:
        """±1."""
        return -1.0, 1.0

    def hw_ops(self) -> Cost:
        """Powers (a square for p = 2, nothing for p = 1), their sum and the product with the inverse; comparisons and another product."""
        curves = 2 * (self.p not in (1, 2))
        each = Operations(1 + self.max_one, 1 + (self.p == 2) + self.max_one, 0, 0, curves)
        return Cost(each, Operations(1, 0, 1 + self.max_one, int(self.p == 2), curves))

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, p={self.p:g}, over={self.over!r}, max_one={self.max_one}"


@register("clamp", "B13", formula="y = min(max(x, −1), 1)", fold="F1")
class ClampNorm(ChannelNorm):
    r"""A signal limited to its range.

    .. math:: y = \min(\max(x, l), h)

    Args:
        features: Channels.
        low: l.
        high: h, above l.
        grad: ``through``, 1 inside the limits and 0 outside; ``ste``, 1 everywhere.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        V. Shah, N. Youngblood, "AnalogVNN: a fully modular framework for modeling and optimizing photonic neural networks", APL Machine
        Learning 1 (2023), class ``Clamp``.
    """

    stats: ClassVar[Stats] = "none"

    def __init__(self, features: int, low: float = -1.0, high: float = 1.0, *, grad: Gradient = "through", channel_dim: int = 1) -> None:
        super().__init__(features, channel_dim, scale=False, shift=False)
        self.low, self.high = self._number("low", low), self._number("high", high)
        if not self.low < self.high:
            raise ConfigError(f"{self._where}: low must be below high, got {low} and {high}")
        self.grad: Gradient = one_of(f"{self._where}.grad", grad, get_args(Gradient))

    def standardize(self, x: Tensor) -> Tensor:
        """Limited."""
        return clamp(x, self.low, self.high, grad=self.grad)

    def fold(self) -> Affine:
        """Refused: what is cut off is no constant."""
        self._refuse("it cuts every value by its own size")

    def standard_bounds(self) -> tuple[float, float]:
        """The limits."""
        return self.low, self.high

    def hw_ops(self) -> Cost:
        """Two comparisons."""
        return Cost(Operations(2))

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, low={self.low:g}, high={self.high:g}"
