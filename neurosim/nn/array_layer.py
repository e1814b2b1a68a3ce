"""What a layer answers to have its product on physical arrays, and what these hold."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor

from neurosim.nn.chain import AnalogChain
from neurosim.nn.chips_chain import ChipsChain

Chain = AnalogChain | ChipsChain


class Multiplying(Protocol):
    """What a layer must answer to send its inputs to arrays; with chips, every signal has an axis of them first."""

    @property
    def chain(self) -> Chain:
        """The chain of the chip, or of several."""

    def mvm(self, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        """The digital product."""

    def vectors(self, x: Tensor) -> Tensor:
        """What enters the arrays for an input, one vector a product: ``(products, groups, inputs)``."""

    def fold(self, y: Tensor, x: Tensor, *how: Any) -> Tensor:
        """The layer's output from the results of all products, ``(products, groups, outputs)``, for its input ``x``."""


class OnArray(Multiplying, Protocol):
    """What a layer must answer to have its product on arrays of one chip; a matrix is ``(groups, outputs, inputs)``."""

    @property
    def chain(self) -> AnalogChain:
        """The chain of the chip."""

    def matrix(self, weight: Tensor) -> Tensor:
        """A weight as the matrix of its arrays."""

    def native(self, matrix: Tensor) -> Tensor:
        """The weight that a matrix stands for: the inverse of ``matrix``."""


class Programmed(NamedTuple):
    """What the arrays of a layer hold; with chips, each has an axis of them first.

    Args:
        held: ``(planes, groups, outputs + extra, tiles, rows)``, in ranges of a cell; the layer's weight where nothing is split.
        scale: Digital factor of each output, ``(groups, outputs | 1, 1)``, or of each input, ``(groups, 1, inputs)``; where nothing is
            split of each output in the layer's own shape.
        gain: What takes the mean of a drift back, ``(tiles, groups | 1, outputs | 1)``; None where it is in ``scale``.
    """

    held: Tensor
    scale: Tensor
    gain: Tensor | None
