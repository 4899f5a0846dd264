"""The features of a table's columns, encoded as in training, and what was filled, unknown or out of range."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from kilter._text import counted
from kilter.data.dates import days_of, features_of, find_pattern
from kilter.data.encoding import Column
from kilter.data.entries import (
    are_codes,
    as_numbers,
    as_whole,
    is_number,
    is_text,
    plain_text,
    with_signs,
    without_markers,
)
from kilter.data.number_formats import Writing, numbers_in
from kilter.data.paths import first_named, name_rows, quote
from kilter.data.spelling import in_categories
from kilter.data.words import label_features, word_features
from kilter.errors import DataError

# Values that exceed the range of training by more than this many times its width are reported; for dates, all
# that exceed it.
FAR: float = 1.0


@dataclass(frozen=True, eq=False)
class Values:
    """A column's features: floats ``[n, k]``, or the position of the one that is 1, int64 ``[n]``; -1: none.

    ``bad`` marks rows that cannot be used; ``missing`` and ``infinite`` count why. ``filled`` counts missing
    values that were filled, among them ``strays``, which are no numbers or dates; ``unknown`` categories that
    training did not have; ``beyond`` values far outside the range of training. ``example``: one of these.
    """

    values: np.ndarray
    bad: np.ndarray
    missing: int = 0
    infinite: int = 0
    filled: int = 0
    unknown: int = 0
    example: str = ""
    strays: int = 0
    beyond: int = 0

    def notes(self, column: Column, *, training: bool) -> Iterator[str]:
        """Sentences on what was filled, unknown or far from the values of training."""
        name = quote(column.name)
        if self.strays:
            kind = {"number": ("a number", "numbers"), "date": ("a date", "dates")}[column.kind]
            were = counted(self.strays, f"entry is not {kind[0]}", f"entries are not {kind[1]}")
            count = "it counts" if self.strays == 1 else "they count"
            yield f"column {name}: {were}, such as {quote(self.example)}: {count} as missing"
        if self.infinite and column.fill is not None:
            were = counted(
                self.infinite, "value is infinite or too large", "values are infinite or too large"
            )
            yield f"column {name}: {were}: {'it counts' if self.infinite == 1 else 'they count'} as missing"
        if self.filled and column.kind == "text":
            yield f"column {name}: {counted(self.filled, 'missing text has', 'missing texts have')} no words"
        elif self.filled and column.kind == "category":
            own = f"treated as {'its' if self.filled == 1 else 'their'} own category"
            what = own if column.indicator else "in none of its categories"
            yield f"column {name}: {counted(self.filled, 'missing value is', 'missing values are')} {what}"
        elif self.filled:
            value = "" if training else f", {shown(column.fill or 0.0, column)}"
            marked = ", and marked by an indicator feature" if column.indicator else ""
            were = counted(self.filled, "missing value is", "missing values are")
            yield f"column {name}: {were} replaced by the median{value}{marked}"
        if self.unknown and not training:
            where = f", and {'counts' if self.unknown == 1 else 'count'} as rare" if column.rare else ""
            were = counted(self.unknown, "value", "values")
            yield f"column {name}: {were} did not occur in training, such as {quote(self.example)}{where}"
        if self.beyond and not training:
            where = "outside" if column.kind == "date" else "far outside"
            known = " to ".join(shown(one or 0.0, column) for one in (column.low, column.high))
            yield (
                f"column {name}: {counted(self.beyond, 'value is', 'values are')} {where} the range of "
                f"training, {known}, such as {self.example}: predictions there are unreliable"
            )

    def describe(self, name: str) -> str:
        """A clause with column, counts and first rows."""
        counts = ((self.missing, "missing or NaN"), (self.infinite, "infinite"))
        text = " and ".join(f"{count} {word}" for count, word in counts if count)
        return f"column {quote(name)}: {text} {name_rows(np.flatnonzero(self.bad))}"


def column_values(series: pl.Series, column: Column) -> Values:
    """The values of a column, as training encoded it. Raises DataError for text in a number column."""
    series = with_signs(series, column.signs)
    match column.kind:
        case "number":
            return _numbers(series, column)
        case "date":
            return _dates(series, column)
        case "text":
            text = plain_text(series)
            values, absent = word_features(text, column.categories, column.buckets), text.is_null().to_numpy()
            if column.indicator:
                values = np.column_stack([values, absent])
            return Values(values, np.zeros(len(text), bool), filled=int(absent.sum()))
        case "category":
            return _codes(series, column)


def _numbers(series: pl.Series, column: Column) -> Values:
    values, missing = as_numbers(series, writing=Writing(column.mark, column.unit))
    with np.errstate(over="ignore"):  # what float32 cannot represent is infinite to the network
        stored = column.stored(values).astype(np.float32)
    odd = ~np.isfinite(stored)
    if not odd.any() and not missing.any() and not is_text(series):
        stored = np.column_stack([stored, missing]) if column.indicator else stored[:, np.newaxis]
        return _ranged(Values(stored, missing), values, column, margin=FAR)
    infinite = odd & ~missing & ~np.isnan(stored)
    missing = missing | np.isnan(stored)
    if column.fill is not None:
        missing = missing | infinite
    fill = None if column.fill is None else column.stored(np.array([column.fill]))[0]
    strays, example = 0, ""
    if is_text(series):
        text = without_markers(plain_text(series))
        odd = (text.is_not_null().to_numpy() & missing).nonzero()[0]
        strays, example = len(odd), str(text[int(odd[0])]) if len(odd) else ""
    found = _filled(stored[:, np.newaxis], missing, infinite, fill, column)
    if infinite.any():
        found = replace(found, infinite=int(infinite.sum()))
    if strays:
        return replace(found, strays=strays, example=example)
    known = np.where(missing, np.nan, values)
    return _ranged(found, known, column, margin=FAR)


def _dates(series: pl.Series, column: Column) -> Values:
    text = without_markers(plain_text(series)) if is_text(series) else series
    days = days_of(text, column.pattern).copy()
    given = text.is_not_null().to_numpy()
    if given.any() and np.isnan(days[given]).all():
        # Another way of writing dates than in training, which all of them share.
        other = find_pattern(text) if is_text(series) else None
        if other is None:
            raise DataError(
                expected=f"dates in column {quote(column.name)}, as in training",
                received=f"{quote(str(text.drop_nulls()[0]))}, and no dates in {int(given.sum())} rows",
                remedy="write the dates as in training, or correct the names of the columns",
            )
        days = days_of(text, other).copy()
    missing = np.isnan(days)
    odd = np.flatnonzero(missing & given)
    known = days.copy()
    days[missing] = column.fill
    features = features_of(days, column.center, has_time=column.has_time)
    found = _filled(features, missing, np.isinf(days), None, column)
    if len(odd):
        return replace(found, strays=len(odd), example=str(text[int(odd[0])]))
    return _ranged(found, known, column, margin=0.0)


def _ranged(found: Values, known: np.ndarray, column: Column, *, margin: float) -> Values:
    """With the values counted that are beyond the range of training by ``margin`` times its width."""
    if column.low is None or column.high is None:
        return found
    room = margin * (column.high - column.low)
    least, most = column.low - room, column.high + room
    if not len(known) or (known.min() >= least and known.max() <= most):  # NaN is neither
        return found
    beyond = np.flatnonzero((known < least) | (known > most))
    if not len(beyond):
        return found
    return replace(found, beyond=len(beyond), example=shown(float(known[beyond[0]]), column))


def shown(value: float, column: Column) -> str:
    """A number or date of the column, to read."""
    if column.kind == "number":
        return f"{value:g}"
    return str(np.datetime64(int(np.floor(value)), "D"))


def _codes(series: pl.Series, column: Column) -> Values:
    text = _as_codes(plain_text(as_whole(series)), series, column)
    missing = text.is_null().to_numpy()
    if column.separator:
        return _label_lists(text, column)
    text = in_categories(text, (*column.categories, *column.rare))
    _require_categories(text, column)
    # Rare categories come after the others: all of them are at one place.
    ordered = pl.Enum([*column.categories, *column.rare])
    codes = text.cast(ordered, strict=False).to_physical().cast(pl.Int64).fill_null(-1)
    places = codes.to_numpy().copy()
    unknown = np.flatnonzero((places < 0) & ~missing)
    example = str(text[int(unknown[0])]) if len(unknown) else ""
    if column.rare:
        places = np.minimum(places, len(column.categories))
        places[unknown] = len(column.categories)
    if column.indicator:
        places[missing] = len(column.features) - 1
    bad = np.zeros(len(text), bool)
    return Values(places, bad, filled=int(missing.sum()), unknown=len(unknown), example=example)


def _label_lists(text: pl.Series, column: Column) -> Values:
    values, unknown = label_features(text, column.separator, column.categories, column.rare)
    missing = text.is_null().to_numpy()
    if column.indicator:
        values = np.column_stack([values, missing])
    example = str(unknown[0]) if len(unknown) else ""
    bad = np.zeros(len(text), bool)
    return Values(values, bad, filled=int(missing.sum()), unknown=len(unknown), example=example)


def _as_codes(text: pl.Series, series: pl.Series, column: Column) -> pl.Series:
    """Whole numbers as text, with the leading zeros that these codes had in training."""
    known = pl.Series([*column.categories, *column.rare], dtype=pl.String)
    if is_number(series) and are_codes(known):
        return text.str.zfill(len(known[0]))
    return text


def _filled(
    values: np.ndarray, missing: np.ndarray, infinite: np.ndarray, fill: float | None, column: Column
) -> Values:
    """Features ``[n, k]`` with ``fill`` in the first where missing, and the indicator."""
    if column.fill is None:
        return Values(values, missing | infinite, int(missing.sum()), int(infinite.sum()))
    infinite = infinite & ~missing
    if fill is not None:
        values[missing, 0] = fill
    if column.indicator:
        values = np.column_stack([values, missing])
    return Values(values, infinite, 0, int(infinite.sum()), filled=int(missing.sum()))


def _require_categories(text: pl.Series, column: Column) -> None:
    """Raise DataError for numbers where training had words: the column is another one."""
    given = text.drop_nulls().unique()
    if (
        not len(given)
        or given.is_in([*column.categories, *column.rare]).any()
        or numbers_in(given).null_count()
    ):
        return
    if numbers_in(pl.Series(column.categories, dtype=pl.String)).null_count() == len(column.categories):
        raise DataError(
            expected=f"the categories of training in column {quote(column.name)}: "
            f"{first_named(map(quote, column.categories))}",
            received=f"only numbers, such as {quote(given[0])}",
            remedy="write the categories as in training, or correct the names of the columns",
        )
