"""Formatted numbers: "1,000", "1.234,5", "10%", "12 kg", "$5", "1.2M", "(5)" and "12:30".

Thousands may be grouped by commas, points, blanks or apostrophes. Whether comma or point is the decimal mark
is decided for a whole column, by those of its numbers that can be read in one way only. Units are dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from kilter.data.paths import quote

UNITS = "%$€£¥₹₽₺₩₪₫₴₦"
_CODES = (
    *(
        "USD",
        "EUR",
        "GBP",
        "CHF",
        "JPY",
        "INR",
        "CAD",
        "AUD",
        "SEK",
        "NOK",
        "DKK",
        "PLN",
        "CZK",
        "CNY",
        "BRL",
    ),
    *(r"US\$", r"R\$", r"A\$", r"C\$", r"Rs\.?", r"kr\.?"),
)
_CURRENCIES = rf"(?:(?:{'|'.join(_CODES)})\s*)"
_FOOTNOTES = r"\s*(?:(?:\[[\p{L}\d ]{1,9}\])+|[*†‡]+)$"
# "<0.1", "~500": read as the number, in a column of numbers.
_BOUND = r"^(?:[<>]=?|[≤≥~≈]|(?i:ca?\.|circa|about|approx\.?)\s)\s*([-+$€£¥₹]?[.,]?\d)"
_ZERO = r"^[-+]?0*[.,]?0*$"
_GAPS = r"[ '\u{a0}\u{202f}\u{2019}]"
# No grouped number begins with 0: "0,125" has a decimal comma.
_GROUPED = (
    r"^[-+]?[1-9]\d{0,2}(?:(?:,\d{2})*(?:,\d{3})+|(?:[ \u{a0}\u{202f}]\d{3})+|(?:['\u{2019}]\d{3})+)"
    r"(?:\.\d*)?$"
)
_BY_ANY_RULE = (
    r"^[-+]?(?:[0-9]*[.,]?[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]{1,3}(?:[., '\u{a0}\u{202f}\u{2019}][0-9]{3})+"
    r"(?:[.,][0-9]+)?|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?)$"
)
# What can only be read with the comma, or with the point, as the decimal mark.
_COMMA = (
    r"^[-+]?(?:\d{1,3}(?:[. \u{a0}\u{202f}'\u{2019}]\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}|0\d*,\d+|\d{4,},\d+"
    r"|\d*,(?:\d{1,2}|\d{4,})|,\d+|\d*,\d+[eE][-+]?\d+)$"
)
_POINT = (
    r"^[-+]?(?:\d{1,3}(?:,\d{3})+\.\d*|\d{1,3}(?:,\d{3}){2,}|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d*)?|0\d*\.\d+|\d{4,}\.\d+"
    r"|\d*\.(?:\d{1,2}|\d{4,})|\.\d+|\d*\.\d+[eE][-+]?\d+)$"
)
_GROUPED_BY_COMMA = r"[1-9]\d{0,2},\d{3}"
_WITH_COMMA = (
    r"^[-+]?(?:\d{1,3}(?:[. \u{a0}\u{202f}'\u{2019}]\d{3})+|\d*)(?:,\d+)?(?:[eE][-+]?\d+)?\s*[kKMB]?$"
)
_SUFFIX = (
    r"^[-+(]?\d[\d.,' \u{a0}\u{202f}]*(?:[eE][-+]?\d+)?\s*\+?\s*(\+|[\p{L}°²³℃℉/\u{b5}\"]{1,10}\.?|/\d+)$"
)
_MAGNITUDES = {
    "k": 1e3,
    "K": 1e3,
    "M": 1e6,
    "B": 1e9,
    "thousand": 1e3,
    "tsd": 1e3,
    **dict.fromkeys(("mn", "mln", "mio", "million"), 1e6),
    **dict.fromkeys(("bn", "mrd", "billion"), 1e9),
    **dict.fromkeys(("lac", "lakh"), 1e5),
    **dict.fromkeys(("cr", "crore"), 1e7),
}
_WORDS = "|".join(name for name in _MAGNITUDES if len(name) > 1)
_COUNTED = rf"^([-+]?\d*\.?\d+)\s*([kKMB]|(?i:{_WORDS})s?\.?)$"
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
    r"^([-+]?)(?:(\d+)\s?d(?:ays?)?\s*)?(\d+)\s?h(?:ours?|rs?|)\s*(?:(\d+)\s?m(?:in(?:utes?|s)?)?)?\s*(?:(\d+)\s?s)?()$",
)
_MINUTES = r"^([-+]?)()()(\d+)\s?m(?:in(?:utes?|s)?)?()()$"  # beside entries such as "1h 30m"
_HOURS = "hours"  # the unit of a column of times
_CODE = r"^[-+]?0\d"


@dataclass(frozen=True)
class Writing:
    """How the numbers of a column are written.

    ``mark``: what "1,000" is: one, with the decimal mark ",", or a thousand, with "."; "": not known.
    ``unit``: the word after its numbers, such as "kg"; "hours" of times and durations; "": none.
    """

    mark: str = ""
    unit: str = ""


def writing_of(text: pl.Series) -> Writing:
    """How the numbers among the stripped texts are written.

    Example:
        >>> writing_of(pl.Series(["1,5 kg", "12,25 kg"]))
        Writing(mark=',', unit='kg')
    """
    different = text.drop_nulls().unique()
    if _are_times(different):
        return Writing(unit=_HOURS)
    unit = _common_word(different)
    mark = mark_of(different)
    if not mark and different.str.contains(_GROUPED_BY_COMMA).any():
        mark = "."
    return Writing("" if mark == "?" else mark, unit)


def mark_of(text: pl.Series) -> str:
    """The decimal mark of a column of stripped texts, see :class:`Writing`; "?" if there are both."""
    different = text.drop_nulls().unique()
    bare = _bare(different, _common_word(different))
    comma, point = (bool(bare.str.contains(pattern).any()) for pattern in (_COMMA, _POINT))
    return "?" if comma and point else "," if comma else "." if point else ""


def numbers_in(text: pl.Series, writing: Writing | None = None) -> pl.Series:
    """Float64 values of stripped texts; null for text that is not a number or is ambiguous.

    Times of the day and durations, if most are, become hours. ``writing``: of an earlier training; by default
    it is found in the texts.

    Example:
        >>> numbers_in(pl.Series(["1,000", "12", "(2,500)"])).to_list()
        [1000.0, 12.0, -2500.0]
    """
    plain = text.cast(pl.Float64, strict=False)
    if plain.null_count() == text.null_count():
        return plain
    text = _narrow(text)
    if writing is None:
        writing = writing_of(text)
    if writing.unit == _HOURS or _are_times(text):
        return _hours(text)
    bare = _bare(text, writing.unit)
    comma, point = (bool(bare.str.contains(pattern).any()) for pattern in (_COMMA, _POINT))
    if (comma and not point) or (writing.mark == "," and not point):
        bare = with_point(bare)
    elif not comma:
        grouped = bare.str.contains(_GROUPED).fill_null(False)
        bare = bare.str.replace_all(f"{_GAPS}|,", "").zip_with(grouped, bare)
    return _scaled(bare)


def with_point(bare: pl.Series) -> pl.Series:
    """Numbers written with a decimal comma, with a decimal point and no marks between thousands."""
    european = bare.str.contains(_WITH_COMMA)
    turned = bare.str.replace_all(f"{_GAPS}|\\.", "").str.replace(",", ".", literal=True)
    return turned.zip_with(european.fill_null(False), bare)


def mostly_numbers(text: pl.Series) -> bool:
    """Whether more than half of the different texts are numbers with any decimal mark and the same unit."""
    texts = _narrow(text.drop_nulls().str.strip_chars().unique())
    if _are_times(texts):
        return True
    bare = _bare(texts, _common_word(texts))
    numbers = like_numbers(bare) | _scaled(bare).is_not_null()
    return int(numbers.sum()) * 2 > len(texts)


def without_bounds(text: pl.Series) -> pl.Series:
    """The texts without the signs before bounds and estimates.

    Example:
        >>> without_bounds(pl.Series(["<0.1", "~500", "2"])).to_list()
        ['0.1', '500', '2']
    """
    return text.str.replace(_BOUND, "${1}")


def like_numbers(texts: pl.Series) -> pl.Series:
    """Which of the stripped texts are numbers with any decimal mark and any symbol of a currency."""
    bare = texts.str.replace(rf"^([-+]?)\s*(?:{_CURRENCIES}|[{UNITS}])\s*", "${1}")
    bare = bare.str.replace(rf"\s*(?:{_CURRENCIES}|[{UNITS}])$", "")
    return bare.str.contains(_BY_ANY_RULE) | texts.cast(pl.Float64, strict=False).is_not_null()


def reading_note(text: pl.Series) -> tuple[str, ...]:
    """A sentence on how formatted numbers are read, with the first as an example; none if all are plain.

    Another one for bounds, such as "<0.1".
    """
    plain = without_bounds(text)
    bounds = (text != plain).fill_null(False).arg_true()
    numbers = numbers_in(plain)
    formatted = (plain.cast(pl.Float64, strict=False).is_null() & numbers.is_not_null()).arg_true()
    name, notes = quote(text.name), []
    if len(formatted):
        row = int(formatted[0])
        hours = " hours" if writing_of(plain).unit == _HOURS else ""
        notes.append(f"column {name} is read as numbers: {quote(text[row])} is {numbers[row]:g}{hours}")
    if len(bounds):
        row = int(bounds[0])
        count = f"{len(bounds)} bounds or estimates" if len(bounds) > 1 else "1 bound or estimate"
        notes.append(f"column {name} has {count}: {quote(text[row])} is read as {quote(plain[row])}")
    return tuple(notes)


def _common_word(different: pl.Series) -> str:
    """The word after the number in more than half of the different texts, such as "kg"; "" without one."""
    words = different.str.extract(_SUFFIX, 1).drop_nulls()
    if not len(words) or different.str.contains(_CODE).any():
        return ""
    # "kg" and "KG", "year" and "years" are one; "M" and "m" are not.
    letters = words.str.len_chars()
    words = words.str.to_lowercase().zip_with(letters > 1, words)
    words = words.str.strip_chars_end("s.").zip_with(letters > 2, words)
    counts = words.value_counts(sort=True, name="rows")
    word, rows = counts.row(0)
    return word if rows * 2 > len(different) and word not in _MAGNITUDES else ""


def _bare(text: pl.Series, unit: str) -> pl.Series:
    """The texts without unit and currency, and with a minus sign in front of negative numbers."""
    if unit:
        word = rf"(?i:{re.escape(unit)})s?\.?" if len(unit) > 1 else re.escape(unit)
        text = text.str.replace(rf"\s*\+?\s*{word}$", "")
    text = text.str.replace("\u2212", "-", literal=True)
    if text.str.contains("-$|[()]").any():
        text = text.str.replace(r"^\(([^()]+)\)$|^(\d[\d.,]*)-$", "-${1}${2}")
        text = text.str.replace(rf"^([{UNITS}])\s*\(([^()]+)\)$", "-${1}${2}")
    if text.str.contains(_FOOTNOTES).any():
        text = text.str.replace(_FOOTNOTES, "")
    for symbol in (*(f"[{unit}]" for unit in UNITS), *_CODES):
        pattern = rf"^([-+]?)\s*{symbol}\s*|\s*{symbol}$"
        having = text.str.contains(pattern)
        # "0" is as many percent as "0%"; an amount may do without the symbol of its currency.
        others = having | text.str.contains(_ZERO if symbol == "[%]" else _BY_ANY_RULE)
        if having.any() and others.all():
            return text.str.replace(pattern, "${1}")
    return text


def _scaled(bare: pl.Series) -> pl.Series:
    """Numbers with a decimal point; also those that count in thousands (K), millions (M) or billions (B)."""
    plain = bare.cast(pl.Float64, strict=False)
    if plain.null_count() == bare.null_count():
        return plain
    parts = bare.str.extract_groups(_COUNTED).struct.unnest()
    words = (
        parts["2"]
        .str.to_lowercase()
        .str.strip_chars_end("s.")
        .zip_with(parts["2"].str.len_chars() > 1, parts["2"])
    )
    factor = words.replace_strict(_MAGNITUDES, default=None, return_dtype=pl.Float64)
    return plain.fill_null(parts["1"].cast(pl.Float64, strict=False) * factor)


def _narrow(text: pl.Series) -> pl.Series:
    """The texts with the digits of ASCII instead of the wide ones of Chinese and Japanese texts."""
    return text.str.normalize("NFKC") if text.str.contains("[０-９]").any() else text


def _are_times(text: pl.Series) -> bool:
    """Whether most of the texts are times of the day or durations."""
    known = text.drop_nulls()
    return len(known) > 0 and 2 * _hours(known).count() > len(known)


def _hours(text: pl.Series) -> pl.Series:
    """Hours of texts such as "12:30", "00:58:15", "2 days 01:30:00", "6:15 PM", "1h 30m"; null for others."""
    found = pl.Series(text.name, [None], pl.Float64).extend_constant(None, len(text))[1:]
    clocks = [clock for clock in _CLOCKS if text.str.contains(clock).any()]
    ages = text.str.extract_groups(_AGE).struct.unnest()
    units = ages["2"].str.to_lowercase()
    if units.drop_nulls().n_unique() > 1:  # else a number with a unit
        found = found.fill_null(
            ages["1"].cast(pl.Float64) * units.replace_strict(_AGES, default=None, return_dtype=pl.Float64)
        )
    for clock in [*clocks, _MINUTES] if _CLOCKS[-1] in clocks else clocks:
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
