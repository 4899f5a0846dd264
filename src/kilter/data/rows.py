"""The lines of a file: which one has the names of the columns, and which are no rows of the table.

Those are blank rows, units, totals and remarks.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

import polars as pl

from kilter.data.dataset import LoadOptions
from kilter.data.entries import MARKERS, is_text, plain_text, without_markers
from kilter.data.paths import first_named, quote
from kilter.errors import DataError

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


# What polars adds to a repeated name.
_REPEATED: Final = re.compile(r"_duplicated_\d+$")
# Columns may be called 0, 1, 2 or 2019; nobody calls one 5.1 or -3.
_MEASURED: Final = re.compile(r"-\d+|[-+]?\d*\.\d+(?:[eE][-+]?\d+)?|[-+]?\d+\.")
_NAMELESS: Final = re.compile(r"column_(\d+)")
_COUNTED: Final = 3  # of fewer names, it may be chance that they count
_FREE_TEXT, _FEWEST = 0.9, 20  # of so many entries, so large a share is different


@dataclass(frozen=True)
class MissingHeader:
    """The names of the columns of a file whose first line is a row, and notes."""

    names: tuple[str, ...]
    notes: tuple[str, ...]


def missing_header(frame: pl.DataFrame, path: object, options: LoadOptions) -> MissingHeader | None:
    """Column names for a file whose first line, which polars took for the header, is a row; else None.

    The columns are column_1, column_2 and so on, as in training, where the target may be absent now. Raises
    DataError for a row in a file whose columns had names in training, and for whole numbers, which could be
    either.
    """
    known = [column.name for column in options.known_columns]
    if known and set(known) <= set(frame.columns):
        return None
    encoding = options.encoding
    if known and all(map(_NAMELESS.fullmatch, known)):
        trained = {*known, *encoding.unused, *encoding.ids, encoding.target} if encoding else set(known)
        names = sorted(filter(_NAMELESS.fullmatch, trained), key=_place)
        if encoding and len(frame.columns) == len(names) - 1:
            names.remove(encoding.target)
        if len(frame.columns) == len(names):
            return MissingHeader(tuple(names), ())
    names = [_REPEATED.sub("", name) for name in frame.columns]
    if not _is_row(frame, names):
        return None
    numbers = sum(map(_is_number, names))
    clear = any(map(_MEASURED.fullmatch, names)) or len(set(names)) < len(names) or numbers < len(names)
    if known or not clear:
        raise DataError(
            expected=f"column names in the first line of {path}",
            received=f"{'what looks like a row' if numbers < len(names) else 'only numbers'} "
            f"({first_named(names)})",
            remedy="add a header line with the column names",
        )
    given = tuple(f"column_{place}" for place in range(1, len(names) + 1))
    shown = first_named(name.replace('""', '"') for name in names)
    note = (
        f"the file has no header: its first line ({shown}) is a row, so the columns are "
        f"called {quote(given[0])} to {quote(given[-1])}"
    )
    return MissingHeader(given, (note,))


def notes_on_names(frame: pl.DataFrame) -> tuple[str, ...]:
    """Notes on numeric column names, and on repeated names, which polars renames."""
    names = [_REPEATED.sub("", name) for name in frame.columns]
    again = [quote(name) for name in frame.columns if _REPEATED.sub("", name) not in ("", name)]
    notes = ()
    if again:
        notes += (f"several columns have the same name; the later ones are renamed {first_named(again)}",)
    if any(map(_is_number, names)):
        notes += (f"the header has numbers as column names: {first_named(names)}",)
    return notes


def _place(name: str) -> int:
    return int(name.rpartition("_")[2])


def _is_row(frame: pl.DataFrame, names: list[str]) -> bool:
    """Whether the first line could be a row.

    It is a header if there is text above a column of numbers, or if the names count from 0 or 1. Otherwise
    it is a row if there is a fraction or a negative number, if all are numbers, or if every field could be a
    value of its column.
    """
    columns = list(zip(names, frame.get_columns(), strict=True))
    if any(map(_is_name_of_numbers, *zip(*columns, strict=True))):
        return False
    columns = [(name, typed(plain_text(one)) if is_text(one) else one) for name, one in columns]
    if any(map(_is_name_of_numbers, *zip(*columns, strict=True))):
        return False
    counted = names[1:] if names[0] == "" else names  # below a blank: the numbers of the rows
    if len(names) >= _COUNTED and counted in (
        [str(first + place) for place in range(len(counted))] for first in (0, 1)
    ):
        return False
    if all(map(_is_number, names)) or any(map(_MEASURED.fullmatch, names)):
        return True
    if not frame.height:
        return False
    found = [_stands_in(*pair) for pair in columns]
    others = [column for (name, column), one in zip(columns, found, strict=True) if name and not one]
    texts = any(one for one, (_, column) in zip(found, columns, strict=True) if column.dtype == pl.String)
    return any(found) and (not others or (texts and all(map(_is_free_text, others))))


def _is_name_of_numbers(name: str, column: pl.Series) -> bool:
    """Whether there is text above a column of numbers, and not a sign for a missing one."""
    return column.dtype.is_numeric() and name.lower() not in MARKERS and not _is_number(name)


def _stands_in(name: str, column: pl.Series) -> bool:
    """Whether a field of the first line is like the values of its column."""
    if column.dtype.is_numeric():
        return _is_number(name) or (bool(name) and name.lower() in MARKERS)
    return bool(name) and bool((column.cast(pl.String) == name).any())


def _is_free_text(column: pl.Series) -> bool:
    known = column.drop_nulls()
    return column.dtype == pl.String and len(known) >= _FEWEST and known.n_unique() >= _FREE_TEXT * len(known)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # which Python allows between digits
