"""What pydantic finds, in this package's words: what must hold, got what, did you mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic_core import PydanticCustomError

from neurosim.errors import nearest
from neurosim.yamltext import show

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
        return f"must be {context['expected']}, got {show(value)}{_did_you_mean(value, valid)}"
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


def _did_you_mean(value: Any, valid: Iterable[str]) -> str:
    """A suggestion, for messages that list what is valid already."""
    hint = nearest(value, valid) if isinstance(value, str) else ""
    return hint if "did you mean" in hint else ""


def _unknown_kind(kind: str, context: Mapping[str, Any], value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"must be a mapping (key: value), got {show(value)}"
    if kind == "union_tag_not_found" or "kind" not in value:
        return "must be given, is missing"
    valid = re.findall(r"'([^']*)'", str(context.get("expected_tags", "")))
    return f"must be {' or '.join(map(repr, valid))}, got {show(value['kind'])}{_did_you_mean(value['kind'], valid)}"


def said(kind: str, text: str) -> PydanticCustomError:
    """An error for a validator to raise, whose text :func:`explain` gives as it is.

    Args:
        kind: Pydantic's type of the problem.
        text: What must hold, and what was given.
    """
    return PydanticCustomError(kind, "{in_our_words}", {"in_our_words": text})


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)
