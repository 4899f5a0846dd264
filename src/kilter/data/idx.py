"""idx files (LeCun's MNIST layout), gzipped or not: a folder of them, or an images file next to its labels.

Format: two zero bytes, a type code, the number of axes, each axis as a big-endian uint32, then the values,
big-endian, last axis fastest. http://yann.lecun.com/exdb/mnist/
"""

import gzip
import math
import re
import struct
import sys
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kilter._validation import errors_as
from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import LoadOptions, Source
from kilter.data.paths import quote, require_file, require_room
from kilter.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_NAME = re.compile(r"idx\d-(ubyte|byte|short|int|float|double)(\.gz)?$", re.IGNORECASE)
_PARTS = {"train": ("train",), "test": ("t10k", "test")}
# deflate compresses at most 1032:1 (zlib's documentation); a header that claims more is false.
_GREATEST_RATIO = 1032
_CHUNK = 1 << 24


def recognises(path: Path) -> bool:
    """Whether the path is named like an idx file, or is a folder with such files."""
    if path.is_dir():
        return any(_NAME.search(entry.name) for entry in path.iterdir())
    return bool(_NAME.search(path.name)) or path.suffix.lower() in (".idx", ".ubyte")


def read(path: Path, options: LoadOptions) -> Source:
    """Read a folder of train-images-idx3-ubyte and its companions, or one images file and its labels."""
    about = About("idx", str(path), path.stem.split(".")[0])
    if not path.is_dir():
        return assemble(_part(path, options), None, options, about)
    found = {part: _images_file(path, prefixes) for part, prefixes in _PARTS.items()}
    train = found["train"]
    if train is None:
        raise DataError(
            expected=f"a file train-images-idx3-ubyte (or .gz) in {path}",
            received=f"{len(list(path.iterdir()))} entries, none of that name",
            remedy="pass one images file itself, or rename the files as in MNIST",
        )
    test = None if found["test"] is None else _part(found["test"], options)
    return assemble(_part(train, options), test, options, about)


def _images_file(folder: Path, prefixes: tuple[str, ...]) -> Path | None:
    for entry in sorted(folder.iterdir()):
        if _NAME.search(entry.name) and entry.name.startswith(prefixes) and "images" in entry.name:
            return entry
    return None


def _part(images: Path, options: LoadOptions) -> Part:
    labels = _labels_file(images)
    if labels is None and options.labels_required:
        raise DataError(
            expected=f"a labels file next to {images}, with the same name except labels-idx1 for images-idx3",
            received="no such file",
            remedy="put the labels next to the images; to predict, load with unlabelled=True",
        )
    return Part(read_idx(images), None if labels is None else read_idx(labels))


def _labels_file(images: Path) -> Path | None:
    """The labels file of an images file, gzipped or not, if there is one."""
    name = re.sub(r"idx\d", "idx1", images.name.removesuffix(".gz").replace("images", "labels"))
    if "images" not in images.name:
        return None
    candidates = (images.with_name(name), images.with_name(name + ".gz"))
    return next((candidate for candidate in candidates if candidate.exists()), None)


def read_idx(path: Path) -> np.ndarray:
    """One idx file, plain or gzipped, as an array in the machine's byte order."""
    size = require_file(path)
    expected, remedy = f"an intact idx file {path}", "download or copy it again"
    damage = (OSError, EOFError, zlib.error, MemoryError)
    readable = errors_as(DataError, *damage, expected=expected, received=f"{size} bytes", remedy=remedy)
    with readable, path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not zipped:
            return _read_values(file, path, limit=size)
        with gzip.GzipFile(fileobj=file) as unzipped:
            return _read_values(unzipped, path, limit=size * _GREATEST_RATIO)


def _read_values(file: BinaryIO | gzip.GzipFile, path: Path, *, limit: int) -> np.ndarray:
    header = file.read(4)
    if len(header) < 4 or header[:2] != b"\0\0" or header[2] not in _TYPES or not 1 <= header[3] <= 8:
        raise DataError(
            expected=f"an idx file {path}: 0, 0, a type ({', '.join(map(hex, _TYPES))}), the number of axes",
            received=f"first bytes {header.hex(' ') or 'none'}",
            remedy=f"check that {quote(path.name)} is an idx file and not, say, a saved web page",
        )
    dtype, axes = np.dtype(_TYPES[header[2]]), header[3]
    sizes = file.read(4 * axes)
    if len(sizes) < 4 * axes:
        raise EOFError(f"{axes} axes announced, {len(sizes) // 4} given")
    shape = struct.unpack(f">{axes}I", sizes)
    promised = math.prod(shape) * dtype.itemsize
    if math.prod(filter(None, shape)) * dtype.itemsize > sys.maxsize:  # NumPy refuses it even with 0 rows
        raise EOFError(f"its header says {shape}, more than any file holds")
    if promised <= limit:
        require_room(promised, path)
    content = _read_exactly(file, promised) if promised <= limit else b""
    if len(content) != promised or file.read(1):
        raise EOFError(
            f"its header says {shape}, which is {promised} bytes, and it has {_found(content, promised)}"
        )
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _found(content: bytes | bytearray, promised: int) -> str:
    return f"only {len(content)}" if len(content) != promised and content else "more" if content else "fewer"


def _read_exactly(file: BinaryIO | gzip.GzipFile, count: int) -> bytearray:
    """Read up to ``count`` bytes in chunks: a wrong size in the header must not exhaust the memory."""
    content = bytearray()
    while len(content) < count and (chunk := file.read(min(_CHUNK, count - len(content)))):
        content += chunk
    return content
