"""Dates and times as features: elapsed days, the year, and month, weekday and hour as sine and cosine."""

import re
from typing import Final

import numpy as np
import polars as pl

from kilter.data.encoding import date_parts

_MICROSECONDS_A_DAY: Final = 86_400_000_000
# ISO first. Where day and month could be either way round, all values of the column must fit. %B also reads
# short names of months, and %A of weekdays.
_DATES: Final = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%Y%m%d", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y"),
    *("%d %B %Y", "%d-%B-%Y", "%d-%B-%y", "%d %B %y", "%d. %B %Y", "%B %d, %Y", "%B %d %Y", "%Y-%B-%d"),
    *("%A, %d %B %Y", "%A %d %B %Y", "%A, %B %d, %Y"),
)
_TIMES: Final = ("%H:%M", "%H:%M:%S", "%H:%M:%S%.f", "%I:%M %p", "%I:%M:%S %p")
# Of the first month of a quarter, and of a Monday.
_QUARTER: Final = "%YQ"
_WEEK: Final = "%GW%V"
_OF_MONTHS: Final = (_QUARTER, _WEEK, "%Y-%m", "%Y/%m", "%m/%Y", "%B %Y", "%B-%Y", "%B-%y")
_SPECIAL: Final = (
    *("%d/%B/%Y:%H:%M:%S %z", "%A %B %d %H:%M:%S %Y", "%A, %d %B %Y %H:%M:%S %z", "%A %B %d %H:%M:%S %z %Y"),
    *("%A, %d %B %Y %H:%M:%S GMT", "%Y%m%d%H%M%S", "%Y%m%dT%H%M%SZ"),
)
PATTERNS: Final = (
    *_DATES,
    *_OF_MONTHS,
    *(f"{date}{between}{time}" for date in _DATES for between in (" ", "T", ", ") for time in _TIMES),
    *(
        f"%Y-%m-%d{between}{time}{zone}"
        for between in "T "
        for time in _TIMES[1:3]
        for zone in ("%#z", " %#z", " UTC")
    ),
    *_SPECIAL,
)
# Of text in several ways of writing, such as an export of two systems: joined by this mark.
_OR: Final = " | "
_MOST_WAYS: Final = 3
_TRIED: Final = 50  # values that tell which patterns are worth the whole column
_FITTING: Final = 0.9  # of the values must be dates; the others count as missing

# Columns of numbers, by the pattern: numbers in a day, and the day of number 0 counted from 1970-01-01.
NUMBERS: Final = {
    "unix seconds": (86_400.0, 0),
    "unix milliseconds": (86_400_000.0, 0),
    "unix microseconds": (86_400_000_000.0, 0),
    "excel days": (1.0, -25_569),
}

YEAR_FIRST: Final = "%Y%m%d"  # also of whole numbers, such as 20251231

# Names of zones, such as "GMT+2" and "CET": the time is read as the local one.
_ZONE: Final = r" (?:(?:GMT|UTC)(?:[+-]\d{1,2}(?::?\d\d)?)?|(?:CE|EE|WE|B|[ECMP])[SD]?T)$"

_LIKE_A_QUARTER: Final = r"^(\d{4})[- ]?[Qq]([1-4])$"
_LIKE_A_WEEK: Final = r"^(\d{4})-?W(\d{2})$"
_LIKE_A_DATE: Final = (
    rf"{_LIKE_A_QUARTER}|{_LIKE_A_WEEK}|"
    r"^(?:\d{4}[-/.]\d{1,2}(?:[-/.]\d{1,2})?|\d{8}(?:\d{6})?|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})"
    r"|\d{1,2}/\d{4})(?:[ T,]|$)"
    r"|^(?:\p{L}{3,9},? )?(?:\d{1,2}[-/ .]+\p{L}{3,9}[-/ .,]+\d{2,4}|\p{L}{3,9}\.?[- ](?:\d{1,2},? )?\d{2,4}"
    r"|\d{4}-\p{L}{3,9}-\d\d|\p{L}{3} +\d)"
)


def is_date(series: pl.Series) -> bool:
    """Whether the column has a date or time type."""
    return isinstance(series.dtype, (pl.Date, pl.Datetime))


def find_pattern(text: pl.Series) -> str | None:
    """The pattern of nearly all of the stripped texts, or up to three joined by " | "; None if there is none.

    Patterns that put day and month in different places are never joined: a date would fit both.

    Example:
        >>> find_pattern(pl.Series(["31.12.2024", "01.02.2025"]))
        '%d.%m.%Y'
        >>> find_pattern(pl.Series(["31.12.2024", "2025-02-01", "2025-02-03"]))
        '%Y-%m-%d | %d.%m.%Y'
    """
    known = text.drop_nulls().unique(maintain_order=True)
    if not len(known) or known.str.contains(_LIKE_A_DATE).mean() < _FITTING:  # type: ignore[operator]
        return None
    sample = known.gather_every(max(len(known) // _TRIED, 1))
    fitting = [one for one in _likely(sample) if _count(sample, one)]
    counts = {one: _count(known, one) for one in fitting}
    whole = next((one for one in fitting if counts[one] == len(known)), None)
    if whole is not None:
        return whole
    chosen: list[str] = []
    for one in sorted(fitting, key=lambda pattern: -counts[pattern]):
        if all(_joins(one, other) for other in chosen):
            chosen.append(one)
    joined = _OR.join(sorted(chosen[:_MOST_WAYS], key=PATTERNS.index))
    return joined if chosen and _count(known, joined) >= _FITTING * len(known) else None


def _likely(sample: pl.Series) -> list[str]:
    """The patterns whose marks the texts have: trying one takes a quarter of a millisecond."""
    has = {
        mark: bool(sample.str.contains(mark).any())
        for mark in (":", r"\dT\d", ",", r"(?i)[ap]m\b", r"\p{L}", "-", "/")
    }
    needed = (
        *(("%H:%M", ":"), ("%I", r"(?i)[ap]m\b"), ("T%H", r"\dT\d"), (", ", ",")),
        *(("%B", r"\p{L}"), ("%A", r"\p{L}"), ("-", "-"), ("/", "/")),
    )
    found = [one for one in PATTERNS if all(has[mark] for part, mark in needed if part in one)]
    without_time = bool((~sample.str.contains(r"\d:\d|\d{14}|T\d{6}Z")).any())
    return [one for one in found if without_time or "%H" in one or "%I" in one]


def _joins(one: str, other: str) -> bool:
    """Whether no text fits both patterns in different ways: they differ in the year's place or the marks."""
    dates = [re.split(r"[T ,]+%[HI]", pattern)[0] for pattern in (one, other)]
    marks = [re.sub(r"%[a-zA-Z]", "", date) for date in dates]
    return (
        dates[0] == dates[1] or marks[0] != marks[1] or dates[0].startswith("%Y") != dates[1].startswith("%Y")
    )


def month_first_example(text: pl.Series, pattern: str) -> str:
    """What a date of the column is read as, if all its dates would also fit with the month first; else ""."""
    other = pattern.replace("%d/%m", "%m/%d").replace("%d-%m", "%m-%d")
    if other == pattern or is_date(text):
        return ""
    known = text.drop_nulls().str.strip_chars().unique(maintain_order=True)
    read, swapped = _parsed(known, pattern), _parsed(known, other)
    if swapped.null_count() > read.null_count():
        return ""
    unlike = (read != swapped).fill_null(False).arg_true()
    return f"{known[int(unlike[0])]} is {read[int(unlike[0])]:%d %B %Y}" if len(unlike) else ""


def _count(text: pl.Series, pattern: str) -> int:
    return len(text) - _parsed(text, pattern).null_count()


def days_of(series: pl.Series, pattern: str) -> np.ndarray:
    """Days since 1970-01-01 as float64 ``[n]``, with the time of day as a fraction; NaN where missing.

    Texts that do not fit ``pattern`` are missing.
    """
    if pattern in NUMBERS:
        in_a_day, first = NUMBERS[pattern]
        plain = series.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
        return plain / in_a_day + first
    if not is_date(series):
        series = _parsed(series.cast(pl.String), pattern)
    whole = series.cast(pl.Datetime("us")).to_physical().cast(pl.Float64)
    return (whole / _MICROSECONDS_A_DAY).fill_null(float("nan")).to_numpy()


def features_of(days: np.ndarray, center: float, *, has_time: bool) -> np.ndarray:
    """The features ``[n, parts]``, float64, of days since 1970-01-01, in the order of ``date_parts``."""
    whole = np.floor(days).astype("int64")
    first, last = int(whole.min(initial=0)), int(whole.max(initial=0))
    # A million rows are of a few thousand days, of which the parts are computed once.
    each, places = (np.arange(first, last + 1), whole - first) if last - first < len(whole) else (whole, ...)
    moments = each.astype("datetime64[D]")
    years = moments.astype("datetime64[Y]").astype(int)
    months = moments.astype("datetime64[M]").astype(int) - 12 * years
    turns = [months / 12, np.mod(each + 3, 7) / 7]  # 1970-01-01 was a Thursday
    parts = [years + 1970.0, *_waves(turns)]
    times = _waves([np.mod(days, 1.0)]) if has_time else []
    found = np.column_stack([days - center, *(part[places] for part in parts), *times])
    assert found.shape[1] == len(date_parts(has_time=has_time))
    return found


def _waves(turns: list[np.ndarray]) -> list[np.ndarray]:
    return [wave(2 * np.pi * turn) for turn in turns for wave in (np.sin, np.cos)]


def _parsed(text: pl.Series, pattern: str) -> pl.Series:
    """The moments of the texts that fit one of the joined patterns, in UTC."""
    moments = pl.Series(text.name, [None], dtype=pl.Datetime("us")).extend_constant(None, len(text))[1:]
    for one in pattern.split(_OR):
        moments = moments.fill_null(_moments(text, one))
    return moments


def _moments(text: pl.Series, pattern: str) -> pl.Series:
    if "%B" in pattern:
        text = text.str.replace(r"(?i)\bsept\b\.?", "Sep")  # the only short name of four letters
    if "%p" in pattern or "%H" in pattern:
        named = pattern.endswith(("GMT", "UTC", "%z", "%#z"))
        text = text if named else text.str.replace(_ZONE, "")
    if pattern == _WEEK:
        found = text.str.replace(_LIKE_A_WEEK, "${1}-W${2}-1").str.to_date("%G-W%V-%u", strict=False)
    elif pattern == _QUARTER:
        year, quarter = text.str.extract_groups(_LIKE_A_QUARTER).struct.unnest().get_columns()
        month = (3 * quarter.cast(pl.Int64, strict=False) - 2).cast(pl.String)
        found = (year + "-" + month + "-1").str.to_date("%Y-%m-%d", strict=False)
    elif pattern in _OF_MONTHS:
        found = ("1 " + text).str.to_date(f"%d {pattern}", strict=False)
    elif "%H" in pattern or "%I" in pattern:
        found = text.str.to_datetime(pattern, strict=False, time_unit="us").dt.replace_time_zone(None)
    else:
        found = text.str.to_date(pattern, strict=False)
    moments = found.cast(pl.Datetime("us"))
    # "6/21/24" is not of the year 24.
    return moments.set((moments.dt.year() < 1000).fill_null(False), None) if "%Y" in pattern else moments
