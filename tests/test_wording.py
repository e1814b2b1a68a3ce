"""What pydantic finds, in this package's words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from neurosim.wording import explain, said


def _never(value: object) -> object:
    raise said("own", f"must be {{better}}, got {value!r}")


class Block(BaseModel):
    """A field for every kind of problem."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    needed: int = 1
    low: Annotated[float, Field(ge=2, lt=5)] = 2
    share: Annotated[float, Field(gt=0.5, le=1)] = 1
    flag: bool = False
    text: Annotated[str, Field(min_length=1)] = "x"
    some: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    way: Literal["floor", "ceil"] = "floor"
    table: dict[str, int] = {}
    even: Annotated[int, Field(multiple_of=2)] = 2
    own: Annotated[object, PlainValidator(_never)] = None


def explained(**given: Any) -> list[str]:
    """All problems of a block, in words."""
    with pytest.raises(ValidationError) as caught:
        Block(**given)
    return [explain(dict(line), Block.model_fields) for line in caught.value.errors()]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"low": 1}, "must be ≥ 2, got 1"),
        ({"low": 5}, "must be < 5, got 5"),
        ({"share": 0.5}, "must be > 0.5, got 0.5"),
        ({"share": 2}, "must be ≤ 1, got 2"),
        ({"low": float("inf")}, "must be a finite number, got inf"),
        ({"needed": "many"}, "must be a whole number, got 'many'"),
        ({"needed": 1.5}, "must be a whole number, got 1.5"),
        ({"needed": None}, "must be a whole number, got null"),
        ({"flag": "perhaps"}, "must be true or false, got 'perhaps'"),
        ({"text": 3}, "must be a text, got 3"),
        ({"text": ""}, "must not be empty, got ''"),
        ({"some": []}, "must have at least 1 entry, got []"),
        ({"some": [1, 2, 3]}, "must have at most 2 entries, got [1, 2, 3]"),
        ({"some": 3}, "must be a list, got 3"),
        ({"table": 3}, "must be a mapping (key: value), got 3"),
        ({"way": "flor"}, "must be 'floor' or 'ceil', got 'flor'; did you mean 'floor'?"),
        ({"way": 3}, "must be 'floor' or 'ceil', got 3"),
        ({"neded": 3}, "unknown key; did you mean 'needed'?"),
        ({"even": 3}, "must be a multiple of 2, got 3"),
        ({"own": 3}, "must be {better}, got 3"),
    ],
)
def test_a_problem_is_said_as_what_must_hold_and_what_was_given(given: dict[str, Any], text: str) -> None:
    assert explained(**given) == [text]


def test_a_missing_key_is_said_to_be_missing() -> None:
    class Needs(BaseModel):
        key: int

    with pytest.raises(ValidationError) as caught:
        Needs.model_validate({})
    assert [explain(dict(line)) for line in caught.value.errors()] == ["must be given, is missing"]


def test_without_known_keys_an_unknown_one_has_no_suggestion() -> None:
    with pytest.raises(ValidationError) as caught:
        Block.model_validate({"neded": 3})
    assert explain(dict(caught.value.errors()[0])) == "unknown key"
