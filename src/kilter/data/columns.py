"""The columns of a table: the kind of each, its numbers or category codes, its missing values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import polars as pl

from kilter.data.dates import days_of, features_of, find_pattern, is_date
from kilter.data.encoding import Column
from kilter.data.number_formats import mostly_numbers, numbers_in
from kilter.data.paths import LEAVE_ROWS_OUT, first_named, name_rows, quote
from kilter.data.precision import NO_SHIFT, find_shift
from kilter.errors import DataError

_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
# A column with more categories is usually an identifier, and its one-hot columns would fill the memory.
MAX_CATEGORIES = 256


# Entries of a column of numbers that say "missing", in any case.
_MARKERS = ("", "?", "-", "--", ".", "na", "n/a", "#n/a", "nan", "nil", "none", "null", "missing", "unknown")
# From so many rows on, one value in all rows tells nothing, and a text or number for each row names the row.
_FEWEST_NAMED_ROWS = 20
_NAMING_SHARE = 0.9
_NAMES_ROWS = re.compile(r"|#|id|.*[_ ]id|.*[a-z]Id|index|row|no|nr|number|unnamed.*", re.IGNORECASE)
_COUNTS_TIME = re.compile(r".*(time|date|day|week|month|year|hour|step|age).*|t|x", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Values:
    """A column's features: float64 ``[n, k]``, or the position of the one that is 1, int64 ``[n]``; -1: none.

    ``bad`` marks rows that cannot be used; ``missing`` and ``infinite`` count why. ``filled`` counts missing
    values that were filled, ``unknown`` categories that training did not have, with an ``example``.
    """

    values: np.ndarray
    bad: np.ndarray
    missing: int = 0
    infinite: int = 0
    filled: int = 0
    unknown: int = 0
    example: str = ""

    def notes(self, column: Column) -> Iterator[str]:
        """Sentences on what was filled and what was unknown."""
        name = quote(column.name)
        if self.filled and column.kind == "category":
            what = "treated as their own category" if column.indicator else "in none of its categories"
            yield f"column {name}: {self.filled} missing values are {what}"
        elif self.filled:
            value = f"{column.fill:g}" if column.kind == "number" else str(_day(column.fill or 0.0))
            marked = ", and marked by an indicator feature" if column.indicator else ""
            yield f"column {name}: {self.filled} missing values are replaced by the median, {value}{marked}"
        if self.unknown:
            example = quote(self.example)
            yield f"column {name}: {self.unknown} values did not occur in training, such as {example}"

    def describe(self, name: str) -> str:
        """A clause with column, counts and first rows."""
        counts = ((self.missing, "missing or NaN"), (self.infinite, "infinite"))
        text = " and ".join(f"{count} {word}" for count, word in counts if count)
        return f"column {quote(name)}: {text} {name_rows(np.flatnonzero(self.bad))}"


def reason_to_set_aside(series: pl.Series) -> str | None:
    """Why a training column is no feature, as a clause; None if it is one."""
    if not _is_number(series) and not is_text(series) and not is_date(series):
        return f"values of type {series.dtype}"
    values = plain_text(series) if is_text(series) else series
    known = values.drop_nulls() if values.null_count() else values
    if not len(known) or (least := known.min()) != least:  # polars: NaN only if all are
        return "no values"
    if len(values) < _FEWEST_NAMED_ROWS:
        return None
    if len(known) == len(values) and _is_constant(known):
        return "the same value in every row"
    if not is_text(series) and not series.dtype.is_integer():
        return None
    count, distinct = len(known), known.n_unique()
    if is_text(series):
        return _reason_of_text(values, count, distinct)
    if series.dtype.is_integer() and distinct == len(values):
        steps = series.cast(pl.Float64).diff().drop_nulls()
        consecutive = bool((steps == 1).all()) and not _COUNTS_TIME.fullmatch(series.name)
        if consecutive or _NAMES_ROWS.fullmatch(series.name):
            return "a unique number in every row"
    return None


def _is_constant(values: pl.Series) -> bool:
    # By the extremes: counting different values takes ten times as long.
    if values.min() != values.max():
        return False
    return not (values.dtype.is_float() and values.is_nan().any())


def _reason_of_text(text: pl.Series, count: int, distinct: int) -> str | None:
    if distinct <= MAX_CATEGORIES and distinct < _NAMING_SHARE * count:
        return None
    different = text.drop_nulls().unique()
    if find_pattern(different) or _are_numbers(different) or mostly_numbers(different):
        return None
    return f"text with {distinct} different values in {count} rows"


def find_column(series: pl.Series, *, precise: bool = True, kind: str | None = None) -> Column:
    """How a training column becomes features, with its categories in order of code points.

    Numbers, true/false and text of only numbers (also "1,000", "10%" and signs for missing ones) are numbers;
    dates and text of only dates are dates; other text is a category. ``precise`` centres numbers whose
    differences float32 would lose. ``kind``: the kind that the person wants. Raises DataError for other
    types, an empty column, text that is mostly numbers, and too many categories.
    """
    name = series.name
    if kind == "category" and not is_text(series):
        series = _as_whole(series).cast(pl.String)
    if kind == "number" or (kind is None and _is_number(series)):
        return _number_column(series, precise)
    if kind in (None, "date") and is_date(series):
        return _date_column(series, "")
    if not is_text(series):
        raise DataError(
            expected=f"numbers, text or dates in column {quote(name)}",
            received=f"values of type {series.dtype}",
            remedy="turn the column into numbers or leave it out",
        )
    text = plain_text(series)
    categories = text.drop_nulls().unique().sort()
    if not len(categories):
        raise DataError(
            expected=f"values in column {quote(name)}",
            received=f"{len(series)} rows, all missing",
            remedy="leave the column out of the file",
        )
    pattern = None if kind == "category" else find_pattern(text)
    if pattern is not None:
        return _date_column(text, pattern)
    if kind == "date":
        raise DataError(
            expected=f"dates in column {quote(name)}, all written alike, such as 2025-12-31",
            received=f"texts such as {quote(categories[0])}",
            remedy="write the dates in one of the forms of docs/data.md",
        )
    if kind is None and _are_numbers(categories):
        return _number_column(series, precise)
    if kind is None and mostly_numbers(categories):
        refuse_text_among_numbers(text)
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            expected=f"at most {MAX_CATEGORIES} categories in a text column",
            received=f"{len(categories)} different texts in column {quote(name)}: {quote(categories[0])}, …",
            remedy="leave the column out if it only names the rows, or group its values",
        )
    return Column(name, "category", tuple(categories.to_list()), indicator=text.null_count() > 0)


def _number_column(series: pl.Series, precise: bool) -> Column:
    values, missing = as_numbers(series)
    known = values[~missing & np.isfinite(values)]
    shift = find_shift(values[~missing]) if precise else NO_SHIFT
    absent = bool(missing.any() or (values.dtype.kind == "f" and np.isnan(values).any()))
    fill = float(np.median(known)) if len(known) else None
    return Column(series.name, "number", (), shift.center, shift.scale, fill, absent)


def _date_column(series: pl.Series, pattern: str) -> Column:
    days = days_of(series, pattern)
    known = days[~np.isnan(days)]
    middle = float(np.median(known))
    has_time = bool(np.any(known % 1 != 0))
    return Column(
        series.name,
        "date",
        center=int(middle),
        fill=middle,
        indicator=len(known) < len(days),
        pattern=pattern,
        has_time=has_time,
    )


def _are_numbers(texts: pl.Series) -> bool:
    """Whether all of these different texts are numbers, or signs for missing ones beside numbers."""
    known = _without_markers(texts).drop_nulls()
    return len(known) > 0 and numbers_in(known).null_count() == 0


def _without_markers(text: pl.Series) -> pl.Series:
    """The text, missing where it only says so."""
    return text.set(text.str.to_lowercase().is_in(_MARKERS), None)


def known_numbers(series: pl.Series) -> np.ndarray:
    """The column's numbers without missing ones."""
    values, missing = as_numbers(series)
    return values[~missing] if missing.any() else values


def column_values(series: pl.Series, column: Column) -> Values:
    """The values of a column, as training encoded it. Raises DataError for text in a number column."""
    if column.kind == "number":
        values, missing = as_numbers(series)
        stored = column.shift.apply(values)
        missing = missing | np.isnan(stored)
        fill = None if column.fill is None else column.shift.apply(np.array([column.fill]))[0]
        return _filled(stored[:, np.newaxis], missing, np.isinf(stored), fill, column)
    if column.kind == "date":
        days = days_of(series if is_date(series) else plain_text(series), column.pattern).copy()
        missing = np.isnan(days)
        days[missing] = column.fill
        return _filled(
            features_of(days, column.center, has_time=column.has_time), missing, np.isinf(days), None, column
        )
    text = plain_text(_as_whole(series))
    missing = text.is_null().to_numpy()
    _require_categories(text, column)
    codes = text.cast(pl.Enum(column.categories), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    places = codes.to_numpy().copy()
    unknown = np.flatnonzero((places < 0) & ~missing)
    example = str(text[int(unknown[0])]) if len(unknown) else ""
    if column.indicator:
        places[missing] = len(column.categories)
    bad = np.zeros(len(text), bool)
    return Values(places, bad, filled=int(missing.sum()), unknown=len(unknown), example=example)


def _day(days: float) -> np.datetime64:
    return np.datetime64(int(np.floor(days)), "D")


def _filled(
    values: np.ndarray, missing: np.ndarray, infinite: np.ndarray, fill: float | None, column: Column
) -> Values:
    """Features ``[n, k]`` with ``fill`` in the first where missing, and the indicator."""
    if column.fill is None:
        return Values(values, missing | infinite, int(missing.sum()), int(infinite.sum()))
    if fill is not None:
        values[missing, 0] = fill
    if column.indicator:
        values = np.column_stack([values, missing])
    return Values(values, infinite, 0, int(infinite.sum()), filled=int(missing.sum()))


def _as_whole(series: pl.Series) -> pl.Series:
    """A column of floats, which missing values turn whole numbers into, as whole numbers if all are."""
    if not series.dtype.is_float() or not (series.drop_nulls() % 1 == 0).all():
        return series
    return series.cast(pl.Int64, strict=False)


def _require_categories(text: pl.Series, column: Column) -> None:
    """Raise DataError for numbers where training had words: the column is another one."""
    given = text.drop_nulls().unique()
    if not len(given) or given.is_in(list(column.categories)).any() or numbers_in(given).null_count():
        return
    if numbers_in(pl.Series(column.categories, dtype=pl.String)).null_count() == len(column.categories):
        raise DataError(
            expected=f"the categories of training in column {quote(column.name)}: "
            f"{first_named(map(quote, column.categories))}",
            received=f"only numbers, such as {quote(given[0])}",
            remedy="write the categories as in training, or correct the names of the columns",
        )


def as_numbers(series: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The column's numbers ``[n]``, and which of them are missing.

    Whole numbers keep their type and are 0 where missing; others are float64 and NaN where missing.
    """
    missing = series.is_null().to_numpy() if series.null_count() else np.zeros(len(series), bool)
    if _is_number(series):
        series = _narrowed(series)
        whole = isinstance(series.dtype, _WHOLE)
        plain = series if whole else series.cast(pl.Float64)
        return (plain.fill_null(0 if whole else float("nan")) if missing.any() else plain).to_numpy(), missing
    text = _without_markers(plain_text(series))
    numbers = numbers_in(text)
    if numbers.null_count() > text.null_count():
        refuse_text_among_numbers(text)
    values = numbers.fill_null(float("nan")).to_numpy()
    return values, np.isnan(values)


def _narrowed(series: pl.Series) -> pl.Series:
    """128-bit whole numbers, which NumPy does not have, as 64-bit ones if all fit."""
    if not series.dtype.is_integer() or isinstance(series.dtype, _WHOLE):
        return series
    fitting = (series.cast(dtype, strict=False) for dtype in (pl.Int64, pl.UInt64))
    return next((one for one in fitting if one.null_count() == series.null_count()), series)


def raw_targets(series: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Targets as NumPy text, bool or numbers, and which rows are missing (filled with any value)."""
    missing = series.is_null().to_numpy()
    if series.dtype == pl.Boolean:
        return series.fill_null(False).to_numpy(), missing
    if series.dtype.is_integer():
        return series.fill_null(0).to_numpy(), missing
    if _is_number(series):
        values, _ = as_numbers(series)
        return values, ~np.isfinite(values)
    if is_text(series):
        text = plain_text(series)
        missing = text.is_null().to_numpy()
        return np.array(text.fill_null("").to_list(), dtype=str), missing
    raise DataError(
        expected=f"numbers or text in the target column {quote(series.name)}",
        received=f"values of type {series.dtype}",
        remedy="name another column with target=",
    )


def _is_number(series: pl.Series) -> bool:
    return series.dtype.is_numeric() or series.dtype == pl.Boolean


def is_text(series: pl.Series) -> bool:
    """Whether the column contains text, plain or categorical."""
    return isinstance(series.dtype, (pl.String, pl.Categorical, pl.Enum, pl.Null))


def plain_text(series: pl.Series) -> pl.Series:
    """The column as stripped text; empty text is missing."""
    text = series.cast(pl.String).str.strip_chars()
    return text.set(text == "", None)


def refuse_text_among_numbers(text: pl.Series) -> NoReturn:
    """Raise DataError that counts and names the entries of ``text`` that are not numbers."""
    bad = np.flatnonzero((numbers_in(text).is_null() & text.is_not_null()).to_numpy())
    shown = first_named(quote(text[int(row)]) for row in bad[:3])
    raise DataError(
        expected=f"numbers in column {quote(text.name)}",
        received=f"{len(bad)} other entries, such as {shown}, {name_rows(bad)} (rows count from 0)",
        remedy="write plain numbers (a decimal point, at most one unit in the whole column), or "
        f"{LEAVE_ROWS_OUT}",
    )
