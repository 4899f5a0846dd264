"""cross_validate(): a run for each fold of the rows in one run directory, and out-of-fold predictions."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import polars

from kilter._engine import inference
from kilter._progress import Verbose, shown
from kilter._text import printable
from kilter.data import Source
from kilter.data.csv_output import csv_text
from kilter.data.folds import fold_numbers
from kilter.data.relations import leak_notes
from kilter.errors import KilterError, RecipeError
from kilter.recipe import Recipe, dump_recipe, load_recipe
from kilter.runs.atomic import entries, write_text
from kilter.runs.build import with_absolute_paths
from kilter.runs.directory import Run, create_run, reopen_run
from kilter.runs.environment import describe_environment
from kilter.runs.evaluating import BATCH
from kilter.runs.predictions import Predictions, name_columns, predictions, row_names
from kilter.runs.reading import RECIPE, read_data, read_result
from kilter.runs.recipe_data import read_parts, read_source, recipe_of_run
from kilter.runs.records import Result, to_json
from kilter.runs.termination import Interrupted
from kilter.runs.trained import Trained, open_trained
from kilter.runs.training import device_name, require_unfinished, resume, train

FOLDS: Final = "folds.json"
OUT_OF_FOLD: Final = "out-of-fold.csv"


@dataclass(frozen=True)
class Spread:
    """A measure over the folds: its mean, its standard deviation (n - 1), and its value in each fold.

    NaN: not defined in a fold, such as the average precision of a class without rows; mean and deviation are
    those of the other folds, NaN for none, and the deviation also for a single one.
    """

    mean: float
    std: float
    folds: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What :func:`cross_validate` returns.

    `path`: the run directory, with a run directory for each fold, folds.json and out-of-fold.csv. `runs`:
    those of the folds. `measures`: of the held-out rows, by name. `predictions`: for every row, by the model
    that was trained without it; a row that was never held out has none.
    """

    path: Path
    runs: tuple[Path, ...]
    measures: Mapping[str, Spread]
    predictions: polars.DataFrame


@dataclass(frozen=True, eq=False)
class _Fold:
    """The run of a fold."""

    path: Path
    model: keras.Model
    result: Result


def cross_validate(
    recipe: Recipe,
    *,
    folds: int | None = None,
    parent: Path | str = Path("runs"),
    verbose: Verbose = "auto",
    allow_code: bool = False,
) -> CrossValidation:
    """Train `recipe` once for each of `folds` parts of its rows, and test each model on the part left out.

    `folds`: by default the recipe's data.folds, or 5. `parent`, `verbose` and `allow_code` are as in
    :func:`kilter.runs.train`. In each fold the validation rows, which decide when to stop, are taken from the
    training rows, so nothing is chosen on the rows that the fold is tested on. The runs of the folds are
    ordinary ones, with ``data.fold`` in their recipes. Raises as :func:`kilter.runs.train`, and
    :class:`RecipeError` for a recipe of one fold.
    """
    if recipe.data.fold is not None:
        raise RecipeError(
            expected="a recipe without data.fold",
            received=f"data.fold={recipe.data.fold}",
            remedy="leave data.fold out, or train this fold alone with kilter train",
        )
    recipe = with_absolute_paths(_with(recipe, folds=folds or recipe.data.folds or 5))
    source = _read(recipe, verbose)
    with create_run(Path(parent), recipe.name, recipe_text=dump_recipe(recipe)) as run:
        run.write_environment(describe_environment(device=device_name(), seed=recipe.seed))
        try:
            return _through(run, recipe, source, verbose=verbose, allow_code=allow_code)
        except BaseException:
            if not any(path.is_dir() for path in run.path.iterdir()):
                run.discard()
            raise


def is_cross_validation(path: Path) -> bool:
    """Whether the run directory is one of :func:`cross_validate`, and not of one of its folds."""
    try:
        section = load_recipe(path / RECIPE).data
    except KilterError:  # what is wrong is said where the run is read
        return False
    return section.folds is not None and section.fold is None


def resume_folds(path: Path | str, *, verbose: Verbose = "auto", allow_code: bool = False) -> CrossValidation:
    """Continue an interrupted cross-validation: finished folds are kept, the others trained.

    Raises as :func:`kilter.runs.resume`.
    """
    with reopen_run(Path(path)) as run:
        require_unfinished(run.path)
        recipe = recipe_of_run(run.path)
        return _through(run, recipe, _read(recipe, verbose), verbose=verbose, allow_code=allow_code)


def _read(recipe: Recipe, verbose: Verbose) -> Source:
    """The data of all folds; problems show before there is a directory."""
    with shown(verbose) as progress:
        progress.stage("Reading the data")
        source = read_source(recipe, None, keep_inputs=True)
        for note in (*source.notes, *leak_notes(source.train, source.encoding)):
            progress.print(f"Note: {printable(note)}")
        read_parts(_with(recipe, fold=1), source=source)
    return source


def _through(
    run: Run, recipe: Recipe, source: Source, *, verbose: Verbose, allow_code: bool
) -> CrossValidation:
    """Train the folds that are not finished, and conclude."""
    folds: list[_Fold] = []
    answers: list[Predictions] = []
    how: dict[str, Any] = {"verbose": verbose, "allow_code": allow_code}
    assert recipe.data.folds is not None
    for number in range(1, recipe.data.folds + 1):
        part = _with(recipe, fold=number).model_copy(update={"name": f"fold-{number}"})
        try:
            folds.append(_fold(run.path, part, source, how))
        except Interrupted as error:
            message = str(error).replace(str(error.path), str(run.path))
            raise type(error)(run.path, message, error.signal) from error
        answers.append(_answers(folds[-1], part, source))
    return _concluded(run, recipe, source, folds, answers)


def _fold(parent: Path, recipe: Recipe, source: Source, how: dict[str, Any]) -> _Fold:
    """The fold of the recipe: as it was finished earlier, continued, or trained."""
    begun = next((path for path in entries(parent) if path.name.endswith(f"-{recipe.name}")), None)
    ended = None if begun is None else read_result(begun)
    if begun is not None and ended is not None and ended.status == "finished":
        return _Fold(begun, open_trained(begun, allow_code=how["allow_code"]).model, ended)
    if begun is not None:
        found = resume(begun, **how)
    else:
        found = train(recipe, parent=parent, source=source, **how)
    return _Fold(found.path, found.model, found.result)


def _with(recipe: Recipe, **data: Any) -> Recipe:
    given = recipe.model_dump(exclude_unset=True)
    given["data"] = recipe.data.model_dump(exclude_unset=True) | data
    return Recipe.model_validate(given)


def _answers(fold: _Fold, recipe: Recipe, source: Source) -> Predictions:
    """The predictions of a fold's model for the rows that it was tested on."""
    _, parts = read_parts(recipe, source=source)
    assert parts.test is not None
    outputs = inference.predict(fold.model, parts.test.x, batch_size=BATCH, verbose=0)
    trained = Trained(fold.model, fold.path, fold.path, read_data(fold.path))
    return predictions(trained, outputs, parts.test)


def _concluded(
    run: Run, recipe: Recipe, source: Source, results: list[_Fold], answers: list[Predictions]
) -> CrossValidation:
    """Write what the folds have in common."""
    seed = recipe.seed if recipe.data.split_seed is None else recipe.data.split_seed
    table = _table(source, fold_numbers(source.train, len(results), seed, recipe.data.group), answers)
    found = [result.result.evaluations["test"].metrics for result in results]
    measures = {name: _spread([one[name] for one in found]) for name in found[0]}
    content = {
        "folds": [result.path.name for result in results],
        "measures": {name: asdict(one) for name, one in measures.items()},
    }
    write_text(run.path / FOLDS, to_json(content, indent=2) + "\n")
    write_text(run.path / OUT_OF_FOLD, csv_text(table))
    ended = results[0].result
    total = sum(result.result.seconds for result in results)
    epochs = sum(result.result.epochs for result in results)
    run.finish(Result("finished", "folds", ended.monitor, ended.direction, None, epochs, total))
    return CrossValidation(run.path, tuple(result.path for result in results), measures, table)


def _spread(values: list[float]) -> Spread:
    known = np.array(values)
    known = known[~np.isnan(known)]  # a fold without a class has no average precision, one of a row no R²
    mean = float(known.mean()) if len(known) else math.nan
    return Spread(mean, float(known.std(ddof=1)) if len(known) > 1 else math.nan, tuple(values))


def _table(source: Source, numbers: np.ndarray, answers: list[Predictions]) -> polars.DataFrame:
    """Every row of the source in order: its names, its fold, its true value and its prediction."""
    rows = source.train
    assert rows.y is not None
    places = np.concatenate([np.flatnonzero(numbers == fold) for fold in range(1, len(answers) + 1)])
    found = polars.concat([one.frame() for one in answers])
    found = found.with_columns(polars.Series("place", places))
    true = np.array(rows.classes)[rows.y].tolist() if rows.classes else rows.y.reshape(len(rows), -1)[:, 0]
    of_pixels = rows.task == "segmentation"  # their true values are pictures
    every = row_names(rows, name_columns(source.encoding)).with_columns(
        polars.Series("place", np.arange(len(rows))),
        polars.Series("fold", numbers),
        *([] if of_pixels else [polars.Series("true", true)]),
    )
    return every.join(found, on="place", how="left", maintain_order="left").drop("place")
