"""Entries of a table that may stand for a missing value: -999, 9999, 1900-01-01, "unknown", 0."""

from collections.abc import Iterable

import numpy as np
import polars as pl

from kilter.data.columns import find_column
from kilter.data.dates import days_of
from kilter.data.encoding import Column
from kilter.data.entries import MARKERS, as_numbers
from kilter.data.features import shown
from kilter.data.paths import first_named, quote

# A single entry is not a code for missing, and among very few values nothing is an outlier.
_FEWEST, _FEWEST_OTHERS = 2, 5
# A zero this many standard deviations below the mean of the other values, which are positive, and this many
# below the least of them, is hardly a measurement, unless most are.
_IMPOSSIBLE, _GAP = 3.0, 0.5


def suspicions(columns: Iterable[tuple[pl.Series, Column]]) -> tuple[tuple[str, ...], set[str]]:
    """A sentence on each entry that may stand for a missing value, and the columns that have one."""
    found: dict[str, list[tuple[str, int]]] = {}
    names: set[str] = set()
    for series, column in columns:
        for entry, count in _entries(series, column):
            found.setdefault(entry, []).append((column.name, count))
            names.add(column.name)
    said = tuple(
        f"{entry} may stand for missing in column {first_named(map(_counted, places))}; if so: "
        f"--missing={_in_column(entry, places)} (in Python missing=)"
        for entry, places in found.items()
    )
    return said, names


def _counted(place: tuple[str, int]) -> str:
    return f"{quote(place[0])} ({place[1]} rows)"


def _in_column(entry: str, places: list[tuple[str, int]]) -> str:
    """What means missing: 0, and an entry of a single column, may be a value in others."""
    if len(places) > 1:
        return f"COLUMN={entry} for each" if entry == "0" else entry
    return quote(f"{places[0][0]}={entry}")


def target_suspicions(series: pl.Series) -> tuple[str, ...]:
    """A sentence on each extreme of a target of numbers that may stand for a missing value."""
    found = _entries(series, find_column(series, kind="number"))
    return tuple(
        f"{entry} may stand for missing in the target {quote(series.name)} ({count} rows); if so: "
        f"--missing={quote(f'{series.name}={entry}')} --set data.skip_bad=true (in Python "
        "missing=, skip_bad=)"
        for entry, count in found
    )


def _entries(series: pl.Series, column: Column) -> list[tuple[str, int]]:
    if column.kind == "category":
        signs = [one for one in (*column.categories, *column.rare) if one.lower() in MARKERS]
        return [(one, int((series.cast(pl.String).str.strip_chars() == one).sum())) for one in signs]
    if column.kind == "text" or column.low is None or column.low == column.high:
        return []
    values = days_of(series, column.pattern) if column.kind == "date" else as_numbers(series)[0]
    codes = [code for code in (column.low, column.high) if np.count_nonzero(values == code) >= _FEWEST]
    return [(shown(code or 0.0, column), count) for code in codes if (count := _rows(values, code, column))]


def _rows(values: np.ndarray, code: float | None, column: Column) -> int:
    """The rows with an extreme that is far from the others or impossible; 0 for any other extreme."""
    known = values[np.isfinite(values)].astype(np.float64)
    others = known[known != code]
    if not len(others) or code is None:
        return 0
    count, low, high = len(known) - len(others), others.min(), others.max()
    far = max(low - code, code - high) > high - low > 0
    number, least = column.kind == "number", code < low
    only_negative = number and least and code < 0 <= low
    with np.errstate(over="ignore", invalid="ignore"):  # infinity compares as it should
        spread = others.std()
    unlikely = low > _GAP * spread and others.mean() > _IMPOSSIBLE * spread
    impossible = number and least and code == 0 and unlikely and 2 * count <= len(known)
    return count if (far or only_negative or impossible) and len(np.unique(others)) >= _FEWEST_OTHERS else 0
