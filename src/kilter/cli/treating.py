"""``kilter treat``: a network that does not learn, mended, proved and trained."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import typer

from kilter.cli.findings import say_findings
from kilter.cli.output import say, say_table
from kilter.cli.trained import compiled_with_data
from kilter.cli.training import recipe_from, without_search
from kilter.errors import RunError
from kilter.progress import Display
from kilter.report import write_treatment
from kilter.runs.build import prepare
from kilter.treatment.treating import treat as treat_model
from kilter.treatment.treatment import Treatment
from kilter.words import duration, number, printable

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
    progress: Display,
) -> None:
    """Treat a recipe, or the compiled ``model`` with the data ``source``; the result is kept in ``out``."""
    if model is None:
        given = _of_recipe(source, settings, target, epochs, progress)
    else:
        progress.stage(f"Reading {printable(source)}")
        given = _of_model(model, source, settings, target, epochs or EPOCHS, allow_code)
    _make(out)
    treatment = treat_model(**given, keep=keep, verbose=progress)
    progress.stage("Writing the model and the report")
    treatment.model.save(out / MODEL)
    page = write_treatment(treatment, out / REPORT)
    progress.close()
    if as_json:
        typer.echo(json.dumps(treatment.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    show_treatment(treatment)
    say(f"model: {out / MODEL}")
    say(f"report: {page}")


def _of_recipe(
    source: str, settings: Sequence[str], target: str | None, epochs: int | None, progress: Display
) -> dict[str, Any]:
    options = {"data.target": target, "train.epochs": epochs}
    chosen = {key: value for key, value in options.items() if value is not None}
    prepared = prepare(without_search(recipe_from(source, settings, chosen)), progress)
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


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            expected="--out as a folder that can be made",
            received=f"{out}: {error.strerror}",
            remedy="name another one",
        ) from error


def show_treatment(treatment: Treatment) -> None:
    """Findings, changes, trials and the outcome."""
    if treatment.diagnosis.findings:
        say_findings(treatment.diagnosis.findings)
    if treatment.changes:
        rows = [(one.remedy, one.before, one.after) for one in treatment.changes]
        say_table(("change", "before", "after"), rows)
        say()
    trials = treatment.trials
    if trials.tried:
        tried = [(", ".join(one.remedies) or "none", number(one.score), one.outcome) for one in trials.tried]
        say_table(("changes tried", trials.measure, "outcome"), tried, right=(1,))
        say()
    for sentence in treatment.summary(width=sys.maxsize):
        if not sentence.startswith("changed: ") or not treatment.changes:
            say(sentence)
    say(f"{duration(treatment.seconds)} in all")
