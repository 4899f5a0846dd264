"""One key of a recipe changed from outside: ``section.key=value``, as ``kilter train --set`` takes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kilter._toml import parse_toml
from kilter.errors import RecipeError
from kilter.recipe.model import KINDS
from kilter.recipe.sections import Recipe
from kilter.recipe.text import parse_recipe


def with_overrides(recipe: Recipe, overrides: Iterable[str]) -> Recipe:
    """``recipe`` with each ``"section.key=value"`` of ``overrides`` put in, in order, and checked as a whole.

    A value is read as TOML and, where it is none, taken as a string: ``train.epochs=5``,
    ``optimizer.name=sgd``, ``model.hidden=[50, 50]``, ``train.early_stopping=none``. Defaults that depend on
    another key (a learning rate on the optimizer) follow it unless they were given. Naming another kind of
    model (builder, file or factory) starts the model section afresh, another schedule that of the schedule.

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
        _put(given, path, _value(text.strip()))
    return parse_recipe(given)


def _value(text: str) -> Any:
    try:
        read = parse_toml(f"value = {text}")
    except ValueError:
        return text
    return read["value"] if set(read) == {"value"} else text  # text with a line break could hold more keys


def _put(given: dict[str, Any], path: list[str], value: Any) -> None:
    if path[0] == "model" and len(path) == 2 and path[1] in KINDS:
        kept = given.get("model", {})
        if not (isinstance(kept, dict) and path[1] in kept):
            given["model"] = {}
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
