"""``kilter train``, ``resume`` and ``replay``, and how measures are printed."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any, Final

import typer

from kilter._cli.commands import Replay, Resume, Train, Transfer
from kilter._cli.options import Distribution, devices_from
from kilter._cli.output import say, say_table
from kilter._engine.joining import together
from kilter._engine.processes import is_first
from kilter._progress import Display
from kilter._text import counted, duration, measures, number, printable
from kilter.errors import OptionError
from kilter.nn.zeros import NEAR_ZERO, PenalizedWeights
from kilter.recipe import Recipe, with_overrides
from kilter.recipe.text import recipe_of
from kilter.report import write_report
from kilter.runs import replaying as repeated
from kilter.runs import training as job
from kilter.runs.cross_validation import (
    OUT_OF_FOLD,
    CrossValidation,
    cross_validate,
    is_cross_validation,
    resume_folds,
)
from kilter.runs.reading import read_data
from kilter.runs.records import Evaluation, to_json


def train(asked: Train, progress: Display) -> None:
    """Train a model from a recipe, or from data with the default recipe; or one for each fold."""
    options = {"name": asked.name, "train.epochs": asked.epochs, "seed": asked.seed}
    options |= {"train.metric": asked.metric, "data.folds": asked.folds}
    options["train.devices"] = devices_from(asked.devices)
    with _joined(asked.distribution, progress):
        recipe = recipe_from(asked.source, asked.overrides.all, options)
        if recipe.data.folds is not None and recipe.data.fold is None:
            folds = cross_validate(recipe, parent=asked.runs, verbose=progress, allow_code=asked.allow_code)
            _say_folds(folds, asked, progress)
        else:
            train_recipe(recipe, asked, progress)


def _joined(distribution: Distribution, progress: Display) -> AbstractContextManager[None]:
    if distribution.coordinator is not None:
        progress.stage(f"Waiting for the other processes at {printable(distribution.coordinator)}")
    return together(**vars(distribution))


def _say_folds(found: CrossValidation, asked: Train | Resume, progress: Display) -> None:
    """Print the measures of the held-out rows."""
    progress.close()
    if isinstance(asked, Train) and asked.as_json:
        measures = {name: asdict(one) for name, one in found.measures.items()}
        typer.echo(to_json({"measures": measures, "run": str(found.path)}, indent=2))
        return
    if asked.path_only:
        typer.echo(found.path)
        return
    rows = [
        (name, number(one.mean), number(one.std), f"{number(min(one.folds))} to {number(max(one.folds))}")
        for name, one in found.measures.items()
    ]
    say_table((f"{len(found.runs)} folds", "mean", "spread", "folds"), rows, right=(1, 2))
    say("spread: the standard deviation of the folds")
    say(f"out-of-fold predictions: {found.path / OUT_OF_FOLD}")
    say(f"run: {found.path}")


def train_recipe(recipe: Recipe, asked: Train | Transfer, progress: Display) -> None:
    """Train a recipe and print the result."""
    verbose = progress if is_first() else 0
    result = job.train(recipe, parent=asked.runs, verbose=verbose, allow_code=asked.allow_code)
    _conclude(result, asked, progress)


def resume(asked: Resume, progress: Display) -> None:
    """Continue an interrupted run, or train a finished one for longer."""
    if is_cross_validation(asked.run):
        if asked.epochs is not None:
            raise OptionError(
                expected="--epochs for one run, not for all folds of a cross-validation",
                received=f"--epochs {asked.epochs}",
                remedy="leave it out, or resume the run of one fold",
            )
        _say_folds(resume_folds(asked.run, verbose=progress, allow_code=asked.allow_code), asked, progress)
        return
    how: Any = {"epochs": asked.epochs, "allow_code": asked.allow_code}
    how["devices"] = devices_from(asked.devices)
    with _joined(asked.distribution, progress):
        _conclude(job.resume(asked.run, verbose=progress if is_first() else 0, **how), asked, progress)


def replay(asked: Replay, progress: Display) -> None:
    """Print which operation produced the first non-finite number."""
    found = repeated.replay(asked.run, asked.step, allow_code=asked.allow_code)
    progress.close()
    for sentence in found.sentences:
        say(sentence)


def recipe_from(
    source: str, settings: Sequence[str], options: Mapping[str, Any] | None = None, *, average: bool = True
) -> Recipe:
    """The recipe ``source``, or the default for data, with ``--set`` and the options that are not None."""
    recipe = recipe_of(source, average=average)
    given = {key: value for key, value in (options or {}).items() if value is not None}
    # JSON's strings and numbers are valid TOML: an option's text stays text, even if it looks like a number.
    written = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items()]
    return with_overrides(recipe, [*settings, *written])


def without_search(recipe: Recipe) -> Recipe:
    """The recipe with the optimiser's defaults instead of "auto"."""
    numbers = recipe.optimizer.model_copy(update={"learning_rate": recipe.optimizer.rate, "clip": None})
    return recipe.model_copy(update={"optimizer": numbers})


def _conclude(result: job.TrainResult, asked: Train | Transfer | Resume, progress: Display) -> None:
    """Write the report, and print the result of the run; of several processes the first one does."""
    if not is_first():
        return
    progress.stage("Writing the report")
    page = write_report(result.path)
    progress.close()
    ended = result.result
    if isinstance(asked, Train) and asked.as_json:
        typer.echo(to_json(asdict(ended) | {"run": str(result.path)}, indent=2))
        return
    if asked.path_only:
        typer.echo(result.path)
        return
    best = "" if ended.best_epoch is None else f"; best epoch: {ended.best_epoch + 1} (by {ended.monitor})"
    say(f"{counted(ended.epochs, 'epoch')} in {duration(ended.seconds)}{best}")
    for name, evaluation in ended.evaluations.items():
        say_evaluation(name, evaluation)
    data = read_data(result.path)
    if data is not None and data.threshold is not None:
        say(f'class "{data.classes[data.positive]}" is predicted from a probability of {data.threshold:.3g}')
    if ended.l1_zeros:
        say(_zeros(ended.l1_zeros))
    say(f"run: {result.path}")
    say(f"report: {page}")


def _zeros(penalized: Sequence[PenalizedWeights]) -> str:
    """The effect of the L1 penalty on all weights together, as text."""
    count = sum(weights.count for weights in penalized)
    zeros = sum(weights.zeros * weights.count for weights in penalized) / count
    near = sum(weights.near_zeros * weights.count for weights in penalized) / count
    return f"L1: {zeros:.1%} of {count:,} weights are 0, {near:.1%} below {NEAR_ZERO}"


_FURTHER: Final = "    "  # before the further lines of a long one
CLASSES: Final = 10  # of more, those with the lowest recall are shown


def say_evaluation(name: str, found: Evaluation) -> None:
    """Print loss and measures, remarks, a constant prediction's measures, and the results of each class."""
    say(f"{name}: {counted(found.rows, 'row')}  {measures(found.metrics)}", indent=_FURTHER)
    for remark in found.remarks:
        say(f"{name}: {remark}", indent=_FURTHER)
    if found.constant:
        say(f"  always the {found.constant_answer}: {measures(found.constant)}", indent=_FURTHER)
    shown, names = found.hardest_classes(CLASSES), found.class_measures
    rows = [
        ("  " + one.name, str(one.rows), str(one.found), *(_share(getattr(one, name)) for name in names))
        for one in shown
    ]
    if rows:
        headings = ("  class", found.unit, "correct", *names)
        say_table(headings, rows, right=range(1, len(headings)))
    if len(shown) < len(found.per_class):
        say(f"  and {len(found.per_class) - len(shown)} more classes, with higher recall")


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
