"""Several files of one table: a pattern such as ``data/*.csv``, or a folder."""

import glob
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import polars as pl

from kilter._system import at_home
from kilter.data.assembling import About
from kilter.data.dataset import LoadOptions, Source
from kilter.data.folders import EXTENSIONS, PARTS
from kilter.data.frames import frames_source
from kilter.data.packed import plain_name
from kilter.data.paths import first_named, in_utf8, quote
from kilter.errors import DataError

_ENDINGS: Final = (".csv", ".tsv", ".parquet", ".feather", ".arrow", ".jsonl", ".ndjson", ".xlsx")
_ANSWERS: Final = re.compile("submission|submit|metadata|dictionary")  # about the tables, or their answers
_DEEPEST, _LOOKED_AT = 3, 1000
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
    assert None not in readers
    whole, notes = _one_table(dict(zip(found, readers, strict=True)), options)  # pyright: ignore
    return frames_source({"train": whole}, options, About("several tables", source, "files", notes=notes))


def is_folder(path: Path, reader_of: Callable[[Path], Reader | None]) -> bool:
    """Whether the path is a folder with tables, but no pictures or tables of them, also in parts."""
    if not path.is_dir():
        return False
    files = list(islice(_below(path), _LOOKED_AT))
    if any(one.suffix.lower() in EXTENSIONS for one in files):
        return False
    return any(_is_table(one) and reader_of(one) is not None for one in files)


def read_folder(path: Path, options: LoadOptions, reader_of: Callable[[Path], Reader | None]) -> Source:
    """Read the tables of a folder: those called train, validation and test, or all as one table.

    A file or a folder that has one of these names is that part, unless it has no target, as the test.csv of a
    competition. Folders such as ``city=Lyon`` are a column.
    """
    tables = [one for one in _below(path) if _is_table(one) and not _ANSWERS.search(one.stem.lower())]
    parts: dict[str, list[Path]] = {}
    for one in tables:
        words = {word for name in one.relative_to(path).parts for word in re.split("[^a-z]+", name.lower())}
        part = next((part for part, names in PARTS.items() if words & set(names)), "")
        parts.setdefault(part, []).append(one)
    if "train" not in parts:
        parts = {"train": tables}
    rest = [quote(str(one.relative_to(path))) for one in parts.pop("", [])]
    read: dict[str, pl.DataFrame] = {}
    said: dict[str, tuple[str, ...]] = {}
    for part, files in parts.items():
        readers = {one: reader for one in files if (reader := reader_of(one)) is not None}
        read[part], more = _one_table(readers, options, path)
        names = first_named(quote(str(one.relative_to(path))) for one in files)
        said[part] = (f"the {part} part is {names}", *more) if len(parts) > 1 or rest else more
    train = read["train"]
    bare = {part: set(train.columns) - set(one.columns) for part, one in read.items()}
    target = options.known_target or next((min(one) for one in bare.values() if len(one) == 1), None)
    for part, absent in bare.items():
        if target in absent:
            del read[part]
            names = first_named(quote(str(one.relative_to(path))) for one in parts[part])
            said[part] = (f"{names} has no column {quote(target)}, so it is left for kilter predict",)
    notes = [note for part in ("train", "validation", "test") for note in said.get(part, ())]
    notes += [f"not read: {first_named(rest)}"] if rest else []
    about = About("table folder", str(path), path.resolve().name, notes=tuple(notes))
    return frames_source(read, replace(options, target=options.target or target), about)


def first_rows(path: Path) -> pl.DataFrame:
    """A few rows of the first table of a folder, if its kind may contain images."""
    first = next(filter(_is_table, _below(path)))
    return (
        pl.read_parquet(first, n_rows=16, glob=False)
        if first.suffix.lower() == ".parquet"
        else pl.DataFrame()
    )


def _below(folder: Path, depth: int = 0) -> Iterator[Path]:
    """The files in a folder, and in its folders of parts and partitions, in order, without hidden ones."""
    with suppress(OSError):
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith((".", "_")):
                continue
            if entry.is_file():
                yield entry
            elif entry.is_dir() and depth < _DEEPEST and _holds_rows(entry.name.lower()):
                yield from _below(entry, depth + 1)


def _holds_rows(name: str) -> bool:
    """Whether a folder of this name has rows of the table: a part, a partition or ``data``."""
    return name == "data" or "=" in name or any(name in names for names in PARTS.values())


def _is_table(path: Path) -> bool:
    return plain_name(path).endswith(_ENDINGS)


def _one_table(
    readers: Mapping[Path, Reader], options: LoadOptions, folder: Path | None = None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The rows of files with the same columns, and notes."""
    frames: list[pl.DataFrame] = []
    notes: dict[str, None] = {}
    files = list(readers)
    for path, reader in readers.items():
        frame, more = reader(path, options)
        keys = () if folder is None else path.relative_to(folder).parts[:-1]
        pairs = [key.split("=", 1) for key in keys if "=" in key]
        frames.append(frame.with_columns(pl.lit(value).alias(name) for name, value in pairs))
        notes |= dict.fromkeys(more)
        absent = set(frames[0].columns) ^ set(frames[-1].columns)
        if absent:
            raise DataError(
                expected=f"the same columns in all {len(files)} files of {path.parent}",
                received=f"column {first_named(map(quote, sorted(absent)))} in only one of {files[0].name} "
                f"and {path.name}",
                remedy=f"give all files the same columns, or name one of them, such as {files[0]}",
            )
    whole = pl.concat([frame.select(frames[0].columns) for frame in frames], how="vertical_relaxed")
    if len(files) == 1:
        return whole, tuple(notes)
    return whole, (
        f"{len(files)} files read as one table: {first_named(path.name for path in files)}",
        *notes,
    )
