"""The base of all sections: strict types, no unknown keys, and ``"none"`` for an unset key.

TOML has no null. An optional key that is unset is written ``"none"``, so that a resolved recipe has every key
and ``--set section.key=none`` removes a value.
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

NONE: Final = "none"


class Section(BaseModel):
    """A part of a recipe: immutable, with finite numbers only and no unknown keys.

    Every field's description states type, range and unit. It is also the text of the error for a bad value
    and of the row in ``docs/recipes.md``.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, serialize_by_alias=True
    )


def _none_from_word(value: Any) -> Any:
    return None if isinstance(value, str) and value == NONE else value


UNSET = BeforeValidator(_none_from_word)
"""Annotation for an optional key: the word ``"none"`` means that it is not set."""


def _tuple_from_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


LISTED = BeforeValidator(_tuple_from_list)
"""Annotation for a tuple, from a list in TOML."""

Number = Annotated[float | None, UNSET]
Whole = Annotated[int | None, UNSET]
Text = Annotated[str | None, UNSET]


def key(default: Any, description: str, **limits: Any) -> Any:
    """A key with a default. Its description states type, range and unit."""
    return Field(default=default, description=description, **limits)


def unset(description: str, **limits: Any) -> Any:
    """A key that is unset by default."""
    return key(None, description, **limits)


def refuse(expected: str, received: str | None = None) -> PydanticCustomError:
    """The error of a validator, with the first two parts of a kilter error."""
    return PydanticCustomError("kilter", "{expected}", {"expected": expected, "received": received})


def keys_of(section: type[BaseModel]) -> dict[str, Any]:
    """The keys of a section as a recipe writes them, with their fields."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def described(section: type[BaseModel], key: str) -> str:
    """The description of ``key`` in ``section``: its type, range and unit."""
    return section.model_fields[key].description or key
