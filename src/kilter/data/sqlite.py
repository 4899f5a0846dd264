"""A table or view of an SQLite database: ``sqlite:///file.db?table=NAME``, or the file of one table."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, unquote

import polars as pl

from kilter._system import at_home
from kilter._validation import errors_as
from kilter.data.assembling import About
from kilter.data.dataset import LoadOptions, Source
from kilter.data.frames import frames_source
from kilter.data.paths import first_named, nearest_name, quote, require_file
from kilter.data.plain_frame import UNREADABLE
from kilter.errors import DataError

ENDINGS = (".db", ".sqlite", ".sqlite3")
SCHEME = "sqlite:"
_TABLES = (
    "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND substr(name, 1, 7) != 'sqlite_'"
)


def recognises(source: str) -> bool:
    """Whether the source is an address of SQLite, or a file that ends in one of ENDINGS."""
    return source.startswith(SCHEME) or source.lower().endswith(ENDINGS)


def file_and_table(source: str) -> tuple[Path, str | None]:
    """The file and the table of an address: three slashes before a relative path, four an absolute one."""
    address, _, query = source.removeprefix(SCHEME).partition("?")
    path = unquote(address.removeprefix("///")) if source.startswith(SCHEME) else source
    return at_home(path), next(iter(parse_qs(query).get("table", [])), None)


def absolute(source: str) -> str:
    """The address with an absolute path."""
    file, _ = file_and_table(source)
    query = source.partition("?")[2]
    return f"{SCHEME}///{file.absolute()}" + (f"?{query}" if query else "")


def read(source: str, options: LoadOptions) -> Source:
    """Read one table or view."""
    path, wanted = file_and_table(source)
    require_file(path)
    with (
        errors_as(
            DataError,
            *(sqlite3.Error, *UNREADABLE),
            expected=f"an intact SQLite database {path}",
            received="a file that cannot be read",
            remedy="check that the file is complete and the right one",
        ),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        kinds = dict(connection.execute(_TABLES).fetchall())
        names = list(kinds)
        table = wanted or _only_table(connection, kinds, options.known_target)
        if table not in names:
            near = nearest_name(wanted, names) if wanted else ""
            raise DataError(
                expected=f"one of the tables of {path}: {first_named(map(quote, names)) or 'it has none'}",
                received=f"table={wanted}" if wanted else "no name of a table",
                remedy=f"name it: '{SCHEME}///{path}?table={names[0] if names else 'NAME'}'{near}",
            )
        frame = pl.read_database(f"SELECT * FROM {_quoted(table)}", connection, infer_schema_length=None)
    others = first_named(quote(name) for name in names if name != table)
    notes = () if wanted or not others else (f"the table {quote(table)} is read, and not {others}",)
    return frames_source({"train": frame}, options, About("sqlite table", source, table, notes=notes))


def _only_table(connection: sqlite3.Connection, kinds: dict[str, str], target: str | None) -> str:
    """The only table, not counting views, or the only one with the target column; "" if there is none."""
    tables = [name for name, kind in kinds.items() if kind == "table"] or list(kinds)
    if len(tables) > 1 and target is not None:
        tables = [
            name
            for name in tables
            if any(row[1] == target for row in connection.execute(f"PRAGMA table_info({_quoted(name)})"))
        ]
    return tables[0] if len(tables) == 1 else ""


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
