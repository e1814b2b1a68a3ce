"""What layers check of their arguments in common."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from neurosim.errors import ConfigError, nearest
from neurosim.neurons.parameters import parameter_value


def check_name(where: str, what: str, value: object, valid: Iterable[str]) -> None:
    """Raise ``ConfigError`` unless ``value`` is one of the valid names."""
    names = tuple(valid)
    if value not in names:
        raise ConfigError(f"{where}: no {what} is named {value!r}{nearest(str(value), names)}")


def check_whole(where: str, value: object, least: int, most: int | None = None) -> None:
    """Raise ``ConfigError`` unless ``value`` is an integer from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        must = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{where}: must be an integer {must}, got {value!r}")


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
