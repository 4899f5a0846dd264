"""Formatted numbers: "1,000", "1.234,5", "10%", "12 kg", "$5", "1.2M", "(5)" and "12:30".

Thousands may be grouped by commas, points, blanks or apostrophes. Whether comma or point is the decimal mark
is decided for a whole column, by those of its numbers that can be read in one way only. Units are dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from kilter.data.paths import quote

UNITS = "%$€£¥₹"
_CURRENCIES = (
    r"(?:(?:USD|EUR|GBP|CHF|JPY|INR|CAD|AUD|SEK|NOK|DKK|PLN|CZK|CNY|BRL|US\$|R\$|A\$|C\$|Rs\.?|kr\.?)\s*)"
)
_GAPS = r"[ '\u{a0}\u{202f}\u{2019}]"
# No grouped number begins with 0: "0,125" has a decimal comma.
_GROUPED = r"^[-+]?[1-9]\d{0,2}(?:(?:,\d{3})+|(?:[ \u{a0}\u{202f}]\d{3})+|(?:['\u{2019}]\d{3})+)(?:\.\d*)?$"
_BY_ANY_RULE = (
    r"^[-+]?(?:\d*[.,]?\d+(?:[eE][-+]?\d+)?|\d{1,3}(?:[., '\u{a0}\u{202f}\u{2019}]\d{3})+(?:[.,]\d+)?)$"
)
# What can only be read with the comma, or with the point, as the decimal mark.
_COMMA = (
    r"^[-+]?(?:\d{1,3}(?:[. \u{a0}\u{202f}'\u{2019}]\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}|0\d*,\d+|\d{4,},\d+"
    r"|\d*,(?:\d{1,2}|\d{4,})|,\d+|\d*,\d+[eE][-+]?\d+)$"
)
_POINT = (
    r"^[-+]?(?:\d{1,3}(?:,\d{3})+\.\d*|\d{1,3}(?:,\d{3}){2,}|0\d*\.\d+|\d{4,}\.\d+"
    r"|\d*\.(?:\d{1,2}|\d{4,})|\.\d+|\d*\.\d+[eE][-+]?\d+)$"
)
_GROUPED_BY_COMMA = r"[1-9]\d{0,2},\d{3}"
_WITH_COMMA = (
    r"^[-+]?(?:\d{1,3}(?:[. \u{a0}\u{202f}'\u{2019}]\d{3})+|\d*)(?:,\d+)?(?:[eE][-+]?\d+)?\s*[kKMB]?$"
)
_SUFFIX = r"^[-+(]?\d[\d.,]*(?:[eE][-+]?\d+)?\s*([\p{L}°²³/\u{b5}+\"]{1,10}\.?)$"
_MAGNITUDES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}
_CLOCK = r"^([-+]?)(?:(\d+) days? )?(\d+):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?$"
_CODE = r"^[-+]?0\d"


@dataclass(frozen=True)
class Writing:
    """How the numbers of a column are written.

    ``mark``: what "1,000" is: one, with the decimal mark ",", or a thousand, with "."; "": not known.
    ``unit``: the word after its numbers, such as "kg"; "": none.
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

    Times of the day and durations, if all are, become hours. ``writing``: of an earlier training; by default
    it is found in the texts.

    Example:
        >>> numbers_in(pl.Series(["1,000", "12", "(2,500)"])).to_list()
        [1000.0, 12.0, -2500.0]
    """
    plain = text.cast(pl.Float64, strict=False)
    if plain.null_count() == text.null_count():
        return plain
    clock = text.str.contains(_CLOCK)
    if clock.all():
        return _hours(text)
    if writing is None:
        writing = writing_of(text)
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
    texts = text.drop_nulls().str.strip_chars().unique()
    bare = _bare(texts, _common_word(texts))
    numbers = like_numbers(bare) | bare.str.contains(_CLOCK) | _scaled(bare).is_not_null()
    return int(numbers.sum()) * 2 > len(texts)


def like_numbers(texts: pl.Series) -> pl.Series:
    """Which of the stripped texts are numbers with any decimal mark and any symbol of a currency."""
    bare = texts.str.replace(rf"^([-+]?)\s*(?:{_CURRENCIES}|[{UNITS}])\s*", "${1}")
    bare = bare.str.replace(rf"\s*(?:{_CURRENCIES}|[{UNITS}])$", "")
    return bare.str.contains(_BY_ANY_RULE) | texts.cast(pl.Float64, strict=False).is_not_null()


def reading_note(text: pl.Series) -> tuple[str, ...]:
    """A sentence on how formatted numbers are read, with the first as an example; none if all are plain."""
    numbers = numbers_in(text)
    formatted = (text.cast(pl.Float64, strict=False).is_null() & numbers.is_not_null()).arg_true()
    if not len(formatted):
        return ()
    row = int(formatted[0])
    hours = " hours" if bool(text.str.contains(_CLOCK).all()) else ""
    return (f"column {quote(text.name)} is read as numbers: {quote(text[row])} is {numbers[row]:g}{hours}",)


def _common_word(different: pl.Series) -> str:
    """The word after the number in more than half of the different texts, such as "kg"; "" without one."""
    words = different.str.extract(_SUFFIX, 1).drop_nulls()
    if not len(words) or different.str.contains(_CODE).any():
        return ""
    counts = words.value_counts(sort=True, name="rows")
    word, rows = counts.row(0)
    return word if rows * 2 > len(different) and word not in _MAGNITUDES else ""


def _bare(text: pl.Series, unit: str) -> pl.Series:
    """The texts without unit and currency, and with a minus sign in front of negative numbers."""
    if unit:
        text = text.str.replace(rf"\s*{re.escape(unit)}$", "")
    text = text.str.replace("\u2212", "-", literal=True)
    if text.str.contains("-$|[()]").any():
        text = text.str.replace(r"^\(([^()]+)\)$|^(\d[\d.,]*)-$", "-${1}${2}")
        text = text.str.replace(rf"^([{UNITS}])\s*\(([^()]+)\)$", "-${1}${2}")
    for symbol in (*(f"[{unit}]" for unit in UNITS), _CURRENCIES):
        pattern = rf"^([-+]?)\s*{symbol}\s*|\s*{symbol}$"
        if text.drop_nulls().str.contains(pattern).all():
            return text.str.replace(pattern, "${1}")
    return text


def _scaled(bare: pl.Series) -> pl.Series:
    """Numbers with a decimal point; also those that count in thousands (K), millions (M) or billions (B)."""
    plain = bare.cast(pl.Float64, strict=False)
    if plain.null_count() == bare.null_count():
        return plain
    parts = bare.str.extract_groups(r"^([-+]?\d*\.?\d+)\s*([kKMB])$").struct.unnest()
    factor = parts["2"].replace_strict(_MAGNITUDES, default=None, return_dtype=pl.Float64)
    return plain.fill_null(parts["1"].cast(pl.Float64, strict=False) * factor)


def _hours(text: pl.Series) -> pl.Series:
    """Hours of texts such as "12:30", "00:58:15" and "2 days 01:30:00"."""
    sign, days, hours, minutes, seconds = text.str.extract_groups(_CLOCK).struct.unnest().get_columns()
    days, hours, minutes, seconds = (
        part.cast(pl.Float64).fill_null(0.0) for part in (days, hours, minutes, seconds)
    )
    found = 24 * days + hours + minutes / 60 + seconds / 3600
    return (found * pl.select(pl.when(sign == "-").then(-1.0).otherwise(1.0)).to_series()).set(
        text.is_null(), None
    )
