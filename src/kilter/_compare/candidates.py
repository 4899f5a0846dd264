"""What can be compared: recipes on the same data, or functions that build models."""

import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from kilter._fit import fit as kilter_fit
from kilter.errors import DataError, ModelError, OptionError, RecipeError
from kilter.recipe import Recipe, dump_recipe, load_recipe
from kilter.runs.build import with_absolute_paths
from kilter.runs.checksums import sha256_of_arrays

Factory = Callable[[int], keras.Model]

PARTS: Final = ("x", "y", "x_val", "y_val")
# The arguments of kilter.fit that a comparison sets itself.
_TAKEN: Final = frozenset(
    ("model", "x", "y", "validation_data", "validation_split", "run", "seed", "verbose", "initial_epoch")
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Keys of [data] that may differ: they change how the model scales its inputs, not which rows it sees.
_MAY_DIFFER: Final = {"standardize"}


@dataclass(frozen=True, eq=False)
class RecipeCandidate:
    """A recipe with its split seed set; its own seed is replaced in each pair."""

    name: str
    recipe: Recipe

    @property
    def text(self) -> str:
        """The recipe as TOML: the same text means the same runs."""
        return dump_recipe(self.recipe)

    def recipe_for(self, seed: int) -> Recipe:
        """The recipe of the pair with this seed."""
        return self.recipe.model_copy(update={"seed": seed})


@dataclass(frozen=True, eq=False)
class FunctionCandidate:
    """A function ``seed -> compiled model``, the arrays it is trained on, and options of kilter.fit.

    `data` has the keys x, y, x_val and y_val; `sha256` is the checksum of all four.
    """

    name: str
    function: Factory
    data: Mapping[str, Any] = field(repr=False)
    options: Mapping[str, Any]
    sha256: str

    @property
    def text(self) -> str:
        """The function's name, its options and the checksum of its data, but not its code."""
        options = {name: repr(value) for name, value in sorted(self.options.items())}
        content = {"function": _described(self.function), "fit": options, "data": self.sha256}
        return json.dumps(content, indent=2, default=repr)

    @property
    def trains_in_workers(self) -> bool:
        """Whether another process can import the function, and read its data and options from files."""
        function, module = self.function, getattr(self.function, "__module__", None)
        found = getattr(sys.modules.get(module or ""), getattr(function, "__qualname__", ""), None)
        arrays = [np.asarray(part) for part in self.data.values() if hasattr(part, "dtype")]
        numbers = len(arrays) == len(PARTS) and all(array.dtype != object for array in arrays)
        return module != "__main__" and found is function and numbers and _is_json(self.options)


AnyCandidate = RecipeCandidate | FunctionCandidate


def train_function(
    function: Factory, seed: int, data: Mapping[str, Any], options: Mapping[str, Any], folder: Path
) -> None:
    """Train the model that ``function(seed)`` returns, with a run directory in `folder`.

    Seeds the generators of Keras, NumPy and Python first, because layers without a seed draw from them. The
    model ends with the best weights by its validation loss.
    """
    keras.utils.set_random_seed(seed)
    model = function(seed)
    if not isinstance(model, keras.Model) or not model.compiled:
        kind = "a model that is not compiled" if isinstance(model, keras.Model) else type(model).__name__
        raise ModelError(
            expected=f"a compiled keras.Model from {_described(function)}({seed})",
            received=kind,
            remedy="call model.compile(...) in the function and return the model",
        )
    validation = (data["x_val"], data["y_val"])
    folder.mkdir(parents=True, exist_ok=True)
    # The guard would change the rate of a run that diverges; runs are compared as they are.
    given = {"validation_data": validation, "seed": seed, "run": folder, "verbose": 0, "guard": False}
    kilter_fit(model, data["x"], data["y"], **{**given, **options})


def gather(
    given: Mapping[str, Any], data: Any, fit: Mapping[str, Any] | None, *, split_seed: int
) -> tuple[AnyCandidate, ...]:
    """The candidates in the given order, the baseline first.

    Raises a :class:`~kilter.errors.KilterError` if they cannot be compared: fewer than two, names that cannot
    be folder names, recipes with different data, recipes mixed with functions.
    """
    _check_names(given)
    values = {
        name: load_recipe(value) if isinstance(value, str | Path) else value for name, value in given.items()
    }
    recipes = {name: value for name, value in values.items() if isinstance(value, Recipe)}
    if len(recipes) == len(values):
        return _recipes(recipes, data, fit, split_seed)
    return _functions(values, data, dict(fit or {}))


def _check_names(given: Mapping[str, Any]) -> None:
    if not isinstance(given, Mapping) or len(given) < 2:
        raise OptionError(
            expected="two or more candidates by name, the baseline first",
            received=f"only {len(given)}" if isinstance(given, Mapping) else type(given).__name__,
            remedy="for example kilter compare a.toml b.toml; in Python "
            'kilter.compare({"plain": "a.toml", "with BN": "b.toml"})',
        )
    bad = [repr(name) for name in given if not isinstance(name, str) or not _NAME.fullmatch(name)]
    if bad:
        raise OptionError(
            expected="names that can be folders: 1 to 100 letters, digits, points, hyphens and underscores",
            received=", ".join(bad),
            remedy="rename these candidates",
        )


def _functions(
    values: Mapping[str, Any], data: Any, options: dict[str, Any]
) -> tuple[FunctionCandidate, ...]:
    strange = [f"{name}={type(value).__name__}" for name, value in values.items() if not callable(value)]
    if strange:
        raise OptionError(
            expected="only recipes (or their paths), or only functions from a seed to a compiled model",
            received=", ".join(strange),
            remedy="compare recipes and functions separately: they do not train on the same data",
        )
    known = sorted(set(inspect.signature(kilter_fit).parameters) - _TAKEN)
    wrong = sorted(set(options) - set(known))
    if wrong:
        raise OptionError(
            expected=f"options of kilter.fit in fit: {', '.join(known)}",
            received=", ".join(wrong),
            remedy="remove them: the comparison itself sets data, seeds and run directories",
        )
    if not isinstance(data, tuple | list) or len(data) != len(PARTS):
        raise DataError(
            expected="data=(x, y, x_val, y_val) for candidates that are functions",
            received="no data" if data is None else f"data of type {type(data).__name__}",
            remedy="split the data once, so that all candidates see the same rows",
        )
    parts: dict[str, Any] = dict(zip(PARTS, data, strict=True))
    sha256 = sha256_of_arrays(keras.tree.flatten(list(data)))
    return tuple(FunctionCandidate(name, one, parts, options, sha256) for name, one in values.items())


def _described(function: Factory) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def _is_json(options: Mapping[str, Any]) -> bool:
    try:
        return json.loads(json.dumps(dict(options))) == dict(options)
    except (TypeError, ValueError):
        return False


def _recipes(
    recipes: Mapping[str, Recipe], data: Any, fit: Mapping[str, Any] | None, split_seed: int
) -> tuple[RecipeCandidate, ...]:
    if data is not None or fit:
        raise OptionError(
            expected="no data= and no fit= with recipes, which have their own",
            received="data" if data is not None else f"fit with {', '.join(fit or {})}",
            remedy="leave them out, or compare functions",
        )
    ready = {name: _with_split_seed(recipe, split_seed) for name, recipe in recipes.items()}
    _check_same_data(ready)
    return tuple(RecipeCandidate(name, recipe) for name, recipe in ready.items())


def _with_split_seed(recipe: Recipe, split_seed: int) -> Recipe:
    """The recipe with absolute paths, and with the same split for every seed."""
    recipe = with_absolute_paths(recipe)
    if recipe.data.split_seed is not None:
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"split_seed": split_seed})})


def _check_same_data(recipes: Mapping[str, Recipe]) -> None:
    (first, baseline), *others = recipes.items()
    wanted = baseline.data.model_dump(exclude=_MAY_DIFFER)
    if baseline.data.validation is None:
        raise RecipeError(
            expected="validation data to score the candidates on",
            received=f'data.validation = "none" in {first}',
            remedy="hold out a part of the rows, for example validation = 0.1",
        )
    for name, recipe in others:
        found = recipe.data.model_dump(exclude=_MAY_DIFFER)
        different = [key for key in wanted if found[key] != wanted[key]]
        if different:
            raise RecipeError(
                expected="the same [data] in all recipes (only standardize may differ)",
                received="; ".join(
                    f"data.{key}={found[key]!r} in {name}, {wanted[key]!r} in {first}" for key in different
                ),
                remedy="train and score all of them on the same rows; --set changes a key in all recipes",
            )
