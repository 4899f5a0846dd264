"""``kilter diagnose``, and the subject of it and of ``kilter treat``: a recipe, or a model with data."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import typer

from kilter._cli import scripts
from kilter._cli.commands import Diagnose, Treat
from kilter._cli.output import say, say_json
from kilter._cli.training import recipe_from, without_search
from kilter._diagnosis.diagnose import diagnose as find
from kilter._diagnosis.thresholds import in_words
from kilter._layout import columns, wrapped
from kilter._models.saved import load_model
from kilter._progress import Display
from kilter._records import Diagnosis, Finding
from kilter._text import few, printable
from kilter.data import Source, Splits, load
from kilter.errors import DataError, ModelError, OptionError
from kilter.recipe import Recipe
from kilter.runs.build import prepare, with_absolute_paths
from kilter.runs.records import DataRecord
from kilter.runs.trained import data_of, load_for
from kilter.runs.training import data_record

_STYLES: Final[dict[str, dict[str, Any]]] = {
    "severe": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow"},
    "note": {"dim": True},
}
SEVERE: Final = 1  # the exit code after severe findings
_MOST_PLACES: Final = 4  # layers that a finding names


def findings_in_words(findings: Sequence[Finding], places: Mapping[str, str]) -> Iterator[list[str]]:
    """The lines of each finding: what and where, the explanation, the evidence, the remedies, the source.

    ``places``: by code, where in a script the layers are made.
    """
    for one in findings:
        where = printable(few(one.where, _MOST_PLACES)) + places.get(one.code, "")
        cause = f" (caused by {one.explained_by})" if one.explained_by else ""
        labelled = {
            "measured": printable("; ".join(map(in_words, one.evidence))),
            "remedies": ", ".join(one.remedies),
            "source": one.reference,
        }
        yield [
            f"{one.severity}: {one.code}{cause}: {where}",
            f"    {printable(one.explanation)}",
            *(f"    {label}: {text}" for label, text in labelled.items() if text),
        ]


def say_findings(findings: Sequence[Finding], places: Mapping[str, str] | None = None) -> None:
    """Print a paragraph for each finding, its severity in colour."""
    width = columns(sys.stdout)
    for head, *lines in findings_in_words(findings, places or {}):
        first, *rest = wrapped(head, width, indent="    ")
        severity, colon, others = first.partition(":")
        typer.echo(typer.style(severity, **_STYLES[severity]) + colon + others)
        body = [part for text in lines for part in wrapped(text, width, indent="      ")]
        for line in (*rest, *body):
            typer.echo(line)
        say()


def verdict(diagnosis: Diagnosis) -> str:
    """The number of findings of each severity, and whether none is severe.

    Example:
        >>> verdict(Diagnosis(()))
        'Nothing was found.'
    """
    if not diagnosis.findings:
        return "Nothing was found."
    return f"nothing severe found; {diagnosis.counts}" if diagnosis.ok else f"found: {diagnosis.counts}"


@dataclass(frozen=True, eq=False)
class Subject:
    """The arguments of :func:`kilter.diagnose` or :func:`kilter.treat`, and their recipe and data."""

    arguments: dict[str, Any]
    recipe: Recipe
    record: DataRecord

    @property
    def features(self) -> tuple[str, ...]:
        """Names of a table's features, for the findings; () for other data."""
        encoding = self.record.table_encoding
        return () if encoding is None else encoding.features


def of_recipe(
    recipe: Recipe, function: Callable[..., Any], *, allow_code: bool, progress: Display
) -> Subject:
    """The recipe's model, data and training as arguments of ``function``; "auto" is not searched for."""
    prepared = prepare(without_search(recipe), allow_code=allow_code, progress=progress)
    train, options = prepared.parts.train, prepared.spec.arguments_for(function)
    arguments = {"model": prepared.model, "x": train.x, "y": train.y, **options}
    return Subject(arguments, prepared.recipe, data_record(prepared.source, prepared.parts))


def of_saved_model(
    path: Path, asked: Diagnose | Treat, options: Mapping[str, Any], progress: Display
) -> Subject:
    """The compiled model in ``path`` with the command's data; ``options``: values of recipe keys."""
    source, target = asked.source, asked.overrides.target
    progress.stage(f"Reading {printable(source)}")
    if others := " and ".join(asked.overrides.given(but=["target"])):
        raise OptionError(
            expected=f"{others} for a recipe, or --model for a file",
            received=f"{others} and --model {path}",
            remedy=f"leave {others} out: a saved model has its own inputs, loss and optimiser",
        )
    model, data = _compiled_with_data(path, source, target=target, allow_code=asked.allow_code)
    whole = {"data.validation": "none", "train.early_stopping": "none"}
    given = {"model.file": str(path), "data.target": target, **whole, **options}
    recipe = with_absolute_paths(recipe_from(source, (), given))
    arguments = {"model": model, "x": data.train.x, "y": data.train.y}
    return Subject(arguments, recipe, data_record(data, Splits(data.train, None, data.test)))


def _compiled_with_data(
    path: Path, source: str, *, target: str | None, allow_code: bool
) -> tuple[keras.Model, Source]:
    """The compiled model in a .keras file, and ``source`` with labels to train it on.

    Columns are matched by name if the file has a data record; else they keep their order, and a note says so.
    """
    model = load_model(path, allow_code=allow_code, compiled=True)
    if not model.compiled:
        raise ModelError(
            expected=f"a model that was saved after compile(): {path}",
            received="a model without loss and optimiser",
            remedy="compile it as you did for training, save it again, or pass its recipe",
        )
    record = data_of(path)
    if record is None:
        data = load(source, target=target)
        if data.train.features:
            typer.echo(
                f"note: {path} does not name its columns; columns are used in the order of {source}", err=True
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


def diagnose(asked: Diagnose, progress: Display) -> None:
    """Diagnose a recipe, a script, or the compiled ``model`` with data; exit code 1 if severe."""
    found = scripts.run_script(asked, progress, steps=asked.steps)
    if found is not None:
        diagnosis, places = scripts.diagnosis_of(found), scripts.places_of(found, asked.source)
        _show(diagnosis, places) if not asked.as_json else say_json(found)
        if not diagnosis.ok:
            raise typer.Exit(SEVERE)
        return
    options = {"train.epochs": asked.epochs}
    if asked.model is None:
        recipe = recipe_from(asked.source, asked.overrides.all, options)
        subject = of_recipe(recipe, find, allow_code=asked.allow_code, progress=progress)
    else:
        subject = of_saved_model(asked.model, asked, options, progress)
    if asked.epochs is not None:
        subject.arguments["epochs"] = asked.epochs
    diagnosis = find(**subject.arguments, steps=asked.steps, features=subject.features, verbose=progress)
    progress.close()
    if asked.as_json:
        say_json(diagnosis.to_json())
    else:
        _show(diagnosis)
    if not diagnosis.ok:
        raise typer.Exit(SEVERE)


def _show(diagnosis: Diagnosis, places: Mapping[str, str] | None = None) -> None:
    say_findings(diagnosis.findings, places)
    for gap in diagnosis.unchecked:
        say(f"not checked: {gap}")
    say(verdict(diagnosis))
