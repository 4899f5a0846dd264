"""``kilter.sweep``: values for some keys of a recipe, each compared with the recipe as it is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kilter._compare.compare import Progress, compare
from kilter._compare.comparison import Comparison
from kilter._progress import Verbose
from kilter.errors import OptionError
from kilter.recipe import Recipe, load_recipe, recipe_for, with_overrides
from kilter.recipe.text import run_name

BASELINE: Final = "as-it-is"
# Each candidate takes another full set of runs, and raises what all of them have to prove.
_MOST: Final = 64


def sweep(
    recipe: Recipe | str | Path,
    over: Mapping[str, Sequence[Any]],
    *,
    pairs: int | None = None,
    seed: int = 0,
    metric: str | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    level: float = 0.05,
    progress: Callable[[Progress], object] | None = None,
    allow_code: bool = False,
    verbose: Verbose = "auto",
) -> Comparison:
    """Compare a recipe with every combination of the given values, on paired seeds.

    Args:
        recipe: the baseline: a recipe, the path of one (``.toml``), or a data source, which gets the default
            recipe.
        over: the values to try, by key: ``{"optimizer.learning_rate": [1e-4, 1e-3]}``. None means "none".
            Combinations that equal the recipe are left out; at most 64 are allowed.
        pairs, seed, metric, out, workers, level, progress, allow_code, verbose: as of :func:`kilter.compare`.

    Returns the comparison; its baseline is called "as-it-is", the others are named for their values. Raises
    :class:`OptionError` for no or too many combinations, :class:`~kilter.errors.RecipeError` for a key or
    value that a recipe cannot have, and what :func:`kilter.compare` raises.

    Example::

        kilter.sweep("recipe.toml", {"optimizer.learning_rate": [1e-4, 1e-3], "model.dropout": [0.0, 0.2]})
    """
    return compare(
        variants(recipe, over),
        pairs=pairs,
        seed=seed,
        metric=metric,
        out=out,
        workers=workers,
        level=level,
        progress=progress,
        allow_code=allow_code,
        verbose=verbose,
    )


def variants(recipe: Recipe | str | Path, over: Mapping[str, Sequence[Any]]) -> dict[str, Recipe]:
    """The recipes that :func:`sweep` compares, by name, the baseline first.

    Example:
        >>> list(variants("digits", {"train.batch_size": [16, 64]}))
        ['as-it-is', 'batch_size-16', 'batch_size-64']
    """
    base = recipe if isinstance(recipe, Recipe) else _recipe_from(str(recipe))
    combinations = list(itertools.product(*(_settings(key, values) for key, values in over.items())))
    if not over or len(combinations) > _MOST:
        raise OptionError(
            expected=f"values to try, in 1 to {_MOST} combinations",
            received=f"{len(combinations) if over else 0} combinations",
            remedy="vary at least one key, and leave out values of others",
        )
    named = {BASELINE: base}
    for settings in combinations:
        changed = with_overrides(base, settings)
        if changed not in named.values():
            name = run_name(" ".join(setting.partition(".")[2] for setting in settings))
            # Different values may get the same name: -1 and 1 do.
            named[name if name not in named else f"{name[:90]}-{len(named)}"] = changed
    return named


def _recipe_from(source: str) -> Recipe:
    return load_recipe(source) if source.endswith(".toml") else recipe_for(source)


def _settings(key: str, values: Sequence[Any]) -> list[str]:
    """``key=value`` for each value, in TOML: JSON's strings, numbers and lists are TOML's, too."""
    if not isinstance(values, list | tuple) or not values or "." not in key:
        raise OptionError(
            expected="a list of values for a key section.key",
            received=f"{key}={values!r}",
            remedy='for example over={"model.dropout": [0.0, 0.1, 0.2]}',
        )
    written = ("none" if value is None else value for value in values)
    return [f"{key}={json.dumps(value, ensure_ascii=False, default=str)}" for value in written]
