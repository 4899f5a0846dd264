"""``kilter treat``: a network that does not learn, mended, proved and trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console

from kilter.cli.findings import explained, findings_table
from kilter.cli.output import made
from kilter.cli.trained import compiled_with_data
from kilter.cli.training import recipe_from, without_search
from kilter.cli.words import number, table
from kilter.report import write_treatment
from kilter.runs.build import prepare
from kilter.treatment.treating import treat as treat_model
from kilter.treatment.treatment import Treatment
from kilter.words import duration

MODEL: Final = "model.keras"
REPORT: Final = "report.html"
EPOCHS: Final = 10  # of a model without a recipe


def treat(
    source: str,
    settings: Sequence[str],
    model: Path | None,
    out: Path,
    *,
    target: str | None,
    epochs: int | None,
    keep: Sequence[str],
    allow_code: bool,
    as_json: bool,
) -> None:
    """Treat a recipe, or the compiled ``model`` with the data ``source``; the result is kept in ``out``."""
    if model is None:
        given = _of_recipe(source, settings, target, epochs, allow_code)
    else:
        given = _of_model(model, source, settings, target, epochs or EPOCHS, allow_code)
    with made(out):
        treatment = treat_model(**given, keep=keep)
    treatment.model.save(out / MODEL)
    page = write_treatment(treatment, out / REPORT)
    if as_json:
        typer.echo(json.dumps(treatment.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    _show(treatment)
    typer.echo(f"model: {out / MODEL}")
    typer.echo(f"report: {page}")


def _of_recipe(
    source: str, settings: Sequence[str], target: str | None, epochs: int | None, allow_code: bool
) -> dict[str, Any]:
    options = {"data.target": target, "train.epochs": epochs}
    chosen = {key: value for key, value in options.items() if value is not None}
    prepared = prepare(without_search(recipe_from(source, settings, chosen)), allow_code=allow_code)
    train, validation, section = prepared.parts.train, prepared.parts.validation, prepared.recipe.train
    return {
        "model": prepared.model,
        "x": train.x,
        "y": train.y,
        "validation_data": None if validation is None else (validation.x, validation.y),
        "batch_size": section.batch_size,
        "epochs": section.epochs,
        "class_weight": prepared.class_weight,
        "seed": prepared.recipe.seed,
    }


def _of_model(
    path: Path, source: str, settings: Sequence[str], target: str | None, epochs: int, allow_code: bool
) -> dict[str, Any]:
    model, train = compiled_with_data(path, source, settings, target=target, allow_code=allow_code)
    return {"model": model, "x": train.x, "y": train.y, "epochs": epochs}


def _show(treatment: Treatment) -> None:
    """Findings, changes, trials and the outcome."""
    if treatment.diagnosis.findings:
        Console().print(findings_table(treatment.diagnosis.findings))
        for paragraph in explained(treatment.diagnosis.findings):
            typer.echo(paragraph)
    if treatment.changes:
        rows = [(one.remedy, one.before, one.after) for one in treatment.changes]
        for line in ["", *table(("change", "before", "after"), rows)]:
            typer.echo(line)
    trials = treatment.trials
    if trials.tried:
        tried = [(", ".join(one.remedies) or "none", number(one.score), one.outcome) for one in trials.tried]
        for line in ["", *table(("changes tried", trials.measure, "outcome"), tried, right=(1,))]:
            typer.echo(line)
    typer.echo("")
    for sentence in treatment.summary():
        if not sentence.startswith("changed: ") or not treatment.changes:
            typer.echo(sentence)
    typer.echo(f"{duration(treatment.seconds)} in all")
