r"""From the decay of a step, which other libraries are given, to the time constant, which this one is given.

.. math:: \tau = -\Delta t / \ln a

In double precision, so that :math:`e^{-\Delta t/\tau}`, rounded to float32, is the float32 number that ``a`` was.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from neurosim.errors import ConfigError, ConversionError
from neurosim.neurons.parameters import parameter_value

_FORGETS: Final = 1e-3  #: in steps: exp(−1000) is 0 in float32 and float64


def seconds(where: str, dt: object) -> float:
    """A step.

    Raises:
        ConfigError: It is no finite number of seconds > 0.
    """
    value = parameter_value(f"{where}: dt", dt, "more than 0 seconds and finite")
    if isinstance(value, Tensor):
        raise ConfigError(f"{where}: dt: must be a number, got a tensor")
    return value


def number_or_tensor(value: float | Tensor) -> float | Tensor:
    """A number where one element is all there is, else a tensor of double precision on the CPU's terms: detached, a copy."""
    if not isinstance(value, Tensor):
        return float(value)
    return float(value.detach()) if value.numel() == 1 else value.detach().double()


def tau_of(where: str, decay: float | Tensor, dt: float) -> float | Tensor:
    """The time constant whose decay per step is ``decay``, seconds.

    Args:
        where: Layer and parameter, for messages.
        decay: From 0 (nothing is left) to 1 (nothing is lost; the result is infinite).
        dt: Step, seconds.

    Raises:
        ConversionError: A decay is out of range.

    >>> tau_of("", 0.5, 1e-3) * math.log(2)
    0.001
    >>> tau_of("", 1.0, 1e-3)
    inf
    """
    value = number_or_tensor(decay)
    every = torch.as_tensor(value, dtype=torch.float64)
    if not bool(((every >= 0) & (every <= 1)).all()):
        wrong = every[~((every >= 0) & (every <= 1))].flatten()[0]
        raise ConversionError(f"{where}: what is left of a state after a step must be from 0 to 1 of it, got {wrong.item():g}")
    if isinstance(value, float):
        return dt * _FORGETS if value == 0 else math.inf if value == 1 else -dt / math.log(value)
    tau = torch.where(value == 1, math.inf, -dt / value.log())
    return torch.where(value == 0, dt * _FORGETS, tau)
