from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from neurosim.config import RunConfig, json_schema
from neurosim.config.base import Block
from neurosim.datasets import DATASETS
from neurosim.models import MODELS


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            yield from references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from references(item)


def blocks(parent: type[Block] = Block) -> Iterator[type[Block]]:
    for block in parent.__subclasses__():
        yield block
        yield from blocks(block)


def test_the_schema_is_json_and_whole() -> None:
    schema = json.loads(json.dumps(json_schema()))
    found = list(references(schema))
    assert len(found) > 20
    assert {f"#/$defs/{name}" for name in schema["$defs"]} >= set(found)


def test_every_registered_kind_is_an_alternative_with_its_parameters() -> None:
    definitions = json_schema()["$defs"]
    for block, registry in (("ModelConfig", list(MODELS)), ("DataConfig", list(DATASETS))):
        assert [one["$ref"] for one in definitions[block]["oneOf"]] == [f"#/$defs/{block}.{kind}" for kind in registry]
    mlp = definitions["ModelConfig.mlp"]
    assert mlp["properties"]["kind"] == {"const": "mlp"}
    assert {"sizes", "activation", "init_from"} <= set(mlp["properties"])
    assert mlp["required"] == ["kind", "sizes"]
    assert mlp["additionalProperties"] is False


def test_a_file_that_extends_another_may_leave_everything_out() -> None:
    schema = json_schema()
    assert schema["if"] == {"required": ["extends"]}
    assert schema["then"] == {"$ref": "#/$defs/partial.RunConfig"}
    assert schema["else"] == {"$ref": "#/$defs/RunConfig"}
    assert schema["$defs"]["RunConfig"]["required"] == ["name", "data", "model"]
    partial = {name: value for name, value in schema["$defs"].items() if name.startswith("partial.")}
    assert not any(isinstance(value.get("required"), list) for value in partial.values())
    assert all(reference.startswith("#/$defs/partial.") for reference in references(partial))


def test_every_key_of_a_config_is_in_the_schema() -> None:
    properties = json_schema()["$defs"]["RunConfig"]["properties"]
    assert set(properties) == {"extends", *RunConfig.model_fields}


def test_every_number_has_a_range_and_every_plain_key_a_description() -> None:
    found = {block.__name__: block for block in blocks() if block.__module__.startswith("neurosim.config")}
    assert len(found) >= 15
    for block in found.values():
        assert block.__doc__, block
    definitions = json_schema()["$defs"]
    numbers = 0
    for name in found.keys() & definitions.keys():
        for key, value in definitions[name].get("properties", {}).items():
            for choice in value.get("anyOf", [value]):
                if choice.get("type") in ("integer", "number"):
                    assert choice.keys() & {"minimum", "exclusiveMinimum", "const"}, (name, key)
                    numbers += 1
            if "$ref" not in value and key != "kind" and not any("$ref" in one for one in value.get("oneOf", value.get("anyOf", []))):
                assert value.get("description"), (name, key)
    assert numbers >= 20
