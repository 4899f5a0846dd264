"""``kilter diagnose``: what is wrong with a model, its data and how it trains."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer
from rich.console import Console

from kilter.cli.findings import explained, findings_table, verdict
from kilter.cli.trained import compiled_with_data
from kilter.cli.training import recipe_from, without_search
from kilter.health.diagnosing import diagnose as find
from kilter.records import Diagnosis
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
) -> None:
    """Look for faults in a recipe, or in the compiled ``model`` with the data ``source``, and tell them.

    Ends with exit code 1 where something severe is found.
    """
    if model is None:
        diagnosis = _of_recipe(source, settings, target, steps, allow_code)
    else:
        diagnosis = _of_model(model, source, settings, target, steps, allow_code)
    if as_json:
        typer.echo(json.dumps(diagnosis.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(diagnosis)
    if not diagnosis.ok:
        raise typer.Exit(SEVERE)


def _of_recipe(
    source: str, settings: Sequence[str], target: str | None, steps: int, allow_code: bool
) -> Diagnosis:
    options = {} if target is None else {"data.target": target}
    # A search for the rate needs a network that trains, which is what is in question.
    prepared = prepare(without_search(recipe_from(source, settings, options)), allow_code=allow_code)
    train, validation = prepared.parts.train, prepared.parts.validation
    return find(
        prepared.model,
        train.x,
        train.y,
        validation_data=None if validation is None else (validation.x, validation.y),
        batch_size=prepared.recipe.train.batch_size,
        steps=steps,
        seed=prepared.recipe.seed,
    )


def _of_model(
    path: Path, source: str, settings: Sequence[str], target: str | None, steps: int, allow_code: bool
) -> Diagnosis:
    model, data = compiled_with_data(path, source, settings, target=target, allow_code=allow_code)
    return find(model, data.train.x, data.train.y, steps=steps)


def _show(diagnosis: Diagnosis) -> None:
    if diagnosis.findings:
        Console().print(findings_table(diagnosis.findings))
        for paragraph in explained(diagnosis.findings):
            typer.echo(paragraph)
    typer.echo(verdict(diagnosis))
