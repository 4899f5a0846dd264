"""Spreadsheets, read by fastexcel or openpyxl if one of them is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import polars as pl

from kilter._validation import errors_as
from kilter.data.dataset import LoadOptions
from kilter.data.paths import first_named, quote, require_file
from kilter.errors import DataError

ENDINGS: Final = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
# The engines of polars by the library that each needs; openpyxl reads the first two endings only.
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
        sheets = pl.read_excel(path, sheet_id=0, engine=engine, raise_if_empty=False)
        name = next((name for name, sheet in sheets.items() if sheet.height), next(iter(sheets)))
    rest = [quote(other) for other in sheets if other != name]
    notes = (f"the sheet {quote(name)} is read, and not {first_named(rest)}",) if rest else ()
    return sheets[name], notes
