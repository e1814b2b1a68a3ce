from __future__ import annotations

import enum
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, PositiveInt, ValidationError
from torch import nn

from neurosim.config.kinds import Component, arguments_schema, check_arguments, check_kind
from neurosim.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Hashable


class Colour(enum.Enum):
    RED = "red"


class Part(BaseModel):
    width: PositiveInt
    name: str = "part"


class Unchecked:
    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> None:
        raise TypeError("there is no schema")


def network(
    sizes: Annotated[list[PositiveInt], Field(min_length=2)],
    activation: Literal["relu", "gelu"] = "relu",
    *,
    shape: tuple[int, int] = (1, 2),
    path: str | Path = "here",
    classes: Literal["digits", "letters"] | list[str] = "digits",
    rate: float = 0.5,
    limit: dict[str, PositiveInt] | None = None,
) -> None:
    """A network.

    With more to say.

    Args:
        sizes: Features, from
            the input on.
        activation, shape: Two things.
        path: A place: where it lies.

    Returns:
        Nothing.
    """


def registry_of(**entries: Component) -> Registry[Component]:
    registry: Registry[Component] = Registry("model")
    for name, entry in entries.items():
        registry.add(name, entry)
    return registry


def check(entry: Component, given: dict[str, Any], own: tuple[str, ...] = ("kind", "batch_size")) -> dict[str, Any]:
    return check_arguments(registry_of(it=entry), "it", given, own)


def problems(entry: Component, given: dict[str, Any]) -> dict[tuple[str | int, ...], str]:
    with pytest.raises(ValidationError) as caught:
        check(entry, given)
    return {line["loc"]: line["msg"] for line in caught.value.errors()}


def test_arguments_come_as_the_annotations_have_them_with_plain_defaults() -> None:
    assert check(network, {"sizes": [3, 4], "shape": [5, 6], "rate": 1}) == {
        "sizes": [3, 4],
        "activation": "relu",
        "shape": (5, 6),
        "path": "here",
        "classes": "digits",
        "rate": 1.0,
        "limit": None,
    }


def test_every_fault_is_said_at_its_place() -> None:
    given = {
        "sizes": [1.5],
        "activaton": "relu",
        "activation": "rel",
        "shape": [1, "2"],
        "path": 3,
        "classes": [1],
        "rate": "1",
        "limit": {"a": 0},
    }
    assert problems(network, given) == {
        ("sizes", 0): "must be a whole number, got 1.5",
        ("activation",): "must be 'relu' or 'gelu', got 'rel'; did you mean 'relu'?",
        ("shape", 1): "must be a whole number, got '2'",
        ("path",): "must be a text, got 3",
        ("classes", 0): "must be a text, got 1",
        ("rate",): "must be a number, got '1'",
        ("limit", "a"): "must be > 0, got 0",
        ("activaton",): "unknown key; did you mean 'activation'?",
    }


def test_alternatives_that_all_fail_are_joined() -> None:
    assert problems(network, {"sizes": [1, 2], "classes": 5}) == {("classes",): "must be 'digits' or 'letters' or a list, got 5"}


def test_other_faults_that_pydantic_finds_are_said_in_its_words() -> None:
    def entry(code: Annotated[str, Field(pattern="^a+$")], ratio: Annotated[float, Field(multiple_of=0.5)]) -> None: ...

    assert problems(entry, {"code": "b", "ratio": 0.75}) == {
        ("code",): "string should match pattern '^a+$', got 'b'",
        ("ratio",): "must be a multiple of 0.5, got 0.75",
    }


def test_a_missing_argument_is_said() -> None:
    assert problems(network, {}) == {("sizes",): "must be given, is missing"}


def test_a_misspelt_key_of_the_block_is_suggested() -> None:
    assert problems(network, {"sizes": [1, 2], "batchsize": 3}) == {("batchsize",): "unknown key; did you mean 'batch_size'?"}


def test_a_class_is_asked_for_its_constructor() -> None:
    class Net:
        def __init__(self, width: PositiveInt, depth: int = 2) -> None: ...

    assert check(Net, {"width": 3}) == {"width": 3, "depth": 2}
    assert problems(Net, {"width": 0}) == {("width",): "must be > 0, got 0"}


def test_a_module_without_a_constructor_takes_nothing() -> None:
    class Net(nn.Module): ...

    assert check(Net, {}) == {}
    assert problems(Net, {"width": 1}) == {("width",): "unknown key; valid: 'batch_size', 'kind'"}


def test_that_torch_has_compiled_something_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves a function of its own in the place of ``nn.Module.__init__``."""
    original: Any = nn.Module.__init__

    def patched(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "__init__", patched)
    test_a_module_without_a_constructor_takes_nothing()


def test_partial_functions_and_callable_objects_are_asked_too() -> None:
    class Maker:
        def __call__(self, width: int) -> None: ...

    assert check(functools.partial(network, rate=0.25), {"sizes": [1, 2]})["rate"] == 0.25
    assert problems(Maker(), {"width": "1"}) == {("width",): "must be a whole number, got '1'"}


def test_unannotated_parameters_take_anything() -> None:
    def entry(a, b=3): ...  # type: ignore[no-untyped-def]  # the point of the test

    assert check(entry, {"a": {"x": [1, None]}}) == {"a": {"x": [1, None]}, "b": 3}


def test_open_ended_parameters_take_any_name() -> None:
    def entry(a: int, **rest: Any) -> None: ...

    assert check(entry, {"a": 1, "z": "x"}) == {"a": 1, "z": "x"}
    assert problems(entry, {"a": "1", "z": "x"}) == {("a",): "must be a whole number, got '1'"}


def test_names_that_pydantic_has_itself_are_fine() -> None:
    def entry(copy: int, json: str = "x", model_config: int = 1, _private: int = 2) -> None: ...

    assert check(entry, {"copy": 5}) == {"copy": 5, "json": "x", "model_config": 1, "_private": 2}


def test_an_annotation_that_does_not_exist_at_run_time_takes_anything() -> None:
    def entry(key: Hashable, width: int) -> None: ...

    assert check(entry, {"key": 3, "width": 1}) == {"key": 3, "width": 1}
    assert problems(entry, {"key": 3, "width": "1"}) == {("width",): "must be a whole number, got '1'"}


def test_an_annotation_that_pydantic_cannot_check_takes_anything() -> None:
    def entry(width: Unchecked, depth: int) -> None: ...

    assert check(entry, {"width": "1", "depth": 1}) == {"width": "1", "depth": 1}
    assert problems(entry, {"width": 1, "depth": "1"}) == {("depth",): "must be a whole number, got '1'"}


def test_types_that_yaml_has_not_keep_their_defaults() -> None:
    def entry(layer: type[nn.Module] = nn.ReLU, scale: complex = 1j, width: int = 1) -> None: ...

    assert check(entry, {})["width"] == 1
    assert "layer" not in check(entry, {})


def test_a_default_that_its_annotation_refuses_is_left_to_the_function() -> None:
    def entry(width: int = 1, depth: int = 2) -> None: ...

    entry.__defaults__ = (None, 2)
    assert check(entry, {"depth": 3}) == {"depth": 3}


def test_richer_types_are_made_from_plain_data() -> None:
    def entry(colour: Colour, part: Part, place: Path) -> None: ...

    found = check(entry, {"colour": "red", "part": {"width": 3}, "place": "a/b"})
    assert found == {"colour": Colour.RED, "part": Part(width=3), "place": Path("a/b")}
    assert problems(entry, {"colour": "rd", "part": {"width": 0}, "place": 1}) == {
        ("colour",): "must be 'red', got 'rd'; did you mean 'red'?",
        ("part", "width"): "must be > 0, got 0",
        ("place",): "must be a text, got 1",
    }


def test_a_parameter_with_the_name_of_a_key_of_the_block_is_refused() -> None:
    def entry(batch_size: int) -> None: ...

    assert problems(entry, {}) == {
        (): "the model 'it' must not have a parameter named 'batch_size': that key is the config's own; rename it"
    }


def test_the_registry_is_asked_at_the_time_of_the_check() -> None:
    registry = registry_of(mlp=network)
    with pytest.raises(ValueError, match=r"^no model is named 'late'; valid: 'mlp'; a file with models of your own is named by --plugin$"):
        check_kind(registry, "late")
    registry.add("late", network)
    assert check_kind(registry, "late") == "late"


def test_the_schema_describes_the_parameters_in_the_words_of_the_docstring() -> None:
    schema = arguments_schema(network, "network")
    assert schema["description"] == "A network."
    assert schema["required"] == ["sizes"]
    assert schema["additionalProperties"] is False
    texts = {name: found.get("description") for name, found in schema["properties"].items()}
    assert texts["sizes"] == "Features, from the input on."
    assert texts["activation"] == texts["shape"] == "Two things."
    assert texts["path"] == "A place: where it lies."
    assert texts["rate"] is None


def test_the_schema_leaves_open_what_json_has_not() -> None:
    def entry(layer: type[nn.Module] = nn.ReLU, module: nn.Module | None = None, width: int = 1) -> None: ...

    properties = arguments_schema(entry, "entry")["properties"]
    assert "type" not in properties["layer"]
    assert {} in properties["module"]["anyOf"]
    assert properties["width"]["type"] == "integer"
