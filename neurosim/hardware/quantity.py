"""Numbers of a profile: each with its unit, its source and whether that has been verified."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from neurosim.errors import nearest
from neurosim.yamlfile import KeyPath, YamlFile

_QUANTITY = {"value", "unit", "source", "verified"}
_PLACE = re.compile(r"\b(table|fig\.?|figure|eq\.?|equation|section|line|lines|page|p\.)\s*\(?\w|§", re.IGNORECASE)
_PUBLISHED = re.compile(r"\b10\.\d{4,9}/\S+|\b(github|gitlab|zenodo|codeberg|bitbucket)\.(com|org)/\S+", re.IGNORECASE)


class Quantity(NamedTuple):
    """One number of a profile, or several that belong together, and where they come from."""

    value: float | list[float]
    unit: str
    source: str
    verified: bool
    test: str = ""

    @property
    def shown(self) -> str:
        """The value as people read it."""
        return f"[{', '.join(f'{one:g}' for one in self.value)}]" if isinstance(self.value, list) else f"{self.value:g}"


def quantities(document: YamlFile, problems: list[str], top: str = "chain") -> tuple[Any, dict[str, Quantity]]:
    """A part of a profile with plain numbers, and where they come from; what does not hold is added to ``problems``.

    Names are those within the chain (``output.adc.levels``); of other parts they begin with that of the part (``cost.symbol_s``).
    """
    provenance: dict[str, Quantity] = {}

    def walk(node: Any, key: KeyPath) -> Any:
        name = ".".join(map(str, key[1:] if top == "chain" else key))
        if isinstance(node, Mapping) and "value" in node:
            problem = _problem_of_quantity(node)
            if problem:
                problems.append(f"{document.at(key)}: {name}: {problem}")
            else:
                provenance[name] = Quantity(node["value"], str(node["unit"]), node["source"], node["verified"], node.get("test", ""))
            return node["value"]
        if isinstance(node, Mapping):
            return {part: walk(value, (*key, part)) for part, value in node.items()}
        if isinstance(node, list):
            return [walk(value, (*key, at)) for at, value in enumerate(node)]
        if isinstance(node, int | float) and not isinstance(node, bool):
            problems.append(f"{document.at(key)}: {name}: a number must be given as {{value, unit, source, verified}}, got the bare {node}")
        return node

    return walk(document.data.get(top, {}), (top,)), provenance


def _problem_of_quantity(node: Mapping[str, Any]) -> str:
    missing, unknown = sorted(_QUANTITY - set(node)), sorted(set(node) - _QUANTITY - {"test"})
    if missing:
        return f"a number needs value, unit, source and verified; missing: {', '.join(missing)}"
    if unknown:
        return f"unknown key {unknown[0]!r}{nearest(unknown[0], [*_QUANTITY, 'test'])}"
    values = node["value"] if isinstance(node["value"], list) else [node["value"]]
    if not values or any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return f"value must be a number, or a list of them, got {node['value']!r}"
    if not isinstance(node["source"], str) or not node["source"].strip():
        return f"source must say where the number comes from, got {node['source']!r}"
    if not isinstance(node["verified"], bool):
        return f"verified must be true or false, got {node['verified']!r}"
    if node["verified"] and not (_PUBLISHED.search(node["source"]) and _PLACE.search(node["source"])):
        place = "a source with a DOI or repository and a place in it (table, figure, equation, section, line)"
        return f"verified: true needs {place}, got {node['source']!r}"
    if node["verified"] and not isinstance(node.get("test"), str):
        return "verified: true needs test, the name of the test that checks the number (tests/…::test_…)"
    return ""
