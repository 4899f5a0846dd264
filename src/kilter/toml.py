"""TOML from anyone: a parser whose only error is ``ValueError``."""

from __future__ import annotations

import tomllib
from typing import Any, Final

DEEPEST: Final = 16  # tables and arrays within each other; a recipe has five


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML document; ``ValueError`` with the reason for a document that cannot be used.

    Besides syntax errors these are tables nested more than :data:`DEEPEST` deep, and numbers with so many
    digits that Python refuses to read them.

    Example:
        >>> parse_toml("epochs = 3")
        {'epochs': 3}
    """
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise _too_deep() from None
    level: list[Any] = [tables]
    for _ in range(DEEPEST):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise _too_deep()
    return tables


def _inside(value: Any) -> list[Any]:
    """The tables and arrays within a table or an array."""
    inner = value.values() if isinstance(value, dict) else value
    return [one for one in inner if isinstance(one, dict | list)]


def _too_deep() -> ValueError:
    return ValueError(f"tables or arrays nested more than {DEEPEST} deep")
