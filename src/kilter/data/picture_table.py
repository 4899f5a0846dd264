"""A CSV table with a column of picture files, such as ``file,label``: the pictures are the inputs."""

from __future__ import annotations

import csv as lines_of_csv
from itertools import islice
from pathlib import Path
from typing import Final

from kilter.data import csv
from kilter.data.assembling import About
from kilter.data.csv_layout import arranged
from kilter.data.dataset import LoadOptions, Source
from kilter.data.folders import EXTENSIONS
from kilter.data.frames import Pictures, frames_source
from kilter.data.paths import quote

_ENDINGS: Final = (".csv", ".tsv")
_LOOKED_AT: Final = 1 << 16  # bytes at the beginning of the file
_ROWS: Final = 20


def recognises(path: Path) -> bool:
    """Whether a column names pictures, in each of the first rows, and the first of them exists."""
    return path.name.lower().endswith(_ENDINGS) and path.is_file() and find_pictures(path) is not None


def read(path: Path, options: LoadOptions) -> Source:
    """Read the pictures that a column names; another column is the target."""
    table, notes = csv.frame(path, options)
    found = find_pictures(path)
    assert found is not None
    said = f"the inputs are the pictures in {found.folder} that column {quote(found.column)} names"
    about = About("csv table", str(path), path.stem, notes=(*notes, said))
    return frames_source({"train": table}, options, about, pictures=found)


def find_pictures(path: Path) -> Pictures | None:
    """The column of picture files of a CSV file, and the folder that the names are relative to.

    That is the folder of the table or, with the same file names, one of the folders in it.
    """
    try:
        with path.open("rb") as file:
            layout = arranged(file.read(_LOOKED_AT))
        assert isinstance(layout.content, bytes)
        text = layout.content.decode("utf-8-sig", errors="replace")
        header, *first = islice(lines_of_csv.reader(text.splitlines(), delimiter=layout.separator), _ROWS + 1)
    except (OSError, ValueError, lines_of_csv.Error):  # reported when the table is read
        return None
    full = [row for row in first if len(row) == len(header)]
    for position, column in enumerate(header):
        names = [row[position] for row in full if row[position]]
        if names and all(name.lower().endswith(EXTENSIONS) for name in names):
            folder = _folder_of(names[0], path.parent)
            if folder is not None:
                return Pictures(column, folder)
    return None


def _folder_of(name: str, parent: Path) -> Path | None:
    inside = (entry for entry in sorted(parent.iterdir()) if entry.is_dir())
    return next((folder for folder in (parent, *inside) if (folder / name).is_file()), None)
