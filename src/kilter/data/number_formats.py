"""Formatted numbers such as "1,000", "10%" or "$5", read if they are unambiguous.

Thousands may be grouped by commas, blanks or apostrophes, and all values of a column may have the same unit
(%, $, €, £ or ¥), which is dropped. The comma is a decimal mark only in files separated by semicolons, where
:mod:`kilter.data.csv` replaces it by a point.
"""

from __future__ import annotations

import polars as pl

from kilter.data.paths import quote

UNITS = "%$€£¥"
_GAPS = r"[, '\u{a0}\u{202f}]"
# No grouped number begins with 0: "0,125" has a decimal comma.
_GROUPED = r"^[-+]?[1-9]\d{0,2}(?:(?:,\d{3})+|(?:[ \u{a0}\u{202f}]\d{3})+|(?:'\d{3})+)(?:\.\d*)?$"
_BY_ANY_RULE = r"^[-+]?(?:\d*[.,]?\d+(?:[eE][-+]?\d+)?|\d{1,3}(?:[., '\u{a0}\u{202f}]\d{3})+(?:[.,]\d+)?)$"


def numbers_in(text: pl.Series) -> pl.Series:
    """Float64 values of stripped texts; null for text that is not a number or is ambiguous.

    Example:
        >>> numbers_in(pl.Series(["1,000", "12", "1,5"])).to_list()
        [1000.0, 12.0, None]
    """
    plain = text.cast(pl.Float64, strict=False)
    if plain.null_count() == text.null_count():
        return plain
    bare = _without_common_unit(text)
    grouped = bare.str.contains(_GROUPED).fill_null(False)
    return bare.str.replace_all(_GAPS, "").zip_with(grouped, bare).cast(pl.Float64, strict=False)


def mostly_numbers(text: pl.Series) -> bool:
    """Whether more than half of the different texts are numbers with any decimal mark and any unit."""
    texts = text.drop_nulls().str.strip_chars().unique()
    return int(like_numbers(texts).sum()) * 2 > len(texts)


def like_numbers(texts: pl.Series) -> pl.Series:
    """Which of the stripped texts are numbers with any decimal mark and any unit."""
    bare = texts.str.replace(rf"^([-+]?)\s*[{UNITS}]\s*|\s*[{UNITS}]$", "${1}")
    return bare.str.contains(_BY_ANY_RULE) | texts.cast(pl.Float64, strict=False).is_not_null()


def reading_note(text: pl.Series) -> tuple[str, ...]:
    """A sentence on how formatted numbers are read, with the first as an example; none if all are plain."""
    numbers = numbers_in(text)
    formatted = (text.cast(pl.Float64, strict=False).is_null() & numbers.is_not_null()).arg_true()
    if not len(formatted):
        return ()
    row = int(formatted[0])
    return (f"column {quote(text.name)} is read as numbers: {quote(text[row])} is {numbers[row]:g}",)


def _without_common_unit(text: pl.Series) -> pl.Series:
    """The texts without the unit that all of them have, before or after the number."""
    for unit in UNITS:
        pattern = rf"^([-+]?)[{unit}]\s*|\s*[{unit}]$"
        if text.drop_nulls().str.contains(pattern).all():
            return text.str.replace(pattern, "${1}")
    return text
