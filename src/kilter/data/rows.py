"""Rows of a file that are no rows of the table: blank ones, units, totals and remarks."""

import math
import re
from typing import Final

import polars as pl

from kilter.data.entries import plain_text, without_markers
from kilter.data.paths import first_named, quote

_TOTAL: Final = re.compile(
    r"(?:grand[ -]?|sub[ -]?)?(?:total|totals|sum|summe|gesamt|gesamtsumme|insgesamt|somme|suma|totale"
    r"|average|mean|mittelwert|durchschnitt)[: ]*",
    re.IGNORECASE,
)
_FEWEST_ROWS, _FEWEST_COLUMNS = 5, 3
_MOST_FOOTERS: Final = 20
_LONGEST_UNIT: Final = 12
_LONGEST_NAME: Final = 60
# "X1", "Y", "Unnamed: 3", "column_2", and what the libraries call a column without a name.
_PLACEHOLDER: Final = re.compile(
    r"(?:[A-Za-z]|(?i:var|col|column|unnamed|__unnamed_|feature)[_: ]*)?\d*(?:__)?"
)
_NO_UNIT: Final = ("-", "\u2013", "\u2014")
_LOOKED_AT: Final = 1000  # rows below the units


def file_rows(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The rows of a text or a spreadsheet without blank ones and a first one of units, and notes.

    A blank row has no entry in any of several columns: so do spreadsheets write empty rows.
    """
    notes: tuple[str, ...] = ()
    if frame.width > 1 and all(one.null_count() for one in frame.get_columns()):
        kept = frame.filter(~pl.all_horizontal(pl.all().is_null()))
        count = frame.height - kept.height
        were = "row without any entry is" if count == 1 else "rows without any entry are"
        frame, notes = kept, (f"{count} {were} left out",) if count else ()
    frame, repeated = _without_headers(frame)
    frame, units = _without_units(frame)
    frame, named = _named_by_first_row(frame)
    return frame, notes + repeated + units + named


def _named_by_first_row(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame with the names in its first row instead of ones such as X1, X2 and Y, and a note.

    The first row names the columns if its entries are short, different and no numbers, most above numbers.
    """
    if frame.height < _FEWEST_ROWS or frame.width < 2 or any(one != pl.String for one in frame.dtypes):
        return frame, ()
    names = [(one or "").strip() for one in frame.row(0)]
    if len(set(names)) < len(names) or not all(one and len(one) <= _LONGEST_NAME for one in names):
        return frame, ()
    if not all(map(_PLACEHOLDER.fullmatch, frame.columns)):
        return frame, ()
    first, below = frame.head(1), frame.slice(1, _LOOKED_AT)
    if any(without_markers(plain_text(one)).cast(pl.Float64, strict=False).count() for one in first):
        return frame, ()
    numbers = [one.cast(pl.Float64, strict=False).count() == one.count() > 0 for one in below]
    if 2 * sum(numbers) <= len(names):
        return frame, ()
    left = first_named(quote(one) for one in frame.columns if one)
    frame = frame.slice(1).rename(dict(zip(frame.columns, names, strict=True)))
    return frame.with_columns(typed(one) for one in frame), (
        f"the names of the columns are those of the second row, not of the first: {left}",
    )


def _without_headers(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame without rows that repeat the names of the columns, as in files put together, and a note."""
    if frame.width < 2 or not frame.height or any(dtype != pl.String for dtype in frame.dtypes):
        return frame, ()
    repeats = pl.all_horizontal((pl.col(name).str.strip_chars() == name.strip()) for name in frame.columns)
    kept = frame.filter(~repeats.fill_null(False))
    count = frame.height - kept.height
    if not count:
        return frame, ()
    return (
        kept.with_columns(typed(one) for one in kept.get_columns()),
        (f"{count} repeated header line{'s' * (count > 1)} left out",),
    )


def _without_units(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame without a first row of units, such as "kg" and "cm", and a note.

    None of its entries is a number or occurs again, and at least half of them, and two, are above numbers.
    """
    if frame.height < _FEWEST_ROWS or frame.width < 2:
        return frame, ()
    series = [one for one in frame.get_columns() if one[0] is not None and str(one[0]).strip()]
    above: list[pl.Series] = []
    for one in series:
        text = plain_text(one.head(_LOOKED_AT))
        first, known = text[0], text.slice(1).drop_nulls()
        alike = len(first) > _LONGEST_UNIT or first[0].isdigit() or (known == first).any()
        if (
            one.dtype != pl.String
            or alike
            or (first not in _NO_UNIT and without_markers(text.head(1)).null_count())
        ):
            return frame, ()
        numbers = known.cast(pl.Float64, strict=False).count()
        above += [one] if numbers and 2 * numbers > len(known) else []
    if len(above) < 2 or 2 * len(above) < len(series):
        return frame, ()
    shown = first_named(quote(one[0].strip()) for one in above)
    kept = frame.slice(1).with_columns(typed(one.slice(1).str.strip_chars()) for one in above)
    return kept, (f"a row of units below the names of the columns is left out: {shown}",)


def typed(text: pl.Series) -> pl.Series:
    """Texts as whole numbers or fractions, if all are."""
    for dtype in (pl.Int64, pl.Float64):
        numbers = text.cast(dtype, strict=False)
        if numbers.null_count() == text.null_count():
            return numbers
    return text


def without_totals(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame without the last rows that are totals or remarks, and a note.

    A row of totals says so in one of its first two columns, which no other row does, or has the sum of a
    column and missing entries; a remark is a text in a row without any other entry.
    """
    if frame.height < _FEWEST_ROWS or frame.width < _FEWEST_COLUMNS:
        return frame, ()
    last = frame.tail(_MOST_FOOTERS)
    count, shown = 0, ""
    for row in reversed(last.rows()):
        entries = [entry for entry in row if entry is not None and str(entry).strip()]
        remark = len(entries) == 1 and isinstance(row[0], str) and entries[0] == row[0]
        total = any(isinstance(one, str) and _TOTAL.fullmatch(one.strip()) for one in row[:2])
        total |= len(entries) < len(row) and _is_sum(frame.head(frame.height - count))
        if not (remark or total):
            break
        count, shown = count + 1, str(entries[0])
    kept = frame.head(frame.height - count)
    if not count or count == len(last) or _has_totals(kept):
        return frame, ()
    were = "row is" if count == 1 else "rows are"
    return kept, (
        f"the last {'' if count == 1 else f'{count} '}{were} left out, beginning with {quote(shown)}",
    )


def _is_sum(frame: pl.DataFrame) -> bool:
    """Whether a number of the last row is the sum of those above it, which are several and not 0."""
    for series in frame.get_columns():
        if not series.dtype.is_numeric() or series[-1] is None:
            continue
        above = series.head(len(series) - 1).cast(pl.Float64).drop_nulls().to_numpy()
        several = len(above) + 1 >= _FEWEST_ROWS and bool((above > 0).all())
        if several and math.isclose(above.sum(), series[-1], rel_tol=1e-6):
            return True
    return False


def _has_totals(frame: pl.DataFrame) -> bool:
    texts = [one for one in frame.get_columns()[:2] if one.dtype == pl.String]
    pattern = f"(?i)^(?:{_TOTAL.pattern})$"
    return any(bool(one.str.strip_chars().str.contains(pattern).any()) for one in texts)
