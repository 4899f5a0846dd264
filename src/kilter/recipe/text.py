"""Recipes as TOML: read, override, write."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import tomlkit
from pydantic import ValidationError

from kilter._toml import parse_toml
from kilter._validation import errors_as
from kilter.errors import RecipeError
from kilter.recipe.base import NONE
from kilter.recipe.errors import LONGEST, recipe_error, shorten
from kilter.recipe.model import KINDS
from kilter.recipe.optimizer import AUTO
from kilter.recipe.sections import Recipe


def with_overrides(recipe: Recipe, overrides: Iterable[str]) -> Recipe:
    """``recipe`` with the ``"section.key=value"`` of ``overrides`` applied in order, then checked.

    A value is read as TOML, or else as a string: ``train.epochs=5``, ``optimizer.name=sgd``,
    ``model.hidden=[50, 50]``, ``train.early_stopping=none``. Defaults that depend on another key (a learning
    rate on the optimiser) follow it unless they were given. Changing the kind of model (builder, file or
    factory) or the schedule resets its section.

    Raises :class:`RecipeError` as :func:`parse_recipe` does, and for an override without ``=``.

    Example:
        >>> recipe = parse_recipe({"data": {"source": "digits"}, "model": {"builder": "mlp"}})
        >>> with_overrides(recipe, ["optimizer.name=sgd"]).optimizer.learning_rate
        0.01
    """
    given = recipe.model_dump(exclude_unset=True)
    for override in overrides:
        key, equals, text = override.partition("=")
        path = key.strip().split(".")
        if not equals or not all(path):
            raise RecipeError(
                expected="an override of the form section.key=value",
                received=repr(override),
                remedy="for example --set train.epochs=5",
            )
        _put(given, path, read_value(text.strip()))
    return parse_recipe(given)


def read_value(text: str) -> Any:
    """``text`` read as TOML, or else as a string."""
    try:
        read = parse_toml(f"value = {text}")
    except ValueError:
        return text
    return read["value"] if set(read) == {"value"} else text  # text with a line break could have more keys


def _put(given: dict[str, Any], path: list[str], value: Any) -> None:
    if path[0] == "model" and len(path) == 2 and path[1] in KINDS:
        kept = given.get("model", {})
        if not (isinstance(kept, dict) and path[1] in kept):
            given["model"] = {}
        elif value != kept[path[1]] and kept.get("hidden") == AUTO:
            del kept["hidden"]  # widths by rows are for tables alone
    if path == ["schedule", "name"]:
        kept = given.get("schedule")
        if not (isinstance(kept, dict) and kept.get("name") == value):
            given["schedule"] = {}
    table = given
    for step, part in enumerate(path[:-1]):
        inner = table.get(part)
        if inner is None or inner == "none":
            inner = table[part] = {}
        if not isinstance(inner, dict):
            raise RecipeError(
                expected=f"a table at {'.'.join(path[: step + 1])}",
                received=f"{'.'.join(path[: step + 1])}={inner!r}",
                remedy=f"set {'.'.join(path[: step + 1])} as a whole",
            )
        table = inner
    table[path[-1]] = value


IMAGE_SETS: Final = ("cifar10", "fashion-mnist")
NO_TABLES: Final = ("", ".npz", ".idx", ".gz")
"""Endings of sources that are no files of tables unless they exist and say otherwise."""


def run_name(text: str) -> str:
    """``text`` as the name of a run: letters, digits, points, hyphens and underscores, at most 100."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100]
    return kept or "run"


def recipe_for(source: str, *, average: bool = True) -> Recipe:
    """The default recipe for a named data set, a file or a folder; inspects names and column types only.

    Two dense layers of 100 units (ELU, He), a small convolutional network for the named image sets and
    encoded images, or a U-Net for images with masks; Nadam; at most 100 epochs, stopped 10 epochs after the
    best validation loss (with masks 20 after the best overlap). Files of tables are trained with dropout,
    decaying weights, a moving average of the weights and batches that fit their rows (docs/decisions/044);
    ``average=False`` leaves the average out, which transfer and pretraining do not have.

    Raises :class:`~kilter.errors.RecipeError` for a name that is empty or not UTF-8.
    """
    found = _contents(source)
    given: dict[str, Any] = {
        "name": run_name(Path(source).stem),
        "data": {"source": source},
        "model": {"builder": {"images": "cnn", "masks": "unet"}.get(found or "", "mlp")},
        "train": {"epochs": 100, "early_stopping": {"patience": 10}},
    }
    if found == "masks":
        given["train"] |= {"batch_size": 8, "early_stopping": {"patience": 20}}
    if found == "table" or (found is None and Path(source).suffix.lower() not in NO_TABLES):
        given["data"]["validation"] = 0.2
        given["model"]["hidden"] = AUTO
        given["optimizer"] = {"name": "adamw", "learning_rate": 0.003, "weight_decay": 0.1}
        given["train"] |= {"epochs": 300, "batch_size": AUTO} | ({"ema": 0.99} if average else {})
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        raise recipe_error(error, given) from None


def recipe_of(source: Recipe | str | Path, *, average: bool = True) -> Recipe:
    """A recipe as it is, the one in a .toml file, or :func:`recipe_for` any other source."""
    if isinstance(source, Recipe):
        return source
    source = str(source)
    return load_recipe(source) if source.endswith(".toml") else recipe_for(source, average=average)


def _contents(source: str) -> str | None:
    """ "table", "masks", "images", also for idx files, or None for other arrays and for nothing."""
    if source in IMAGE_SETS:
        return "images"
    from kilter.data.loading import contents
    from kilter.data.masks import recognises

    found = contents(source)
    if found == "images" and recognises(Path(source).expanduser()):
        return "masks"
    of_idx = Path(source).is_dir() and not any(Path(source).glob("*.npy"))
    return "images" if found is None and of_idx else found


HEADING: Final = "A kilter recipe, every key resolved. Train it again: kilter train THIS_FILE"
MOST_BYTES: Final = 1 << 20  # of a recipe file; usual ones have a few thousand
UNROLLED: Final = 3  # more equal widths are written as { layers, units }


def parse_recipe(given: Mapping[str, Any]) -> Recipe:
    """The recipe of a mapping of sections.

    Raises one :class:`RecipeError` for all problems: unknown keys (with the nearest name), values of the
    wrong type or range, keys that contradict each other.

    Example:
        >>> parse_recipe({"data": {"source": "digits"}, "model": {"builder": "mlp"}}).train.batch_size
        32
    """
    if not isinstance(given, Mapping):
        raise RecipeError(
            expected="a recipe: a table of sections",
            received=shorten(given),
            remedy="pass a mapping such as {'data': {...}, 'model': {...}}",
        )
    try:
        return Recipe.model_validate(dict(given))
    except ValidationError as error:
        raise recipe_error(error, given) from None


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in the TOML file ``path``; its default name is that of the file.

    Raises :class:`RecipeError` if the file is missing, too large, not UTF-8, not TOML (with the line), or not
    a recipe.
    """
    path = Path(path)
    with errors_as(
        RecipeError,
        ValueError,
        expected="a recipe in TOML",
        received=lambda error: f"{path}: {error}",
        remedy="correct the file at that position",
    ):
        given = parse_toml(_content(path).decode("utf-8-sig"))
    return parse_recipe({"name": run_name(path.stem)} | given)


def _without_waiting(name: str, flags: int) -> int:
    """A named pipe is read as empty, and does not wait for a writer."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _content(path: Path) -> bytes:
    """The bytes of a recipe file; :class:`RecipeError` if it cannot be read or is too large."""
    expected, remedy = "a recipe file that can be read", "correct the path or the permissions"
    unreadable = (OSError, ValueError)  # ValueError: a zero byte in the name
    readable = errors_as(RecipeError, *unreadable, expected=expected, received=str(path), remedy=remedy)
    with readable, open(path, "rb", opener=_without_waiting) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise RecipeError(
            expected=f"a recipe file of at most {MOST_BYTES} bytes",
            received=f"{path}, which is larger",
            remedy="pass the recipe; data belong in another file",
        )
    return content


def dump_recipe(recipe: Recipe) -> str:
    """``recipe`` as TOML with every key, defaults included; :func:`load_recipe` of it gives an equal recipe.

    An unset key is written ``"none"``. Raises :class:`RecipeError` for a path that is not UTF-8, which TOML
    cannot contain.
    """
    document = tomlkit.document()
    document.add(tomlkit.comment(HEADING))
    fields = recipe.model_dump()
    for key in ("name", "seed"):
        document.add(key, fields.pop(key))
    for title, keys in fields.items():
        if keys is None:  # a section that the recipe does not have
            continue
        table = tomlkit.table()
        for key in sorted(keys, key=lambda key: key not in KINDS):
            table.add(key, _plain(key, keys[key]))
        document.add(tomlkit.nl())
        document.add(title, table)
    text = tomlkit.dumps(document)
    with errors_as(
        RecipeError,
        UnicodeEncodeError,
        expected="names and paths in UTF-8, for recipe.toml",
        received=lambda error: f"…{text[max(0, error.start - LONGEST) : error.end]!a}",
        remedy="rename the file or folder",
    ):
        text.encode("utf-8")
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
