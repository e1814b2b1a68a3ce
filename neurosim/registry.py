"""Names for components: what a config's ``kind`` may say."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from neurosim.errors import ConfigError, nearest

T = TypeVar("T")
Check = Callable[[Mapping[str, Any]], None]  #: of arguments by name, defaults included; raises ConfigError, ``argument: what must hold``


class Registry(Generic[T]):
    """A mapping from a public name to a component.

    Registering a name twice is an error; asking for an unknown one suggests the nearest.

    Args:
        what: What the entries are, in the singular, for messages: ``"stage"``, ``"model"``.
        rest: Module that registers those of other packages; it is imported when a name is not found, or when all are asked for.

    >>> colours: Registry[int] = Registry("colour")
    >>> colours.add("red", 1)
    1
    >>> colours["red"], list(colours)
    (1, ['red'])
    >>> colours["rde"]
    Traceback (most recent call last):
    neurosim.errors.ConfigError: colour: no colour is named 'rde'; did you mean 'red'?
    """

    def __init__(self, what: str, rest: str = "") -> None:
        self.what = what
        self._rest = rest
        self._entries: dict[str, T] = {}
        self._checks: dict[str, Check] = {}

    def add(self, name: str, entry: T, check: Check | None = None) -> T:
        """Register ``entry`` under ``name`` and return it.

        Args:
            name: What it is to be called.
            entry: The component.
            check: Says which of its arguments do not go together; a config is asked before the component is made.

        Raises:
            ConfigError: The name is taken.
        """
        if name in self._entries:
            raise ConfigError(f"{self.what}: the name {name!r} is already registered, to {self._entries[name]!r}")
        self._entries[name] = entry
        if check is not None:
            self._checks[name] = check
        return entry

    def register(self, name: str, check: Check | None = None) -> Callable[[T], T]:
        """The same as a decorator: ``@MODELS.register("mlp")``."""
        return lambda entry: self.add(name, entry, check)

    def check(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Raise if the arguments of an entry do not go together, as far as it can say without being made.

        Raises:
            ConfigError: They do not: ``argument: what must hold``.
        """
        if name in self._checks:
            self._checks[name](arguments)

    def _complete(self) -> dict[str, T]:
        if self._rest:
            importlib.import_module(self._rest)
        return self._entries

    def __getitem__(self, name: str) -> T:
        try:
            if name not in self._entries:
                self._complete()
            return self._entries[name]
        except (KeyError, TypeError):
            raise ConfigError(f"{self.what}: no {self.what} is named {name!r}{nearest(str(name), self._entries)}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._complete()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._complete()))

    def __len__(self) -> int:
        return len(self._complete())
