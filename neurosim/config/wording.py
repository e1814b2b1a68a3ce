"""What pydantic finds, in this package's words: what must hold, got what, did you mean."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from neurosim.errors import nearest
from neurosim.yamlfile import KeyPath, show

Line = tuple[str, KeyPath, str, Any]  #: pydantic's type of the problem, where, in words, the value

_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "dict": "a mapping (key: value)",
    "model": "a mapping (key: value)",
    "dataclass": "a mapping (key: value)",
    "path": "a path",
    "none": "null",
}
_RANGES: Final = {"greater_than_equal": ("ge", "≥"), "greater_than": ("gt", ">"), "less_than_equal": ("le", "≤"), "less_than": ("lt", "<")}


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
    details = [InitErrorDetails(type=_literal(kind, text), loc=place, input=value) for kind, place, text, value in lines]
    return ValidationError.from_exception_data("neurosim", details)


def problem(place: KeyPath, text: str, value: Any) -> ValidationError:
    """An error that a validator may raise to report one problem at a place below it."""
    return problems([("value_error", place, text, value)])


def explain(line: Mapping[str, Any], keys: Iterable[str] = ()) -> str:
    """One problem in words, without its place.

    Args:
        line: One of pydantic's :meth:`ValidationError.errors`.
        keys: The keys that the block may have.
    """
    kind, context, value = str(line["type"]), line.get("ctx") or {}, line["input"]
    if "in_our_words" in context:
        return str(context["in_our_words"])
    if kind == "missing":
        return "must be given, is missing"
    if kind == "extra_forbidden":
        return f"unknown key{nearest(str(line['loc'][-1]), keys)}"
    if kind == "value_error":
        return str(context.get("error", line["msg"]))
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return _unknown_kind(kind, context, value)
    if kind in ("literal_error", "enum"):
        valid = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"must be {context['expected']}, got {show(value)}{did_you_mean(value, valid)}"
    if kind in _RANGES:
        name, sign = _RANGES[kind]
        return f"must be {sign} {_number(context[name])}, got {show(value)}"
    if kind == "string_too_short" and context["min_length"] == 1:
        return "must not be empty, got ''"
    if kind in ("too_short", "too_long"):
        bound, count = ("at least", context["min_length"]) if kind == "too_short" else ("at most", context["max_length"])
        return f"must have {bound} {count} {'entry' if count == 1 else 'entries'}, got {show(value)}"
    expected = _KINDS.get(kind.split("_")[0])
    if expected is not None and kind.split("_")[1] in ("type", "from", "parsing", "number", "attributes", "required"):
        return f"must be {expected}, got {show(value)}"
    message = str(line["msg"]).removeprefix("Input should ").removeprefix("Value error, ")
    return f"{'must ' if message.startswith('be ') else ''}{message[:1].lower()}{message[1:]}, got {show(value)}"


def did_you_mean(value: Any, valid: Iterable[str]) -> str:
    """A suggestion, for messages that list what is valid already."""
    hint = nearest(value, valid) if isinstance(value, str) else ""
    return hint if "did you mean" in hint else ""


def _unknown_kind(kind: str, context: Mapping[str, Any], value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"must be a mapping (key: value), got {show(value)}"
    if kind == "union_tag_not_found" or "kind" not in value:
        return "must be given, is missing"
    valid = re.findall(r"'([^']*)'", str(context.get("expected_tags", "")))
    return f"must be {' or '.join(map(repr, valid))}, got {show(value['kind'])}{did_you_mean(value['kind'], valid)}"


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


def _literal(kind: str, text: str) -> PydanticCustomError:
    return PydanticCustomError(kind, "{in_our_words}", {"in_our_words": text})


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)
