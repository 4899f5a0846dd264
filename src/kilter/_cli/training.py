"""``kilter train`` and ``kilter resume``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from kilter._cli.evaluation import say_evaluation
from kilter._cli.options import Distribution, Overrides, devices_from
from kilter._cli.output import say, say_table
from kilter._engine.joining import together
from kilter._engine.processes import is_first
from kilter._progress import Display
from kilter._text import duration, number, printable
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
from kilter.runs.records import to_json


def train(
    source: str,
    *,
    overrides: Overrides,
    name: str | None,
    epochs: int | None,
    seed: int | None,
    metric: str | None,
    folds: int | None,
    devices: str | None,
    distribution: Distribution,
    **how: Any,
) -> None:
    """Train a model from a recipe, or from data with the default recipe; or one for each fold."""
    options = {"name": name, "train.epochs": epochs, "seed": seed, "train.metric": metric}
    options |= {"data.folds": folds, "train.devices": devices_from(devices)}
    with _joined(distribution, how["progress"]):
        recipe = recipe_from(source, overrides.all, options)
        if recipe.data.folds is not None and recipe.data.fold is None:
            _cross_validate(recipe, **how)
        else:
            train_recipe(recipe, **how)


def _joined(distribution: Distribution, progress: Display) -> AbstractContextManager[None]:
    if distribution.coordinator is not None:
        progress.stage(f"Waiting for the other processes at {printable(distribution.coordinator)}")
    return together(**vars(distribution))


def _cross_validate(
    recipe: Recipe, *, runs: Path, allow_code: bool, path_only: bool, as_json: bool, progress: Display
) -> None:
    """Train once for each fold, and print the measures of the held-out rows."""
    found = cross_validate(recipe, parent=runs, verbose=progress, allow_code=allow_code)
    _say_folds(found, path_only, progress, as_json=as_json)


def _say_folds(found: CrossValidation, path_only: bool, progress: Display, *, as_json: bool = False) -> None:
    progress.close()
    if as_json:
        measures = {name: asdict(one) for name, one in found.measures.items()}
        typer.echo(to_json({"measures": measures, "run": str(found.path)}, indent=2))
        return
    if path_only:
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


def train_recipe(
    recipe: Recipe, *, runs: Path, allow_code: bool, path_only: bool, as_json: bool = False, progress: Display
) -> None:
    """Train a recipe and print the result."""
    verbose = progress if is_first() else 0
    result = job.train(recipe, parent=runs, verbose=verbose, allow_code=allow_code)
    _conclude(result, path_only, progress, as_json=as_json)


def resume(
    run: Path,
    *,
    epochs: int | None,
    devices: str | None,
    distribution: Distribution,
    allow_code: bool,
    path_only: bool,
    progress: Display,
) -> None:
    """Continue an interrupted run, or train a finished one for longer."""
    if is_cross_validation(run):
        if epochs is not None:
            raise OptionError(
                expected="--epochs for one run, not for all folds of a cross-validation",
                received=f"--epochs {epochs}",
                remedy="leave it out, or resume the run of one fold",
            )
        _say_folds(resume_folds(run, verbose=progress, allow_code=allow_code), path_only, progress)
        return
    how: Any = {"epochs": epochs, "devices": devices_from(devices), "allow_code": allow_code}
    with _joined(distribution, progress):
        result = job.resume(run, verbose=progress if is_first() else 0, **how)
        _conclude(result, path_only, progress)


def replay(run: Path, *, step: int | None, allow_code: bool, progress: Display) -> None:
    """Print which operation produced the first non-finite number."""
    found = repeated.replay(run, step, allow_code=allow_code)
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


def _conclude(result: job.TrainResult, path_only: bool, progress: Display, *, as_json: bool = False) -> None:
    """Write the report, and print the result of the run; of several processes the first one does."""
    if not is_first():
        return
    progress.stage("Writing the report")
    page = write_report(result.path)
    progress.close()
    ended = result.result
    if as_json:
        typer.echo(to_json(asdict(ended) | {"run": str(result.path)}, indent=2))
        return
    if path_only:
        typer.echo(result.path)
        return
    best = ""
    if ended.best_epoch is not None:
        best = f", the best was {ended.best_epoch + 1} by {ended.monitor}"
    say(f"{ended.epochs} epoch{'s' * (ended.epochs != 1)} in {duration(ended.seconds)}{best}")
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
