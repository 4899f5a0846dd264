"""Spreadsheets, read by fastexcel or openpyxl if one of them is installed."""

import re
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import polars as pl

from kilter._validation import errors_as
from kilter.data.csv_layout import find_header
from kilter.data.dataset import LoadOptions
from kilter.data.paths import first_named, quote, require_file, require_room
from kilter.data.rows import file_rows
from kilter.errors import DataError

ENDINGS: Final = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
# The engines of polars by the library that each needs; openpyxl reads the first two endings only.
_NO_NAME: Final = re.compile(r"|__UNNAMED__\d+|_duplicated_\d+|column_\d+")
_LOOKED_AT: Final = 100  # rows
_ENGINES: Final = {"fastexcel": "calamine", "openpyxl": "openpyxl"}


def recognises(path: Path) -> bool:
    """Whether the path ends in one of ENDINGS."""
    return path.suffix.lower() in ENDINGS


def frame(path: Path, options: LoadOptions) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The first sheet that has rows, and a note on the others."""
    require_file(path)
    engine: Any = next((engine for library, engine in _ENGINES.items() if find_spec(library)), None)
    if engine is None:
        raise DataError(
            expected=f"a library that reads spreadsheets, for {path}",
            received="neither fastexcel nor openpyxl installed",
            remedy='pip install "kilter[excel]", or save the sheet as CSV',
        )
    with errors_as(
        DataError,
        Exception,  # each library has errors of its own
        expected=f"a spreadsheet {path} with the names of the columns in the first row",
        received="one that cannot be read",
        remedy="open it and save it again, or save the sheet as CSV",
    ):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                require_room(sum(entry.file_size for entry in archive.infolist()), path)
        # With blank rows, which count in header_row; the table goes without them.
        sheets = pl.read_excel(path, sheet_id=0, engine=engine, raise_if_empty=False, drop_empty_rows=False)
        tables = [name for name, sheet in sheets.items() if sheet.height and sheet.width > 1]
        rows = [name for name, sheet in sheets.items() if sheet.height]
        name = next(iter([*tables, *rows, *sheets]))
        table, notes = _from_header(sheets[name], path, name, engine)
        table, odd = file_rows(table)
        notes += odd
    rest = [quote(other) for other in sheets if other != name]
    notes += (f"the sheet {quote(name)} is read, and not {first_named(rest)}",) if rest else ()
    return table, notes


def _from_header(
    sheet: pl.DataFrame, path: Path, name: str, engine: Any
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The sheet from the row with the names of the columns on, if titles stand above it."""
    first = ["" if _NO_NAME.fullmatch(one) else one for one in sheet.columns]
    below = [["" if entry is None else str(entry) for entry in row] for row in sheet.head(_LOOKED_AT).rows()]
    place = find_header([first, *below])
    if not place:
        return sheet, ()
    how = {"header_row": place} if engine == "calamine" else None
    if how is None:  # openpyxl skips no rows
        names = [str(entry) for entry in sheet.row(place - 1)]
        found = sheet.slice(place).rename(dict(zip(sheet.columns, names, strict=True)))
        text = [one for one in found.get_columns() if one.dtype == pl.String]
        found = found.with_columns(one.str.strip_chars() for one in text)
    else:
        found = pl.read_excel(
            path,
            sheet_name=name,
            engine=engine,
            raise_if_empty=False,
            read_options=how,
            drop_empty_rows=False,
        )
    shown = next((one for one in first if one), "")
    rows = "row" if place == 1 else "rows"
    return found, (f"{place} {rows} above the names of the columns left out, such as {quote(shown)}",)
