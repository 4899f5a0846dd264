"""Several files of one table: a pattern such as ``data/*.csv``."""

from __future__ import annotations

import glob
from collections.abc import Callable
from pathlib import Path

import polars as pl

from kilter._system import at_home
from kilter.data.assembling import About
from kilter.data.dataset import LoadOptions, Source
from kilter.data.frames import frames_source
from kilter.data.paths import first_named, in_utf8, quote
from kilter.errors import DataError

Reader = Callable[[Path, LoadOptions], tuple[pl.DataFrame, tuple[str, ...]]]


def recognises(source: str) -> bool:
    """Whether the source has the signs of a pattern, and is no file."""
    return glob.has_magic(source) and not Path(source).expanduser().exists()


def files(source: str) -> list[Path]:
    """The files of the pattern in order of their names."""
    return sorted(Path(found) for found in glob.glob(str(at_home(source)), recursive=True))


def read(source: str, options: LoadOptions, reader_of: Callable[[Path], Reader | None]) -> Source:
    """Read all files of the pattern as one table; ``reader_of``: of a file of a table, by its name."""
    found = files(source)
    readers = [reader_of(path) for path in found]
    unknown = [
        quote(in_utf8(path.name)) for path, reader in zip(found, readers, strict=True) if reader is None
    ]
    if not found or unknown:
        raise DataError(
            expected=f"files of tables that fit the pattern {quote(source)}",
            received=f"other files: {first_named(unknown)}" if unknown else "no file that fits",
            remedy="correct the pattern, in quotes so that the shell leaves it to kilter",
        )
    frames: list[pl.DataFrame] = []
    notes: dict[str, None] = {}
    for path, reader in zip(found, readers, strict=True):
        assert reader is not None
        frame, more = reader(path, options)
        frames.append(frame)
        notes |= dict.fromkeys(more)
        absent = set(frames[0].columns) ^ set(frame.columns)
        if absent:
            raise DataError(
                expected=f"the same columns in all {len(found)} files of {quote(source)}",
                received=f"column {first_named(map(quote, sorted(absent)))} in only one of {found[0].name} "
                f"and {path.name}",
                remedy="make the columns alike, or name one file",
            )
    whole = pl.concat([frame.select(frames[0].columns) for frame in frames], how="vertical_relaxed")
    said = (f"{len(found)} files are one table: {first_named(path.name for path in found)}", *notes)
    return frames_source({"train": whole}, options, About("several tables", source, "files", notes=said))
