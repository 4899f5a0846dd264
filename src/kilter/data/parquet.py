"""Parquet: a table, or encoded images in a column; one file, or a folder of train and test shards."""

import json
import math
from pathlib import Path
from typing import Any, Final

import polars as pl

from kilter.data.assembling import About
from kilter.data.dataset import LoadOptions, Source
from kilter.data.folders import PARTS
from kilter.data.frames import frames_source, joined
from kilter.data.parquet_pages import require_sound_headers
from kilter.data.paths import first_named, require_room

# Of a value in memory; of text, a list or a struct the place of each value.
_PLACE: Final = 16
_BYTES: Final[dict[Any, float]] = {
    **dict.fromkeys((pl.Null, pl.Boolean), 0.125),
    **dict.fromkeys((pl.Int8, pl.UInt8), 1),
    **dict.fromkeys((pl.Int16, pl.UInt16), 2),
    **dict.fromkeys((pl.Int32, pl.UInt32, pl.Float32, pl.Date, pl.Categorical, pl.Enum), 4),
    **dict.fromkeys((pl.Int64, pl.UInt64, pl.Float64, pl.Datetime, pl.Duration, pl.Time), 8),
}


def recognises(path: Path) -> bool:
    """Whether the path ends in .parquet or is a folder with such files."""
    if path.is_dir():
        return any(entry.suffix.lower() == ".parquet" for entry in path.iterdir())
    return path.suffix.lower() == ".parquet"


def read(path: Path, options: LoadOptions) -> Source:
    """Read a file, or a folder of shards whose names begin with train, val or test."""
    shards, notes = _shards(path)
    frames = {part: joined(files, "Parquet", _one) for part, files in shards.items()}
    about = About("parquet table", str(path), path.stem, notes=notes)
    first = shards["train"][0]
    return frames_source(frames, options, about, lambda label: _declared_classes(first, label))


def first_rows(path: Path) -> pl.DataFrame:
    """A few rows of the first file of the training part."""
    return pl.read_parquet(_shards(path)[0]["train"][0], n_rows=16, glob=False)


def frame(path: Path, options: LoadOptions) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The table of one file."""
    return joined([path], "Parquet", _one), ()


def _shards(path: Path) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """The files of each part, and notes on files that are not read."""
    if not path.is_dir():
        return {"train": [path]}, ()
    files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() == ".parquet")
    parts = {part: [f for f in files if f.name.lower().startswith(begins)] for part, begins in PARTS.items()}
    if not parts["train"]:
        return {"train": files}, ()
    rest = [file.name for file in files if all(file not in found for found in parts.values())]
    notes = (f"not read: {first_named(rest)}",) if rest else ()
    return {part: found for part, found in parts.items() if found}, notes


def _one(file: Path) -> pl.DataFrame:
    unpacked = require_sound_headers(file)
    require_room(max(unpacked, _in_rows(file)), file)
    return pl.read_parquet(file, hive_partitioning=False, glob=False)


def _in_rows(file: Path) -> int:
    """About the bytes of the rows in memory; of texts and lists, which have any length, their places."""
    table = pl.scan_parquet(file, hive_partitioning=False, glob=False)
    types = map(type, table.collect_schema().dtypes())
    rows = table.select(pl.len()).collect().item()
    return math.ceil(rows * sum(_BYTES.get(one, _PLACE) for one in types))


def _declared_classes(file: Path, label: str) -> tuple[str, ...] | None:
    """Class names from the metadata of Hugging Face's datasets library, if any."""
    try:
        metadata = pl.read_parquet_metadata(file)
        names = json.loads(metadata["huggingface"])["info"]["features"][label]["names"]
        return tuple(str(name) for name in names) if names else None
    except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError):
        return None
