"""The raw entries of a table's column: text, numbers, targets, and which of them are missing."""

from collections.abc import Sequence
from typing import Final, NoReturn

import numpy as np
import polars as pl

from kilter.data.number_formats import Writing, like_numbers, numbers_in, without_bounds
from kilter.data.paths import LEAVE_ROWS_OUT, first_named, name_rows, quote
from kilter.errors import DataError

_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
_SHORTEST_CODE = 3  # "05" is a month as often as a code
# Of the codes of four digits 14 % are times of the day: so many different ones, some after noon, are none by
# chance. 0001 to 0045 are numbers of shops.
_TIME, _TIMES, _NOON = r"^(?:[01]\d|2[0-3])[0-5]\d$|^2400$", 10, "1200"
# Entries of a column of numbers that mean "missing", in any case.
MARKERS = (
    *("", "?", "-", "--", ".", "na", "n/a", "n.a.", "nan", "nil", "none", "null", "missing", "unknown"),
    *("<na>", "\\n", "\u2013", "\u2014", "tbd", "not available", "#n/a", "#na", "#null!", "#div/0!"),
    *("#value!", "#ref!", "#name?", "#num!"),
)
_LONGEST_CLASS: Final = 1000
_LOOKED_AT: Final = 100  # rows, before all of them


def without_markers(text: pl.Series) -> pl.Series:
    """The text, missing where it only says so."""
    return text.set(text.str.to_lowercase().is_in(MARKERS), None)


def are_codes(text: pl.Series) -> bool:
    """Whether stripped texts are digits of one length, of which some begin with 0: codes, not numbers.

    Many that all are times of the day, such as 0930, some after noon, are numbers.

    Example:
        >>> are_codes(pl.Series(["00501", "94110"])), are_codes(pl.Series(["05", "12"]))
        (True, False)
    """
    known = text.drop_nulls()
    lengths = known.str.len_bytes().unique().to_list()
    if len(lengths) != 1 or lengths[0] < _SHORTEST_CODE or not known.str.starts_with("0").any():
        return False
    times = known.n_unique() >= _TIMES and (known >= _NOON).any() and known.str.contains(_TIME).all()
    return bool(known.str.contains(r"^\d+$").all()) and not times


def known_numbers(series: pl.Series) -> np.ndarray:
    """The column's numbers without missing ones."""
    values, missing = as_numbers(series)
    return values[~missing] if missing.any() else values


def as_whole(series: pl.Series) -> pl.Series:
    """A column of floats, which missing values turn whole numbers into, as whole numbers if all are."""
    if not series.dtype.is_float():
        return series
    first = series.head(_LOOKED_AT).to_numpy()
    with np.errstate(invalid="ignore"):  # the remainder of infinity
        if (first[~np.isnan(first)] % 1 != 0).any() or not (series.drop_nulls() % 1 == 0).all():
            return series
    return series.cast(pl.Int64, strict=False)


def as_numbers(
    series: pl.Series, *, targets: bool = False, writing: Writing | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The column's numbers ``[n]``, and which of them are missing.

    Whole numbers keep their type and are 0 where missing; others are float64 and NaN where missing. Other
    text is missing, unless all is, or most of ``targets``: DataError, as for numbers that are ambiguous.
    ``writing``: of an earlier training.
    """
    missing = series.is_null().to_numpy() if series.null_count() else np.zeros(len(series), bool)
    if series.dtype == pl.Float64:
        return series.to_numpy(), missing  # NaN where missing
    if is_number(series):
        series = _narrowed(series)
        whole = isinstance(series.dtype, _WHOLE)
        plain = series if whole else series.cast(pl.Float64)
        return (plain.fill_null(0 if whole else float("nan")) if missing.any() else plain).to_numpy(), missing
    text = without_bounds(without_markers(plain_text(series)))
    numbers = numbers_in(text, writing)
    strays = text.filter(numbers.is_null() & text.is_not_null())
    known = len(text) - text.null_count()
    most = 2 * len(strays) > known if targets else len(strays) == known
    if len(strays) and (most or like_numbers(strays).any()):
        refuse_text_among_numbers(text, targets=targets)
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
        whole = _narrowed(series)
        whole = whole if isinstance(whole.dtype, _WHOLE) else whole.cast(pl.Float64)
        return whole.fill_null(0).to_numpy(), missing
    if is_number(series) or isinstance(series.dtype, pl.Array):
        values = series.to_numpy() if isinstance(series.dtype, pl.Array) else as_numbers(series)[0]
        return values, np.any(~np.isfinite(values).reshape(len(values), -1), axis=1)
    if is_text(series):
        text = plain_text(series)
        missing = text.is_null().to_numpy()
        _require_names(text)
        names = text.fill_null("").unique()
        places = text.fill_null("").cast(pl.Enum(names)).to_physical().to_numpy()
        return np.array(names.to_list(), dtype=str)[places], missing
    raise DataError(
        expected=f"numbers or text in the target column {quote(series.name)}",
        received=f"values of type {series.dtype}",
        remedy="name another column with target=",
    )


def _require_names(text: pl.Series) -> None:
    """Raise DataError if an entry is no name of a class: NumPy gives each row the room of the longest."""
    sizes = text.str.len_chars()
    row = sizes.arg_max()
    if row is not None and sizes[row] > _LONGEST_CLASS:
        raise DataError(
            expected=f"names of at most {_LONGEST_CLASS:,} characters in target column {quote(text.name)}",
            received=f"{sizes[row]:,} characters in row {row} (rows count from 0): {quote(text[row])}",
            remedy="name another column with target=, or replace the texts by classes or numbers",
        )


def is_number(series: pl.Series) -> bool:
    """Whether the column has a type of numbers, or of true and false."""
    return series.dtype.is_numeric() or series.dtype == pl.Boolean


def is_text(series: pl.Series) -> bool:
    """Whether the column contains text, plain or categorical."""
    return isinstance(series.dtype, (pl.String, pl.Categorical, pl.Enum, pl.Null))


def plain_text(series: pl.Series) -> pl.Series:
    """The column as stripped text; empty text is missing."""
    text = series.cast(pl.String).str.strip_chars()
    return text.set(text == "", None)


def refuse_text_among_numbers(text: pl.Series, *, targets: bool = False) -> NoReturn:
    """Raise DataError that counts and names the entries of ``text`` that are not numbers."""
    bad = np.flatnonzero((numbers_in(text).is_null() & text.is_not_null()).to_numpy())
    shown = first_named(quote(entry) for entry in text.gather(bad).unique(maintain_order=True))
    aside = (
        LEAVE_ROWS_OUT
        if targets
        else f"leave the column out: --ignore {quote(text.name)} (in Python ignore=)"
    )
    raise DataError(
        expected=f"numbers in column {quote(text.name)}",
        received=f"{shown} {name_rows(bad)} (rows count from 0)",
        remedy=f"write plain numbers (a decimal point, at most one unit in the whole column), or {aside}",
    )


def with_signs(series: pl.Series, signs: Sequence[str]) -> pl.Series:
    """The column, missing where its entry is one of ``signs``; numbers and dates are compared by value.

    Example:
        >>> with_signs(pl.Series([1.0, -999.0]), ["-999"]).to_list()
        [1.0, None]
    """
    if not signs:
        return series
    numbers = numbers_in(pl.Series(signs, dtype=pl.String)).drop_nulls()
    if is_number(series) and series.dtype != pl.Boolean:
        return series.set(series.cast(pl.Float64).is_in(numbers.to_list()).fill_null(False), None)
    text = plain_text(series)
    named = text.is_in(list(signs)).fill_null(False)
    if len(numbers) and is_text(series):
        named = named | numbers_in(text).is_in(numbers.to_list()).fill_null(False)
    return series.set(named, None)
