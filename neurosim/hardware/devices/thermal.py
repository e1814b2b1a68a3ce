"""Conductance and temperature."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from neurosim.errors import ConfigError

BOLTZMANN_EV_PER_KELVIN: Final = 1.380649e-23 / 1.602176634e-19  #: exact, by the definitions of kelvin and coulomb


def at_temperature(
    x: Tensor,
    kelvin: float,
    reference_kelvin: float,
    *,
    coefficient: Tensor | float = 0.0,
    activation_ev: Tensor | float = 0.0,
) -> Tensor:
    r"""Conductances at another temperature than the one they are known at.

    .. math:: y = G\,\max(1 + \alpha (T - T_0), 0)\; \exp\left(-\frac{E_a}{k_B}\left(\frac{1}{T} - \frac{1}{T_0}\right)\right)

    Args:
        x: Conductances at the reference, S, any shape.
        kelvin: Temperature T > 0, K.
        reference_kelvin: T₀ > 0, K.
        coefficient: α, 1/K, a number or one for each device.
        activation_ev: Activation energy, eV, likewise.

    Returns:
        Same shape and dtype as ``x``; the derivative is the factor.

    Raises:
        ConfigError: A temperature is not above 0.

    Source:
        The factors are the first-order temperature coefficient and the law of Arrhenius; values of the constants as in the SI of 2019.

    >>> at_temperature(torch.tensor([10.0]), 310.0, 300.0, coefficient=0.002)
    tensor([10.2000])
    """
    if not (kelvin > 0 and reference_kelvin > 0):
        raise ConfigError(f"temperature: must be above 0 K, got {kelvin} and a reference of {reference_kelvin}")
    inverse = (1 / kelvin - 1 / reference_kelvin) / BOLTZMANN_EV_PER_KELVIN
    linear = torch.as_tensor(1 + coefficient * (kelvin - reference_kelvin), dtype=x.dtype, device=x.device).clamp(min=0)
    if isinstance(activation_ev, Tensor):
        return x * linear * (-inverse * activation_ev.to(x.dtype)).exp()
    return x * linear * math.exp(-inverse * activation_ev)
