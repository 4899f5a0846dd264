"""Where the table in a text file begins: its separator, and the line that names the columns."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kilter.data.paths import quote
from kilter.data.plain_frame import LONGEST_NAME, require_short_names
from kilter.errors import DataError

_SEPARATORS: Final = (",", ";", "\t", "|")
_SAMPLE: Final = 1 << 16  # bytes; more in steps until the sample has _LINES
_LARGEST_SAMPLE: Final = 1 << 22
_BETWEEN_NAMES: Final = re.compile(rb"[,;|\s]")
_LINES: Final = 6
_PREAMBLE: Final = 30  # lines above the names of the columns, at most
_QUOTED: Final = re.compile(r'"[^"]*(?:"|$)')
_NUMBER: Final = re.compile(r"[-+(]?[$€£]?\s*[\d.,' ]*\d[\d.,]*\s*[%€)]?(?:[eE][-+]?\d+)?")
_DECIMAL: Final = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")
_IN_SINGLE_QUOTES: Final = re.compile(r"'[^']*'(?:[,;\t|] ?'[^']*')+")
_SEPARATOR_LINE: Final = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
# The names of the columns, as NumPy writes them; "# of rooms" is a name.
_COMMENTED: Final = re.compile(r"\A#[ \t]+(?=[^\s,;|])(?!of\b)")
_COMMENTED_BYTES: Final = re.compile(_COMMENTED.pattern.encode())
_WORD: Final = re.compile(r'"(?:[^"]|"")*"|\S+')
# The header of Weka's ARFF, which names the columns, above rows of CSV.
_ARFF: Final = re.compile(r"\A(?:[^\S\n]*(?:%.*)?\n)*[^\S\n]*@relation\s", re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(
    r"^[^\S\n]*@attribute\s+(?:'([^']*)'|\"([^\"]*)\"|(\S+))", re.IGNORECASE | re.MULTILINE
)
_DATA: Final = re.compile(r"^[^\S\n]*@data\b.*\n", re.IGNORECASE | re.MULTILINE)
_AGREEING: Final = 0.8  # of the lines must have the same number of fields


@dataclass(frozen=True)
class Layout:
    """A text as polars reads it: with its header in the first line."""

    content: Path | bytes
    separator: str
    notes: tuple[str, ...] = ()


def arranged(content: Path | bytes) -> Layout:
    """The text from the line with the names of the columns on, in UTF-8, and its separator.

    Titles and comments above the names are left out, with a note. So is a line such as ``sep=;``.
    """
    sample, is_whole = _sample(content)
    if "\n" not in sample and "\r" in sample:  # of an old Macintosh
        return arranged(_whole(content).replace(b"\r", b"\n"))
    declared = _SEPARATOR_LINE.match(sample)
    if declared:
        rest = _whole(content).split(b"\n", 1)[1]
        found = arranged(rest)
        return found if found.separator == declared[1] else Layout(rest, declared[1])
    if _ARFF.search(sample):
        return arranged(_without_attributes(_whole(content)))
    lines = sample.splitlines(keepends=True)
    lines = lines if is_whole or len(lines) < 2 else lines[:-1]
    if _names_in_comment(lines):
        return arranged(_COMMENTED_BYTES.sub(b"", _whole(content), count=1))
    comments = _comments(lines)
    if comments:
        rest = _whole(content).split(b"\n", comments)[-1]
        found = arranged(rest)
        return replace(found, notes=(_left_out(comments, lines[0].strip()), *found.notes))
    if lines and _IN_SINGLE_QUOTES.fullmatch(lines[0].strip()) and b'"' not in (whole := _whole(content)):
        return arranged(whole.replace(b"'", b'"'))
    separator, spaced = _by_header(lines), _spaced(lines)
    if separator == "\t" and b'"' in (whole := _whole(content)) and (plain := _with_plain_quotes(whole)):
        return arranged(plain)
    if not any(" " in line.strip() for line in lines):
        spaced = None
    if spaced is not None and separator in ("", "\t"):
        tabs = _width(_records(lines, "\t"))
        if spaced > tabs:  # a tab among spaces is one of them
            return arranged(_with_tabs(_whole(content)))
    if separator and _is_plain(_records(lines[:_LINES], separator)):
        return Layout(content, separator)
    tables = {one: _records(lines, one) for one in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda one: _fitness(tables[one]))
    records = tables[separator]
    if _halves(lines, separator):
        return Layout(content, ";")
    if _agreement(records)[0] < _AGREEING or _width(records) < 2:
        if spaced is not None:
            return arranged(_with_tabs(_whole(content)))
        places = _aligned(lines)
        if places:
            return arranged(_cut_at(_whole(content), places))
        separator = _by_header(lines) or ","
        return Layout(content, separator)
    return _cut(content, separator, records)


def _without_attributes(content: bytes) -> bytes:
    """An ARFF file as CSV, with the names of its attributes in the first line."""
    header, *rows = _DATA.split(content.decode("utf-8", errors="surrogateescape"), maxsplit=1)
    names = io.StringIO()
    csv.writer(names, lineterminator="\n").writerow("".join(one) for one in _ATTRIBUTE.findall(header))
    lines = [line for line in "".join(rows).splitlines() if line.strip() and not line.startswith("%")]
    if lines and lines[0].startswith("{"):
        raise DataError(
            expected="an ARFF file with a value for each attribute in every row",
            received=f"sparse rows, such as {lines[0][:40]!r}",
            remedy="write it with Weka's SparseToNonSparse filter",
        )
    body = "\n".join(lines)
    body = body if '"' in body else body.replace("'", '"')
    return (names.getvalue() + body + "\n").encode("utf-8", errors="surrogateescape")


def is_table(path: Path) -> bool:
    """Whether a file of an unknown kind is a table: text of lines with the same number of fields."""
    sample, is_whole = _sample(path)
    if "\0" in sample or "\ufffd" in sample[:-1]:
        return False
    if _ARFF.search(sample):
        return True
    lines = sample.splitlines(keepends=True)
    lines = lines if is_whole else lines[:-1]
    counted = [_agreement(_records(lines, one)) for one in _SEPARATORS]
    return any(share >= _AGREEING and width > 1 for share, width in counted) and len(lines) > 1


def sample_of(content: Path | bytes) -> bytes:
    """The first and the last bytes, up to a megabyte each."""
    size = _LARGEST_SAMPLE // 4
    if isinstance(content, bytes):
        return content if len(content) <= 2 * size else content[:size] + content[-size:]
    with content.open("rb") as file:
        first = file.read(size)
        file.seek(max(len(first), file.seek(0, 2) - size))
        return first + file.read(size)


def first_uneven(content: Path | bytes, separator: str) -> str:
    """A clause on the first line with more fields than the header; "" if there is none."""
    text = io.StringIO(_whole(content).decode("utf-8", errors="replace"), newline="")
    reader = csv.reader(text, delimiter=separator)
    try:
        width, place = 0, 1
        for fields in reader:
            if width and len(fields) > width:
                return f"line {place} has {len(fields)} fields, the header {width}"
            width, place = width or len(fields), reader.line_num + 1
    except csv.Error:
        pass
    return ""


@dataclass(frozen=True)
class _Record:
    fields: list[str]
    lines: int  # of the file, up to its end

    @property
    def filled(self) -> int:
        return sum(bool(field.strip()) for field in self.fields)


def find_header(rows: Sequence[Sequence[str]]) -> int:
    """The row with the names of the columns: the first, or one below rows of titles with few entries.

    Example:
        >>> find_header([["Sales 2024", ""], ["", ""], ["price", "sold"], ["5", "yes"]])
        2
    """
    width = max(Counter(map(len, rows)).items(), key=lambda pair: (pair[1], pair[0]))[0] if rows else 0
    filled = [sum(bool(field.strip()) for field in row) for row in rows[:_PREAMBLE]]
    if not filled or 2 * filled[0] > width:
        return int(_names_groups(rows[:_PREAMBLE]))
    for i, row in enumerate(rows[:_PREAMBLE]):
        if 2 * filled[i] > width and len(row) == width:
            # Below the names something is unlike them; a row of data is like the rows below it.
            named = len(set(row)) == width and not any(_NUMBER.fullmatch(one.strip()) for one in row)
            return i if (named and filled[i] == width) or filled[0] <= 1 else 0
    return 0


def _names_groups(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names groups of columns, and the second one the columns, above some numbers."""
    if len(rows) < 3 or not len(rows[0]) == len(rows[1]) == len(rows[2]):
        return False
    if len(set(rows[0])) == len(rows[0]) and all(rows[0][1:]):  # the first may be the numbers of the rows
        return False
    names, below = ([one.strip() for one in row] for row in rows[1:3])
    numbers = [[_NUMBER.fullmatch(one) is not None for one in row] for row in (names, below)]
    return all(names) and len(set(names)) == len(names) and not any(numbers[0]) and any(numbers[1])


def _sample(content: Path | bytes) -> tuple[str, bool]:
    """The beginning of the text, and whether it is all of it."""
    size = _SAMPLE
    while True:
        if isinstance(content, bytes):
            first = content[: size + 1]
        else:
            with content.open("rb") as file:
                first = file.read(size + 1)
        last = first[-LONGEST_NAME - 1 :]
        if len(first) > size and b"\n" not in first and not _BETWEEN_NAMES.search(last):
            require_short_names([last.decode("utf-8", errors="replace")])  # before all of it is read
        if len(first) <= size or size >= _LARGEST_SAMPLE or first.count(b"\n") >= _LINES:
            return first[:size].decode("utf-8", errors="replace"), len(first) <= size
        size *= 4


def _comments(lines: Sequence[str]) -> int:
    """The lines that begin with # above the names of the columns; the last one may have the names itself."""
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), 0)
    if not count or len(lines) < count + 2:
        return 0
    separator = _by_header(lines[count:])
    names, below = (_records([line], separator) if separator else [] for line in lines[count : count + 2])
    if names and below and len(names[0].fields) == len(below[0].fields):
        numbers = [[bool(_NUMBER.fullmatch(one.strip())) for one in row[0].fields] for row in (names, below)]
        if any(numbers[1]) and not any(numbers[0]):
            return count
    return count - 1


def _names_in_comment(lines: Sequence[str]) -> bool:
    """Whether the first line has the names of the columns behind a # and a space, above a row of numbers."""
    if len(lines) < 2 or not _COMMENTED.match(lines[0]) or "#" in lines[0][1:] or lines[1].startswith("#"):
        return False
    separator = _by_header(lines[1:])
    names, row = (
        re.split(re.escape(separator) if separator else r"\s+", line.strip())
        for line in (lines[0][1:], lines[1])
    )
    return len(names) == len(row) and any(_NUMBER.fullmatch(one.strip()) for one in row)


def _left_out(count: int, example: str) -> str:
    were = "line" if count == 1 else "lines"
    return f"{count} {were} above the names of the columns left out, such as {quote(example)}"


def _whole(content: Path | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _by_header(lines: Sequence[str]) -> str:
    """The most frequent separator of the first line that is not blank, outside quotes; "" without any."""
    header = _QUOTED.sub("", next((line for line in lines if line.strip()), ""))
    best = max(_SEPARATORS, key=header.count)
    return best if best in header else ""


def _records(lines: Sequence[str], separator: str) -> list[_Record]:
    reader = csv.reader(iter(lines), delimiter=separator)
    found: list[_Record] = []
    try:
        for fields in reader:
            if any(field.strip() for field in fields) or len(fields) > 1:
                found.append(_Record(fields, reader.line_num))
    except csv.Error:  # a zero byte, or a field without end: polars says what is wrong
        return []
    return found


def _is_plain(records: list[_Record]) -> bool:
    """Whether the names in the first line all differ, and every other line has as many fields."""
    if not records:
        return False
    header = records[0]
    same = all(len(one.fields) == len(header.fields) for one in records)
    tidy = all(field == field.strip() for field in header.fields) and all(header.fields[1:])
    distinct = len(set(header.fields)) == len(header.fields)
    return same and tidy and distinct and 2 * header.filled > len(header.fields)


def _width(records: list[_Record]) -> int:
    counts = Counter(len(one.fields) for one in records)
    return max(counts.items(), key=lambda pair: (pair[1], pair[0]))[0] if counts else 0


def _agreement(records: list[_Record]) -> tuple[float, int]:
    """The share of the records that have the usual number of fields, titles apart, and that number."""
    width = _width(records)
    if width < 2:
        return 0.0, width
    table = [one for one in records if len(one.fields) > 1]
    return sum(len(one.fields) == width for one in table) / len(table), width


def _fitness(records: list[_Record]) -> tuple[bool, float, int]:
    """Orders the separators: decimal commas are as many in each row, but not in the names above."""
    share, width = _agreement(records)
    whole = sum(len(one.fields) == width for one in records) / max(len(records), 1)
    return share >= _AGREEING, whole, width


def _halves(lines: Sequence[str], separator: str) -> bool:
    """Whether the commas are the decimal marks of a single column, below its name."""
    filled = [line.strip() for line in lines if line.strip()]
    commas = all(_DECIMAL.fullmatch(line) for line in filled[1:])
    return separator == "," and len(filled) > 1 and "," not in filled[0] and commas


def _cut(content: Path | bytes, separator: str, records: list[_Record]) -> Layout:
    """The content from the header line on, with stripped column names."""
    width = _width(records)
    rows = [
        one.fields if len(one.fields) == width else [*one.fields, *[""] * width][:width] for one in records
    ]
    place = find_header(rows)
    header = [name.strip() for name in records[place].fields]
    below = [one.fields for one in records[place + 1 :] if len(one.fields) == width]
    if len(header) == width - 1 and below:  # R leaves out the name of the column that names the rows
        trailing = not any(fields[-1].strip() for fields in below)
        header = [*header, ""] if trailing else ["", *header]
    if not place and header == records[0].fields:
        return Layout(content, separator)
    first = io.StringIO()
    csv.writer(first, delimiter=separator, lineterminator="\n").writerow(header)
    lines = _whole(content).split(b"\n", records[place].lines)
    rest = lines[-1] if len(lines) > records[place].lines else b""
    notes = ()
    if place:
        above = (field.strip() for one in records[:place] for field in one.fields)
        notes = (_left_out(place, next((field for field in above if field), "")),)
    return Layout(first.getvalue().encode() + rest, separator, notes)


def _spaced(lines: Sequence[str]) -> int | None:
    """The number of columns if they are separated by spaces, as many in every line; None if they are not."""
    first, *rest = [len(_WORD.findall(line)) for line in lines if line.strip()] or [0]
    if len(rest) < 2 or len(set(rest)) != 1 or first < 2 or first not in (rest[0], rest[0] - 1):
        return None  # R leaves out the name of the column that names the rows
    return rest[0]


def _with_tabs(content: bytes) -> bytes:
    text = content.decode("utf-8", errors="surrogateescape")
    lines = ("\t".join(_WORD.findall(line)) for line in text.split("\n"))
    return "\n".join(lines).encode("utf-8", errors="surrogateescape")


def _with_plain_quotes(content: bytes) -> bytes:
    """Lines of tabs in which quotes are letters of texts, with these in quotes; b"" if they open fields.

    They are letters if some line has an odd number of them, and yet all lines have the same number of tabs.
    """
    lines = content.split(b"\n")
    tabs = {line.count(b"\t") for line in lines if line.strip()}
    if len(tabs) > 1 or not any(line.count(b'"') % 2 for line in lines):
        return b""

    def plain(field: bytes) -> bytes:
        closed = field.startswith(b'"') and field.endswith(b'"') and field.count(b'"') % 2 == 0
        return field if closed or b'"' not in field else b'"' + field.replace(b'"', b'""') + b'"'

    return b"\n".join(b"\t".join(map(plain, line.rstrip(b"\r").split(b"\t"))) for line in lines)


def _aligned(lines: Sequence[str]) -> list[int]:
    """Where the columns of lines of fixed width begin; none if there are no such columns.

    A column begins after places that are blank in every line, where the first line has a name.
    """
    filled = [line.rstrip() for line in lines if line.strip()]
    if len(filled) < _LINES or any("\t" in line for line in filled):
        return []
    width = max(map(len, filled))
    blank = [all(line[i : i + 1] in ("", " ") for line in filled) for i in range(width)]
    starts = [i for i in range(width) if not blank[i] and (not i or blank[i - 1])]
    ends = [*starts[1:], width]
    named = [start for start, end in zip(starts, ends, strict=True) if filled[0][start:end].strip()]
    return named if len(named) > 1 and named[0] == starts[0] else []


def _cut_at(content: bytes, starts: Sequence[int]) -> bytes:
    """Lines of fixed width with tabs between the columns."""
    text = content.decode("utf-8", errors="replace")
    ends = [*starts[1:], None]
    cut = (
        "\t".join(line[start:end].strip() for start, end in zip(starts, ends, strict=True))
        for line in text.splitlines()
        if line.strip()
    )
    return "\n".join(cut).encode()
