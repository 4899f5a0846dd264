"""``kilter runs``, ``kilter report`` and ``kilter data``, without Keras or JAX."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import typer

from kilter import report as reports
from kilter._cli.commands import Data, Report, Runs
from kilter._cli.output import say, say_table
from kilter._layout import columns
from kilter._progress import Display
from kilter._text import counted, duration, number, printable
from kilter.data import ColumnSummary, SourceSummary, describe
from kilter.data.survey import survey
from kilter.errors import RunError
from kilter.runs.reading import list_runs
from kilter.runs.records import RunSummary

SHOWN: Final = 40
DEFAULT: Final = Path("runs")  # of kilter train --runs
_LEAST_PATH: Final = 8  # characters of a path in a line


def runs(asked: Runs, progress: Display) -> None:
    """A row for each run below ``parent``, the oldest first."""
    parent = asked.parent
    if not parent.is_dir() and (parent.exists() or parent != DEFAULT):
        raise RunError(
            expected="a folder of run directories",
            received=f"{parent}, which {'is a file' if parent.exists() else 'does not exist'}",
            remedy="pass the folder of kilter train --runs",
        )
    found = list_runs(parent) if parent.is_dir() else []
    if not found:
        say(f"no runs yet in {parent}: kilter train digits makes one")
        return
    measures = {run.monitor for run in found} - {""}
    by = "value" if len(measures) > 1 else "".join(measures) or "value"
    headings = ("status", "epochs", "best", *(("by",) if by == "value" else ()), by, "time", "run")
    rows = [_run_row(run, named=by == "value") for run in found]
    taken = sum(2 + max(map(len, column)) for column in list(zip(headings, *rows, strict=True))[:-1])
    room = max(_LEAST_PATH, (columns(sys.stdout) or sys.maxsize) - taken)
    broken = [(*row, _broken(path, room)) for *row, path in rows]
    say_table(headings, broken, right=tuple(range(1, len(headings) - 1)))


def report(asked: Report, progress: Display) -> None:
    """Rewrite a run's report."""
    page = reports.write_report(asked.run)
    progress.close()
    typer.echo(page)


def data(asked: Data, progress: Display) -> None:
    """The content of ``source``: parts, classes, columns, notes, and all likely problems at once."""
    columns = asked.columns
    chosen: Any = {name: getattr(columns, name) or () for name in ("ignore", "only", "missing")}
    chosen |= {"target": columns.target, "kinds": columns.types, "skip_bad": asked.skip_bad}
    found = survey(asked.source, **chosen)
    progress.stage("Summarising the data")
    summary = None if found.source is None else describe(found.source)
    progress.close()
    if summary is not None:
        say(f"{summary.name}: {summary.kind}, {summary.task}, from {summary.origin}")
        _print_parts(summary)
        _print_classes(summary)
    elif found.rows is not None:
        say(f"{asked.source}: {counted(found.rows, 'row')}")
    if found.columns:
        rows = [
            (one.name, one.type, str(one.missing), str(one.distinct), one.shown, one.use)
            for one in found.columns
        ]
        _print_table(("column", "type", "missing", "distinct", "values", "used as"), rows, right=(2, 3))
    elif summary is not None:
        _print_columns("column", summary.columns)
    if summary is not None:
        _print_columns("target", summary.targets)
    if found.candidates:
        say(f"the target could be: {', '.join(found.candidates)}")
    notes, problems = ((), ()) if summary is None else (summary.notes, summary.problems)
    for title, lines in (("note", notes), ("problem", (*found.problems, *problems))):
        for line in lines:
            say(f"{title}: {line}")


def _run_row(run: RunSummary, *, named: bool) -> tuple[str, ...]:
    """The cells of a run; ``named``: with the name of its measure."""
    best = "" if run.best_epoch is None else str(run.best_epoch + 1)
    value = "" if run.best is None else number(run.best)
    by = (run.monitor,) if named else ()
    return (run.status, str(run.epochs), best, *by, value, duration(run.seconds), printable(str(run.path)))


def _broken(path: str, room: int) -> list[str]:
    """A path in lines of at most ``room`` characters, the run's name on its own: columns stay aligned."""
    parent, slash, name = path.rpartition("/")
    parts = [path] if len(path) <= room else [parent + slash, name]
    return [part[at : at + room] for part in parts for at in range(0, len(part), room)]


def _print_parts(summary: SourceSummary) -> None:
    rows = [
        (part.name, str(part.rows), "×".join(map(str, part.shape)), part.dtype, str(part.left_out))
        for part in summary.parts
    ]
    _print_table(("part", "rows", "shape", "type", "skipped"), rows, right=(1, 4))
    for part in summary.parts:
        for line in part.skipped[:SHOWN]:
            say(f"skipped: {line}")
        if len(part.skipped) > SHOWN:
            say(f"… and {len(part.skipped) - SHOWN} more")


def _print_classes(summary: SourceSummary) -> None:
    parts = [
        name
        for name in ("train", "validation", "test")
        if any(getattr(one, name) is not None for one in summary.classes)
    ]
    rows = [(one.name, *(str(getattr(one, name)) for name in parts)) for one in summary.classes]
    _print_table(("class", *parts), rows, right=tuple(range(1, len(parts) + 1)))


def _print_columns(title: str, columns: Sequence[ColumnSummary]) -> None:
    rows = [(one.name, number(one.minimum), number(one.maximum), number(one.mean)) for one in columns]
    _print_table((title, "minimum", "maximum", "mean"), rows, right=(1, 2, 3))


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> None:
    if rows:
        say()
        say_table(headings, rows, right=right, most=SHOWN)
