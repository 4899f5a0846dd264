"""Compressed files, decompressed in memory within its limit: gzip, bzip2, xz and zip."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path
from typing import IO, Final, cast

from kilter.data.paths import first_named, quote, require_room
from kilter.errors import DataError

ENDINGS: Final = (".gz", ".bz2", ".xz", ".zst", ".zip")
TABLES: Final = (".csv", ".tsv", ".tab", ".dat", ".data")  # of a text beside it, a table is meant
_ZIP: Final = b"PK\x03\x04"
_ZSTANDARD: Final = b"\x28\xb5\x2f\xfd"
_CHUNK: Final = 1 << 24
# A table takes about this many times the bytes of its text: the text itself and its columns.
_COPIES: Final = 3


def plain_name(path: Path) -> str:
    """The name in lower case, without the ending of a compressed file.

    Example:
        >>> plain_name(Path("Sales.CSV.gz"))
        'sales.csv'
    """
    name = path.name.lower()
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)


def unpacked(path: Path, first: bytes) -> bytes | None:
    """The decompressed content of a file that starts with the bytes ``first``; None if it is not compressed.

    Raises DataError if it does not fit into the free memory; the errors of the libraries for damage.
    """
    with path.open("rb") as file:
        stream = _stream(file, first, path)
        if stream is None:
            return None
        with stream:
            return _bounded(stream, path)


def _stream(file: IO[bytes], first: bytes, path: Path) -> IO[bytes] | None:
    if first.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if first.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if first.startswith(b"\xfd7zXZ"):
        return lzma.LZMAFile(file)
    if first.startswith(_ZIP):
        return _only_member(zipfile.ZipFile(file), path)
    if first.startswith(_ZSTANDARD):
        raise DataError(
            expected="a table that is plain or packed as .gz, .bz2, .xz or .zip",
            received=f"{path}, packed with Zstandard",
            remedy=f"decompress it first: zstd -d {path}",
        )
    return None


def _only_member(archive: zipfile.ZipFile, path: Path) -> IO[bytes]:
    names = [one.filename for one in archive.infolist() if not one.is_dir() and not _is_hidden(one.filename)]
    tables = [name for name in names if name.lower().endswith(TABLES)]
    names = tables if len(tables) == 1 else names
    if len(names) != 1:
        raise DataError(
            expected=f"one file in {path}",
            received=f"{len(names)}: {first_named(map(quote, names))}" if names else "none",
            remedy="unpack it and pass the folder or one of the files",
        )
    return archive.open(names[0])


def _is_hidden(name: str) -> bool:
    return "__MACOSX" in name or name.rsplit("/", 1)[-1].startswith(".")


def _bounded(stream: IO[bytes], path: Path) -> bytes:
    """All of the stream; a small file can unpack to any size, so it stops where memory would run out."""
    content = io.BytesIO()
    while chunk := stream.read(_CHUNK):
        content.write(chunk)
        require_room((_COPIES - 1) * content.tell(), path)  # beside the text, which is in memory already
    return content.getvalue()
