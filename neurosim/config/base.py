"""What the blocks of a config have in common."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    Strict,
    ValidationError,
    model_validator,
)

from neurosim.config.wording import restate

Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Strict(), Field(min_length=1)]
Count = Annotated[int, Strict(), Field(ge=1)]
Natural = Annotated[int, Strict(), Field(ge=0)]
Positive = Annotated[float, Strict(), Field(gt=0)]
NonNegative = Annotated[float, Strict(), Field(ge=0)]
Share = Annotated[float, Strict(), Field(ge=0, le=1)]
ProperShare = Annotated[float, Strict(), Field(ge=0, lt=1)]
Seed = Annotated[int, Strict(), Field(ge=0, lt=1 << 63)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


#: globs over layer paths; one may stand alone in a file
Globs = Annotated[tuple[Text, ...], BeforeValidator(_listed, json_schema_input_type=str | list[str])]
#: changes of a signal chain: value by dotted key by glob over layer paths
Overrides = dict[Text, dict[Text, JsonValue]]


class Block(BaseModel):
    """Base of all blocks: immutable, unknown keys refused, nothing converted silently, numbers finite, errors in this package's words."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), use_attribute_docstrings=True)

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(given)
        except ValidationError as error:
            raise restate(error, given, cls.model_fields) from None
