"""A frame as a plain table: nested columns as several, times as hours; and files that polars cannot read."""

import lzma
import re
import zipfile
import zlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import polars as pl

from kilter._system import in_bytes
from kilter._validation import errors_as
from kilter.data.paths import first_named, quote, require_file
from kilter.errors import DataError

# The errors of polars for a file that is damaged or of another kind.
UNREADABLE = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    ValueError,
    MemoryError,
    *(EOFError, zlib.error, zipfile.BadZipFile, lzma.LZMAError),  # of compressed files
    *(RuntimeError, NotImplementedError),  # of zip files with a password or a rare method
)
_LONGEST_LIST: Final = 4096
# Longer ones come from a quote that is never closed; reading takes up to ten times their size.
LONGEST_NAME: Final = 1 << 16
_LONGEST_ENTRY: Final = 1 << 24
_UNCLOSED: Final = "look for a quote that is not closed, or shorten it"
_DEEPEST: Final = 5
_BETWEEN_TEXTS: Final = ";"
_MICROSECONDS_AN_HOUR: Final = 3_600_000_000
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
# "[0.1, 2]", "POINT (4.9 52.4)", and eight numbers or more without brackets.
_NUMBERS: Final = (
    rf"^\s*(?:(?:[A-Za-z]+ ?)?\[\s*{_NUMBER}(?:[\s,;]+{_NUMBER})+\s*\]|"
    rf"(?:[A-Za-z]+ ?)?\(\s*{_NUMBER}(?:[,;]?\s+{_NUMBER})+\s*\)|{_NUMBER}(?:[\s,;]+{_NUMBER}){{7,}})\s*$"
)
_LOOKED_AT: Final = 20
_NO_NAME: Final = re.compile(r"|_duplicated_\d+|__UNNAMED__\d+|Unnamed: \d+|column_\d+")


@contextmanager
def reading(*files: Path, expected: str, received: str, remedy: str) -> Generator[None]:
    """Context in which files are read: DataError if one is missing, damaged or of another kind."""
    for file in files:
        require_file(file)
    with errors_as(DataError, *UNREADABLE, expected=expected, received=received, remedy=remedy):
        yield


def plain(frame: pl.DataFrame, target: str | None = None) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame with a column for each field of objects and each entry of lists, and notes.

    Lists, also as text except in the ``target``, must be of numbers and of one length, or of texts, which are
    joined. Durations and times of the day become hours. Columns without a name and without values are left
    out. Raises DataError for an entry of more than 16 MiB.
    """
    nameless = [one.name for one in frame.get_columns() if _NO_NAME.fullmatch(one.name) and _is_empty(one)]
    notes: list[str] = []
    columns: list[pl.Series] = []
    for series in frame.drop(nameless).get_columns() if len(nameless) < frame.width else frame.get_columns():
        if series.dtype.is_numeric():  # most columns of a wide table
            columns.append(series)
            continue
        parts = _parts(series if series.name == target else _listed(series), _DEEPEST)
        if len(parts) > 1 or parts[0].name != series.name:
            notes.append(
                f"column {quote(series.name)} becomes {first_named(quote(one.name) for one in parts)}"
            )
        columns.extend(parts)
    for one in columns:
        _require_short_entries(one)
    require_short_names(one.name for one in columns)
    names = [one.name for one in columns]
    if len(set(names)) < len(names):  # "a.b" beside an "a" that has a "b"
        return frame, ()
    return (
        (pl.DataFrame(columns), tuple(notes))
        if notes or nameless or any(map(_changes, frame.dtypes))
        else (frame, ())
    )


def require_short_names(names: Iterable[str]) -> None:
    """Raise DataError if a name is too long to be one of a column."""
    longest = max(names, key=len, default="")
    if len(longest) > LONGEST_NAME:
        raise DataError(
            expected=f"names of columns of at most {LONGEST_NAME:,} characters",
            received=f"at least {len(longest):,} characters: {quote(longest)}",
            remedy=_UNCLOSED,
        )


def _require_short_entries(series: pl.Series) -> None:
    if series.dtype != pl.String:
        return
    sizes = series.str.len_bytes()
    row = sizes.arg_max()
    if row is not None and sizes[row] > _LONGEST_ENTRY:
        raise DataError(
            expected=f"entries of at most {in_bytes(_LONGEST_ENTRY)}",
            received=f"{in_bytes(sizes[row])} in column {quote(series.name)}, row {row} (rows count from 0)",
            remedy=_UNCLOSED,
        )


def _listed(series: pl.Series) -> pl.Series:
    """A column of texts with the same count of numbers as one of lists; any other one unchanged."""
    if series.dtype != pl.String:
        return series
    known = series.drop_nulls()
    if not len(known) or not all(
        part.str.contains(_NUMBERS).all() for part in (known.head(_LOOKED_AT), known)
    ):
        return series
    found = series.str.extract_all(_NUMBER)
    counts = found.list.len().drop_nulls()
    return found.cast(pl.List(pl.Float64), strict=False) if counts.n_unique() == 1 else series


def _is_empty(series: pl.Series) -> bool:
    return series.null_count() == len(series) and len(series) > 0


def _changes(dtype: pl.DataType) -> bool:
    """Whether columns of this type get another one under the same name."""
    return isinstance(dtype, (pl.Duration, pl.Time)) or dtype == pl.List(pl.String)


def _parts(series: pl.Series, depth: int) -> list[pl.Series]:
    dtype: Any = series.dtype
    if isinstance(dtype, pl.Struct) and depth and dtype.fields:
        fields = (series.struct.field(one.name).alias(f"{series.name}.{one.name}") for one in dtype.fields)
        return [part for field in fields for part in _parts(field, depth - 1)]
    if isinstance(dtype, (pl.Duration, pl.Time)):
        moments = series.cast(pl.Duration("us")).to_physical().cast(pl.Float64)
        return [moments / _MICROSECONDS_AN_HOUR]
    if isinstance(dtype, pl.Array) and len(dtype.shape) == 1:
        series, dtype = series.arr.to_list(), pl.List(dtype.inner)
    if isinstance(dtype, pl.List) and (dtype.inner.is_numeric() or dtype.inner == pl.Boolean):
        lengths = series.list.len().drop_nulls()
        if len(lengths) and 1 < lengths.min() == lengths.max() <= _LONGEST_LIST:  # type: ignore[operator]
            return [
                series.list.get(i, null_on_oob=True).alias(f"{series.name}[{i}]")
                for i in range(int(lengths[0]))
            ]
    if isinstance(dtype, pl.List) and dtype.inner == pl.String:
        joined = series.list.join(_BETWEEN_TEXTS, ignore_nulls=True)
        return [joined.set(joined == "", None)]
    return [series]
