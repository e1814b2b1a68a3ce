"""Components from what a config says of them: ``{"kind": name, **arguments}``."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from neurosim.errors import ConfigError, nearest
from neurosim.neurons import NEURONS, Neuron
from neurosim.registry import Registry
from neurosim.surrogate import Surrogate, surrogate

Made = TypeVar("Made")
NEURON: Mapping[str, Any] = {"kind": "lif", "tau_mem": 2e-3, "dt": 1e-3}  #: what fires if nothing else is asked for


def make_neuron(given: Mapping[str, Any], units: int | None = None) -> Neuron[Any]:
    """A neuron from ``{"kind": name, **arguments}``.

    Args:
        given: The name of an entry of ``NEURONS``, and its arguments; a surrogate by its name, or as ``{"kind": name, **parameters}``.
        units: How many there are; only neurons that are connected with each other need to know.

    Raises:
        ConfigError: There is no such neuron or argument, or a value is out of its domain.

    >>> make_neuron({"kind": "lif", "tau_mem": 5e-3, "dt": 1e-3})
    LIF(tau_mem=0.005, dt=0.001)
    >>> make_neuron({"kind": "rlif", "tau_mem": 5e-3, "dt": 1e-3}, units=30).connection
    Linear(in_features=30, out_features=30, bias=False)
    """
    return registered("neuron", NEURONS, given, NEURON, **({} if units is None else {"units": units}))


def registered(where: str, registry: Registry[type[Made]], given: Mapping[str, Any], example: Mapping[str, Any], **own: int) -> Made:
    """An entry of a registry with the arguments that it is given, and what the model knows by itself where the entry takes it.

    Args:
        where: What messages call it.
        registry: Of classes.
        given: Name and arguments.
        example: What could be given, for messages.
        own: What the model knows.

    Raises:
        ConfigError: There is no such entry or argument, one is missing or not the model's own, or a value is out of its domain.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: must be a mapping such as {dict(example)}, got {given!r:.60}")
    arguments = copy.deepcopy(dict(given))
    kind = arguments.pop("kind", None)
    if kind is None:
        raise ConfigError(f"{where}: must say its kind{nearest('', registry)}, got {dict(given)}")
    if isinstance(arguments.get("surrogate"), Mapping):
        arguments["surrogate"] = _surrogate(f"{where}.surrogate", arguments["surrogate"])
    made = registry[kind]
    check_names(where, kind, made, arguments)
    known = inspect.signature(made).parameters
    arguments = with_own(where, arguments, {name: value for name, value in own.items() if name in known})
    missing = [name for name, one in known.items() if one.default is one.empty and name not in arguments]
    if missing:
        raise ConfigError(f"{where}: {kind} must be given {', '.join(missing)}, got {dict(given)}")
    try:
        return made(**arguments)
    except ConfigError as error:
        raise said_at(where, error, arguments) from None


def check_names(where: str, kind: str, make: Callable[..., Any], arguments: Mapping[str, Any], hidden: Collection[str] = ()) -> None:
    """Refuse arguments that a component does not have.

    Args:
        where: What messages call it.
        kind: Its name.
        make: What makes it.
        arguments: Given.
        hidden: Arguments that only the model may give.

    Raises:
        ConfigError: There is one.
    """
    known = [name for name in inspect.signature(make).parameters if name not in hidden]
    for name in arguments:
        if name not in known:
            here = " to be set here" if hidden else ""
            raise ConfigError(f"{where}.{name}: {kind} has no argument {name!r}{here}{nearest(name, known)}")


def with_own(where: str, arguments: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with what the model knows by itself.

    Raises:
        ConfigError: One is given, and is another.
    """
    for name, value in own.items():
        if arguments.get(name, value) != value:
            raise ConfigError(f"{where}.{name}: must be left out or be the model's own, {value}, got {arguments[name]!r:.60}")
    return {**arguments, **own}


def said_at(where: str, error: Exception, arguments: Mapping[str, Any]) -> ConfigError:
    """What a component says of an argument, in the place where the argument was given."""
    head, _, said = str(error).partition(": ")
    name = head.rpartition(".")[2]
    return ConfigError(f"{where}.{name}: {said}" if name in arguments else f"{where}: {error}")


def _surrogate(where: str, given: Mapping[str, Any]) -> Surrogate:
    """A surrogate from ``{"kind": name, **parameters}``."""
    parameters = {str(name): value for name, value in given.items()}
    kind = parameters.pop("kind", None)
    if not isinstance(kind, str):
        raise ConfigError(f"{where}: must be a name, or a mapping with its kind such as {{'kind': 'arctan'}}, got {dict(given)}")
    try:
        return surrogate(kind, **parameters)
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).removeprefix('surrogate: ')}") from None
