"""What every norm answers, whatever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from neurosim.errors import ConfigError

Stats = Literal["none", "weights", "running", "sample", "running and sample", "batch"]


class Affine(NamedTuple):
    """``y = scale · x + shift``, each with one value a channel, or one a unit."""

    scale: Tensor
    shift: Tensor


class Operations(NamedTuple):
    """How often hardware computes what. A comparison counts as an addition, a magnitude as nothing, any curve (tanh) as an exponential."""

    adds: int = 0
    multiplies: int = 0
    divisions: int = 0
    square_roots: int = 0
    exponentials: int = 0


class Cost(NamedTuple):
    """What a norm computes in evaluation while it is not folded."""

    per_element: Operations
    per_vector: Operations = Operations()  #: once for all elements that share a statistic


class Norm(nn.Module, ABC):
    """Base of the norms: the contract that folding, cost models and ranges rest on."""

    stats: ClassVar[Stats]  #: where evaluation takes the statistics from

    @property
    @abstractmethod
    def channel_axis(self) -> int:
        """Axis of the channels in what it gives."""

    @abstractmethod
    def fold(self) -> Affine:
        """What the norm does in evaluation, where that is one scale and one shift for all samples and steps.

        Raises:
            ConversionError: It is not; the message says why.
        """

    def rest(self) -> nn.Module:
        """What is left to be done after what :meth:`fold` gives: mostly nothing."""
        return nn.Identity()

    @abstractmethod
    def hw_ops(self) -> Cost:
        """What it computes in evaluation."""

    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """The range of its outputs in evaluation, over all inputs."""


def check_model(where: str, model: object) -> None:
    """Refuse what is no module of torch.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{where}: model must be a torch.nn.Module, got {type(model).__name__}")
