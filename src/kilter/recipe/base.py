"""What every section of a recipe shares: strict types, no unknown keys, and ``"none"`` for a key left unset.

TOML has no null. A key that may be left unset is written ``"none"`` in a resolved recipe, so that a recipe
names every key and ``--set section.key=none`` takes a value away.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

NONE: Final = "none"


class Section(BaseModel):
    """A part of a recipe: immutable, finite numbers only, unknown keys refused.

    Every field's description states its type, range and unit. It is the wording of the error for a bad value
    and of the row in ``docs/recipes.md``, so the three cannot disagree.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _none_from_word(value: Any) -> Any:
    return None if isinstance(value, str) and value == NONE else value


UNSET = BeforeValidator(_none_from_word)
"""Annotation for an optional key: the word ``"none"`` means that it is not set."""


def _tuple_from_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


LISTED = BeforeValidator(_tuple_from_list)
"""Annotation for a tuple: TOML has lists, a frozen record holds tuples."""


def refuse(expected: str, received: str | None = None) -> PydanticCustomError:
    """The error of a validator, in the words of the first two parts of a kilter error.

    ``received`` is given where several keys contradict each other; otherwise the value of the key is shown.
    """
    return PydanticCustomError("kilter", "{expected}", {"expected": expected, "received": received})


def described(section: type[BaseModel], key: str) -> str:
    """The description of ``key`` in ``section``: its type, range and unit."""
    return section.model_fields[key].description or key
