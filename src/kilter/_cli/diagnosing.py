"""``kilter diagnose``: what is wrong with a model, its data and how it trains."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer

from kilter._cli.findings import say_findings, verdict
from kilter._cli.output import say
from kilter._cli.trained import compiled_with_data
from kilter._cli.training import recipe_from, without_search
from kilter._diagnosis.diagnose import diagnose as find
from kilter._progress import Display
from kilter._records import Diagnosis
from kilter._text import printable
from kilter.runs.build import prepare

SEVERE: Final = 1  # the exit code where something severe was found


def diagnose(
    source: str,
    settings: Sequence[str],
    model: Path | None,
    *,
    target: str | None,
    steps: int,
    allow_code: bool,
    as_json: bool,
    progress: Display,
) -> None:
    """Look for faults in a recipe, or in the compiled ``model`` with the data ``source``, and tell them.

    Ends with exit code 1 where something severe is found.
    """
    if model is None:
        diagnosis = _of_recipe(source, settings, target, steps, allow_code, progress)
    else:
        diagnosis = _of_model(model, source, settings, target, steps, allow_code, progress)
    progress.close()
    if as_json:
        typer.echo(json.dumps(diagnosis.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(diagnosis)
    if not diagnosis.ok:
        raise typer.Exit(SEVERE)


def _of_recipe(
    source: str,
    settings: Sequence[str],
    target: str | None,
    steps: int,
    allow_code: bool,
    progress: Display,
) -> Diagnosis:
    options = {} if target is None else {"data.target": target}
    # A search for the rate needs a network that trains, which is what is in question.
    recipe = without_search(recipe_from(source, settings, options))
    prepared = prepare(recipe, allow_code=allow_code, progress=progress)
    train, validation = prepared.parts.train, prepared.parts.validation
    return find(
        prepared.model,
        train.x,
        train.y,
        validation_data=None if validation is None else (validation.x, validation.y),
        batch_size=prepared.recipe.train.batch_size,
        steps=steps,
        seed=prepared.recipe.seed,
        verbose=progress,
    )


def _of_model(
    path: Path,
    source: str,
    settings: Sequence[str],
    target: str | None,
    steps: int,
    allow_code: bool,
    progress: Display,
) -> Diagnosis:
    progress.stage(f"Reading {printable(source)}")
    model, data = compiled_with_data(path, source, settings, target=target, allow_code=allow_code)
    return find(model, data.train.x, data.train.y, steps=steps, verbose=progress)


def _show(diagnosis: Diagnosis) -> None:
    if diagnosis.findings:
        say_findings(diagnosis.findings)
    say(verdict(diagnosis))
