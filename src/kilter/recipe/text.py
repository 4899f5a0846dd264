"""Recipes as text: TOML in, TOML out, and nothing lost between."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import tomlkit
from pydantic import ValidationError

from kilter._toml import parse_toml
from kilter.errors import RecipeError
from kilter.recipe.base import NONE
from kilter.recipe.defaults import run_name
from kilter.recipe.errors import LONGEST, recipe_error, shorten
from kilter.recipe.model import KINDS
from kilter.recipe.sections import Recipe

HEADING: Final = "A kilter recipe, every key resolved. Train it again: kilter train THIS_FILE"
MOST_BYTES: Final = 1 << 20  # of a recipe file; those of kilter have a few thousand
UNROLLED: Final = 3  # up to so many equal widths are written out, more as { layers, units }


def parse_recipe(given: Mapping[str, Any]) -> Recipe:
    """The recipe that a mapping of sections describes.

    Raises :class:`RecipeError` that gathers every problem: unknown keys (with the nearest name), values of
    the wrong type or range, keys that contradict each other.

    Example:
        >>> parse_recipe({"data": {"source": "digits"}, "model": {"builder": "mlp"}}).train.batch_size
        32
    """
    if not isinstance(given, Mapping):
        raise RecipeError(
            expected="a recipe: a table of sections",
            received=shorten(given),
            remedy="give a mapping such as {'data': {...}, 'model': {...}}",
        )
    try:
        return Recipe.model_validate(dict(given))
    except ValidationError as error:
        raise recipe_error(error, given) from None


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in the TOML file ``path``; without a name it is named for the file.

    Raises :class:`RecipeError` if the file is missing, too large, not UTF-8, not TOML (with the line), or not
    a recipe.
    """
    path = Path(path)
    try:
        given = parse_toml(_content(path).decode("utf-8-sig"))
    except ValueError as error:
        raise RecipeError(
            expected="a recipe in TOML", received=f"{path}: {error}", remedy="correct it at the place named"
        ) from None
    return parse_recipe({"name": run_name(path.stem)} | given)


def _content(path: Path) -> bytes:
    """The bytes of a recipe file; :class:`RecipeError` if it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, ValueError):  # ValueError: a zero byte in the name
        raise RecipeError(
            expected="a recipe file", received=f"{path}, which does not exist", remedy="correct the path"
        ) from None
    except OSError as error:
        raise RecipeError(
            expected="a recipe file that can be read",
            received=f"{path}: {error.strerror}",
            remedy="correct the path or the permissions",
        ) from None
    if len(content) > MOST_BYTES:
        raise RecipeError(
            expected=f"a recipe file of at most {MOST_BYTES} bytes",
            received=f"{path}, which is larger",
            remedy="name the recipe; data belong in a file of their own",
        )
    return content


def dump_recipe(recipe: Recipe) -> str:
    """``recipe`` as TOML with every key, defaults included; :func:`load_recipe` of it gives an equal recipe.

    A key that is not set is written ``"none"``. Raises :class:`RecipeError` for a path that is not UTF-8,
    since TOML cannot hold it.
    """
    document = tomlkit.document()
    document.add(tomlkit.comment(HEADING))
    fields = recipe.model_dump()
    for key in ("name", "seed"):
        document.add(key, fields.pop(key))
    for title, keys in fields.items():
        if keys is None:  # a section that such a recipe does not have
            continue
        table = tomlkit.table()
        for key in sorted(keys, key=lambda key: key not in KINDS):
            table.add(key, _plain(key, keys[key]))
        document.add(tomlkit.nl())
        document.add(title, table)
    text = tomlkit.dumps(document)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RecipeError(
            expected="names and paths in UTF-8, for recipe.toml",
            received=f"…{text[max(0, error.start - LONGEST) : error.end]!a}",
            remedy="rename the file or folder",
        ) from error
    return text


def _plain(key: str, value: Any) -> Any:
    """``value`` in TOML's types."""
    if value is None:
        return NONE
    if key in ("hidden", "filters") and len(value) > UNROLLED and len(set(value)) == 1:
        value = {"layers": len(value), "units": value[0]}
    if isinstance(value, tuple):
        return [_plain("", inner) for inner in value]
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update({name: _plain("", inner) for name, inner in value.items()})
        return table
    return value
