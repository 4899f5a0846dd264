"""Compressed files, decompressed in memory within its limit: gzip, bzip2, xz and zip."""

import bz2
import gzip
import io
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

from kilter._system import at_home, fits_memory
from kilter._validation import errors_as
from kilter.data.dataset import LoadOptions, Source
from kilter.data.paths import first_named, nearest_name, quote, require_file, require_room
from kilter.errors import DataError

ENDINGS: Final = (".gz", ".bz2", ".xz", ".zst", ".zip")
TABLES: Final = (".csv", ".tsv", ".tab", ".dat", ".data")  # of a text beside it, a table is meant
_TABLE: Final = "?table="
_ZIP: Final = b"PK\x03\x04"
_ZSTANDARD: Final = b"\x28\xb5\x2f\xfd"
_CHUNK: Final = 1 << 24
# A table takes about this many times the bytes of its text, or of its columns in the file: these, the
# columns as read and as features.
COPIES: Final = 3


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
            return _bounded(stream, file, path)


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
    names = _members(archive)
    tables = [name for name in names if name.lower().endswith(TABLES)]
    names = tables if len(tables) == 1 else names
    if len(names) != 1:
        raise DataError(
            expected=f"one file in {path}",
            received=f"{len(names)}: {first_named(map(quote, names))}" if names else "none",
            remedy=f"name one: '{path}{_TABLE}{names[0]}'" if names else "pack a table into it",
        )
    return archive.open(names[0])


def recognises(source: str) -> bool:
    """Whether the source is one file of an archive: ``FILE.zip?table=NAME``."""
    return source.lower().partition(_TABLE)[0].endswith(".zip") and _TABLE in source


def read(source: str, options: LoadOptions, read_file: Callable[[Path, LoadOptions], Source]) -> Source:
    """Read one file of a zip archive, named with or without its folder and its ending, with ``read_file``."""
    name, _, wanted = source.partition(_TABLE)
    path = at_home(name)
    require_file(path)
    with (
        errors_as(
            DataError,
            *(OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError),
            expected=f"an intact archive {path}",
            received="a file that cannot be read",
            remedy="pack it again, without a password",
        ),
        path.open("rb") as file,
        zipfile.ZipFile(file) as archive,
    ):
        names = _members(archive)
        chosen = [one for one in names if wanted in (one, PurePosixPath(one).name, PurePosixPath(one).stem)]
        if len(chosen) != 1:
            raise DataError(
                expected=f"one of the files of {path}: {first_named(map(quote, names))}",
                received=f"table={wanted}",
                remedy=f"name one of them{nearest_name(wanted, names)}",
            )
        with archive.open(chosen[0]) as stream:
            content = _bounded(stream, file, path)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / PurePosixPath(chosen[0]).name
        file.write_bytes(content)
        return replace(read_file(file, options), origin=source)


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [one.filename for one in archive.infolist() if not one.is_dir() and not _is_hidden(one.filename)]


def _is_hidden(name: str) -> bool:
    return "__MACOSX" in name or name.rsplit("/", 1)[-1].startswith(".")


def _bounded(stream: IO[bytes], file: IO[bytes], path: Path) -> bytes:
    """All of the stream that unpacks ``file``. A small file can unpack to any size.

    Where the part read so far unpacks to so much that the whole may not fit into memory, the rest is counted
    without keeping it, and read again if it fits after all.
    """
    size, content, is_counted = path.stat().st_size, io.BytesIO(), False
    while chunk := stream.read(_CHUNK):
        content.write(chunk)
        held = content.tell()
        expected = held * max(1.0, size / max(1, file.tell()))
        if not is_counted and not fits_memory(COPIES * expected - held):
            content, is_counted = io.BytesIO(), True
            require_room(COPIES * _counted(stream, held, path), path)
            stream.seek(0)
    return content.getvalue()


def _counted(stream: IO[bytes], size: int, path: Path) -> int:
    """The bytes of the stream, of which ``size`` were read; ends with DataError where they are too many."""
    while chunk := stream.read(_CHUNK):
        size += len(chunk)
        require_room(COPIES * size, path)
    return size
