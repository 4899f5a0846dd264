"""The columns of a table as found in training: kind, categories, and replacements for missing values."""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from kilter.data.dates import NUMBERS, YEAR_FIRST, days_of, find_pattern, is_date
from kilter.data.encoding import Column
from kilter.data.entries import (
    are_codes,
    as_numbers,
    as_whole,
    is_number,
    is_text,
    plain_text,
    without_markers,
)
from kilter.data.number_formats import Writing, like_numbers, mostly_numbers, numbers_in, writing_of
from kilter.data.paths import quote
from kilter.data.precision import NO_SHIFT, find_compression, find_shift, median
from kilter.data.spelling import in_categories
from kilter.data.words import frequent_words, label_counts, separator_of
from kilter.errors import DataError

# More one-hot columns of one column would fill the memory: the rarest categories share one.
MAX_CATEGORIES = 256
# Categories of fewer rows than both of these share a feature, unless that would be most of the rows: a
# standardised one-hot column of a few ones has values above 10 in them, and its weight is hardly trained.
RARE_ROWS, RARE_SHARE = 10, 0.01
# Words are hashed into this many features, or this many of the most frequent ones are counted.
WORD_FEATURES = 256
# From this many rows on, a constant column has no information, and a unique text or number in each row is an
# identifier.
_FEWEST_NAMED_ROWS = 20
_LOOKED_AT = 100  # rows, before all of them
_NAMING_SHARE = 0.9
_LETTERED_CODE = r"^[A-Z]\d{2,}(?:\.\d+)?$"
_LETTERED_SHARE = 0.02  # fewer are slips among numbers
_NAMES_ROWS = re.compile(
    r"(?i:|#|id|.*[_ ]id|(?:user|row|customer|client|order|item|patient|sample|product|source|obj|gu|uu)id"
    r"|index|row|no|nr|number|unnamed.*)"
    r"|.*[a-z]I[Dd]"  # customerID, but not "paid"
)
_NAMES_SOMEONE = re.compile(r".*name", re.IGNORECASE)
_COUNTS_TIME = re.compile(r".*(time|date|day|week|month|year|hour|step|age).*|t|x", re.IGNORECASE)
_NAMES_A_MOMENT = re.compile(r".*(time|date|stamp|moment|created|updated)s?|ts|.*_(at|ts)", re.IGNORECASE)
_NAMES_A_DATE = re.compile(r"(?i:(?:.*[_ -])?(?:date|datum|fecha|data|day|dt)(?:[_ -].*)?)|.*[a-z]Date")
_UNIX = [name for name in NUMBERS if name.startswith("unix")]
_RECENT = (11_323, 25_568)  # days, from 2001 to 2040
_DATED = (-14_610, 25_568)  # from 1930: a smaller number of days is hardly a date


_KINDS_OF_VALUES: dict[type[pl.DataType], str] = {
    pl.List: "lists",
    pl.Array: "lists",
    pl.Struct: "objects",
    pl.Binary: "bytes",
}


@dataclass(frozen=True)
class Aside:
    """Why a training column is no feature, as a clause.

    ``is_text``: its words could be features; ``is_id``: it names the rows.
    """

    why: str
    is_text: bool = False
    is_id: bool = False


NO_VALUES = Aside("no values")


def names_rows(name: str) -> bool:
    """Whether a column of this name says which person or thing a row is of."""
    return bool(name) and _NAMES_ROWS.fullmatch(name) is not None


def names_a_moment(name: str) -> bool:
    """Whether numbers in a column of this name may be dates or times."""
    return _NAMES_A_MOMENT.fullmatch(name) is not None


def reason_to_set_aside(series: pl.Series) -> Aside | None:
    """Why a training column is not a feature; None if it is one."""
    if series.dtype.is_float() and len(series) >= _FEWEST_NAMED_ROWS and _is_measured(series):
        return None
    if not is_number(series) and not is_text(series) and not is_date(series):
        return Aside(_KINDS_OF_VALUES.get(series.dtype.base_type(), f"values of type {series.dtype}"))
    values = plain_text(series) if is_text(series) else series
    known = values.drop_nulls() if values.null_count() else values
    if not len(known) or (known.dtype.is_float() and not known.is_finite().any()):
        return NO_VALUES
    if len(values) < _FEWEST_NAMED_ROWS:
        return None
    if len(known) == len(values) and _is_constant(known):
        return Aside("the same value in every row")
    if series.dtype.is_float() and len(known) == len(values):
        series = as_whole(series)
    if not is_text(series) and not series.dtype.is_integer():
        return None
    count, distinct = len(known), known.n_unique()
    if is_text(series):
        return _reason_of_text(values, count, distinct)
    if series.dtype.is_integer() and distinct == len(values):
        steps = series.cast(pl.Float64).diff().drop_nulls()
        consecutive = bool((steps == 1).all()) and not _COUNTS_TIME.fullmatch(series.name)
        if consecutive or _NAMES_ROWS.fullmatch(series.name):
            return Aside("a unique number in every row", is_id=True)
    return None


def _is_measured(series: pl.Series) -> bool:
    """Whether the first numbers are different fractions: the column is neither constant nor of ids."""
    first = series.head(_LOOKED_AT).to_numpy()
    return bool(np.isfinite(first).all() and first.min() < first.max() and (first % 1 != 0).any())


def _is_constant(values: pl.Series) -> bool:
    # By the extremes: counting different values takes ten times as long.
    if values.min() != values.max():
        return False
    return not (values.dtype.is_float() and values.is_nan().any())


def _reason_of_text(text: pl.Series, count: int, distinct: int) -> Aside | None:
    if distinct < _NAMING_SHARE * count and (distinct <= MAX_CATEGORIES or _mostly_common(text)):
        return None
    different = text.drop_nulls().unique()
    if find_pattern(different) or _are_numbers(different) or _are_nearly_numbers(different):
        return None
    if separator_of(different):
        return None
    one_word = distinct == count == len(text) and not different.str.contains(r"\s").any()
    is_id = one_word or bool(_NAMES_ROWS.fullmatch(text.name) or _NAMES_SOMEONE.fullmatch(text.name))
    return Aside(f"text with {distinct} different values in {count} rows", is_text=True, is_id=is_id)


def find_column(
    series: pl.Series,
    *,
    precise: bool = True,
    kind: str | None = None,
    text: Literal["hash", "bag"] = "bag",
) -> Column:
    """How a training column becomes features, with its categories in order of code points.

    Numbers, true/false and text of mostly numbers (also "1,000", "10%" and signs for missing ones) are
    numbers; dates and text of only dates are dates; other text is a category. ``precise`` centres numbers if
    float32 would lose their differences, and compresses long tails. ``kind``: the kind that the user
    requests; ``text``: how the words of a text become features. Raises DataError for other types, an empty
    column, and numbers that are ambiguous.
    """
    name = series.name
    if kind in ("category", "text") and not is_text(series):
        series = as_whole(series).cast(pl.String)
    if (
        is_number(series)
        and kind in (None, "date")
        and (found := _date_in_numbers(series, asked=kind == "date"))
    ):
        return _date_column(series, found)
    if kind == "number" or (kind is None and is_number(series)):
        return _number_column(series, precise)
    if kind in (None, "date") and is_date(series):
        return _date_column(series, "")
    if not is_text(series):
        raise DataError(
            expected=f"numbers, text or dates in column {quote(name)}",
            received=f"values of type {series.dtype}",
            remedy="turn the column into numbers or leave it out",
        )
    return _text_column(plain_text(series), precise, kind, text)


def _text_column(text: pl.Series, precise: bool, kind: str | None, how: Literal["hash", "bag"]) -> Column:
    """The column of a text that may be numbers, dates, categories or words."""
    name, different = text.name, text.drop_nulls().unique()
    if not len(different):
        raise DataError(
            expected=f"values in column {quote(name)}",
            received=f"{len(text)} rows, all missing",
            remedy="leave the column out of the file",
        )
    pattern = None if kind in ("category", "text") else find_pattern(without_markers(different))
    if pattern is not None:
        return _date_column(text, pattern)
    if kind == "date":
        raise DataError(
            expected=f"dates in column {quote(name)}, all in one format, such as 2025-12-31",
            received=f"texts such as {quote(str(different.min()))}",
            remedy="write the dates in one of the formats of docs/data.md",
        )
    if kind is None and (_are_numbers(different) or _are_nearly_numbers(different)):
        return _number_column(text, precise)
    missing = text.null_count() > 0
    if kind == "text":
        words = () if how == "hash" else frequent_words(text, WORD_FEATURES)
        return Column(name, "text", words, indicator=missing, buckets=0 if words else WORD_FEATURES)
    separator = separator_of(text) if kind is None and len(text) >= _FEWEST_NAMED_ROWS else ""
    if separator:
        text = label_counts(text, separator)
    else:
        text = in_categories(text)
    different = text.drop_nulls().unique()
    kept, rare = _grouped(text)
    if not rare:
        kept = sorted(different.to_list())
    if len(kept) > MAX_CATEGORIES:
        counts = text.drop_nulls().alias("entry").value_counts(sort=True)["entry"].to_list()
        kept, rare = sorted(counts[: MAX_CATEGORIES - 1]), sorted(counts[MAX_CATEGORIES - 1 :])
    return Column(name, "category", tuple(kept), rare=tuple(rare), indicator=missing, separator=separator)


def _mostly_common(text: pl.Series) -> bool:
    """Whether at least half of the rows have a category with a feature of its own."""
    kept, rare = _grouped(text)
    return bool(rare) and int(text.is_in(kept).sum()) * 2 >= len(text) - text.null_count()


def _grouped(text: pl.Series) -> tuple[list[str], list[str]]:
    """The categories with features of their own, and those that share one; both empty if none should.

    Those with few rows share one if the others have at least half of the rows, else those with a single row.
    """
    counts = text.drop_nulls().alias("entry").value_counts(sort=True, name="rows")
    names, rows = counts["entry"].to_list(), counts["rows"].to_numpy()
    known = int(rows.sum())
    for fewest, least in ((min(RARE_ROWS, RARE_SHARE * known), known / 2), (2, 1)):
        kept = min(int((rows >= fewest).sum()), MAX_CATEGORIES - 1)
        if kept < len(names) - 1 and known >= _FEWEST_NAMED_ROWS and int(rows[:kept].sum()) >= least:
            return sorted(names[:kept]), sorted(names[kept:])
    return [], []


def _number_column(series: pl.Series, precise: bool) -> Column:
    writing = writing_of(without_markers(plain_text(series))) if is_text(series) else Writing()
    values, missing = as_numbers(series, writing=writing)
    given = values[~missing] if missing.any() else values
    shift = find_shift(given) if precise else NO_SHIFT
    tail = find_compression(given) if precise and shift.is_none else None
    shift = tail or shift
    usable = ~missing
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = shift.apply(values)
            usable &= np.isfinite((np.arcsinh(stored) if tail else stored).astype(np.float32))
    known = values if usable.all() else values[usable]
    return Column(
        series.name,
        "number",
        center=shift.center,
        scale=shift.scale,
        compressed=tail is not None,
        mark=writing.mark,
        unit=writing.unit,
        fill=median(known) if len(known) else None,
        indicator=not (len(known) and usable.all()),
        low=float(known.min()) if len(known) else None,
        high=float(known.max()) if len(known) else None,
    )


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
        low=float(known.min()),
        high=float(known.max()),
    )


def _date_in_numbers(series: pl.Series, *, asked: bool) -> str | None:
    """The pattern of a column of numbers that are dates or times, by its name and its values."""
    if series.dtype == pl.Boolean or not (asked or names_a_moment(series.name)):
        return None
    values, missing = as_numbers(series)
    known = values[~missing].astype(np.float64)
    if not len(known) or not np.isfinite(known).all():
        return None
    patterns = [*NUMBERS, YEAR_FIRST] if asked or _NAMES_A_DATE.fullmatch(series.name) else _UNIX
    for pattern in patterns:
        days = days_of(as_whole(series), pattern)[~missing]
        low, high = _RECENT if pattern in _UNIX else _DATED
        if low <= days.min() and days.max() <= high:
            return pattern
    return None


def _are_numbers(texts: pl.Series) -> bool:
    """Whether all of these different texts are numbers, or signs for missing ones among numbers."""
    known = without_markers(texts).drop_nulls()
    return len(known) > 0 and not are_codes(known) and numbers_in(known).null_count() == 0


def _are_nearly_numbers(text: pl.Series) -> bool:
    """Whether most of the different texts are numbers; DataError if that is unclear.

    Other entries are missing then, but not those that are numbers by another rule, such as "1,5".
    All are codes if the others are all a letter and digits, such as "V57" and "E909" beside "428", and
    more than a few.
    """
    known = without_markers(text).drop_nulls()
    others = known.filter(~like_numbers(known))
    several = len(others) > max(1, _LETTERED_SHARE * len(known))
    lettered = several and bool(others.str.contains(_LETTERED_CODE).all())
    return not lettered and mostly_numbers(known) and not are_codes(known)
