"""A check of the headers of a Parquet file before polars reads it.

polars 2.1 trusts the counts in page headers: one flipped bit makes it allocate 2**61 bytes, which aborts the
process and cannot be caught. So every count is compared with the file first.

The layout: https://github.com/apache/parquet-format, its headers in Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md).
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

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
