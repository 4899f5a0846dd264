"""Arguments and options of several commands, and how commands print."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from kilter import _layout
from kilter._text import printable
from kilter._validation import errors_as
from kilter.errors import OptionError, RunError


def say(text: str = "", *, indent: str = "", err: bool = False) -> None:
    """Print ``text`` without control characters, broken between words where the terminal is narrow."""
    width = _layout.columns(sys.stderr if err else sys.stdout)
    for line in _layout.wrapped(printable(text), width, indent=indent):
        typer.echo(line, err=err)


def say_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[_layout.Cell]],
    *,
    right: Sequence[int] = (),
    most: int | None = None,
    err: bool = False,
) -> None:
    """Print a table that fits the terminal; at most ``most`` rows, and the number of others."""
    width = _layout.columns(sys.stderr if err else sys.stdout)
    for line in _layout.table(headings, rows[:most], right=right, width=width):
        typer.echo(line, err=err)
    if most is not None and len(rows) > most:
        typer.echo(f"… and {len(rows) - most} more", err=err)


def check_out(out: Path, suffixes: Collection[str]) -> None:
    """Raise :class:`OptionError` before the work if ``out`` has another suffix or no folder."""
    if out.suffix not in suffixes:
        raise OptionError(
            expected=f"--out with one of {', '.join(suffixes)}",
            received=f"--out {out}",
            remedy=f"for example --out {out.stem or 'result'}{next(iter(suffixes))}",
        )
    if not out.parent.is_dir():
        raise OptionError(
            expected="--out in a folder that exists",
            received=f"--out {out}",
            remedy=f"create {out.parent} first",
        )


@contextlib.contextmanager
def made(out: Path) -> Iterator[None]:
    """Create the folder ``out`` before the work, and remove it if the work fails and leaves it empty.

    Raises :class:`RunError` if it cannot be created.
    """
    existed = out.exists()
    expected = "--out as a folder that can be created"
    with errors_as(RunError, OSError, expected=expected, received=str(out), remedy="choose another folder"):
        out.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):  # not empty
                out.rmdir()
        raise


Source = Annotated[
    str,
    typer.Argument(metavar="RECIPE.TOML|DATA", help="A recipe, or data: a file, a folder or a named set."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key of the recipe."),
]
Target = Annotated[
    str | None, typer.Option("--target", metavar="COLUMN", help="The column of a table to predict.")
]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Passes over the training data, at most.")]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Where the run directory goes.")]
Name = Annotated[str | None, typer.Option("--name", help="The run's name.")]
SavedModel = Annotated[
    Path | None,
    typer.Option("--model", metavar="FILE.KERAS", help="A compiled model, saved by Keras, for the data."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Model = Annotated[
    Path, typer.Argument(metavar="RUN|MODEL.KERAS", help="A run directory, or a model saved by Keras.")
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Run code that comes with a model, if you trust its author.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the result and no progress.")]
QuietRun = Annotated[bool, typer.Option("--quiet", help="Print the run directory and nothing else.")]
