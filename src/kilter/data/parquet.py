"""Parquet: a table, or encoded images in a column; one file, or a folder of train and test shards.

The headers of a file are checked before polars reads it. polars 2.1 trusts the counts in page headers: one
flipped bit makes it allocate 2**61 bytes, which aborts the process and cannot be caught. So every count is
compared with the file first.

The layout: https://github.com/apache/parquet-format, its headers in Thrift's compact protocol
"""

import json
import math
import struct
from pathlib import Path
from typing import Any, BinaryIO, Final

import polars as pl

from kilter.data.assembling import About
from kilter.data.dataset import LoadOptions, Source
from kilter.data.folders import PARTS
from kilter.data.frames import frames_source, joined
from kilter.data.packed import COPIES
from kilter.data.paths import first_named, require_room

_MAGIC = b"PAR1"
# A page header has tens of bytes; statistics in it, such as long texts, can add thousands.
_HEADER_BYTES = 1 << 16
# Fields of the records in parquet.thrift that are looked at.
_ROW_GROUPS, _COLUMNS, _COLUMN = 4, 1, 3
_VALUES, _UNPACKED, _PACKED, _DATA_OFFSET, _DICTIONARY_OFFSET = 5, 6, 7, 9, 11
_PAGE_UNPACKED, _PAGE_PACKED, _PAGE_KINDS = 2, 3, (5, 7, 8)
_DATA_PAGES = (5, 8)


def require_sound_headers(path: Path) -> int:
    """The bytes of a Parquet file's pages after unpacking; ValueError if a size or count is impossible."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < 12:
            raise ValueError(f"{size} bytes are too few")
        file.seek(size - 8)
        (footer_bytes,), magic = struct.unpack("<I", file.read(4)), file.read(4)
        if magic != _MAGIC or footer_bytes > size - 12:
            raise ValueError("no footer at its end")
        file.seek(size - 8 - footer_bytes)
        try:
            chunks = _column_chunks(_Compact(file.read(footer_bytes)).struct())
            for chunk in chunks:
                _check_chunk(file, chunk, size)
            return sum(chunk[_UNPACKED] for chunk in chunks)
        except (IndexError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
            raise ValueError(f"a header is damaged ({type(error).__name__})") from error


def _column_chunks(footer: dict[int, Any]) -> list[dict[int, Any]]:
    return [chunk[_COLUMN] for group in footer.get(_ROW_GROUPS, []) for chunk in group[_COLUMNS]]


def _check_chunk(file: BinaryIO, chunk: dict[int, Any], size: int) -> None:
    """Check that the pages of one column chunk fill it exactly and have as many values as it says."""
    values, packed, unpacked = chunk[_VALUES], chunk[_PACKED], chunk[_UNPACKED]
    # Writers that have no dictionary leave its offset out or write 0.
    start = min(offset for offset in (chunk[_DATA_OFFSET], chunk.get(_DICTIONARY_OFFSET)) if offset)
    if min(values, packed, unpacked) < 0 or not 4 <= start <= start + packed <= size:
        raise ValueError(
            f"a column of {values} values in {packed} bytes from {start} in a file of {size} bytes"
        )
    place, found = start, 0
    while place < start + packed:
        file.seek(place)
        reader = _Compact(file.read(min(_HEADER_BYTES, start + packed - place)))
        header = reader.struct()
        kind = next((kind for kind in _PAGE_KINDS if kind in header), 0)
        counts = [value for value in header[kind].values() if isinstance(value, int)]
        place += reader.position + header[_PAGE_PACKED]
        # A dictionary may have more values than the column has rows (an Enum's unused ones), but at most one
        # per byte.
        most = values if kind in _DATA_PAGES else header[_PAGE_UNPACKED]
        if min(*counts, header[_PAGE_PACKED], header[_PAGE_UNPACKED]) < 0 or header[kind][1] > most:
            raise ValueError("a page with an impossible count")
        if header[_PAGE_UNPACKED] > unpacked or place > start + packed:
            raise ValueError("a page larger than its column")
        found += header[kind][1] if kind in _DATA_PAGES else 0
    if found != values:
        raise ValueError(f"a column of {values} values with {found} in its pages")


class _Compact:
    """Reader of Thrift's compact protocol over bytes; reading past their end is an IndexError."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0

    def struct(self) -> dict[int, Any]:
        """Field number to value, of the struct that starts here."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind in (7, 8):
            return self._bytes(8 if kind == 7 else self._varint())
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            return [self._value(head & 15) for _ in range(count)]
        if kind == 12:
            return self.struct()
        raise KeyError(kind)  # maps (11) occur nowhere in parquet.thrift

    def _byte(self) -> int:
        self.position += 1
        return self.content[self.position - 1]

    def _bytes(self, count: int) -> bytes:
        self.position += count
        if self.position > len(self.content):
            raise IndexError(count)
        return self.content[self.position - count : self.position]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def _integer(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)


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
    rows = in_rows(pl.scan_parquet(file, hive_partitioning=False, glob=False))
    require_room(COPIES * max(unpacked, rows), file)
    return pl.read_parquet(file, hive_partitioning=False, glob=False)


def in_rows(table: pl.LazyFrame) -> int:
    """About the bytes of the rows in memory; of texts and lists, which have any length, their places."""
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
