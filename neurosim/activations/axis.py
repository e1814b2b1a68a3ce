"""The axis of the vectors that a unit mixes or halves."""

from __future__ import annotations

from torch import Tensor

from neurosim.errors import ConfigError


def axis_of(where: str, x: Tensor, axis: int) -> int:
    """The axis, if the input has it.

    Raises:
        ConfigError: It has not.
    """
    most = max(x.dim(), 1)
    if not -most <= axis < most:
        raise ConfigError(f"{where}: axis must be one of an input of shape {tuple(x.shape)}, got {axis}")
    return axis
