"""``kilter diagnose``: faults of a model, its data and its training."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from kilter._cli.options import say
from kilter._cli.subject import of_recipe, of_saved_model
from kilter._cli.training import recipe_from
from kilter._diagnosis.diagnose import diagnose as find
from kilter._layout import columns, table
from kilter._progress import Display
from kilter._records import SEVERITIES, Diagnosis, Evidence, Finding
from kilter._text import number, printable

_STYLES: Final[dict[str, dict[str, Any]]] = {
    "severe": {"fg": "red", "bold": True},
    "warning": {"fg": "yellow"},
    "note": {"dim": True},
}
_MOST_PLACES: Final = 4  # layers that a row names


def findings_table(findings: Sequence[Finding], width: int | None = None) -> list[str]:
    """A row for each finding: severity, code, where, evidence, and the remedies in order."""
    rows = [
        (
            one.severity,
            one.code,
            _places(one.where),
            [_seen(evidence) for evidence in one.evidence] or "-",
            one.remedies or "-",
        )
        for one in findings
    ]
    return table(("severity", "code", "where", "evidence", "what to do"), rows, width=width)


def say_findings(findings: Sequence[Finding]) -> None:
    """Print the table of findings, then a paragraph for each."""
    for line in findings_table(findings, columns(sys.stdout)):
        typer.echo(coloured(line))
    for paragraph in explained(findings):
        say()
        say(paragraph)
    say()


def coloured(line: str) -> str:
    """A line of the table with its severity in colour, for a terminal.

    Example:
        >>> coloured("note  test-rows-in-training")
        '\\x1b[2mnote\\x1b[0m  test-rows-in-training'
    """
    found = re.match(rf"(severity: )?({'|'.join(_STYLES)})\b", line)
    if found is None:
        return line
    severity = found[2]
    return (found[1] or "") + typer.style(severity, **_STYLES[severity]) + line[found.end() :]


def explained(findings: Sequence[Finding]) -> Iterator[str]:
    """A paragraph for each finding: its explanation and its source."""
    for one in findings:
        yield printable(f"{one.code}: {one.explanation} ({one.reference})")


def verdict(diagnosis: Diagnosis) -> str:
    """The number of findings of each severity.

    Example:
        >>> verdict(Diagnosis(()))
        'Nothing was found.'
    """
    if not diagnosis.findings:
        return "Nothing was found."
    counts = {severity: len(diagnosis.codes(severity)) for severity in SEVERITIES}
    return "found: " + ", ".join(f"{count} {severity}" for severity, count in counts.items() if count)


def _places(where: Sequence[str]) -> str:
    more = len(where) - _MOST_PLACES
    return printable(", ".join(where[:_MOST_PLACES]) + (f" and {more} more" if more > 0 else ""))


def _seen(evidence: Evidence) -> str:
    """The value, and its threshold in brackets."""
    value, limit = (
        number(one) if isinstance(one, int | float) else one for one in (evidence.value, evidence.threshold)
    )
    return printable(f"{evidence.name}: {value}" + ("" if limit is None else f" (limit {limit})"))


SEVERE: Final = 1  # the exit code after severe findings


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
    """Diagnose a recipe, or the compiled ``model`` with the data ``source``; exit code 1 if severe."""
    options = {} if target is None else {"data.target": target}
    how: dict[str, Any] = {"allow_code": allow_code, "progress": progress}
    if model is None:
        subject = of_recipe(recipe_from(source, settings, options), find, **how)
    else:
        subject = of_saved_model(model, source, settings, options, **how)
    diagnosis = find(**subject.arguments, steps=steps, verbose=progress)
    progress.close()
    if as_json:
        typer.echo(json.dumps(diagnosis.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(diagnosis)
    if not diagnosis.ok:
        raise typer.Exit(SEVERE)


def _show(diagnosis: Diagnosis) -> None:
    if diagnosis.findings:
        say_findings(diagnosis.findings)
    say(verdict(diagnosis))
