"""What a formula has beside its input."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from neurosim.checks import number, one_of, whole
from neurosim.errors import ConfigError

Value: TypeAlias = float | Tensor  #: a parameter as a formula takes it


def plus_times(shift: Value, factor: Value, x: Tensor) -> Tensor:
    """``shift + factor · x`` in as few passes over memory as there can be, for they take the time of most curves."""
    if isinstance(factor, Tensor):
        if torch.is_grad_enabled():  # one pass more, and two less on the way back
            return shift + factor * x
        return torch.addcmul(shift if isinstance(shift, Tensor) else x.new_full((), shift), factor, x)
    return torch.add(shift, x, alpha=factor) if isinstance(shift, Tensor) else torch.rsub(x, shift, alpha=-factor)


def floored(x: Tensor) -> Tensor:
    """The input with its −∞ as the least number, whose product with a gate of 0 is 0."""
    return x.clamp(min=torch.finfo(x.dtype).min)


def finite(x: Tensor) -> Tensor:
    """The input with ±∞ as the largest numbers."""
    most = torch.finfo(x.dtype).max
    return x.clamp(min=-most, max=most)


class Parameter(NamedTuple):
    """What a formula has beside its input.

    Args:
        default: Several numbers are coefficients; a word is a choice and never learned.
        ge, gt, le: The domain.
        learned: Whether the authors train it.
        through: What a learned one is kept as, so that it stays positive: its logarithm, or what softplus makes it of.
        words: The choices.
        whole: Whether only whole numbers will do.
        fixed: Whether it is never learned, for the values of the curve do not depend on it.
        drawn: Whether the authors start it at random, evenly in 0 … 1; ``seed`` does so, without it ``default`` is the start.
    """

    default: float | tuple[float, ...] | str
    ge: float = -math.inf
    gt: float = -math.inf
    le: float = math.inf
    learned: bool = False
    through: Literal["itself", "log", "softplus"] = "itself"
    words: Collection[str] = ()
    whole: bool = False
    drawn: bool = False
    fixed: bool = False

    def check(self, where: str, value: object) -> Any:
        """The value, if it is in the domain.

        Raises:
            ConfigError: It is not.
        """
        if isinstance(self.default, str):
            return one_of(where, str(value), tuple(self.words))
        if self.whole:
            return whole(where, value, 1)
        if not isinstance(self.default, tuple):
            return self._number(where, value)
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            raise ConfigError(f"{where}: must be a list of numbers, got {value!r:.60}")
        return tuple(self._number(f"{where}[{at}]", one) for at, one in enumerate(value))

    def _number(self, where: str, value: object) -> float:
        found = number(where, value, ge=self.ge, gt=self.gt)
        if found > self.le:
            raise ConfigError(f"{where}: must be at most {self.le:g}, got {found:g}")
        return found

    def raw(self, value: float | tuple[float, ...], channels: int = 1) -> Tensor:
        """What is kept of a learned value, one a channel where there are several."""
        kept = torch.as_tensor(value, dtype=torch.float64)
        kept = kept.repeat(channels) if channels > 1 else kept
        if self.through != "itself":
            kept = kept.log() if self.through == "log" else torch.where(kept > 40, kept, kept.expm1().log())  # beyond, e^v overflows
        return kept.to(torch.get_default_dtype())

    def value(self, raw: Tensor) -> Tensor:
        """The learned value of what is kept."""
        if self.through == "itself":
            return raw
        return raw.exp() if self.through == "log" else torch.nn.functional.softplus(raw)
