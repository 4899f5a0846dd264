"""``kilter treat``: fix a network that does not learn, prove the changes, and train it."""

import math
import shlex
import sys
from pathlib import Path
from typing import Any, Final

from kilter._cli import scripts
from kilter._cli.commands import Treat
from kilter._cli.diagnosing import Subject, of_recipe, of_saved_model, say_findings, verdict
from kilter._cli.output import is_unused, made, say, say_json, say_table, unused
from kilter._cli.training import recipe_from
from kilter._progress import Display
from kilter._text import duration, number
from kilter._treatment.result import Treatment, said
from kilter._treatment.treat import treat as treat_model
from kilter.errors import RecipeError, RunError
from kilter.recipe import Recipe, dump_recipe
from kilter.report.treatment import KERAS_CODE, write_treatment
from kilter.runs.atomic import write_text
from kilter.runs.best_epoch import direction_of
from kilter.runs.environment import describe_environment
from kilter.runs.reading import DATA, ENVIRONMENT, HISTORY, MODEL, RECIPE, RESULT
from kilter.runs.records import Result, to_json
from kilter.runs.trained import write_model
from kilter.runs.training import device_name

REPORT: Final = "report.html"
DEFAULT: Final = Path("treated")
EPOCHS: Final = 10  # of a model without a recipe


def treat(asked: Treat, progress: Display) -> None:
    """Treat a recipe, a script, or the compiled ``model`` with data. The result is in ``out``."""
    out, keep = _new_folder(asked.out), asked.keep or []
    found = scripts.run_script(asked, progress, out=str(out.resolve()), keep=keep)
    if found is not None:
        say_json(found) if asked.as_json else _show_script(found, asked.source, out)
        return
    options = {"train.epochs": asked.epochs if asked.model is None else asked.epochs or EPOCHS}
    if asked.model is None:
        recipe = recipe_from(asked.source, asked.overrides.all, options)
        _require_one_stage(recipe)
        subject = of_recipe(recipe, treat_model, allow_code=asked.allow_code, progress=progress)
    else:
        subject = of_saved_model(asked.model, asked, options, progress)
        subject.arguments["epochs"] = subject.recipe.train.epochs
    with made(out):
        given: dict[str, Any] = {"features": subject.features, "keep": keep, "metric": asked.metric}
        treatment = treat_model(**subject.arguments, **given, verbose=progress)
    progress.stage("Writing the model and the report")
    _keep(treatment, subject, out)
    overrides = [f"--set {shlex.quote(line)}" for one in treatment.changes for line in one.recipe]
    code = {
        KERAS_CODE: treatment.snippet(),
        "These changes as options of kilter train": " \\\n".join(overrides),
    }
    page = write_treatment(treatment, out / REPORT, code=code)
    progress.close()
    if asked.as_json:
        say_json(treatment.to_json())
        return
    show_treatment(treatment)
    say(f"model: {out / MODEL}")
    say(f"report: {page}")


def _show_script(found: dict[str, Any], source: str, out: Path) -> None:
    diagnosis = scripts.diagnosis_of(found["diagnosis"])
    say_findings(diagnosis.findings, scripts.places_of(found, source))
    say(verdict(diagnosis))
    for sentence in found["summary"][1:]:  # the first one repeats the findings
        say(sentence, indent="    ")
    say()
    scripts.show_changes(found, source, out)


def _require_one_stage(recipe: Recipe) -> None:
    if recipe.fine_tune is not None:
        raise RecipeError(
            expected="a recipe that trains in one stage",
            received="the stages of [fine_tune]",
            remedy="train it with kilter train, then treat the saved model with --model",
        )


def _new_folder(out: Path | None) -> Path:
    """``out``, or a folder without files if None. Raises :class:`RunError` if ``out`` has files."""
    if out is None:
        return unused(DEFAULT)
    if is_unused(out) or not out.is_dir():  # a file is refused where the folder is made
        return out
    raise RunError(
        expected="--out as a new or empty folder",
        received=f"{out}, which has files" + (" of a training run" if (out / HISTORY).exists() else ""),
        remedy="choose another folder with --out",
    )


def _keep(treatment: Treatment, subject: Subject, out: Path) -> None:
    """Make ``out`` a run directory of the treated model, for evaluate and predict."""
    measure = treatment.trials.measure
    result = Result(
        status="finished",
        reason="treatment",
        monitor=measure,
        direction=direction_of(measure),
        best_epoch=None,
        epochs=max(map(len, treatment.after.history.values()), default=0),
        seconds=treatment.seconds,
        parameters=int(treatment.model.count_params()),
    )
    environment = describe_environment(device=device_name(), seed=subject.recipe.seed)
    write_model(treatment.model, out / MODEL)
    write_text(out / DATA, subject.record.to_json() + "\n")
    write_text(out / RESULT, result.to_json() + "\n")
    write_text(out / ENVIRONMENT, to_json(environment, indent=2) + "\n")
    write_text(out / RECIPE, dump_recipe(subject.recipe))


def show_treatment(treatment: Treatment) -> None:
    """Findings, changes, trials and the outcome."""
    say_findings(treatment.diagnosis.findings)
    if treatment.changes:
        rows = [(one.remedy, one.before, one.after) for one in treatment.changes]
        say_table(("change", "before", "after"), rows)
        say()
    trials = treatment.trials
    if trials.parts:
        listed = [
            (
                one.remedy,
                number(one.without),
                "not tried" if math.isnan(one.alone) else number(one.alone),
                said(one),
            )
            for one in trials.parts
        ]
        headings = ("change", f"{trials.measure} without it", "with it alone", "what it contributes")
        say_table(headings, listed, right=(1, 2))
        say()
    if trials.tried:
        tried = [(", ".join(one.remedies) or "none", number(one.score), one.outcome) for one in trials.tried]
        say_table(("changes tried", trials.measure, "outcome"), tried, right=(1,))
        say()
    say(verdict(treatment.diagnosis))
    for sentence in treatment.summary(width=sys.maxsize)[1:]:
        if not sentence.startswith("changed: ") or not treatment.changes:
            say(sentence, indent="    ")
    say(f"took {duration(treatment.seconds)}")
