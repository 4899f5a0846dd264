"""The columns of a table: the kind of each, its numbers or category codes, its missing values."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, NoReturn

import numpy as np
import polars as pl

from kilter.data.number_formats import mostly_numbers, numbers_in
from kilter.data.paths import LEAVE_ROWS_OUT, first_named, name_rows, quote
from kilter.data.precision import NO_SHIFT, Shift, find_shift, shift_from
from kilter.errors import DataError

FORMAT_VERSION = 2
# Version 1 had no center and no scale.
_READABLE = (1, 2)


@dataclass(frozen=True)
class Column:
    """One column of a table: a number, or a category that becomes one-hot.

    A number is stored as ``(value - center) / scale``: unchanged unless float32 would lose differences.
    """

    name: str
    kind: Literal["number", "category"]
    categories: tuple[str, ...] = ()
    center: int | float = 0
    scale: float = 1.0

    @property
    def shift(self) -> Shift:
        """How the column's numbers are stored."""
        return Shift(self.center, self.scale)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the column's features: its own, or ``name=category`` for each category."""
        if self.kind == "number":
            return (self.name,)
        return tuple(f"{self.name}={category}" for category in self.categories)


@dataclass(frozen=True)
class TableEncoding:
    """Column order, categories, target, classes and task of a table, as found in training.

    A new file read with it has the same features in the same order: extra columns are ignored, a missing
    column is an error, and an unknown category has only zeros in the one-hot columns.
    """

    columns: tuple[Column, ...]
    target: str
    task: Literal["classification", "regression"]
    classes: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """Feature names in the order of the columns of x."""
        return tuple(feature for column in self.columns for feature in column.features)

    def to_json(self) -> str:
        """The encoding as JSON text that :meth:`from_json` reads back to an equal record."""
        return json.dumps({"version": FORMAT_VERSION, **asdict(self)}, ensure_ascii=False, indent=2)

    @classmethod
    def from_json(cls, text: str) -> TableEncoding:
        """Read what :meth:`to_json` wrote. Raises DataError for anything else.

        Example:
            >>> encoding = TableEncoding((Column("age", "number"),), "paid", "classification", ("no", "yes"))
            >>> TableEncoding.from_json(encoding.to_json()) == encoding
            True
        """
        try:
            return _from_mapping(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError(
                expected="a table encoding as kilter wrote it in training",
                received=f"other text ({type(error).__name__}: {error})",
                remedy="use the encoding file of the run directory, unchanged",
            ) from error


def _from_mapping(content: dict[str, Any]) -> TableEncoding:
    if content["version"] not in _READABLE:
        raise ValueError(f"version={content['version']}, this kilter reads version {FORMAT_VERSION}")
    columns = tuple(map(_column, content["columns"]))
    task = _one_of(content["task"], "classification", "regression")
    return TableEncoding(columns, _text(content["target"]), task, _texts(content["classes"]))


def _column(entry: dict[str, Any]) -> Column:
    kind, shift = _one_of(entry["kind"], "number", "category"), shift_from(entry)
    return Column(_text(entry["name"]), kind, _texts(entry["categories"]), shift.center, shift.scale)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r} is not a list")
    return tuple(_text(value) for value in values)


def _one_of(value: Any, *allowed: str) -> Any:
    if value not in allowed:
        raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
    return value


_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
# A column with more categories is usually an identifier, and its one-hot columns would fill the memory.
MAX_CATEGORIES = 256


@dataclass(frozen=True, eq=False)
class Values:
    """A column's stored numbers, float64 ``[n]``, or category codes, int64 ``[n]``; -1 if unknown.

    ``bad`` marks rows that are missing, NaN or infinite; ``missing`` and ``infinite`` count them.
    """

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

    Whole numbers keep their type and are 0 where missing; others are float64 and NaN where missing. Raises
    DataError that names rows with text.
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
