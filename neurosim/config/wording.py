"""All problems of a block of a config: each in this package's words, and at its place as the user wrote it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from neurosim.wording import explain, said
from neurosim.yamlfile import KeyPath, show

Line = tuple[str, KeyPath, str, Any]  #: pydantic's type of the problem, where, in words, the value


def restate(error: ValidationError, given: Any, keys: Iterable[str]) -> ValidationError:
    """The same error with every message in our words and every place as the user wrote it.

    Args:
        error: Of the validation of one block.
        given: The block as the user wrote it.
        keys: The keys that it may have, for suggestions.
    """
    lines, branches = [], set()
    for found in error.errors(include_url=False):
        place = _place(found, given)
        lines.append((found["type"], place, explain(found, keys), found["input"]))
        if len(place) < len(found["loc"]):
            branches.add(place)
    return problems(_without_alternatives(lines, branches))


def problems(lines: Iterable[Line]) -> ValidationError:
    """An error that a validator may raise to report several problems at their own places below it."""
    details = [InitErrorDetails(type=said(kind, text), loc=place, input=value) for kind, place, text, value in lines]
    return ValidationError.from_exception_data("neurosim", details)


def problem(place: KeyPath, text: str, value: Any) -> ValidationError:
    """An error that a validator may raise to report one problem at a place below it."""
    return problems([("value_error", place, text, value)])


def _place(line: Mapping[str, Any], given: Any) -> KeyPath:
    """Where the problem is, in the keys that the user wrote: pydantic adds the branches of its unions, and names of our own."""
    place: list[str | int] = []
    node = given
    last = len(line["loc"]) - 1
    for at, part in enumerate(line["loc"]):
        inside = isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
        if inside or (isinstance(node, Mapping) and part in node):
            node = node[part]
            place.append(part)
        elif line["type"] == "missing" and at == last:
            place.append(part)
    if line["type"] in ("union_tag_invalid", "union_tag_not_found") and isinstance(node, Mapping):
        place.append("kind")
    return tuple(place)


def _without_alternatives(lines: Sequence[Line], branches: Container[KeyPath]) -> list[Line]:
    """Of the branches of a union, those that came furthest; if several did, joined by “or”."""
    kept: list[Line] = []
    for line in lines:
        kind, place, text, value = line
        if place in branches and any(len(other[1]) > len(place) and other[1][: len(place)] == place for other in lines):
            continue
        twin = next((at for at, other in enumerate(kept) if other[1] == place), None)
        if twin is None or place not in branches:
            kept.append(line)
            continue
        before, got = kept[twin][2], f", got {show(value)}"
        if before != text and before.endswith(got) and text.startswith("must be ") and text.endswith(got):
            kept[twin] = (kind, place, f"{before.removesuffix(got)} or {text.removeprefix('must be ')}", value)
    return kept
