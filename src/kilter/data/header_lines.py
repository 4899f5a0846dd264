"""Does the first line of a CSV file name the columns, or is it a row? A row taken for names would be lost."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from kilter.data.encoding import Column
from kilter.data.paths import first_named
from kilter.errors import DataError

# What polars adds to a name that stood in the line before.
_REPEATED = re.compile(r"_duplicated_\d+$")
# Columns may be called 0, 1, 2 or 2019; nobody calls one 5.1 or -3.
_MEASURED = re.compile(r"-\d+|[-+]?\d*\.\d+|[-+]?\d+\.")


def require_header(frame: pl.DataFrame, path: Path, known: tuple[Column, ...]) -> tuple[str, ...]:
    """Refuse a first line that is a row; return a note where it has numbers for names, and may be one.

    A line whose names are the columns of a training (``known``) is a header. Else one is that has text
    above a column of numbers. Without such a column a line is a row if it holds a fraction or a negative
    number, or nothing that could not stand in its column. Only numbers are a row in any case.
    """
    names = [_REPEATED.sub("", name) for name in frame.columns]
    if known and {column.name for column in known} <= set(frame.columns):
        return ()
    numbers = [name for name in names if _is_number(name)]
    columns = list(zip(names, frame.get_columns(), strict=True))
    if len(numbers) < len(names):
        if any(column.dtype.is_numeric() and name and not _is_number(name) for name, column in columns):
            return ()
        measured = any(_MEASURED.fullmatch(name) for name in names)
        if not measured and not (frame.height and all(_could_stand_in(*pair) for pair in columns)):
            return (
                (f"the first line names the columns, some by numbers: {first_named(names)}",)
                if numbers
                else ()
            )
    raise DataError(
        expected=f"column names in the first line of {path}",
        received=f"{'what reads like a row' if len(numbers) < len(names) else 'only numbers'} "
        f"({first_named(names)})",
        remedy="add a line with the names of the columns at the top",
    )


def _could_stand_in(name: str, column: pl.Series) -> bool:
    """Whether a field of the first line could be a value of its column; nothing at all always could."""
    if column.dtype.is_numeric() or not name:
        return not name or _is_number(name)
    return bool((column.cast(pl.String) == name).any())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
