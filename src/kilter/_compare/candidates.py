"""What can be compared: recipes on the same data, or functions that make models."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kilter._fit import fit
from kilter.errors import DataError, ModelError, OptionError, RecipeError
from kilter.recipe import Recipe, dump_recipe, load_recipe
from kilter.runs.build import with_absolute_paths

Factory = Callable[[int], keras.Model]

PARTS = ("x", "y", "x_val", "y_val")
# What a comparison sets itself; all else that fit takes may be given.
_TAKEN = {"model", "x", "y", "validation_data", "validation_split", "run", "seed", "verbose", "initial_epoch"}


def train_function(
    function: Factory, seed: int, data: Mapping[str, Any], options: Mapping[str, Any], folder: Path
) -> None:
    """Train the model that ``function(seed)`` returns, kept in a run directory below `folder`.

    Keras's, NumPy's and Python's generators are seeded first, for layers that are given no seed draw from
    them. The model ends with its best weights by the validation loss.
    """
    keras.utils.set_random_seed(seed)
    model = function(seed)
    if not isinstance(model, keras.Model) or not model.compiled:
        kind = "a model that is not compiled" if isinstance(model, keras.Model) else type(model).__name__
        raise ModelError(
            expected=f"a compiled keras.Model from {describe(function)}({seed})",
            received=kind,
            remedy="call model.compile(...) in the function and return the model",
        )
    validation = (data["x_val"], data["y_val"])
    folder.mkdir(parents=True, exist_ok=True)
    fit(model, data["x"], data["y"], validation_data=validation, seed=seed, run=folder, verbose=0, **options)


def check_data(data: Any) -> dict[str, Any]:
    """`data` by the names of its parts; :class:`DataError` unless it is (x, y, x_val, y_val)."""
    if not isinstance(data, tuple | list) or len(data) != len(PARTS):
        raise DataError(
            expected="data=(x, y, x_val, y_val) for candidates that are functions",
            received="no data" if data is None else f"data of type {type(data).__name__}",
            remedy="divide the data once, so that all candidates see the same rows",
        )
    return dict(zip(PARTS, data, strict=True))


def check_options(options: Mapping[str, Any]) -> None:
    """Raise :class:`OptionError` for what is no option of kilter.fit, or is set by the comparison."""
    known = sorted(set(inspect.signature(fit).parameters) - _TAKEN)
    wrong = sorted(set(options) - set(known))
    if wrong:
        raise OptionError(
            expected=f"options of kilter.fit in fit: {', '.join(known)}",
            received=", ".join(wrong),
            remedy="take them out: data, seeds and run directories are the comparison's",
        )


def importable(function: Factory) -> str | None:
    """``module:function`` by which another process finds `function`; None for one that has no such name."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module in (None, "__main__") or getattr(sys.modules.get(module), name, None) is not function:
        return None
    return f"{module}:{name}"


def transferable(data: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether data and options can be written to files without pickle: arrays of numbers, and JSON."""
    arrays = all(hasattr(part, "dtype") and np.asarray(part).dtype != object for part in data.values())
    return arrays and _plain(options)


def describe(function: Factory) -> str:
    """The function's name, for people."""
    return getattr(function, "__qualname__", type(function).__name__)


def fingerprint(data: Mapping[str, Any]) -> str:
    """SHA-256 of all arrays in `data`, in order."""
    digest = hashlib.sha256()
    for leaf in keras.tree.flatten([data[name] for name in PARTS]):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _plain(options: Mapping[str, Any]) -> bool:
    try:
        return json.loads(json.dumps(dict(options))) == dict(options)
    except (TypeError, ValueError):
        return False


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
