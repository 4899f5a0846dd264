"""CSV: the separator, blank lines, decimal commas, and whether the first line is a header."""

import codecs
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import polars as pl

from kilter.data.charsets import national, utf8
from kilter.data.csv_layout import arranged, first_uneven, sample_of
from kilter.data.dataset import LoadOptions
from kilter.data.encoding import Column
from kilter.data.entries import are_codes, plain_text
from kilter.data.file_kinds import require_table
from kilter.data.number_formats import mark_of, mostly_numbers, with_point
from kilter.data.packed import plain_name
from kilter.data.paths import first_named, quote
from kilter.data.plain_frame import reading, require_short_names
from kilter.data.rows import file_rows, missing_header, notes_on_names, typed
from kilter.data.usage import signs_by_column
from kilter.errors import DataError

_LEADING_ZERO = re.compile(rb"(?:^|[^\w.,:+-]|,)0\d\d")
_THOUSANDS = r"^[-+]?\d{1,3}(?:\.\d{3})*$"


def with_points(
    frame: pl.DataFrame,
    raw: Callable[[list[str]], pl.DataFrame],
    columns: Collection[str],
    known: Mapping[str, Column],
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame of a file separated by semicolons, with its decimal commas read as such, and notes.

    ``raw`` reads columns as text; only ``columns`` may contain numbers. Numbers that can be read in only one
    way decide for their column. In others "1,500" has a decimal comma, unless other columns, or the
    ``known`` columns of training, show that commas group thousands.
    """
    series = {one.name: one for one in frame.get_columns()}
    texts = [name for name in columns if series[name].dtype == pl.String and mostly_numbers(series[name])]
    marks = {name: mark_of(plain_text(series[name])) for name in texts}
    marks |= {name: known[name].mark for name, mark in marks.items() if not mark and name in known}
    grouping = "." in marks.values() and "," not in marks.values()
    commas = [
        name
        for name, mark in marks.items()
        if mark == "," or (not mark and not grouping and series[name].str.contains(",").any())
    ]
    if not commas:
        return frame, ()
    turned = {name: with_point(plain_text(series[name])) for name in commas}
    floats = [name for name in columns if series[name].dtype.is_float()]
    grouped = [one for one in raw(floats).get_columns() if _groups_by_points(one)] if floats else []
    turned |= {one.name: with_point(one.str.strip_chars()) for one in grouped}
    notes = [f"the comma is read as the decimal mark, as in column {first_named(map(quote, commas))}"]
    if grouped:
        example = next(entry for entry in grouped[0].to_list() if entry and "." in entry)
        names, value = first_named(quote(one.name) for one in grouped), float(example.replace(".", ""))
        read = f"{quote(example.strip())} is {value:g}"
        notes.append(f"the point is read as the mark of thousands in column {names}: {read}")
    return frame.with_columns(typed(one) for one in turned.values()), tuple(notes)


def _groups_by_points(raw: pl.Series) -> bool:
    """Whether all numbers look like thousands grouped by points, some with a point."""
    known = raw.drop_nulls().str.strip_chars()
    return bool(known.str.contains(_THOUSANDS).all() and known.str.contains(".", literal=True).any())


# Common spellings of "missing", besides an empty field.
NULL_VALUES = [
    *("NA", "N/A", "n/a", "null", "NULL", "?", "NaN", "nan", "<NA>", "\\N"),
    *("#N/A", "#NA", "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!"),  # of spreadsheets
]
_TYPING_ROWS: Final = 1000
_BLANK_LINE = re.compile(rb"(?:\A|\n)(?:[ \r]*\n|[ \r]+\Z)")


ENDINGS = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data")


def recognises(path: Path) -> bool:
    """Whether the path ends in one of ENDINGS, or it is compressed and does without its last ending."""
    name = plain_name(path)
    return name.endswith(ENDINGS) or (path.name.lower().endswith(".zip") and "." not in name)


def frame(path: Path, options: LoadOptions) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table of a CSV file with a header line, and notes.

    The separator (comma, semicolon, tab, bar or spaces) is the most frequent in the header. Blank lines are
    skipped and not counted; titles above the header are left out. Between semicolons a comma is a decimal
    mark. The text may be UTF-8, UTF-16 or Windows-1252.
    """
    with reading(
        path,
        expected=f"a CSV table {path} with a header line",
        received="one that cannot be read",
        remedy="check the quotes and the number of fields in each line, or write the file again",
    ):
        content, notes = utf8(path)
        require_table(content, path)
        try:
            table, found = _read(content, options)
        except (pl.exceptions.ComputeError, UnicodeDecodeError) as error:
            if "utf" not in str(error).lower():
                raise
            content, found = national(content)
            notes += found
            table, found = _read(content, options)
        table, odd = file_rows(table)
        if (missing := missing_header(table, path, options)) is not None:
            layout = arranged(content)
            text = layout.content if isinstance(layout.content, bytes) else layout.content.read_bytes()
            names = layout.separator.join(missing.names).encode()
            table, found = _read(names + b"\n" + text.removeprefix(codecs.BOM_UTF8), options)
            table, odd = file_rows(table)
            found += missing.notes
    trained = {one.name for one in options.known_columns}
    doubled = [name for name in table.columns if '""' in name and name not in trained]
    table = table.rename({name: name.replace('""', '"') for name in doubled})  # polars keeps them in names
    return table, (*notes, *found, *odd, *notes_on_names(table))


def _read(content: Path | bytes, options: LoadOptions) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table, read as in the training of ``options.encoding``, and notes."""
    layout = arranged(content)
    table, notes = _parsed(layout.content, layout.separator, options)
    return table, layout.notes + notes


def _parsed(
    content: Path | bytes, separator: str, options: LoadOptions
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    names = pl.read_csv(content, separator=separator, n_rows=0, glob=False).columns
    if any("\ufffd" in name for name in names):  # polars raises for other fields alone
        (content if isinstance(content, bytes) else content.read_bytes()).decode()
    require_short_names(names)
    encoding = options.encoding
    known = options.known_columns
    # A category "01" must not become the number 1 because a new file has no other text in that column.
    present = set(names)
    texts = {column.name for column in known if column.kind == "category" and column.name in present}
    if encoding is not None and encoding.target in present and not all(map(_is_plain, encoding.classes)):
        texts.add(encoding.target)

    kept, as_text = _kept_values(names, options), dict.fromkeys(texts, pl.String)

    def read(columns: list[str] | None = None, **types: Any) -> pl.DataFrame:
        return pl.read_csv(
            content,
            separator=separator,
            columns=columns,
            null_values=[one for one in NULL_VALUES if all(one not in values for values in kept.values())],
            glob=False,
            **types,
        )

    try:
        table = _typed_by_rows(lambda rows: read(schema_overrides=as_text, infer_schema_length=rows))
        others = table.get_columns()[1:]
        may_be_blank = not others or all(one.null_count() for one in others)
        if may_be_blank and (filled := _without_blank_lines(content)) is not content:
            return _parsed(filled, separator, options)
    except pl.exceptions.ComputeError as error:
        if (filled := _without_blank_lines(content)) is not content:
            return _parsed(filled, separator, options)
        if "could not parse" in str(error):  # polars takes the wide digits of Chinese texts for numbers
            plain = read(infer_schema=False)
            return plain.with_columns(typed(one) for one in plain.get_columns() if one.name not in texts), ()
        uneven = first_uneven(content, separator) if "more fields" in str(error) else ""
        if not uneven:
            raise
        raise DataError(
            expected="as many fields in each line as in the header",
            received=uneven,
            remedy="correct the line: put quotes around a field with a separator in it",
        ) from error
    table = table.with_columns(_stripped(table, texts, kept))
    # As in training, or as they are: the ids 007 and 010 stand beside the answers.
    free = table.drop({*(one.name for one in known), encoding.target if encoding else ""}, strict=False)
    table = table.with_columns(_codes(free, lambda columns: read(columns, infer_schema=False), content))
    table = _without_nulls_but(table, kept) if kept else table
    if separator != ";":
        return (table, ()) if known else _with_codes(table, content, separator, options.target)
    target = options.target or (encoding and encoding.target)
    used = {*(column.name for column in known), target} if known else present
    numeric = [name for name in names if name in used and name not in texts]
    by_name = {column.name: column for column in known}
    return with_points(table, lambda columns: read(columns, infer_schema=False), numeric, by_name)


def _typed_by_rows(read: Callable[[int | None], pl.DataFrame]) -> pl.DataFrame:
    """The table with types that fit all rows; ``read`` takes how many rows tell the types, None for all.

    Trying all types on all rows takes seven times as long as reading them with the types of the first ones.
    """
    with suppress(pl.exceptions.ComputeError):  # later rows do not fit, or the file is damaged
        table = read(_TYPING_ROWS)
        first = table.head(_TYPING_ROWS)
        if table.height == first.height or all(one.null_count() < len(one) for one in first.get_columns()):
            return table
    return read(None)


def _stripped(table: pl.DataFrame, texts: set[str], kept: dict[str, set[str]]) -> Iterator[pl.Series]:
    """The columns padded with spaces without them: " 5" is a number, and " ?" is missing."""
    for one in table.get_columns():
        if one.dtype != pl.String:
            continue
        plain = one.str.strip_chars()
        if (plain.str.len_bytes() == one.str.len_bytes()).all():
            continue
        plain = plain.set(plain.is_in([*(set(NULL_VALUES) - kept.get(one.name, set())), ""]), None)
        yield plain if one.name in texts else typed(plain)


def _codes(
    table: pl.DataFrame, raw: Callable[[list[str]], pl.DataFrame], content: Path | bytes
) -> list[pl.Series]:
    """The columns of whole numbers that are codes, such as the postal code 00501, as text."""
    whole = [one.name for one in table.get_columns() if one.dtype.is_integer()]
    if not whole or not _LEADING_ZERO.search(sample_of(content)):
        return []
    return [one for one in raw(whole).get_columns() if are_codes(one.str.strip_chars())]


def _kept_values(names: list[str], options: LoadOptions) -> dict[str, set[str]]:
    """By column: the null values that are values, as the user says or as they were in training."""
    kept = {
        name: set(given) & set(NULL_VALUES) for name, given in signs_by_column(options.values, names).items()
    }
    known = {column.name: {*column.categories, *column.rare} for column in options.known_columns}
    if options.encoding is not None:
        known[options.encoding.target] = set(options.encoding.classes)
    for name, entries in known.items():
        kept[name] = kept.get(name, set()) | (entries & set(NULL_VALUES))
    return {name: values for name, values in kept.items() if values}


def _without_nulls_but(table: pl.DataFrame, kept: dict[str, set[str]]) -> pl.DataFrame:
    """The table without the null values in columns of text, but for those that are values there."""
    every = set[str]().union(*kept.values())
    return table.with_columns(
        one.set(one.is_in(sorted(every - kept.get(one.name, set()))), None)
        for one in table.get_columns()
        if one.dtype == pl.String
    )


def _with_codes(
    table: pl.DataFrame, content: Path | bytes, separator: str, target: str | None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table with NA as a value among other codes of two capital letters, such as countries; and notes.

    A note names each null value beside empty fields in a column of text, or in the target: it may be a value.
    """
    names = [one.name for one in table.get_columns() if one.dtype == pl.String and one.null_count()]
    if not names:
        return table, ()
    raw = pl.read_csv(content, separator=separator, columns=names, infer_schema=False, glob=False)
    found: dict[str, list[str]] = {}
    codes: list[pl.Series] = []
    for one in (padded.str.strip_chars().replace("", None) for padded in raw.get_columns()):
        empty = one.null_count()
        different = table[one.name].drop_nulls().unique()
        if not empty and len(different) > 1 and different.str.contains(r"^[A-Z]{2}$").all():
            codes += [one] if (one.is_in([*different, "NA"])).all() else []
            continue
        for entry in NULL_VALUES:
            count = int((one == entry).sum())
            if count and (empty or one.name == target) and not mostly_numbers(one):
                found.setdefault(entry, []).append(
                    f"{quote(one.name)} ({count} rows, and {empty} empty ones)"
                )
    return table.with_columns(codes), tuple(
        f"{entry} counts as missing in column {first_named(places)}; if it is a value: "
        f"--set 'data.values=[\"{entry}\"]' (in Python values=)"
        for entry, places in found.items()
    )


def _is_plain(name: str) -> bool:
    """Whether reading a class as a number keeps its name, unlike "01"."""
    return name in ("true", "false") or (name.lstrip("-").isdecimal() and str(int(name)) == name)


def _without_blank_lines(content: Path | bytes) -> Path | bytes:
    """The content without blank lines, except those within quotes; the same object if it has none."""
    whole = content if isinstance(content, bytes) else content.read_bytes()
    if not _BLANK_LINE.search(whole):
        return content
    kept: list[bytes] = []
    within_quotes = False
    for line in whole.split(b"\n"):
        if within_quotes or line.strip(b" \r"):
            kept.append(line)
        within_quotes ^= line.count(b'"') % 2 == 1
    filled = b"\n".join(kept)
    return filled if len(filled) < len(whole) else content
