"""Finding layers and stages by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from neurosim.clock import Clock
from neurosim.errors import ConfigError, nearest, with_article
from neurosim.nn.analog import HardwareLayer
from neurosim.nn.chain import AnalogChain
from neurosim.nn.composed import ComposedLayer
from neurosim.nn.wrappers import named_unwrapped

Selection = str | type[nn.Module] | Sequence[str | type[nn.Module]] | None  #: globs over module paths, or types


def analog_layers(model: nn.Module) -> dict[str, HardwareLayer]:
    """The layers of a model that have a signal chain, neurons included, by path, each once.

    Prefixes of compiled and data-parallel models are left out.

    >>> analog_layers(nn.Linear(2, 2))
    {}
    """
    return {path: module for path, module in named_unwrapped(model) if isinstance(module, HardwareLayer)}


def noise_counters(model: nn.Module) -> dict[str, AnalogChain | Clock]:
    """All that counts the draws of a model: the chains of its analog layers by the layers' paths, the clocks of its networks by their own.

    >>> noise_counters(nn.Linear(2, 2))
    {}
    """
    chains: dict[str, AnalogChain | Clock] = {path: layer.chain for path, layer in analog_layers(model).items()}
    return chains | {path: module for path, module in named_unwrapped(model) if isinstance(module, Clock)}


def matches(path: str, module: nn.Module, selection: Selection) -> bool:
    """Whether a selection names this layer."""
    return any(isinstance(module, one) if isinstance(one, type) else fnmatchcase(path, one) for one in as_list(selection))


def as_list(selection: Selection) -> list[str | type[nn.Module]]:
    """A selection as a list; ``None`` is empty."""
    if selection is None:
        return []
    found: list[Any] = [selection] if isinstance(selection, str | type) or not isinstance(selection, Iterable) else list(selection)
    wrong = [one for one in found if not isinstance(one, str | type)]
    if wrong:
        raise ConfigError(f"layers are chosen by globs over their paths or by types, got {wrong[0]!r}")
    return found


def check_model(where: str, model: object) -> None:
    """Refuse what is no model.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{where}: must be given a model, a torch.nn.Module, got {with_article(type(model).__name__)}")


def check_globs(where: str, globs: Iterable[str | type[nn.Module]], names: Iterable[str], what: str) -> None:
    """Refuse globs that name nothing.

    Raises:
        ConfigError: All of them, each with the nearest valid name.
    """
    known = list(names)
    problems = [
        f"{where}: {glob!r} names no {what}{nearest(glob, known)}"
        for glob in globs
        if isinstance(glob, str) and glob != "*" and not any(fnmatchcase(name, glob) for name in known)
    ]
    if problems:
        raise ConfigError("\n".join(problems), problems)


def select_layers(model: nn.Module, layers: str | Sequence[str] | None, where: str) -> dict[str, HardwareLayer]:
    """The analog layers that globs name; ``None`` names all. A layer of several products names them all.

    Raises:
        ConfigError: The model has none, or a glob names none.
    """
    known = analog_layers(model)
    if not known:
        raise ConfigError(
            f"{where}: the model has no layer on simulated hardware; convert it first: neurosim.to_analog(model, 'photonic_avnn', seed=0)"
        )
    owners = {
        f"{path}.{name}".lstrip("."): path
        for path, module in named_unwrapped(model)
        if isinstance(module, ComposedLayer)
        for name, _ in module.named_children()
    }
    names = {path: (path, owners.get(path, path)) for path in known}
    check_globs(where, as_list(layers), dict.fromkeys(name for both in names.values() for name in both), "analog layer")
    return {path: layer for path, layer in known.items() if layers is None or any(matches(one, layer, layers) for one in names[path])}
