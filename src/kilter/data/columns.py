"""The columns of a table: the kind of each, its numbers or category codes, its missing values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import polars as pl

from kilter.data.encoding import Column
from kilter.data.number_formats import mostly_numbers, numbers_in
from kilter.data.paths import LEAVE_ROWS_OUT, first_named, name_rows, quote
from kilter.data.precision import NO_SHIFT, find_shift
from kilter.errors import DataError

_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
# A column with more categories is usually an identifier, and its one-hot columns would fill the memory.
MAX_CATEGORIES = 256


@dataclass(frozen=True, eq=False)
class Values:
    """A column's stored numbers, float64 ``[n]``, or category codes, int64 ``[n]``; -1 if unknown."""

    values: np.ndarray
    bad: np.ndarray
    missing: int
    infinite: int = 0

    def describe(self, name: str) -> str:
        """A clause with column, counts and first rows."""
        counts = ((self.missing, "missing or NaN"), (self.infinite, "infinite"))
        text = " and ".join(f"{count} {word}" for count, word in counts if count)
        return f"column {quote(name)}: {text} {name_rows(np.flatnonzero(self.bad))}"


def find_column(series: pl.Series, *, precise: bool = True) -> Column:
    """The kind of a training column, with its categories in order of code points.

    Numbers, true/false and text of only numbers (also "1,000" and "10%") are numbers; other text is a
    category. ``precise`` centres numbers whose differences float32 would lose. Raises DataError for other
    types, an empty column, text that is mostly numbers, and too many categories.
    """
    name = series.name
    if _is_number(series):
        return _number_column(series, precise)
    if not is_text(series):
        raise DataError(
            expected=f"numbers or text in column {quote(name)}",
            received=f"values of type {series.dtype}",
            remedy="turn the column into numbers (dates: days since a date) or leave it out",
        )
    text = plain_text(series)
    categories = text.drop_nulls().unique().sort()
    if not len(categories):
        raise DataError(
            expected=f"values in column {quote(name)}",
            received=f"{len(series)} rows, all missing",
            remedy="leave the column out of the file",
        )
    if numbers_in(categories).null_count() == 0:
        return _number_column(series, precise)
    if mostly_numbers(categories):
        refuse_text_among_numbers(text)
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            expected=f"at most {MAX_CATEGORIES} categories in a text column",
            received=f"{len(categories)} different texts in column {quote(name)}: {quote(categories[0])}, …",
            remedy="leave the column out if it only names the rows, or group its values",
        )
    return Column(name, "category", tuple(categories.to_list()))


def _number_column(series: pl.Series, precise: bool) -> Column:
    shift = find_shift(known_numbers(series)) if precise else NO_SHIFT
    return Column(series.name, "number", center=shift.center, scale=shift.scale)


def known_numbers(series: pl.Series) -> np.ndarray:
    """The column's numbers without missing ones."""
    values, missing = as_numbers(series)
    return values[~missing] if missing.any() else values


def column_values(series: pl.Series, column: Column) -> Values:
    """The values of a column, as training encoded it. Raises DataError for text in a number column."""
    if column.kind == "number":
        values, missing = as_numbers(series)
        stored = column.shift.apply(values)
        stored[missing] = np.nan
        if values.dtype.kind in "iu":
            return Values(stored, missing, int(missing.sum()))
        nan, infinite = np.isnan(stored), np.isinf(stored)
        return Values(stored, nan | infinite, int(nan.sum()), int(infinite.sum()))
    text = plain_text(_as_whole(series))
    missing = text.is_null().to_numpy()
    _require_categories(text, column)
    codes = text.cast(pl.Enum(column.categories), strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    return Values(codes.to_numpy(), missing, int(missing.sum()))


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
    text = plain_text(series)
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
