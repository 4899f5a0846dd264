"""How commands print, show progress and check the files they write. Loads neither JAX nor Keras."""

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Collection, Generator, Sequence
from pathlib import Path
from typing import Any

import typer

from kilter import _layout
from kilter._progress import SILENT, Display, display
from kilter._text import printable
from kilter._validation import errors_as
from kilter.errors import OptionError, RunError


def say(text: str = "", *, indent: str = "", err: bool = False) -> None:
    """Print ``text`` without control characters, wrapped at word boundaries to the terminal's width."""
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


def say_json(value: Any) -> None:
    """Print ``value`` as indented JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


@contextlib.contextmanager
def opened(first: str, *, quiet: bool, as_json: bool) -> Generator[Display]:
    """The progress of a command on stderr, so that results can be piped; nothing if ``quiet``.

    It shows ``first`` before JAX and Keras are imported. Permanent lines, such as an epoch's measures, go to
    stdout, or to stderr if ``as_json``.
    """
    shown = SILENT if quiet else display("auto", sys.stderr, kept=sys.stderr if as_json else sys.stdout)
    shown.stage(first)
    try:
        yield shown
    finally:
        shown.close()


def check_out(out: Path | None, suffixes: Collection[str], *, option: str = "--out") -> None:
    """Raise :class:`OptionError` early if ``out`` has another suffix or its folder is missing."""
    if out is None:
        return
    if out.suffix not in suffixes:
        raise OptionError(
            expected=f"{option} with one of {', '.join(suffixes)}",
            received=f"{option} {out}",
            remedy=f"for example {option} {out.stem or 'result'}{next(iter(suffixes))}",
        )
    if not out.parent.is_dir():
        raise OptionError(
            expected=f"{option} in a folder that exists",
            received=f"{option} {out}",
            remedy=f"create {out.parent} first",
        )


def is_unused(path: Path) -> bool:
    """Whether nothing is at ``path``, or an empty folder."""
    return not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir()))


def unused(path: Path) -> Path:
    """``path``, or if an earlier result is there, the first of ``NAME-2``, ... that is unused; says so."""
    others = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    found = next(one for one in itertools.chain([path], others) if is_unused(one))
    if found != path:
        say(f"{path} exists already: the result goes to {found}", err=True)
    return found


@contextlib.contextmanager
def made(out: Path) -> Generator[None]:
    """Create the folder ``out`` before the work, and remove it if the work fails and leaves it empty."""
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
