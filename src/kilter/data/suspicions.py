"""Entries of a table that may stand for a missing value: -999, 9999, 1900-01-01, "unknown", 0."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from kilter.data.dates import days_of
from kilter.data.encoding import Column
from kilter.data.entries import MARKERS, as_numbers
from kilter.data.features import shown
from kilter.data.paths import first_named, quote

# One entry is no code, and beside very few other values nothing is far away.
_FEWEST, _FEWEST_OTHERS = 2, 5
# A zero this many standard deviations below the mean of the other values, which are positive, and this many
# below the least of them, is hardly a measurement, unless most are.
_IMPOSSIBLE, _GAP = 3.0, 0.5


def suspicions(columns: Iterable[tuple[pl.Series, Column]]) -> tuple[str, ...]:
    """A sentence on each entry that occurs in columns where it may stand for a missing value."""
    found: dict[str, list[str]] = {}
    for series, column in columns:
        for entry, count in _entries(series, column):
            found.setdefault(entry, []).append(f"{quote(column.name)} ({count} rows)")
    return tuple(
        f"{entry} may stand for missing in column {first_named(names)}; if so: missing={entry}"
        for entry, names in found.items()
    )


def _entries(series: pl.Series, column: Column) -> list[tuple[str, int]]:
    if column.kind == "category":
        signs = [one for one in (*column.categories, *column.rare) if one.lower() in MARKERS]
        return [(one, int((series.cast(pl.String).str.strip_chars() == one).sum())) for one in signs]
    if column.kind == "text" or column.low is None or column.low == column.high:
        return []
    values = days_of(series, column.pattern) if column.kind == "date" else as_numbers(series)[0]
    return [(shown(one, column), count) for one, count in _codes(values, numbers=column.kind == "number")]


def _codes(values: np.ndarray, *, numbers: bool) -> list[tuple[float, int]]:
    """Repeated extremes that are further from the other values than these are from each other."""
    known = values[np.isfinite(values)].astype(np.float64)
    least, most = known.min(), known.max()
    found = []
    for code in (least, most):
        count = int((known == code).sum())
        if count < _FEWEST or count == len(known):
            continue
        others = known[known != code]
        low, high = others.min(), others.max()
        far = max(low - code, code - high) > high - low > 0
        only_negative = numbers and code == least and code < 0 <= low
        spread = others.std()
        unlikely = low > _GAP * spread and others.mean() > _IMPOSSIBLE * spread
        impossible = numbers and code == least == 0 < low and unlikely and 2 * count <= len(known)
        if (far or only_negative or impossible) and len(np.unique(others)) >= _FEWEST_OTHERS:
            found.append((float(code), count))
    return found
