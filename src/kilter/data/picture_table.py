"""A table with a column of picture files, such as ``file,label``: the pictures are the inputs."""

import csv as lines_of_csv
import json
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from kilter.data import csv, json_lines
from kilter.data.assembling import About
from kilter.data.csv_layout import arranged
from kilter.data.dataset import LoadOptions, Source
from kilter.data.folders import EXTENSIONS
from kilter.data.frames import frames_source
from kilter.data.paths import quote
from kilter.data.picture_paths import Pictures, are_pictures, locate
from kilter.errors import DataError

_ENDINGS: Final = (".csv", ".tsv")
_LINES_OF_OBJECTS: Final = (".jsonl", ".ndjson")
_LOOKED_AT: Final = 1 << 16  # bytes at the beginning of the file
_ROWS: Final = 20
_NAMES_PICTURES: Final = re.compile(
    r"(?i)(?:.*[_ -])?(?:ids?|images?|img|files?|file_?names?|pictures?|photos?|paths?)(?:[_ -].*)?"
)


def recognises(path: Path) -> bool:
    """Whether a column names pictures, most of which exist, in the first rows; or a folder has that table."""
    return _table_of(path) is not None


def read(path: Path, options: LoadOptions) -> Source:
    """Read the pictures that a column names; another column is the target."""
    table = _table_of(path)
    assert table is not None
    objects = table.name.lower().endswith(_LINES_OF_OBJECTS)
    rows, notes = (json_lines if objects else csv).frame(table, options)
    found = find_pictures(table)
    assert found is not None
    said = f"the inputs are the pictures in {found.folder} that column {quote(found.column)} names"
    if table != path:
        said = f"{said} in {table.name}"
    about = About("csv table", str(path), path.stem, notes=(*notes, said))
    return frames_source({"train": rows}, options, about, pictures=found)


def _table_of(path: Path) -> Path | None:
    """The table of pictures: the file, or the only one of a folder that names the pictures in it."""
    if not path.is_dir():
        known = path.name.lower().endswith((*_ENDINGS, *_LINES_OF_OBJECTS)) and path.is_file()
        return path if known and find_pictures(path) is not None else None
    with suppress(OSError):
        entries = sorted(path.iterdir())
        endings = (*_ENDINGS, *_LINES_OF_OBJECTS)
        found = [one for one in entries if one.suffix.lower() in endings and _is_beside(one)]
        if len(found) > 1:  # a sample of what to submit has no true labels
            found = [one for one in found if "submi" not in one.stem.lower()]
        return found[0] if len(found) == 1 else None
    return None


def _is_beside(table: Path) -> bool:
    """Whether a table has labels of pictures that are loose beside it, or in a folder beside it."""
    found = find_pictures(table) if len(_named_columns(table)) > 1 else None
    if found is None or table.parent not in (found.folder, found.folder.parent):
        return False
    return any(one.suffix.lower() in EXTENSIONS for one in found.folder.iterdir())


def read_without(path: Path, options: LoadOptions) -> Source:
    """Read a CSV file as a table; a note says if a column names pictures that do not exist.

    Raises DataError if there is no other column to train on.
    """
    table, notes = csv.frame(path, options)
    columns = _named_columns(path) if path.name.lower().endswith(_ENDINGS) else {}
    named = next((one for one, names in columns.items() if are_pictures(names)), None)
    if named is not None and named not in options.ignore and options.encoding is None:
        others = [one for one in table.columns if one not in (named, options.target)]
        absent = (
            f"column {quote(named)} names pictures, such as {quote(columns[named][0])}, which are not there"
        )
        if len(others) < (1 if options.target else 2):
            raise DataError(
                expected=f"the pictures that column {quote(named)} of {path} names, beside or below it",
                received=f"no {columns[named][0]}",
                remedy="put the pictures into a folder beside the table, or correct their names",
            )
        notes += (f"{absent}: the other columns are the inputs",)
    return frames_source({"train": table}, options, About("csv table", str(path), path.stem, notes=notes))


def column_names(path: Path) -> list[str]:
    """The names of the columns of a table."""
    return list(_named_columns(_table_of(path) or path))


def find_pictures(path: Path) -> Pictures | None:
    """The column of picture files of a CSV file, and where they are; None without one."""
    columns = _named_columns(path)
    certain = [one for one, names in columns.items() if are_pictures(names)]
    likely = [one for one in columns if one not in certain and _NAMES_PICTURES.fullmatch(one)]
    candidates = (one for one in (*certain, *likely) if columns[one])
    found = (locate(one, columns[one], path.parent) for one in candidates)
    return next((one for one in found if one is not None), None)


def _named_columns(path: Path) -> dict[str, list[str]]:
    """The entries of the first rows of each column; {} if the file cannot be read, which is said later."""
    try:
        with path.open("rb") as file:
            first_bytes = file.read(_LOOKED_AT)
        if path.name.lower().endswith(_LINES_OF_OBJECTS):
            return _entries_of_objects(first_bytes)
        layout = arranged(first_bytes)
        assert isinstance(layout.content, bytes)
        text = layout.content.decode("utf-8-sig", errors="replace")
        header, *first = islice(lines_of_csv.reader(text.splitlines(), delimiter=layout.separator), _ROWS + 1)
    except (OSError, ValueError, lines_of_csv.Error):
        return {}
    full = [row for row in first if len(row) == len(header)]
    return {
        column: [row[position].strip() for row in full if row[position].strip()]
        for position, column in enumerate(header)
    }


def _entries_of_objects(first: bytes) -> dict[str, list[str]]:
    objects = [json.loads(line) for line in first.splitlines()[:_ROWS] if line.endswith(b"}")]
    columns = objects[0] if objects and isinstance(objects[0], dict) else {}
    return {
        name: [one[name] for one in objects if isinstance(one, dict) and isinstance(one.get(name), str)]
        for name in columns
    }
