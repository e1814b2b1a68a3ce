"""What a layer is fed, in moments: what the initialisers that know activations share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_args

from torch import Tensor

from neurosim.activations import ACTIVATIONS, Facts, Moments, moments_of
from neurosim.checks import number, one_of
from neurosim.errors import ConfigError
from neurosim.initialisers.base import Initialiser
from neurosim.initialisers.draws import Distribution
from neurosim.initialisers.layers import Target
from neurosim.initialisers.normed import Signal, normed
from neurosim.initialisers.variance import Function, as_function, limited


@dataclass(frozen=True)
class Fed(Initialiser):
    """Base of those that ask what feeds a layer: the settings that they have in common.

    Args:
        activation: f of every layer but the first, behind the norms of the model; None: as the model has it.
        variance: q.
        input_moment: Second moment of what the model is given.
        noise: Standard deviation of what hardware adds to a sum.
        distribution: Of weights.
    """

    looks_back = True
    activation: Any = None
    variance: float = 1.0
    input_moment: float = 1.0
    noise: float = 0.0
    distribution: Distribution = "normal"


def check(where: str, settings: Fed) -> None:
    """Refuse numbers out of their domain.

    Raises:
        ConfigError: One is.
    """
    number(f"{where}: variance", settings.variance, gt=0)
    number(f"{where}: input_moment", settings.input_moment, gt=0)
    if number(f"{where}: noise", settings.noise, ge=0) ** 2 >= settings.variance:
        raise ConfigError(f"{where}: noise must be less than √variance, {settings.variance**0.5:g}, got {settings.noise:g}")
    one_of(f"{where}: distribution", settings.distribution, get_args(Distribution))


def given(where: str, choice: object) -> object:
    """The activation of a model.

    Raises:
        ConfigError: The model says nothing of it.
    """
    if choice is None:
        raise ConfigError(f"{where}: activation must be given, for the model does not say which it has")
    return choice


def function_before(where: str, target: Target, activation: object) -> Function:
    """What stands between the sums before a layer and the layer.

    Args:
        where: Who asks, for messages.
        target: The layer.
        activation: Of every layer but the first; None: as the model has it.

    Raises:
        ConfigError: It is not known, or no function of one number.
    """
    if target.source == "input":
        return identity
    if activation is not None:
        return as_function(activation)
    if target.source == "unknown":
        raise ConfigError(f"{where}: what feeds {target.name} cannot be told from the model; give activation, or layers without this one")
    return identity if target.activation is None else as_function(target.activation)


def fed(where: str, target: Target, settings: Fed, input_limit: float | None = None, output_limit: float | None = None) -> Moments:
    """Moments of what a layer is fed; of the model's input, those that the settings say."""
    function = function_before(where, target, settings.activation)
    signal = behind_norms(where, target, settings, output_limit)
    if signal is None:
        if target.source == "input":
            return Moments(0.0, settings.input_moment, 1.0)
        return moments(function, settings.variance, input_limit, output_limit)
    if not signal.standard:
        return signal.moments(limited(function, input_limit))
    found = moments(function, 1.0, input_limit)
    return found._replace(slope=found.slope / settings.variance)  # such a norm divides by √q


def behind_norms(where: str, target: Target, settings: Fed, output_limit: float | None = None) -> Signal | None:
    """What the norms before a layer, and before its activation, make of sums; None: there are none, or what feeds them is not known.

    Raises:
        ConfigError: What a norm makes of sums cannot be told.
    """
    if not target.norms or target.source == "unknown":
        return None
    if target.source == "input":
        return normed(where, target.norms, settings.input_moment)
    return normed(where, target.norms, settings.variance, output_limit)


def moments(function: Function, width: float, input_limit: float | None = None, output_limit: float | None = None) -> Moments:
    """Moments behind converters; those of a curve of the registry are computed once."""
    if isinstance(function, Facts):
        plain = tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in function.settings.items())
        return _of_curve(function.entry.name, plain, width, input_limit, output_limit)
    return moments_of(limited(function, input_limit, output_limit), width)


@lru_cache(maxsize=128)
def _of_curve(
    name: str, plain: tuple[tuple[str, Any], ...], width: float, input_limit: float | None, output_limit: float | None
) -> Moments:
    return moments_of(limited(Facts(ACTIVATIONS[name], dict(plain)), input_limit, output_limit), width)


def positive(what: str, value: float) -> float:
    """A mean square that weights can divide by.

    Raises:
        ConfigError: It is 0 or not finite.
    """
    if not 0 < value < math.inf:
        raise ConfigError(f"activation: its {what} must be finite and not 0 everywhere for Gaussian sums, got a mean square of {value:g}")
    return value


def identity(x: Tensor) -> Tensor:
    """Nothing done."""
    return x
