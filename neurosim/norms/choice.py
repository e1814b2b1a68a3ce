"""A norm from its entry and the settings that somebody wrote."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neurosim.checks import whole
from neurosim.errors import ConfigError, nearest, with_article
from neurosim.norms.base import Norm
from neurosim.norms.channels import MeasuredNorm
from neurosim.norms.frozen import FreezingNorm
from neurosim.norms.registry import NORMS, Entry

#: the name of a norm, or ``{"kind": name, **arguments}``, with ``freeze`` or without
Chosen = str | Mapping[str, Any] | None


def named_module(where: str, name: str, fits: Callable[[Entry], bool], what: str) -> Entry:
    """The entry of that name, if it is a module that fits.

    Args:
        where: What messages call it.
        name: In ``NORMS``.
        fits: Whether a module will do.
        what: What those are called that do.

    Raises:
        ConfigError: There is none, or it does not.
    """
    if not isinstance(name, str):
        raise ConfigError(f"{where}: must be the name of a norm, got {name!r:.60}")
    if name in NORMS and NORMS[name].kind == "module" and fits(NORMS[name]):
        return NORMS[name]
    valid = [one for one in NORMS if NORMS[one].kind == "module" and fits(NORMS[one])]
    if name not in NORMS:
        raise ConfigError(f"{where}: no norm is named {name!r}{nearest(str(name), valid)}")
    entry = NORMS[name]
    found = "norm of sequences" if entry.kind == "module" else entry.kind
    how = f"; use {entry.usage}" if entry.usage else ""
    raise ConfigError(f"{where}: must be a {what}, and {name!r} is {with_article(found)}{how}")


def make_norm(where: str, entry: Entry, features: int | Sequence[int], settings: Mapping[str, Any]) -> Norm:
    """A norm of so many channels.

    Args:
        where: What messages call it.
        entry: A module.
        features: Channels, or a shape of units.
        settings: All other arguments.

    Raises:
        ConfigError: An argument is unknown or missing, or a value is out of its domain.
    """
    names = inspect.signature(entry.make).parameters
    for name in settings:
        if name not in names or name == "features":
            valid = [one for one in names if one != "features"]
            raise ConfigError(f"{where}.{name}: {entry.name} has no argument {name!r} to be set here{nearest(name, valid)}")
    missing = [name for name, one in names.items() if one.default is one.empty and name not in ("features", *settings)]
    if missing:
        raise ConfigError(f"{where}: {entry.name} must be given {', '.join(missing)}, got {dict(settings)}")
    try:
        norm: Norm = entry(features, **settings)
    except (ConfigError, TypeError) as error:
        head, _, said = str(error).partition(": ")
        name = head.rpartition(".")[2]
        raise ConfigError(f"{where}.{name}: {said}" if name in settings else f"{where}: {entry.name} does not fit: {error}") from None
    return norm


def chosen_entry(where: str, chosen: object) -> tuple[Entry, Mapping[str, Any]]:
    """The entry of a norm for single samples, by name, and the mapping that names it.

    Args:
        where: What messages call it.
        chosen: See :func:`chosen_norm`.

    Raises:
        ConfigError: There is no such norm.
    """
    given = {"kind": chosen} if isinstance(chosen, str) else chosen
    if not isinstance(given, Mapping) or not isinstance(given.get("kind"), str):
        raise ConfigError(f"{where}: must be a name, or a mapping with its kind such as {{'kind': 'layer'}}, got {chosen!r:.60}")
    if given["kind"] == "none":
        raise ConfigError(f"{where}: must be null where there is to be no norm, got 'none'")
    return named_module(where, given["kind"], lambda entry: not getattr(entry.make, "takes_time", False), "norm of single samples"), given


def chosen_norm(where: str, chosen: Chosen, features: int, defaults: Mapping[str, Any], order: int = 1) -> Norm:
    """A norm for single samples, by name.

    Args:
        where: What messages call it.
        chosen: Its name, or a mapping with ``kind`` and its arguments. Of a norm by statistics of every sample, ``freeze`` beside them
            makes a :class:`~neurosim.norms.FreezingNorm`: batches of training before its statistics become constants, or
            ``[first, gap]``.
        features: Channels.
        defaults: Arguments that it is given if it knows them and they are not chosen.
        order: From 1; each one further is frozen ``gap`` batches later.

    Raises:
        ConfigError: There is no such norm or argument, its channels are on another axis, or it has no statistics to be frozen.
    """
    entry, given = chosen_entry(where, chosen)
    known = inspect.signature(entry.make).parameters
    if "channel_dim" not in known and defaults.get("channel_dim", 1) != 1:
        raise ConfigError(f"{where}: {entry.name} takes channels on axis 1, and here they are on axis {defaults['channel_dim']}")
    settings = {name: value for name, value in defaults.items() if name in known}
    settings |= {name: value for name, value in given.items() if name not in ("kind", "freeze")}
    norm = make_norm(where, entry, features, settings)
    if "freeze" not in given:
        return norm
    if not (isinstance(norm, MeasuredNorm) and norm.measures):
        raise ConfigError(f"{where}.freeze: must be left out of {entry.name}, which takes no statistics of every sample")
    return FreezingNorm(norm, _frozen_after(f"{where}.freeze", given["freeze"], order))


def _frozen_after(where: str, given: object, order: int) -> int:
    """Batches of training before the norm with that place in the order is frozen."""
    first, gap = given if isinstance(given, list | tuple) and len(given) == 2 else (given, 0)
    return whole(where, first, 0) + whole(f"{where}: gap", gap, 0) * (order - 1)
