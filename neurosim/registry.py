"""Names for components: what a config's ``kind`` may say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from neurosim.errors import ConfigError, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """A mapping from a public name to a component.

    Registering a name twice is an error; asking for an unknown one suggests the nearest.

    Args:
        what: What the entries are, in the singular, for messages: ``"stage"``, ``"model"``.

    >>> colours: Registry[int] = Registry("colour")
    >>> colours.add("red", 1)
    1
    >>> colours["red"], list(colours)
    (1, ['red'])
    >>> colours["rde"]
    Traceback (most recent call last):
    neurosim.errors.ConfigError: colour: no colour is named 'rde'; did you mean 'red'?
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Register ``entry`` under ``name`` and return it.

        Raises:
            ConfigError: The name is taken.
        """
        if name in self._entries:
            raise ConfigError(f"{self.what}: the name {name!r} is already registered, to {self._entries[name]!r}")
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[T], T]:
        """The same as a decorator: ``@MODELS.register("mlp")``."""
        return lambda entry: self.add(name, entry)

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise ConfigError(f"{self.what}: no {self.what} is named {name!r}{nearest(str(name), self._entries)}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
