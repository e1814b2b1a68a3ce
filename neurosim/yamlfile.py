"""YAML files as plain data that knows its files and lines, one on top of another by ``extends``.

What a file may hold says :mod:`neurosim.yamltext`; :func:`dump_yaml` is the way back. Environment variables are not expanded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from neurosim.errors import ConfigError, nearest
from neurosim.yamldump import dump_yaml as dump_yaml
from neurosim.yamltext import KeyPath as KeyPath
from neurosim.yamltext import Node as Node
from neurosim.yamltext import Position as Position
from neurosim.yamltext import format_key as format_key
from neurosim.yamltext import one_line as one_line
from neurosim.yamltext import parse_yaml as parse_yaml
from neurosim.yamltext import show as show

Finder = Callable[[str], Path]


@dataclass(frozen=True)
class YamlFile:
    """What a file says, alone or composed with those it extends. The root is a mapping."""

    path: Path
    root: Node

    @cached_property
    def data(self) -> dict[str, Any]:
        """The content as plain data."""
        return dict(self.root.plain())

    def at(self, key: KeyPath) -> str:
        """``file:line`` of a key; where it is missing, of the nearest block around it."""
        return str(self.root.along(key)[-1].at)


def read_yaml(path: str | Path) -> YamlFile:
    """A YAML file.

    Raises:
        ConfigError: There is no such file, it is not UTF-8 or not YAML, its root is no mapping, or it holds something else than plain data:
            all problems, each as ``file:line: what must hold``.
    """
    path = Path(path)
    name = one_line(str(path))
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{name}: no such file{_neighbour(path)}") from None
    except IsADirectoryError:
        raise ConfigError(f"{name}: must be a YAML file, is a folder{_neighbour(path / '*')}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: must be UTF-8 text, got the byte 0x{data[error.start]:02x}") from None
    root = parse_yaml(text, name)
    if not isinstance(root.value, dict):
        raise ConfigError(f"{root.at}: must be a mapping (key: value) at the top, got {show(root.plain())}")
    return YamlFile(path, root)


def read_composed(path: str | Path, *, named: Finder | None = None) -> YamlFile:
    """A YAML file on top of the files that its top key ``extends`` names, in their order; the result is without that key.

    A path in ``extends`` is relative to the file that says it.

    Args:
        path: The file.
        named: Finds an entry of ``extends`` that is no path: it starts with ``pkg:``, or has neither a slash nor the ending ``.yaml`` or
            ``.yml``.

    Raises:
        ConfigError: A file does not hold (see :func:`read_yaml`), is missing, or extends itself; all problems of all files.
    """
    problems: list[str] = []
    root = _compose(Path(path), named, (), problems)
    if root is None or problems:
        problems = list(dict.fromkeys(problems))
        raise ConfigError("\n".join(problems), problems)
    return YamlFile(Path(path), root)


def _compose(path: Path, named: Finder | None, outer: tuple[Path, ...], problems: list[str]) -> Node | None:
    try:
        root = read_yaml(path).root
    except ConfigError as error:
        problems += error.problems
        return None
    content = dict(root.value)
    entries = content.pop("extends", None)
    layers: list[Node] = []
    for key, entry in _entries(entries):
        where = f"{entry.at}: {format_key(key)}: "
        chain = (*outer, path)
        try:
            base = _find(entry, path.parent, named)
            if base.resolve() in {one.resolve() for one in chain}:
                raise ConfigError(f"must not lead back to itself, got {' -> '.join(map(str, (*chain, base)))}")
        except ConfigError as error:
            problems.append(f"{where}{error}")
            continue
        layer = _compose(base, named, chain, problems)
        layers += [] if layer is None else [layer]
    merged = Node(content, root.at)
    for layer in reversed(layers):
        merged = merge(layer, merged)
    return merged


def _entries(entries: Node | None) -> list[tuple[KeyPath, Node]]:
    if entries is None:
        return []
    if isinstance(entries.value, list):
        return [(("extends", index), entry) for index, entry in enumerate(entries.value)]
    return [(("extends",), entries)]


def _find(entry: Node, folder: Path, named: Finder | None) -> Path:
    text = entry.value
    if not isinstance(text, str) or not text:
        raise ConfigError(f"must be a path, or a list of paths, got {show(entry.plain())}")
    if named is not None and (text.startswith("pkg:") or ("/" not in text and not text.endswith((".yaml", ".yml")))):
        return named(text)
    found = folder / text
    if not found.is_file():
        raise ConfigError(f"must be an existing file, got {show(text)}{_neighbour(found)}")
    return found


def merge(base: Node, over: Node) -> Node:
    """``over`` on top of ``base``: mappings are merged key by key, anything else is replaced, and so is a block whose ``kind`` changes."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    if "kind" in over.value and ("kind" not in base.value or base.value["kind"].plain() != over.value["kind"].plain()):
        return over
    merged = dict(base.value)
    for key, child in over.value.items():
        merged[key] = merge(merged[key], child) if key in merged else child
    return Node(merged, over.at)


def _neighbour(path: Path) -> str:
    """The suggestion for a file that is not there."""
    if not path.parent.is_dir():
        return f"; there is no folder {one_line(str(path.parent))}"
    return nearest(path.name, [one.name for one in path.parent.iterdir() if one.suffix in (".yaml", ".yml")])
