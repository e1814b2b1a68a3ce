"""The arguments of a registered component, checked against its signature.

A component (a model, a data set) is a function or class. What a config may say beside ``kind`` are its parameters, typed by their
annotations. The registry is asked when a config is checked, so that what a plugin registers later is known.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticSerializationError, core_schema, to_json, to_jsonable_python

from neurosim.config.wording import Line, problem, problems, restate
from neurosim.errors import ConfigError, nearest
from neurosim.registry import Registry

Component = Callable[..., Any]


def check_kind(registry: Registry[Component], kind: str) -> str:
    """``kind`` if it is registered now.

    Raises:
        ValueError: It is not; the message suggests the nearest.
    """
    if kind not in registry:
        hint = nearest(kind, registry)
        own = "" if hint.endswith("?") else f"; a file with {registry.what}s of your own is named by --plugin"
        raise ValueError(f"no {registry.what} is named {kind!r}{hint}{own}")
    return kind


def check_arguments(registry: Registry[Component], kind: str, given: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    """What the component is to be called with: what is given, as its annotations have it, and its defaults where they are plain data.

    Args:
        registry: Where the component is registered.
        kind: Its name.
        given: Plain data by parameter.
        own: Keys of the block that are no arguments; a parameter must not have such a name.

    Raises:
        ValidationError: Every argument that is unknown, missing or not what its annotation says, at its place; if there is none, those that
            the component's own check refuses.
    """
    entry = registry[kind]
    taken = sorted(set(_parameters(entry)) & set(own))
    if taken:
        text = f"the {registry.what} {kind!r} must not have a parameter named {taken[0]!r}: that key is the config's own; rename it"
        raise problem((), text, kind)
    model = arguments_model(entry, kind)
    names = [field.alias or name for name, field in model.model_fields.items()]
    try:
        found = _validated(model, given)
    except ValidationError as error:
        raise restate(error, given, [*names, *own]) from None
    defaults = {name: value for name, value in _plain_defaults(entry).items() if name not in given}
    with contextlib.suppress(ValidationError):  # a default that its own annotation refuses, such as None for an int
        found = _validated(model, {**defaults, **given})
    try:
        registry.check(kind, found)
    except ConfigError as error:
        raise problems(_refused(text, found, given) for text in error.problems) from None
    return found


def _refused(text: str, found: Mapping[str, Any], given: Mapping[str, Any]) -> Line:
    """What a component says of its arguments, at the place that it says it of: ``neuron.tau_mem: must be …``."""
    head, _, said = text.partition(": ")
    place = tuple(head.split("."))
    if place[0] not in found:
        return "value_error", (), text, dict(found)
    return "value_error" if place[0] in given else "missing", place, said, found[place[0]]


def arguments_model(entry: Component, name: str) -> type[BaseModel]:
    """A pydantic model with one field per parameter of a function or class; unannotated parameters take anything."""
    hints, texts = _hints(entry), _described(entry)
    fields: dict[str, Any] = {}
    for at, (parameter, default) in enumerate(_parameters(entry).items()):
        required = default is inspect.Parameter.empty
        info = Field(... if required else default, alias=parameter, description=texts.get(parameter))
        fields[f"p{at}"] = (_supported(hints.get(parameter, Any)), info)  # under a neutral name, for a parameter may be called copy or json
    open_ended = any(one.kind is one.VAR_KEYWORD for one in _signature(entry))
    settings = ConfigDict(extra="allow" if open_ended else "forbid", arbitrary_types_allowed=True, strict=True)
    return create_model(name, __config__=settings, __doc__=_first_paragraph(entry), **fields)


def arguments_schema(entry: Component, name: str) -> dict[str, Any]:
    """The JSON schema of the arguments; a type that JSON has not is left open."""
    return arguments_model(entry, name).model_json_schema(schema_generator=_OpenSchema)


class _OpenSchema(GenerateJsonSchema):
    def handle_invalid_for_json_schema(self, schema: core_schema.CoreSchema, error_info: str) -> JsonSchemaValue:
        return {}

    def emit_warning(self, kind: Any, detail: str) -> None:
        """A default that JSON has not is left out without a word."""


def plain(value: Any) -> Any:
    """Paths, tuples, enums and models as texts, lists and mappings.

    Raises:
        ValueError: It holds something that YAML has no word for.
    """
    try:
        return to_jsonable_python(value, inf_nan_mode="constants")
    except PydanticSerializationError:
        raise ValueError(f"must be plain data, got {value!r}") from None


def _validated(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """Validated as JSON: lists become tuples and texts become paths where the annotations want it, but no text becomes a number."""
    found = model.model_validate_json(to_json(dict(given), inf_nan_mode="constants"))
    named = {field.alias or name: getattr(found, name) for name, field in model.model_fields.items() if name in found.model_fields_set}
    return {**named, **(found.model_extra or {})}


def _target(entry: Component) -> Any:
    """The function that has the signature of a component, or ``None``."""
    if inspect.isclass(entry):
        owner = next(
            one for one in entry.__mro__ if "__init__" in vars(one)
        )  # not what __init__ says of itself: torch.compile wraps torch's
        return None if owner is object or (owner.__module__, owner.__name__) == ("torch.nn.modules.module", "Module") else entry.__init__
    return entry if inspect.isroutine(entry) else getattr(entry, "func", type(entry).__call__)


def _signature(entry: Component) -> list[inspect.Parameter]:
    return [] if _target(entry) is None else list(inspect.signature(entry).parameters.values())


def _parameters(entry: Component) -> dict[str, Any]:
    """Default by parameter; ``inspect.Parameter.empty`` where there is none."""
    return {one.name: one.default for one in _signature(entry) if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}


def _plain_defaults(entry: Component) -> dict[str, Any]:
    found = {}
    for name, default in _parameters(entry).items():
        try:
            if default is not inspect.Parameter.empty:
                found[name] = plain(default)
        except ValueError:
            continue
    return found


def _hints(entry: Component) -> dict[str, Any]:
    """Annotation by parameter; one that cannot be evaluated, such as a name imported for type checkers only, is left out."""
    target = _target(entry)
    try:
        return get_type_hints(target, include_extras=True) if target is not None else {}
    except Exception:  # an annotation may be any expression
        names = getattr(inspect.unwrap(target), "__globals__", {})
        found: dict[str, Any] = {}
        for name, annotation in getattr(target, "__annotations__", {}).items():
            try:
                found |= get_type_hints(type("One", (), {"__annotations__": {name: annotation}}), names, include_extras=True)
            except Exception:  # see above
                continue
        return found


def _supported(annotation: Any) -> Any:
    """The annotation if pydantic can check it, else anything."""
    try:
        create_model("Probe", __config__=ConfigDict(arbitrary_types_allowed=True), it=(annotation, ...))
    except Exception:  # pydantic has many
        return Any
    return annotation


def _first_paragraph(entry: Component) -> str | None:
    return (inspect.getdoc(entry) or "").split("\n\n")[0].replace("\n", " ") or None


def _described(entry: Component) -> dict[str, str]:
    """The entries of a Google docstring's ``Args``, by parameter."""
    text = inspect.getdoc(entry) or ""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    found: dict[str, str] = {}
    for names, words in re.findall(r"^ {4}([\w, ]+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE):
        found |= {name.strip(): " ".join(words.split()) for name in names.split(",")}
    return found
