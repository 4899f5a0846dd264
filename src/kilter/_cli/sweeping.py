"""``kilter sweep``: the values of some keys of a recipe, on paired seeds, against the recipe as it is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from kilter._cli import comparing
from kilter._cli.training import recipe_from
from kilter._progress import Display
from kilter._toml import parse_toml
from kilter.errors import OptionError
from kilter.recipe import Recipe, with_overrides
from kilter.recipe.text import run_name

AS_IT_IS = "as-it-is"
# Every candidate more raises what each has to prove, and takes as long as the recipe does, several times.
_MOST = 64


def sweep(
    source: str,
    ranges: Sequence[str],
    settings: Sequence[str],
    options: Mapping[str, Any],
    *,
    as_json: bool,
    progress: Display,
) -> None:
    """Compare the recipe ``source`` (or the usual one for data) with each combination of the values given."""
    base = recipe_from(source, settings, {})
    comparing.compare_candidates(candidates(base, ranges), options, as_json=as_json, progress=progress)


def candidates(base: Recipe, ranges: Sequence[str]) -> dict[str, Recipe]:
    """The recipe as it is, the baseline, and one for every combination of values, by what differs.

    ``ranges`` are written ``section.key=[value, ...]``, as TOML. A combination that gives no new recipe is
    left out. Raises :class:`OptionError` for a range that is none, and for more combinations than can be
    told apart; :class:`~kilter.errors.RecipeError` for a key or value that the recipe cannot have.

    Example:
        >>> from kilter.recipe.text import recipe_for
        >>> list(candidates(recipe_for("digits"), ["train.batch_size=[16, 64]"]))
        ['as-it-is', 'batch_size-16', 'batch_size-64']
    """
    values = [_values(one) for one in ranges]
    combinations = list(itertools.product(*values))
    if not values or len(combinations) > _MOST:
        raise OptionError(
            expected=f"values to try, in 1 to {_MOST} combinations",
            received=f"{len(combinations) if values else 0} combinations",
            remedy='for example --vary "optimizer.learning_rate=[1e-4, 1e-3, 1e-2]"',
        )
    named = {AS_IT_IS: base}
    for settings in combinations:
        recipe = with_overrides(base, settings)
        if recipe not in named.values():
            name = run_name(" ".join(setting.partition(".")[2] for setting in settings))
            # A name has no room for every sign: -1 and 1 look alike.
            named[name if name not in named else f"{name[:90]}-{len(named)}"] = recipe
    return named


def _values(text: str) -> list[str]:
    """``key=[a, b]`` as ``key=a`` and ``key=b``."""
    key, equals, written = text.partition("=")
    try:
        values = parse_toml(f"values = {written}")["values"] if equals else None
    except ValueError:
        values = None
    if not isinstance(values, list) or not values or "." not in key:
        raise OptionError(
            expected="values of a key, written section.key=[value, ...]",
            received=repr(text),
            remedy='for example --vary "model.dropout=[0.0, 0.1, 0.2]"; texts need quotation marks',
        )
    # JSON's strings, numbers and lists are TOML's; what JSON has not, such as dates, no key takes.
    return [f"{key.strip()}={json.dumps(value, ensure_ascii=False, default=str)}" for value in values]
