"""Times of the day, durations, angles, and feet with inches: numbers in two or three units."""

from typing import Final

import polars as pl

UNITS: Final = ("minutes", "hours", "degrees", "feet")
_AGES = {
    "year": 8766.0,
    "yr": 8766.0,
    "month": 730.5,
    "week": 168.0,
    "day": 24.0,
    "hour": 1.0,
    "minute": 1 / 60,
}
_AGE = r"(?i)^(\d+(?:\.\d+)?)\s*(year|yr|month|week|day|hour|minute)s?(?: ago)?$"
# Sign, days, hours, minutes, seconds, half of the day.
_CLOCKS = (
    r"^([-+]?)(?:(\d+) days? )?(\d+):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?(?:\s?([AaPp])\.?[Mm]\.?)?$",
    r"^([-+]?)()(\d{1,2})\.([0-5]\d)\.([0-5]\d)()$",
    r"^([-+]?)P(?:(\d+)D)?T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?()$",
    r"^([-+]?)(?:(\d+)\s?d(?:ays?)?\s*)?(\d+)\s?h(?:ours?|rs?|)\s*(?:(\d+)\s?m(?:in(?:utes?|s)?)?)?\s*(?:(\d+)\s?s)?()$",
)
_LAP = r"^([-+]?)()()(\d+):([0-5]\d(?:\.\d+)?)()$"  # where most are such as "1:23.456"
_IS_LAP = r"^[-+]?\d+:[0-5]\d\.\d+$"
_MINUTES = r"^([-+]?)()()(\d+)\s?m(?:in(?:utes?|s)?)?()()$"  # beside entries such as "1h 30m"
# Sign, degrees, minutes, seconds, side of the equator or of Greenwich; with a sign of degrees or a side.
_ANGLE = (
    r"^([-+]?)(\d{1,3}(?:\.\d+)?)\s*[°º]\s*(?:(\d{1,2}(?:\.\d+)?)\s*['′’]\s*)?"
    r"(?:(\d{1,2}(?:\.\d+)?)\s*(?:[\"″”]|''))?\s*([NSEWnsew]?)$"
)
_FEET = (
    r"(?i)^(\d{1,3})\s*(?:['′’]|ft\.?|feet|foot)\s*"
    r"(?:(\d(?:\.\d+)?|1[01](?:\.\d+)?)\s*(?:[\"″”]|''|in\.?|inch(?:es)?)?)?$"
)


def unit_of(text: pl.Series) -> str:
    """What most of the texts count in, one of UNITS; "" if they do not.

    Example:
        >>> unit_of(pl.Series(["12:30", "8:15"])), unit_of(pl.Series(["51°30'N", "0.5° W"]))
        ('hours', 'degrees')
    """
    known = text.drop_nulls()
    found = (unit for unit in UNITS if 2 * numbers_in(known, unit, known=False).count() > len(known))
    return next(found, "")


def numbers_in(text: pl.Series, unit: str, *, known: bool = True) -> pl.Series:
    """The minutes, hours, degrees or feet of the texts; null for others.

    Where the unit is not ``known`` from training, all are null unless some show that it is this one: inches
    beside "6 ft", fractions of a second beside "1:40".
    """
    text = text.str.replace("\u2212", "-", literal=True)
    if unit == "degrees":
        return _degrees(text)
    if unit == "feet":
        return _feet(text, known)
    if unit == "hours":
        return _hours(text, known)
    laps = known or 2 * text.str.contains(_IS_LAP).sum() >= max(1, text.str.contains(_LAP).sum())
    return 60 * _hours(text, known, _LAP) if laps else text.clear(len(text)).cast(pl.Float64)


def _feet(text: pl.Series, known: bool) -> pl.Series:
    """Feet of texts such as 5'11" and "6 ft 2 in", some with inches: 12 are a foot."""
    feet, inches = (
        part.cast(pl.Float64, strict=False)
        for part in text.str.extract_groups(_FEET).struct.unnest().get_columns()
    )
    # "12 ft" in every row is a number with a unit.
    whole = feet if known or inches.count() else feet.clear(len(feet))
    return whole + inches.fill_null(0.0) / 12


def _degrees(text: pl.Series) -> pl.Series:
    """Degrees of texts such as "51°30'26"N" and "12.5° W"; south and west are negative."""
    if not text.str.contains("[°º]").any():
        return pl.Series(text.name, [None] * len(text), pl.Float64)
    sign, *numbers, side = text.str.extract_groups(_ANGLE).struct.unnest().get_columns()
    degrees, minutes, seconds = (part.cast(pl.Float64, strict=False) for part in numbers)
    turned = side.str.to_uppercase().is_in(["S", "W"]) | (sign == "-")
    found = degrees + minutes.fill_null(0.0) / 60 + seconds.fill_null(0.0) / 3600
    return found.zip_with(~turned.fill_null(False), -found)


def _hours(text: pl.Series, known: bool, *first: str) -> pl.Series:
    """Hours of texts such as "12:30", "2 days 01:30:00", "6:15 PM", "1h 30m"; null for others."""
    found = pl.Series(text.name, [None] * len(text), pl.Float64)
    clocks = [clock for clock in (*first, *_CLOCKS) if text.str.contains(clock).any()]
    ages = text.str.extract_groups(_AGE).struct.unnest()
    units = ages["2"].str.to_lowercase()
    if known or units.drop_nulls().n_unique() > 1:  # else a number with a unit
        found = found.fill_null(
            ages["1"].cast(pl.Float64) * units.replace_strict(_AGES, default=None, return_dtype=pl.Float64)
        )
    for clock in [*clocks, _MINUTES] if known or _CLOCKS[-1] in clocks else clocks:
        found = found.fill_null(_hours_by(text, clock))
    return found


def _hours_by(text: pl.Series, clock: str) -> pl.Series:
    sign, *numbers, half = text.str.extract_groups(clock).struct.unnest().get_columns()
    days, hours, minutes, seconds = (part.cast(pl.Float64, strict=False).fill_null(0.0) for part in numbers)
    halved = hours % 12 + 12 * (half.str.to_lowercase() == "p").cast(pl.Float64)
    hours = halved.zip_with(half.str.len_bytes() > 0, hours) if half.null_count() < len(half) else hours
    found = 24 * days + hours + minutes / 60 + seconds / 3600
    signed = found * pl.select(pl.when(sign == "-").then(-1.0).otherwise(1.0)).to_series()
    return signed.set(~text.str.contains(clock).fill_null(False), None)
