"""What the blocks of a config have in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    Strict,
    Tag,
    ValidationError,
    model_validator,
)

from neurosim.config.wording import restate
from neurosim.described import Described
from neurosim.yamlfile import show

VERSION: Final = 1  #: of the config format
_FOLDER_SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

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


#: names; one may stand alone in a file
Texts = Annotated[tuple[Text, ...], BeforeValidator(_listed, json_schema_input_type=str | list[str])]
Globs = Texts  #: over layer paths
#: changes of a signal chain: value by dotted key by glob over layer paths
Overrides = dict[Text, dict[Text, JsonValue]]


def _fit_for_a_folder(value: str) -> str:
    if not _FOLDER_SAFE.fullmatch(value) or value.endswith("."):
        must = "up to 100 letters, digits, '_', '-' and '.', a letter or digit first, no '.' last"
        raise ValueError(f"must be {must}, got {show(value)}")
    return value


#: what a folder is called as well
FolderName = Annotated[str, AfterValidator(_fit_for_a_folder)]


def _known_version(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value != VERSION:
        newer = ", which is that of a newer one" if value > VERSION else ""
        raise ValueError(f"must be {VERSION}, the version that this neurosim reads, got {value}{newer}")
    return value


#: checks a version before its type does, which would only say that it must be 1
KNOWN_VERSION: Final = BeforeValidator(_known_version)


def once(values: Sequence[Any]) -> Sequence[Any]:
    """A list that is not empty and holds nothing twice.

    Raises:
        ValueError: It is not.
    """
    if not values:
        raise ValueError("must have at least 1 entry, got []")
    repeated = [one for one, count in Counter(values).items() if count > 1]
    if repeated:
        raise ValueError(f"must not have an entry twice, got {show(repeated[0])} more than once")
    return values


#: how many, or the seed of each
Seeds = Annotated[
    Annotated[Annotated[Count, Field(le=1_000_000)], Tag("count")] | Annotated[tuple[Seed, ...], AfterValidator(once), Tag("seeds")],
    Discriminator(lambda value: "seeds" if isinstance(value, list | tuple) else "count"),
]


def seeds_from(first: int, seeds: int | tuple[int, ...]) -> tuple[int, ...]:
    """The seeds themselves; those that are only counted begin with ``first``."""
    return tuple(range(first, first + seeds)) if isinstance(seeds, int) else seeds


class Block(Described):
    """Base of all blocks: immutable, unknown keys refused, nothing converted silently, numbers finite, errors in this package's words."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), defer_build=True)

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(given)
        except ValidationError as error:
            raise restate(error, given, cls.model_fields) from None
