"""A frame as a plain table: nested columns as several, times as hours, and no rows of totals and sources."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, Final

import polars as pl

from kilter._system import in_bytes
from kilter.data.paths import first_named, quote
from kilter.errors import DataError

_LONGEST_LIST: Final = 4096
# Longer ones come from a quote that is never closed; reading takes up to ten times their size.
_LONGEST_NAME: Final = 1 << 16
_LONGEST_ENTRY: Final = 1 << 24
_UNCLOSED: Final = "look for a quote that is not closed, or shorten it"
_DEEPEST: Final = 5
_MICROSECONDS_AN_HOUR: Final = 3_600_000_000
_NO_NAME: Final = re.compile(r"|_duplicated_\d+|__UNNAMED__\d+|Unnamed: \d+|column_\d+")
_TOTAL: Final = re.compile(
    r"(?:grand[ -]?|sub[ -]?)?(?:total|totals|sum|summe|gesamt|gesamtsumme|insgesamt|somme|suma|totale"
    r"|average|mean|mittelwert|durchschnitt)[: ]*",
    re.IGNORECASE,
)
_FEWEST_ROWS, _FEWEST_COLUMNS = 5, 3
_MOST_FOOTERS: Final = 20


def plain(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame with a column for each field of objects and each entry of lists, and notes.

    Lists have to be of numbers and of one length. Durations and times of the day become hours.
    Columns without a name and without values are left out. Raises DataError for an entry of more than 16 MiB.
    """
    nameless = [one.name for one in frame.get_columns() if _NO_NAME.fullmatch(one.name) and _is_empty(one)]
    notes: list[str] = []
    columns: list[pl.Series] = []
    for series in frame.drop(nameless).get_columns() if len(nameless) < frame.width else frame.get_columns():
        parts = _parts(series, _DEEPEST)
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
    return (pl.DataFrame(columns), tuple(notes)) if notes or nameless or _has_times(frame) else (frame, ())


def require_short_names(names: Iterable[str]) -> None:
    """Raise DataError if a name is too long to be one of a column."""
    longest = max(names, key=len, default="")
    if len(longest) > _LONGEST_NAME:
        raise DataError(
            expected=f"names of columns of at most {_LONGEST_NAME:,} characters",
            received=f"{len(longest):,} characters: {quote(longest)}",
            remedy=_UNCLOSED,
        )


def _require_short_entries(series: pl.Series) -> None:
    sizes = series.str.len_bytes() if series.dtype == pl.String else pl.Series([0])
    row = sizes.arg_max()
    if row is not None and sizes[row] > _LONGEST_ENTRY:
        raise DataError(
            expected=f"entries of at most {in_bytes(_LONGEST_ENTRY)}",
            received=f"{in_bytes(sizes[row])} in column {quote(series.name)}, row {row} (rows count from 0)",
            remedy=_UNCLOSED,
        )


def _is_empty(series: pl.Series) -> bool:
    return series.null_count() == len(series) and len(series) > 0


def _has_times(frame: pl.DataFrame) -> bool:
    return any(isinstance(dtype, (pl.Duration, pl.Time)) for dtype in frame.dtypes)


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
    return [series]


def without_totals(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame without the last rows that are totals or remarks, and a note.

    A row of totals says so in one of its first two columns, which no other row does, or has the sum of a
    column and missing entries; a remark is a text in a row without any other entry.
    """
    if frame.height < _FEWEST_ROWS or frame.width < _FEWEST_COLUMNS:
        return frame, ()
    last = frame.tail(_MOST_FOOTERS)
    count, shown = 0, ""
    for row in reversed(last.rows()):
        entries = [entry for entry in row if entry is not None and str(entry).strip()]
        remark = len(entries) == 1 and isinstance(row[0], str) and entries[0] == row[0]
        total = any(isinstance(one, str) and _TOTAL.fullmatch(one.strip()) for one in row[:2])
        total |= len(entries) < len(row) and _is_sum(frame.head(frame.height - count))
        if not (remark or total):
            break
        count, shown = count + 1, str(entries[0])
    kept = frame.head(frame.height - count)
    if not count or count == len(last) or _has_totals(kept):
        return frame, ()
    were = "row is" if count == 1 else "rows are"
    return kept, (
        f"the last {'' if count == 1 else f'{count} '}{were} left out, beginning with {quote(shown)}",
    )


def _is_sum(frame: pl.DataFrame) -> bool:
    """Whether a number of the last row is the sum of those above it, which are several and not 0."""
    for series in frame.get_columns():
        if not series.dtype.is_numeric() or series[-1] is None:
            continue
        above = series.head(len(series) - 1).cast(pl.Float64).drop_nulls().to_numpy()
        several = len(above) + 1 >= _FEWEST_ROWS and bool((above > 0).all())
        if several and math.isclose(above.sum(), series[-1], rel_tol=1e-6):
            return True
    return False


def _has_totals(frame: pl.DataFrame) -> bool:
    texts = [one for one in frame.get_columns()[:2] if one.dtype == pl.String]
    pattern = f"(?i)^(?:{_TOTAL.pattern})$"
    return any(bool(one.str.strip_chars().str.contains(pattern).any()) for one in texts)
