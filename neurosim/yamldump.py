"""Plain data as YAML 1.2 text that reads back equal.

Written here and not by ruamel.yaml, whose plain keys that begin with a question mark do not read back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from neurosim.yamltext import resolve

_BARE: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")


def dump_yaml(data: Mapping[str, Any]) -> str:
    """YAML of a mapping: blocks, with innermost lists and mappings on one line each.

    Args:
        data: Mappings with text keys, lists, tuples (written as lists), texts, numbers, booleans and ``None``.

    Raises:
        TypeError: It holds something else.

    >>> print(dump_yaml({"seed": 0, "model": {"kind": "mlp", "sizes": [64, 10]}, "version": "1e-3"}), end="")
    seed: 0
    model:
      kind: mlp
      sizes: [64, 10]
    version: "1e-3"
    """
    return "".join(f"{line}\n" for line in _mapping(data)) if data else "{}\n"


def _mapping(data: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, value in data.items():
        if _fits_a_line(value):
            lines.append(f"{_text(key)}: {_flow(value)}")
        else:
            lines += [f"{_text(key)}:", *(f"  {line}" for line in _block(value))]
    return lines


def _block(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return _mapping(value)
    lines = []
    for item in value:
        first, *rest = [_flow(item)] if _fits_a_line(item) else _block(item)
        lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return lines


def _fits_a_line(value: Any) -> bool:
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return not any(isinstance(child, Mapping | list | tuple) and child for child in children)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {_flow(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value) if math.isfinite(value) else ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return _text(value)


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"YAML: must be plain data, got {text!r}")
    if _BARE.fullmatch(text) and isinstance(resolve(text), str):
        return str(text)
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\u{ord(char):04X}" if ord(char) < 1 << 16 else f"\\U{ord(char):08X}"
