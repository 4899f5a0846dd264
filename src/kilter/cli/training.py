"""``kilter train`` and ``kilter resume``: the main job, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from kilter.cli.progress import progress
from kilter.cli.words import measures
from kilter.nn.zeros import NEAR_ZERO, PenalizedWeights
from kilter.recipe import Recipe, load_recipe, recipe_for, with_overrides
from kilter.report import write_report
from kilter.runs import training as job
from kilter.words import duration


def train(
    source: str,
    settings: Sequence[str],
    options: Mapping[str, Any],
    parent: Path,
    quiet: bool,
    *,
    allow_code: bool,
) -> None:
    """Train a recipe, or data with the default recipe; ``options`` are keys of it with their values."""
    train_recipe(recipe_from(source, settings, options), parent, quiet, allow_code=allow_code)


def train_recipe(recipe: Recipe, parent: Path, quiet: bool, *, allow_code: bool) -> None:
    """Train a recipe, show how it goes, and say what it came to."""
    if quiet:
        _conclude(job.train(recipe, parent=parent, verbose=0, allow_code=allow_code), quiet=True)
        return
    with progress(Console()) as shown:
        result = job.train(recipe, parent=parent, verbose=0, callbacks=[shown], allow_code=allow_code)
    _conclude(result, quiet=False)


def resume(path: Path, quiet: bool, *, allow_code: bool) -> None:
    """Go on with an interrupted run."""
    if quiet:
        _conclude(job.resume(path, verbose=0, allow_code=allow_code), quiet=True)
        return
    with progress(Console()) as shown:
        result = job.resume(path, verbose=0, callbacks=[shown], allow_code=allow_code)
    _conclude(result, quiet=False)


def recipe_from(source: str, settings: Sequence[str], options: Mapping[str, Any]) -> Recipe:
    """The recipe in the file ``source``, or the default for data, with ``--set`` and the options put in."""
    recipe = load_recipe(source) if source.endswith(".toml") else recipe_for(source)
    # JSON's strings and numbers are TOML's: an option's text stays text, also where it looks like a number.
    written = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in options.items()]
    return with_overrides(recipe, [*settings, *written])


def without_search(recipe: Recipe) -> Recipe:
    """The recipe with its optimiser's usual numbers where it asks for them to be measured ("auto")."""
    numbers = recipe.optimizer.model_copy(update={"learning_rate": recipe.optimizer.rate, "clip": None})
    return recipe.model_copy(update={"optimizer": numbers})


def _conclude(result: job.TrainResult, *, quiet: bool) -> None:
    """Write the report, and print what the run came to."""
    page = write_report(result.path)
    if quiet:
        typer.echo(result.path)
        return
    ended = result.result
    best = ""
    if ended.best_epoch is not None:
        best = f", the best was {ended.best_epoch + 1} by {ended.monitor}"
    typer.echo(f"{ended.epochs} epochs in {duration(ended.seconds)}{best}")
    for name, evaluation in ended.evaluations.items():
        typer.echo(f"{name}: {evaluation.rows} rows  {measures(evaluation.metrics)}")
    if ended.l1_zeros:
        typer.echo(_zeros(ended.l1_zeros))
    typer.echo(f"run: {result.path}")
    typer.echo(f"report: {page}")


def _zeros(penalized: Sequence[PenalizedWeights]) -> str:
    """What the L1 penalty did to all weights together, in words."""
    count = sum(weights.count for weights in penalized)
    zeros = sum(weights.zeros * weights.count for weights in penalized) / count
    near = sum(weights.near_zeros * weights.count for weights in penalized) / count
    return f"L1: {zeros:.1%} of {count:,} weights are 0, {near:.1%} below {NEAR_ZERO}"
