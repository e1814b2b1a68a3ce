from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, Field

import neurosim as ns
from neurosim.config.schema import RunConfig, TrainConfig
from neurosim.described import Described, descriptions


class Inner(Described):
    """A part."""

    width: int = 1
    """How wide it is."""


class Lamp(Described):
    """A lamp."""

    kind: ClassVar[str] = "lamp"
    """Of the class, and no field."""
    watts: float
    """What it takes,
    W.
    """
    lumens: float = 1.0
    inner: Inner = Inner()
    """What it holds."""
    said: int = Field(1, description="Said by the field itself.")
    """Not this."""


class Torch(Lamp):
    """A lamp that is carried."""

    watts: float = 2.0
    battery: str = "AA"
    """What it runs on."""


class _Reading(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class _Inner(_Reading):
    """A part."""

    width: int = 1
    """How wide it is."""


class _Lamp(_Reading):
    """A lamp."""

    kind: ClassVar[str] = "lamp"
    """Of the class, and no field."""
    watts: float
    """What it takes,
    W.
    """
    lumens: float = 1.0
    inner: _Inner = _Inner()
    """What it holds."""
    said: int = Field(1, description="Said by the field itself.")
    """Not this."""


class _Torch(_Lamp):
    """A lamp that is carried."""

    watts: float = 2.0
    battery: str = "AA"
    """What it runs on."""


def test_the_text_below_a_field_describes_it() -> None:
    assert descriptions(Lamp) == {"watts": "What it takes,\nW.", "inner": "What it holds.", "said": "Not this."}


def test_a_class_has_the_descriptions_of_its_bases_but_of_what_it_declares_anew() -> None:
    assert descriptions(Torch) == {"battery": "What it runs on.", "inner": "What it holds.", "said": "Not this."}


@pytest.mark.parametrize(("ours", "pydantics"), [(Lamp, _Lamp), (Torch, _Torch)])
def test_the_schema_is_the_one_that_pydantic_makes_when_it_reads_every_source(ours: type[BaseModel], pydantics: type[BaseModel]) -> None:
    theirs = repr(pydantics.model_json_schema()).replace("_Lamp", "Lamp").replace("_Torch", "Torch").replace("_Inner", "Inner")
    assert repr(ours.model_json_schema()) == theirs


def test_nothing_is_read_before_it_is_asked_for() -> None:
    assert all(field.description is None for field in TrainConfig.model_fields.values())
    assert descriptions(TrainConfig).keys() <= TrainConfig.model_fields.keys()


def test_every_field_of_every_stage_has_a_description() -> None:
    found: dict[str, set[str]] = {kind: ns.STAGES[kind].spec.model_fields.keys() - {"kind"} for kind in ns.STAGES}
    assert {kind: fields - descriptions(ns.STAGES[kind].spec).keys() for kind, fields in found.items()} == {kind: set() for kind in found}


def test_a_class_without_a_source_describes_nothing() -> None:
    names: dict[str, Any] = {"Described": Described, "__name__": "typed_at_a_prompt"}
    exec("class Typed(Described):\n    a: int = 1\n    'A text.'", names)
    assert descriptions(names["Typed"]) == {}
    assert names["Typed"].model_json_schema()["properties"]["a"] == {"default": 1, "title": "A", "type": "integer"}


def test_the_schema_of_a_run_describes_its_keys() -> None:
    assert RunConfig.model_json_schema()["properties"]["seed"]["description"] == descriptions(RunConfig)["seed"]
