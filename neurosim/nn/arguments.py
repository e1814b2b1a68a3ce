"""What layers check of their arguments in common."""

from __future__ import annotations

from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.neurons.parameters import parameter_value


def number(where: str, value: object, domain: str) -> float:
    """``value`` as a float; a tensor is refused.

    Args:
        where: What messages call it.
        value: What the user gave.
        domain: A key of :data:`neurosim.neurons.parameters.DOMAINS`.

    Raises:
        ConfigError: It is no number, or not in the domain.
    """
    kept = parameter_value(where, value, domain)
    if isinstance(kept, Tensor):
        raise ConfigError(f"{where}: must be a number, got a tensor")
    return kept
