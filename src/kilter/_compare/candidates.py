"""What can be compared: recipes on the same data, or functions that make models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kilter._compare.functions import Factory, check_data, check_options, describe, fingerprint
from kilter.errors import OptionError, RecipeError
from kilter.recipe import Recipe, dump_recipe, load_recipe
from kilter.runs.build import with_absolute_paths

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

# Where the rows come from has to be the same for all; how the model scales its inputs may differ.
_MAY_DIFFER = {"standardize"}


@dataclass(frozen=True, eq=False)
class RecipeCandidate:
    """A recipe; `recipe` has its split seed set, its own seed is replaced in each pair."""

    name: str
    recipe: Recipe

    @property
    def text(self) -> str:
        """What is compared, for the folder of the comparison."""
        return dump_recipe(self.recipe)

    def recipe_for(self, seed: int) -> Recipe:
        """The recipe of the pair with this seed."""
        return self.recipe.model_copy(update={"seed": seed})


@dataclass(frozen=True, eq=False)
class FunctionCandidate:
    """A function ``seed -> compiled model``, the arrays it is trained on, and options of kilter.fit.

    `data` has the keys x, y, x_val and y_val; `sha256` is theirs.
    """

    name: str
    function: Factory
    data: Mapping[str, Any] = field(repr=False)
    options: Mapping[str, Any]
    sha256: str

    @property
    def text(self) -> str:
        """What is compared, as far as it can be told: not what the function does."""
        options = {name: repr(value) for name, value in sorted(self.options.items())}
        return json.dumps(
            {"function": describe(self.function), "fit": options, "data": self.sha256}, indent=2, default=repr
        )


AnyCandidate = RecipeCandidate | FunctionCandidate


def gather(
    given: Mapping[str, Any], data: Any, fit: Mapping[str, Any] | None, *, split_seed: int
) -> tuple[AnyCandidate, ...]:
    """The candidates in their order, the baseline first.

    Raises the :class:`~kilter.errors.KilterError` that says why they cannot be compared: fewer than two,
    names that are no names of folders, recipes that differ in their data, recipes mixed with functions.
    """
    _check_names(given)
    values = {name: _loaded(value) for name, value in given.items()}
    recipes = {name: value for name, value in values.items() if isinstance(value, Recipe)}
    if len(recipes) == len(values):
        return _recipes(recipes, data, fit, split_seed)
    strange = [f"{name}={type(value).__name__}" for name, value in values.items() if not callable(value)]
    if strange:
        raise OptionError(
            expected="only recipes (or paths of them), or only functions from a seed to a compiled model",
            received=", ".join(strange),
            remedy="name recipes and functions in two comparisons: they cannot be held to the same data",
        )
    check_options(fit or {})
    parts = check_data(data)
    digest = fingerprint(parts)
    return tuple(
        FunctionCandidate(name, function, parts, dict(fit or {}), digest) for name, function in values.items()
    )


def _check_names(given: Mapping[str, Any]) -> None:
    if not isinstance(given, Mapping) or len(given) < 2:
        raise OptionError(
            expected="two candidates or more, by name, the baseline first",
            received=f"{len(given)}" if isinstance(given, Mapping) else type(given).__name__,
            remedy='for example kilter.compare({"plain": "a.toml", "with BN": "b.toml"})',
        )
    bad = [repr(name) for name in given if not isinstance(name, str) or not _NAME.fullmatch(name)]
    if bad:
        raise OptionError(
            expected="names of 1 to 100 letters, digits, points, hyphens and underscores, for folders",
            received=", ".join(bad),
            remedy="give the candidates other names",
        )


def _loaded(value: Any) -> Any:
    return load_recipe(value) if isinstance(value, str | Path) else value


def _recipes(
    recipes: Mapping[str, Recipe], data: Any, fit: Mapping[str, Any] | None, split_seed: int
) -> tuple[RecipeCandidate, ...]:
    if data is not None or fit:
        raise OptionError(
            expected="no data= and no fit= beside recipes, which name their own",
            received="data" if data is not None else f"fit with {', '.join(fit or {})}",
            remedy="leave them out, or give functions as candidates",
        )
    ready = {name: _on_one_split(recipe, split_seed) for name, recipe in recipes.items()}
    _check_same_data(ready)
    return tuple(RecipeCandidate(name, recipe) for name, recipe in ready.items())


def _on_one_split(recipe: Recipe, split_seed: int) -> Recipe:
    """The recipe with its paths from the root, and the split drawn alike whatever the seed of the run."""
    recipe = with_absolute_paths(recipe)
    if recipe.data.split_seed is not None:
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"split_seed": split_seed})})


def _check_same_data(recipes: Mapping[str, Recipe]) -> None:
    """What the candidates are trained and measured on is the same, or nothing is proven."""
    (first, baseline), *others = recipes.items()
    wanted = baseline.data.model_dump(exclude=_MAY_DIFFER)
    if baseline.data.validation is None:
        raise RecipeError(
            expected="validation data to compare the candidates on",
            received=f'data.validation = "none" in {first}',
            remedy="hold a part out, for example validation = 0.1",
        )
    for name, recipe in others:
        found = recipe.data.model_dump(exclude=_MAY_DIFFER)
        different = [key for key in wanted if found[key] != wanted[key]]
        if different:
            raise RecipeError(
                expected="the same [data] in all recipes (standardize alone may differ)",
                received="; ".join(
                    f"data.{key}={found[key]!r} in {name}, {wanted[key]!r} in {first}" for key in different
                ),
                remedy="train and measure all of them on the same rows; --set changes a key in all",
            )
