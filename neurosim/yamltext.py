"""YAML 1.2 text as plain data that knows where it is written.

Only plain data: mappings with text keys, lists, text, numbers, ``true``, ``false``, ``null``. Scalars follow the core schema: ``1e-3`` is a
number, ``010`` is ten, ``no``, ``on``, ``1_000`` and ``2024-01-01`` are texts. Tags, merge keys and keys given twice are errors.

Source:
    YAML 1.2.2, section 10.3.2 (core schema, tag resolution).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from neurosim.errors import ConfigError

KeyPath = tuple[str | int, ...]

_DEPTH: Final = 50  #: blocks within blocks
_NODES: Final = 200_000  #: values of a document, aliases counted in full
_NULL, _TRUE, _FALSE = ("", "~", "null", "Null", "NULL"), ("true", "True", "TRUE"), ("false", "False", "FALSE")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BARE: Final = re.compile(r"[^\s.\"'=]+")


class Position(NamedTuple):
    """Where something is written; printed as ``file:line``, or as the name alone for what has no lines."""

    name: str
    line: int | None = None

    def __str__(self) -> str:
        return self.name if self.line is None else f"{self.name}:{self.line}"


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it is written (a value of a mapping: where its key is). Mappings and lists hold nodes."""

    value: Any
    at: Position

    def plain(self) -> Any:
        """The value as plain data."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def along(self, key: KeyPath) -> list[Node]:
        """This node and those on the way to ``key``, as far as there are any."""
        found, node = [self], self
        for part in key:
            inside = isinstance(node.value, dict) and part in node.value
            if not inside and not (isinstance(node.value, list) and isinstance(part, int) and 0 <= part < len(node.value)):
                break
            node = node.value[part]
            found.append(node)
        return found


def parse_yaml(text: str, name: str, *, lines: bool = True) -> Node:
    """The one document in a text; an empty text is ``null``.

    Args:
        text: YAML.
        name: What messages call it.
        lines: Whether positions carry line numbers.

    Raises:
        ConfigError: It is not YAML, or holds something else than plain data; every problem as ``name:line: what must hold``.

    >>> parse_yaml("{lr: 1e-3, mode: no, sizes: [64,10]}", "example").plain()
    {'lr': 0.001, 'mode': 'no', 'sizes': [64, 10]}
    """
    reader = _Reader(text, name, lines)
    try:
        root = reader.document()
    except ReaderError as error:
        reader.report(text.count("\n", 0, error.position), f"not YAML: the character U+{ord(text[error.position]):04X} is not allowed")
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reader.report(mark.line if mark else 0, f"not YAML: {', '.join(part for part in (error.problem, error.context) if part)}")
    except YAMLError as error:
        reader.report(0, f"not YAML: {error}")
    if reader.problems:
        raise ConfigError("\n".join(reader.problems), reader.problems)
    return root


def format_key(key: KeyPath) -> str:
    """A key path as messages and ``--set`` write it; a part with dots in it stands in quotes.

    >>> format_key(("sensitivity", "axes", "leakage", "*.noise.leakage", 0))
    'sensitivity.axes.leakage."*.noise.leakage".0'
    """
    return ".".join(str(part) if _BARE.fullmatch(str(part)) else f'"{one_line(str(part))}"' for part in key)


def show(value: Any, limit: int = 60) -> str:
    """A value on one line and not longer than ``limit``, for messages.

    >>> show(None), show(True), show("no"), show([1, "a"])
    ('null', 'true', "'no'", "[1, 'a']")
    """
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else one_line(repr(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(text: str) -> str:
    """The text with line ends and other unprintable characters escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class _Reader:
    """Builds nodes from the events of ruamel.yaml's parser; what is not plain data is reported and stands as ``None``."""

    def __init__(self, text: str, name: str, lines: bool) -> None:
        self.events: Iterator[Event] = iter(YAML(typ="safe", pure=True).parse(text))
        self.name, self.lines = name, lines
        self.problems: list[str] = []
        self._anchors: dict[str, tuple[Node, int]] = {}  # with the number of values below
        self._count = 0

    def report(self, line: int, problem: str) -> None:
        self.problems.append(f"{self._at(line)}: {one_line(problem)}")

    def document(self) -> Node:
        root: Node | None = None
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    raise _stop("must hold one document, a second one begins here", event)
                first = next(self.events)
                root = self._node(first, ())
            elif isinstance(event, StreamEndEvent):
                break
        return root if root is not None else Node(None, self._at(0))

    def _at(self, line: int) -> Position:
        return Position(self.name, line + 1 if self.lines else None)

    def _node(self, event: Event, key: KeyPath, line: int | None = None) -> Node:
        """The value that begins with ``event``; it counts as written in ``line``, by default where it begins."""
        here = _line(event)
        at = self._at(here if line is None else line)
        self._count += 1
        if self._count > _NODES or len(key) > _DEPTH:
            raise _stop(f"must not hold more than {_NODES} values or {_DEPTH} blocks within blocks", event)
        if isinstance(event, AliasEvent):
            return self._alias(event, key, at)
        tag = getattr(event, "tag", None)
        if tag is not None:
            self.report(here, f"{_prefix(key)}must be plain data, got the tag {str(tag).replace('tag:yaml.org,2002:', '!!')!r}")
        before = self._count
        value: Any
        if isinstance(event, MappingStartEvent):
            value = self._mapping(key)
        elif isinstance(event, SequenceStartEvent):
            value = []
            while not isinstance(item := next(self.events), SequenceEndEvent):
                value.append(self._node(item, (*key, len(value))))
        else:
            value = self._scalar(event, key)
        node = Node(value, at)
        anchor = getattr(event, "anchor", None)
        if anchor:
            self._anchors[anchor] = node, self._count - before
        return node

    def _alias(self, event: AliasEvent, key: KeyPath, at: Position) -> Node:
        if event.anchor not in self._anchors:
            self.report(_line(event), f"{_prefix(key)}no finished value above is marked &{event.anchor}")
            return Node(None, at)
        node, size = self._anchors[event.anchor]
        self._count += size
        return Node(node.value, at)

    def _mapping(self, key: KeyPath) -> dict[str, Node]:
        found: dict[str, Node] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            line = _line(event)
            name = self._node(event, (*key, "?")).value
            if event.__class__ is ScalarEvent and name == "<<" and event.implicit[0]:
                self.report(line, f"{_prefix(key)}merge keys (<<) are not part of YAML 1.2; use extends")
            elif not isinstance(name, str):
                shown = "a list or mapping" if isinstance(name, list | dict) else show(name)
                self.report(line, f"{_prefix(key)}a key must be a text, got {shown}; write it in quotes")
            elif name in found:
                self.report(line, f"{_prefix((*key, name))}given twice, first in line {found[name].at.line}")
            child = self._node(next(self.events), (*key, name if isinstance(name, str) else "?"), line)
            if isinstance(name, str) and name not in found:
                found[name] = child
        return found

    def _scalar(self, event: Event, key: KeyPath) -> Any:
        text = str(getattr(event, "value", ""))
        try:
            value = resolve(text) if getattr(event, "implicit", (False,))[0] else text
            text.encode()
        except UnicodeEncodeError:
            self.report(_line(event), f"{_prefix(key)}must be Unicode text, got half a surrogate pair in {text!a}")
            return None
        except ValueError:
            self.report(_line(event), f"{_prefix(key)}must be a shorter number, got {len(text)} digits")
            return None
        return value


def resolve(text: str) -> Any:
    """A scalar without quotes, by the core schema.

    >>> resolve("1e-3"), resolve("010"), resolve("no"), resolve("~")
    (0.001, 10, 'no', None)
    """
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "", 1)) if _SPECIAL.fullmatch(text) else text


def _line(event: Event) -> int:
    return int(event.start_mark.line) if event.start_mark is not None else 0


def _prefix(key: KeyPath) -> str:
    return f"{format_key(key)}: " if key else ""


def _stop(problem: str, event: Event) -> MarkedYAMLError:
    return MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
