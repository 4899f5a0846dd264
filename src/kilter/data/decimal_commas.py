"""Decimal commas: in a file separated by semicolons the comma is the decimal mark, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection

import polars as pl

from kilter.data.number_formats import UNITS, mostly_numbers
from kilter.data.paths import first_named, quote
from kilter.errors import DataError

_SIGN, _UNIT = rf"\s*[-+]?\s*[{UNITS}]?\s*", rf"\s*[{UNITS}]?\s*"
_COMMA = rf"^({_SIGN}\d*),(\d+(?:[eE][-+]?\d+)?{_UNIT})$"
_POINT = rf"^{_SIGN}\d*\.\d+(?:[eE][-+]?\d+)?{_UNIT}$"
# "1,234,567" and "1,234.5": here the comma groups thousands.
_GROUPS = rf"^{_SIGN}\d{{1,3}}(?:(?:,\d{{3}}){{2,}}|,\d{{3}}\.\d+){_UNIT}$"


def with_points(
    frame: pl.DataFrame, read_again: Callable[[], pl.DataFrame], columns: Collection[str]
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame with its decimal commas read as such, and a note that says so; without any, as it is.

    ``read_again`` reads the file with polars's ``decimal_comma``; only ``columns`` may hold numbers. Raises
    DataError where other numbers in them have a decimal point, or commas between thousands: what "1,000"
    means would be a guess then, wrong by a factor of 1000.
    """
    series = {one.name: one for one in frame.get_columns()}
    texts = [name for name in columns if series[name].dtype == pl.String and mostly_numbers(series[name])]
    commas = [name for name in texts if _any(series[name], _COMMA)]
    others = [name for name in texts if _any(series[name], _GROUPS)]
    if not commas and not others:
        return frame, ()
    again = read_again()
    types = dict(again.schema)
    with_comma = set(commas)
    for name in columns:
        turned_text = series[name].dtype.is_float() and types[name] == pl.String
        if commas and (turned_text or (name in with_comma and _any(series[name], _POINT))):
            others.append(name)
    if others:
        raise DataError(
            expected="the comma as decimal mark, and no other mark, in a table separated by semicolons",
            received=f"other marks in column {first_named(map(quote, others))}"
            + (f", decimal commas in column {first_named(map(quote, commas))}" if commas else ""),
            remedy="write all numbers with a point or all with a comma, and thousands without marks",
        )
    # What polars left text has a unit, or entries that are no number and will be named as such.
    left = [name for name in commas if types[name] == pl.String]
    again = again.with_columns(pl.col(left).str.replace(_COMMA, "${1}.${2}"))
    return again, (f"the comma is read as the decimal mark, as in column {first_named(map(quote, commas))}",)


def _any(text: pl.Series, pattern: str) -> bool:
    return bool(text.str.contains(pattern).any())
