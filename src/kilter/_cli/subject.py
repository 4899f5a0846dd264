"""What ``kilter diagnose`` and ``kilter treat`` work on: a recipe, or a compiled model with data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kilter._cli.training import recipe_from, without_search
from kilter._models.saved import load_model
from kilter._progress import Display
from kilter._text import printable
from kilter.data import Source, Splits, load
from kilter.errors import DataError, ModelError, OptionError
from kilter.recipe import Recipe
from kilter.runs.build import prepare, with_absolute_paths
from kilter.runs.model_data import data_of, load_for
from kilter.runs.records import DataRecord
from kilter.runs.training import data_record

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, eq=False)
class Subject:
    """The arguments of :func:`kilter.diagnose` or :func:`kilter.treat`, and their recipe and data."""

    arguments: dict[str, Any]
    recipe: Recipe
    record: DataRecord


def of_recipe(
    recipe: Recipe, function: Callable[..., Any], *, allow_code: bool, progress: Display
) -> Subject:
    """The recipe's model, data and training as the arguments of ``function``, without a search for "auto"."""
    prepared = prepare(without_search(recipe), allow_code=allow_code, progress=progress)
    train, options = prepared.parts.train, prepared.spec.arguments_for(function)
    arguments = {"model": prepared.model, "x": train.x, "y": train.y, **options}
    return Subject(arguments, prepared.recipe, data_record(prepared.source, prepared.parts))


def of_saved_model(
    path: Path,
    source: str,
    settings: Sequence[str],
    options: Mapping[str, Any],
    *,
    allow_code: bool,
    progress: Display,
) -> Subject:
    """The compiled model in ``path`` with the data ``source``; ``options``: values of recipe keys.

    Its recipe holds out no rows: the treatment draws the validation part.
    """
    progress.stage(f"Reading {printable(source)}")
    target = options.get("data.target")
    model, data = _compiled_with_data(path, source, settings, target=target, allow_code=allow_code)
    whole = {"data.validation": "none", "train.early_stopping": "none"}
    given = {"model.file": str(path), **whole, **options}
    recipe = with_absolute_paths(recipe_from(source, [], given))
    arguments = {"model": model, "x": data.train.x, "y": data.train.y}
    return Subject(arguments, recipe, data_record(data, Splits(data.train, None, data.test)))


def _compiled_with_data(
    path: Path, source: str, settings: Sequence[str], *, target: str | None, allow_code: bool
) -> tuple[keras.Model, Source]:
    """The compiled model in the .keras file ``path``, and ``source`` with labels to train it on.

    Columns are matched by name if the file has a data record; else they keep the order of ``source``, and a
    note says so. ``settings`` are those of ``--set``, which do not apply to a saved model:
    :class:`OptionError`. Raises :class:`ModelError` for a model that was not compiled, :class:`DataError` for
    data without labels.
    """
    if settings:
        raise OptionError(
            expected="--set for a recipe, or --model for a file",
            received=f"--set {settings[0]} and --model {path}",
            remedy="leave --set out: a saved model brings its own loss and optimiser",
        )
    model = load_model(path, allow_code=allow_code, compiled=True)
    if not model.compiled:
        raise ModelError(
            expected=f"a model that was saved after compile(): {path}",
            received="one without loss and optimiser",
            remedy="compile it as in training and save it again, or pass its recipe",
        )
    record = data_of(path)
    if record is None:
        data = load(source, target=target)
        if data.train.features:
            typer.echo(
                f"note: {path} does not name its columns; they are taken in the order of {source}", err=True
            )
    else:
        data = load_for(record, source, model=str(path), target=target, unlabelled=False)
    if data.train.y is None:
        raise DataError(
            expected="data with labels, to train the model on",
            received=f"{data.train.name}, which has none",
            remedy="name the column with --target",
        )
    return model, data
