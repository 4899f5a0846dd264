"""CSV: what separates the fields, which lines are blank, whether the first one names the columns."""

from __future__ import annotations

import io
import mmap
import re
from pathlib import Path

import polars as pl

from kilter._text import first_line
from kilter.data.assembling import About
from kilter.data.dataset import Source
from kilter.data.decimal_commas import with_points
from kilter.data.header_lines import require_header
from kilter.data.options import LoadOptions
from kilter.data.paths import require_file
from kilter.data.tables import UNREADABLE, table_source
from kilter.errors import DataError

# What stands for "missing" in the wild, beside an empty field.
NULL_VALUES = ["NA", "N/A", "null", "NULL", "?"]
_SEPARATORS = ",;\t"
_BLANK_LINE = re.compile(rb"(?:\A|\n)(?:[ \r]*\n|[ \r]+\Z)")
_BLANK_BEGINS = (b"\n", b"\r", b" ")
_QUOTED = re.compile(r'"[^"]*(?:"|$)')


def recognises(path: Path) -> bool:
    """Whether the path ends in .csv."""
    return path.suffix.lower() == ".csv"


def read(path: Path, options: LoadOptions) -> Source:
    """Read a CSV file with a header line; separated by comma, semicolon or tab (whichever the header has
    most of, outside quotes). Blank lines are skipped, and not counted where rows are named.

    Between semicolons a comma is a decimal mark. Raises DataError for a missing, empty or damaged file, one
    without a header line, two decimal marks, and for everything :func:`table_source` refuses.
    """
    require_file(path)
    try:
        frame, notes = _read(_lines(path), options)
    except DataError:
        raise
    except UNREADABLE as error:
        raise DataError(
            expected=f"a CSV table {path} in UTF-8 with a header line",
            received=f"one that cannot be read ({type(error).__name__}: {first_line(error)})",
            remedy="check the quotes and the number of fields in each line, or write the file again",
        ) from error
    notes += require_header(frame, path, options.known_columns)
    return table_source(frame, None, options, About("csv table", str(path), path.stem, notes=notes))


def _read(content: Path | bytes, options: LoadOptions) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table, read as in the training of ``options.encoding``, and notes on how."""
    separator = _separator(content)
    names = pl.read_csv(content, separator=separator, n_rows=0).columns
    encoding = options.encoding
    known = options.known_columns
    # A category "01" must not turn into the number 1 because a new file holds no other text in that column.
    present = set(names)
    texts = {column.name for column in known if column.kind == "category" and column.name in present}
    if encoding is not None and encoding.target in present and not all(map(_is_plain, encoding.classes)):
        texts.add(encoding.target)

    def read(*, decimal_comma: bool = False) -> pl.DataFrame:
        return pl.read_csv(
            content,
            separator=separator,
            infer_schema_length=None,
            null_values=NULL_VALUES,
            schema_overrides=dict.fromkeys(texts, pl.String),
            decimal_comma=decimal_comma,
        )

    if separator != ";":
        return read(), ()
    target = options.target or (encoding and encoding.target)
    used = {*(column.name for column in known), target} if known else present
    numeric = [name for name in names if name in used and name not in texts]
    return with_points(read(), lambda: read(decimal_comma=True), numeric)


def _is_plain(name: str) -> bool:
    """Whether a class is called as reading it would call it, which it is not where "01" becomes 1."""
    return name in ("true", "false") or (name.lstrip("-").isdecimal() and str(int(name)) == name)


def _lines(path: Path) -> Path | bytes:
    """The path itself, or the file's content without its blank lines where it has some."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # Finding bytes takes a third of the time of the pattern, which would nearly double that of reading.
        perhaps = content[:1] in _BLANK_BEGINS or any(content.find(b"\n" + one) >= 0 for one in _BLANK_BEGINS)
        return _without_blank_lines(content[:]) if perhaps and _BLANK_LINE.search(content) else path


def _without_blank_lines(content: bytes) -> bytes:
    """The content without lines of nothing but blanks; those within quotes belong to a field and stay."""
    kept: list[bytes] = []
    within_quotes = False
    for line in content.split(b"\n"):
        if within_quotes or line.strip(b" \r"):
            kept.append(line)
        within_quotes ^= line.count(b'"') % 2 == 1
    return b"\n".join(kept)


def _separator(content: Path | bytes) -> str:
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        header = file.readline(1 << 20).decode("utf-8", errors="replace")
    return max(_SEPARATORS, key=_QUOTED.sub("", header).count)
