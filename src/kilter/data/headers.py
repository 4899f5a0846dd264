"""Whether the first line of a text file is a header or a row."""

import re
from dataclasses import dataclass
from typing import Final

import polars as pl

from kilter.data.dataset import LoadOptions
from kilter.data.entries import MARKERS, is_text, plain_text
from kilter.data.paths import first_named, quote
from kilter.data.rows import typed
from kilter.errors import DataError

# What polars adds to a repeated name.
_REPEATED: Final = re.compile(r"_duplicated_\d+$")
# Columns may be called 0, 1, 2 or 2019; nobody calls one 5.1 or -3.
_MEASURED: Final = re.compile(r"-\d+|[-+]?\d*\.\d+(?:[eE][-+]?\d+)?|[-+]?\d+\.")
_NAMELESS: Final = re.compile(r"column_(\d+)")
_COUNTED: Final = 3  # of fewer names, it may be chance that they count
_FREE_TEXT, _FEWEST = 0.9, 20  # of so many entries, so large a share is different


@dataclass(frozen=True)
class MissingHeader:
    """The names of the columns of a file whose first line is a row, and notes."""

    names: tuple[str, ...]
    notes: tuple[str, ...]


def missing_header(frame: pl.DataFrame, path: object, options: LoadOptions) -> MissingHeader | None:
    """Column names for a file whose first line, which polars took for the header, is a row; else None.

    The columns are column_1, column_2 and so on, as in training, where the target may be absent now. Raises
    DataError for a row in a file whose columns had names in training, and for whole numbers, which could be
    either.
    """
    known = [column.name for column in options.known_columns]
    if known and set(known) <= set(frame.columns):
        return None
    encoding = options.encoding
    if known and all(map(_NAMELESS.fullmatch, known)):
        trained = {*known, *encoding.unused, *encoding.ids, encoding.target} if encoding else set(known)
        names = sorted(filter(_NAMELESS.fullmatch, trained), key=_place)
        if encoding and len(frame.columns) == len(names) - 1:
            names.remove(encoding.target)
        if len(frame.columns) == len(names):
            return MissingHeader(tuple(names), ())
    names = [_REPEATED.sub("", name) for name in frame.columns]
    if not _is_row(frame, names):
        return None
    numbers = sum(map(_is_number, names))
    clear = any(map(_MEASURED.fullmatch, names)) or len(set(names)) < len(names) or numbers < len(names)
    if known or not clear:
        raise DataError(
            expected=f"column names in the first line of {path}",
            received=f"{'what looks like a row' if numbers < len(names) else 'only numbers'} "
            f"({first_named(names)})",
            remedy="add a header line with the column names",
        )
    given = tuple(f"column_{place}" for place in range(1, len(names) + 1))
    shown = first_named(name.replace('""', '"') for name in names)
    note = (
        f"the file has no header: its first line ({shown}) is a row, so the columns are "
        f"called {quote(given[0])} to {quote(given[-1])}"
    )
    return MissingHeader(given, (note,))


def notes_on_names(frame: pl.DataFrame) -> tuple[str, ...]:
    """Notes on numeric column names, and on repeated names, which polars renames."""
    names = [_REPEATED.sub("", name) for name in frame.columns]
    again = [quote(name) for name in frame.columns if _REPEATED.sub("", name) not in ("", name)]
    notes = ()
    if again:
        notes += (f"several columns have the same name; the later ones are renamed {first_named(again)}",)
    if any(map(_is_number, names)):
        notes += (f"the header has numbers as column names: {first_named(names)}",)
    return notes


def _place(name: str) -> int:
    return int(name.rpartition("_")[2])


def _is_row(frame: pl.DataFrame, names: list[str]) -> bool:
    """Whether the first line could be a row.

    It is a header if there is text above a column of numbers, or if the names count from 0 or 1. Otherwise
    it is a row if there is a fraction or a negative number, if all are numbers, or if every field could be a
    value of its column.
    """
    columns = list(zip(names, frame.get_columns(), strict=True))
    if any(map(_is_name_of_numbers, *zip(*columns, strict=True))):
        return False
    columns = [(name, typed(plain_text(one)) if is_text(one) else one) for name, one in columns]
    if any(map(_is_name_of_numbers, *zip(*columns, strict=True))):
        return False
    counted = names[1:] if names[0] == "" else names  # below a blank: the numbers of the rows
    if len(names) >= _COUNTED and counted in (
        [str(first + place) for place in range(len(counted))] for first in (0, 1)
    ):
        return False
    if all(map(_is_number, names)) or any(map(_MEASURED.fullmatch, names)):
        return True
    if not frame.height:
        return False
    found = [_stands_in(*pair) for pair in columns]
    others = [column for (name, column), one in zip(columns, found, strict=True) if name and not one]
    texts = any(one for one, (_, column) in zip(found, columns, strict=True) if column.dtype == pl.String)
    return any(found) and (not others or (texts and all(map(_is_free_text, others))))


def _is_name_of_numbers(name: str, column: pl.Series) -> bool:
    """Whether there is text above a column of numbers, and not a sign for a missing one."""
    return column.dtype.is_numeric() and name.lower() not in MARKERS and not _is_number(name)


def _stands_in(name: str, column: pl.Series) -> bool:
    """Whether a field of the first line is like the values of its column."""
    if column.dtype.is_numeric():
        return _is_number(name) or (bool(name) and name.lower() in MARKERS)
    return bool(name) and bool((column.cast(pl.String) == name).any())


def _is_free_text(column: pl.Series) -> bool:
    known = column.drop_nulls()
    return column.dtype == pl.String and len(known) >= _FEWEST and known.n_unique() >= _FREE_TEXT * len(known)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # which Python allows between digits
