"""Dates and times as features: elapsed days, the year, and month, weekday and hour as sine and cosine."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from kilter.data.encoding import date_parts

_MICROSECONDS_A_DAY: Final = 86_400_000_000
# ISO first. Where day and month could be either way round, all values of the column must fit.
_DATES: Final = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y")
_TIMES: Final = ("%H:%M", "%H:%M:%S", "%H:%M:%S%.f")
PATTERNS: Final = (
    *_DATES,
    *(f"{date}{between}{time}" for date in _DATES for between in (" ", "T") for time in _TIMES),
    *(f"%Y-%m-%dT{time}%#z" for time in _TIMES[1:]),
)

# Columns of unix times: units in a day, by the pattern.
UNIX: Final = {"unix seconds": 86_400.0, "unix milliseconds": 86_400_000.0}

_LIKE_A_DATE: Final = r"^(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})(?:[ T]\d|$)"


def is_date(series: pl.Series) -> bool:
    """Whether the column has a date or time type."""
    return isinstance(series.dtype, (pl.Date, pl.Datetime))


def find_pattern(text: pl.Series) -> str | None:
    """The first of :data:`PATTERNS` that every stripped text fits; None if there is none.

    Example:
        >>> find_pattern(pl.Series(["31.12.2024", "01.02.2025"]))
        '%d.%m.%Y'
    """
    known = text.drop_nulls().unique()
    if not len(known) or not known.str.contains(_LIKE_A_DATE).all():
        return None
    return next((one for one in PATTERNS if _parsed(known, one).null_count() == 0), None)


def days_of(series: pl.Series, pattern: str) -> np.ndarray:
    """Days since 1970-01-01 as float64 ``[n]``, with the time of day as a fraction; NaN where missing.

    Texts that do not fit ``pattern`` are missing.
    """
    if pattern in UNIX:
        plain = series.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
        return plain / UNIX[pattern]
    moments = series if is_date(series) else _parsed(series, pattern)
    whole = moments.cast(pl.Datetime("us")).to_physical().cast(pl.Float64)
    return (whole / _MICROSECONDS_A_DAY).fill_null(float("nan")).to_numpy()


def features_of(days: np.ndarray, center: float, *, has_time: bool) -> np.ndarray:
    """The features ``[n, parts]``, float64, of days since 1970-01-01, in the order of ``date_parts``."""
    moments = (np.floor(days)).astype("int64").astype("datetime64[D]")
    years = moments.astype("datetime64[Y]").astype(int)
    months = moments.astype("datetime64[M]").astype(int) - 12 * years
    turns = [months / 12, np.mod(np.floor(days) + 3, 7) / 7]  # 1970-01-01 was a Thursday
    if has_time:
        turns.append(np.mod(days, 1.0))
    waves = [wave(2 * np.pi * turn) for turn in turns for wave in (np.sin, np.cos)]
    found = np.column_stack([days - center, years + 1970.0, *waves])
    assert found.shape[1] == len(date_parts(has_time=has_time))
    return found


def _parsed(text: pl.Series, pattern: str) -> pl.Series:
    if "%H" in pattern:
        return text.str.to_datetime(pattern, strict=False, time_unit="us").dt.replace_time_zone(None)
    return text.str.to_date(pattern, strict=False)
