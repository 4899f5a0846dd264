"""Formatted numbers: "1,000", "1.234,5", "10%", "12 kg", "$5", "1.2M", "(5)" and "12:30".

Thousands may be grouped by commas, points, blanks or apostrophes. Whether comma or point is the decimal mark
is decided for a whole column, by its numbers that can be read in only one way. Units are dropped.
"""

import re
from dataclasses import dataclass

import polars as pl

from kilter.data import sexagesimal
from kilter.data.paths import quote

UNITS = "%$€£¥₹₽₺₩₪₫₴₦"
_CODES = (
    *("USD", "EUR", "GBP", "CHF", "JPY", "INR", "CAD", "AUD", "SEK", "NOK", "DKK", "PLN", "CZK", "CNY"),
    *("BRL", r"US\$", r"R\$", r"A\$", r"C\$", r"Rs\.?", r"kr\.?"),
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
    r"^(?:[<>]=?|[≤≥~≈])?\s*[-+]?(?:\d{1,3}(?:[. \u{a0}\u{202f}'\u{2019}]\d{3})+|\d*)(?:,\d+)?"
    r"(?:[eE][-+]?\d+)?\s*[kKMB]?$"
)
_SUFFIX = (
    r"^[-+(]?\d[\d.,' \u{a0}\u{202f}]*(?:[eE][-+]?\d+)?\s*\+?\s*"
    r"(\+|[\p{L}°²³℃℉/\u{b5}\"]{1,10}\.?|\p{L}{1,3}\^?[23]|sq\.? ?\p{L}{1,6}\.?|/\d+)$"
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
# Units of one kind that stand side by side in a column are converted to the most frequent one.
_FAMILIES = (
    {"byte": 1.0, "b": 1.0, "B": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
    | {"kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30},
    {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3},
    {"mg": 1e-3, "g": 1.0, "kg": 1e3},
    {"ml": 1e-3, "cl": 1e-2, "l": 1.0, "L": 1.0},
    {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9},
)
_WITH_UNIT = r"^([-+]?\d*\.?\d+)\s*(\p{L}{1,5})\.?$"
_CODE = r"^[-+]?0\d"


@dataclass(frozen=True)
class Writing:
    """How the numbers of a column are written.

    ``mark``: what "1,000" is: one, with the decimal mark ",", or a thousand, with "."; "": not known.
    ``unit``: the word after its numbers, such as "kg"; "hours" of times and durations; "minutes" of
    lap times; "degrees"; "": none.
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
    unit = sexagesimal.unit_of(different)
    if unit:
        return Writing(unit=unit)
    unit = _common_word(different)
    mark = mark_of(different)
    if not mark and different.str.contains(_GROUPED_BY_COMMA).any():
        mark = "."
    return Writing("" if mark == "?" else mark, unit)


def mark_of(text: pl.Series) -> str:
    """The decimal mark of a column of stripped texts, see :class:`Writing`; "?" if there are both."""
    different = text.drop_nulls().unique()
    bare = _bare(different, _common_word(different))
    comma, point = _marks_in(bare)
    return "?" if comma and point else "," if comma else "." if point else ""


def numbers_in(text: pl.Series, writing: Writing | None = None) -> pl.Series:
    """Float64 values of stripped texts; null for text that is not a number or is ambiguous.

    Times of the day and durations, if most are, become hours, and angles degrees. ``writing``: of an earlier
    training; by default it is found in the texts.

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
    counted = writing.unit if writing.unit in sexagesimal.UNITS else sexagesimal.unit_of(text)
    if counted:
        return sexagesimal.numbers_in(text, counted)
    bare = _bare(text, writing.unit)
    comma, point = _marks_in(bare)
    if (comma and not point) or (writing.mark == "," and not point):
        bare = with_point(bare)
    elif not comma:
        grouped = bare.str.contains(_GROUPED).fill_null(False)
        bare = bare.str.replace_all(f"{_GAPS}|,", "").zip_with(grouped, bare)
    return _scaled(bare, writing.unit)


def with_point(bare: pl.Series) -> pl.Series:
    """Numbers written with a decimal comma, with a decimal point and no marks between thousands."""
    european = bare.str.contains(_WITH_COMMA)
    turned = bare.str.replace_all(f"{_GAPS}|\\.", "").str.replace(",", ".", literal=True)
    return turned.zip_with(european.fill_null(False), bare)


def mostly_numbers(text: pl.Series) -> bool:
    """Whether more than half of the different texts are numbers with any decimal mark and the same unit."""
    texts = _narrow(text.drop_nulls().str.strip_chars().unique())
    if sexagesimal.unit_of(texts):
        return True
    unit = _common_word(texts)
    bare = _bare(texts, unit)
    numbers = like_numbers(bare) | _scaled(bare, unit).is_not_null()
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
        unit = writing_of(plain).unit
        unit = f" {unit}" if unit in sexagesimal.UNITS or len(_units_of(plain, unit)) > 1 else ""
        notes.append(f"column {name} is read as numbers: {quote(text[row])} is {numbers[row]:g}{unit}")
    if len(bounds):
        row = int(bounds[0])
        count = f"{len(bounds)} bounds or estimates" if len(bounds) > 1 else "1 bound or estimate"
        notes.append(f"column {name} has {count}: {quote(text[row])} is read as {quote(plain[row])}")
    return tuple(notes)


def _common_word(different: pl.Series) -> str:
    """The word after the number in more than half of the different texts, such as "kg"; "" without one."""
    words = different.str.extract(_SUFFIX, 1).drop_nulls().alias("word")
    if not len(words) or different.str.contains(_CODE).any():
        return ""
    # "kg" and "KG", "year" and "years" are one; "M" and "m" are not.
    lower = _in_lower_case(words)
    words = lower.str.strip_chars_end("s.").zip_with(words.str.len_chars() > 2, lower)
    counts = words.value_counts(name="rows").sort("rows", "word", descending=[True, False])
    word = counts.row(0)[0]
    rows = int(counts.filter(pl.col("word").is_in([word, *_family(word)]))["rows"].sum())
    return word if rows * 2 > len(different) and word not in _MAGNITUDES else ""


def _in_lower_case(words: pl.Series) -> pl.Series:
    """The words in lower case, but for single letters: "M" and "m" are not the same."""
    return words.str.to_lowercase().zip_with(words.str.len_chars() > 1, words)


def _marks_in(bare: pl.Series) -> tuple[bool, bool]:
    """Whether some numbers can only be read with the comma, and some only with the point, as decimal mark."""
    return bool(bare.str.contains(_COMMA).any()), bool(bare.str.contains(_POINT).any())


def _family(unit: str) -> dict[str, float]:
    """The units that are multiples of ``unit``, and how many of it each is."""
    found = next((one for one in _FAMILIES if unit in one), {})
    return {name: factor / found[unit] for name, factor in found.items()}


def _units_of(text: pl.Series, unit: str) -> set[str]:
    """Which units of the family of ``unit`` the texts have."""
    words = text.str.extract(_SUFFIX, 1).drop_nulls().unique().to_list()
    return {word.lower() if len(word) > 1 else word for word in words} & set(_family(unit))


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
    words = ~text.str.contains(r"\d")  # such as "Free" among prices
    for symbol in (*(f"[{unit}]" for unit in UNITS), *_CODES):
        pattern = rf"^([-+]?)\s*{symbol}\s*|\s*{symbol}$"
        having = text.str.contains(pattern)
        # "0" is as many percent as "0%"; an amount may do without the symbol of its currency.
        others = having | words | text.str.contains(_ZERO if symbol == "[%]" else _BY_ANY_RULE)
        if having.any() and others.all():
            return text.str.replace(pattern, "${1}")
    return text


def _scaled(bare: pl.Series, unit: str) -> pl.Series:
    """Numbers with a decimal point; also in multiples of the unit, thousands (K) and the like."""
    plain = bare.cast(pl.Float64, strict=False)
    if plain.null_count() == bare.null_count():
        return plain
    if family := _family(unit):
        number, word = bare.str.extract_groups(_WITH_UNIT).struct.unnest().get_columns()
        factor = _in_lower_case(word).replace_strict(family, default=None, return_dtype=pl.Float64)
        plain = plain.fill_null(number.cast(pl.Float64, strict=False) * factor)
    number, word = bare.str.extract_groups(_COUNTED).struct.unnest().get_columns()
    words = _in_lower_case(word).str.strip_chars_end("s.")
    factor = words.replace_strict(_MAGNITUDES, default=None, return_dtype=pl.Float64)
    return plain.fill_null(number.cast(pl.Float64, strict=False) * factor)


def _narrow(text: pl.Series) -> pl.Series:
    """The texts with the digits of ASCII instead of the wide ones of Chinese and Japanese texts."""
    return text.str.normalize("NFKC") if text.str.contains("[０-９]").any() else text
