"""Compressed files, unpacked in memory as far as it reaches: gzip, bzip2, xz, zip and Zstandard."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import zipfile
from pathlib import Path
from typing import IO, Any, Final, cast

from kilter._system import free_memory, in_bytes
from kilter.data.paths import first_named, quote
from kilter.errors import DataError

ENDINGS: Final = (".gz", ".bz2", ".xz", ".zst", ".zip")
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
    """The content of a compressed file, of which ``first`` are the first bytes; None for any other file.

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
    return _zstandard(file, path) if first.startswith(_ZSTANDARD) else None


def _only_member(archive: zipfile.ZipFile, path: Path) -> IO[bytes]:
    names = [
        one.filename for one in archive.infolist() if not one.is_dir() and "__MACOSX" not in one.filename
    ]
    if len(names) != 1:
        raise DataError(
            expected=f"one file in {path}",
            received=f"{len(names)}: {first_named(map(quote, names))}" if names else "none",
            remedy="unpack it, and name the file to read",
        )
    return archive.open(names[0])


def _zstandard(file: IO[bytes], path: Path) -> IO[bytes]:
    for library in ("compression.zstd", "backports.zstd"):  # the first is part of Python from 3.14 on
        try:
            module: Any = importlib.import_module(library)
        except ImportError:
            continue
        return module.ZstdFile(file)
    raise DataError(
        expected=f"a library that unpacks Zstandard, for {path}",
        received="neither Python 3.14 nor backports.zstd",
        remedy="unpack it first (zstd -d), or pip install backports.zstd",
    )


def _bounded(stream: IO[bytes], path: Path) -> bytes:
    """All of the stream; a small file can unpack to any size, so it stops where memory would run out."""
    free = free_memory()
    content = io.BytesIO()
    while chunk := stream.read(_CHUNK):
        if free is not None and _COPIES * (content.tell() + len(chunk)) > free:
            raise DataError(
                expected=f"a table in {path} that fits into memory",
                received=f"more than {in_bytes(content.tell())} once unpacked, {in_bytes(free)} free",
                remedy="check that it is the right file, or use a part of it",
            )
        content.write(chunk)
    return content.getvalue()
