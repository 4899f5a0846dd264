"""Arguments and options that several commands have."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from kilter import _layout
from kilter._text import printable
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
    """Print a table that fits the terminal; of more than ``most`` rows the first, and how many follow."""
    width = _layout.columns(sys.stderr if err else sys.stdout)
    for line in _layout.table(headings, rows[:most], right=right, width=width):
        typer.echo(line, err=err)
    if most is not None and len(rows) > most:
        typer.echo(f"… and {len(rows) - most} more", err=err)


def check_out(out: Path, suffixes: Collection[str]) -> None:
    """Before an hour of work: whether its result could be written, by ``out``'s suffix and folder."""
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
            remedy=f"make {out.parent} first",
        )


@contextlib.contextmanager
def made(out: Path) -> Iterator[None]:
    """Make the folder ``out`` before an hour of work; remove it again if the work fails and left it empty.

    Raises :class:`RunError` if it cannot be made.
    """
    existed = out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            expected="--out as a folder that can be made",
            received=f"{out}: {error.strerror}",
            remedy="name another one",
        ) from error
    try:
        yield
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):  # not empty: something in it is worth keeping
                out.rmdir()
        raise


Model = Annotated[
    Path, typer.Argument(metavar="RUN|MODEL.KERAS", help="A run directory, or a model saved by Keras.")
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Run code that a model brings along, if you trust its author.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the result and no progress.")]
QuietRun = Annotated[bool, typer.Option("--quiet", help="Print the run directory and nothing else.")]
