"""``kilter.data.stream``: data larger than memory, for ``kilter.fit``.

The inputs stay on the disk, the targets are an array in memory. The rows are shuffled block by block, so
that a block is read once in an epoch.
"""

import struct
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from kilter._array_types import HostRows
from kilter._validation import errors_as
from kilter.data.folders import EXTENSIONS
from kilter.data.images import with_channels
from kilter.data.paths import first_named, nearest_name, quote, require_file
from kilter.data.picture import Bad, decode_image
from kilter.data.stored import StoredRows
from kilter.errors import DataError, OptionError

_BLOCK_BYTES: Final = 4 << 20  # of the rows of a block, about


def stream(
    source: str | Path, *, target: str | None = None, image_size: tuple[int, int] | None = None
) -> tuple[Any, HostRows | None]:
    """Inputs on the disk and targets in memory: ``x, y`` for ``kilter.fit``.

    A ``.npz`` with ``x`` and ``y`` (saved by ``numpy.savez``, not compressed), a ``.npy`` (without targets),
    a ``.parquet`` or ``.csv`` of numbers, a folder of such Parquet files, or images in class folders, which
    are decoded as they are read (``image_size``: height and width; by default that of the first). Text
    targets become class numbers in order. Everything else about a table is up to you: nothing is scaled or
    filled. Raises :class:`DataError` for a source that cannot be read so.

    Example::

        x, y = kilter.data.stream("houses.parquet", target="price")
        kilter.fit(model, x, y, epochs=10)
    """
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if path.is_dir() and not list(path.glob("*.parquet")):
        return _images(path, image_size)
    if image_size is not None:
        raise OptionError(expected="image_size for images", received=f"{path}", remedy="leave it out")
    if suffix in (".npy", ".npz"):
        return _arrays(path)
    if path.is_dir() or suffix in (".parquet", ".csv"):
        return _table(path, target)
    raise DataError(
        expected="a .npz, .npy, .parquet or .csv file, or a folder of images or Parquet files",
        received=quote(str(path)),
        remedy="load smaller data with kilter.data.load, or pass batches to kilter.fit",
    )


def _arrays(path: Path) -> tuple[Any, np.ndarray | None]:
    require_file(path)
    with errors_as(
        DataError,
        *(OSError, ValueError, zipfile.BadZipFile, struct.error, EOFError),
        expected=f"an intact file {path} of arrays of numbers, not compressed",
        received="one that cannot be read in blocks",
        remedy="write it with numpy.save or numpy.savez, not savez_compressed",
    ):
        if path.suffix.lower() == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False), None
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()}
        if "x" not in names:
            raise DataError(
                expected=f"an array x in {path}",
                received=f"{first_named(map(quote, names))}",
                remedy="name it x",
            )
        y = np.array(_mapped(path, names["y"])) if "y" in names else None
        return _mapped(path, names["x"]), y


def _mapped(path: Path, entry: zipfile.ZipInfo) -> np.ndarray:
    """An array in an archive without compression, where it is in the file."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed")
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        # The lengths of name and extra field in the local header, which differ from the directory's.
        name, extra = struct.unpack("<26xHH", file.read(30))
        file.seek(entry.header_offset + 30 + name + extra)
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = readers[version](file)
        if dtype.hasobject:
            raise ValueError("it holds pickled objects")
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _table(path: Path, target: str | None) -> tuple[Any, np.ndarray]:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    is_csv = path.suffix.lower() == ".csv"
    with errors_as(
        DataError,
        *(OSError, pl.exceptions.PolarsError),
        expected=f"an intact table {path}",
        received="one that cannot be read",
        remedy="write it again",
    ):
        scan: pl.LazyFrame = pl.scan_csv(path, glob=False) if is_csv else pl.scan_parquet(files, glob=False)
        schema = scan.collect_schema()
        target = target or list(schema)[-1]
        if target not in schema:
            raise DataError(
                expected=f"a column {quote(target)} in {path}",
                received=f"the columns {first_named(map(quote, schema))}",
                remedy=f"correct target{nearest_name(target, list(schema))}",
            )
        names = [name for name in schema if name != target]
        odd = [quote(name) for name in names if not _is_number(schema[name])]
        if odd:
            raise DataError(
                expected="columns of numbers, to read them row by row",
                received=f"other columns: {first_named(odd)}",
                remedy="encode or drop them, or load the table with kilter.data.load if it fits in memory",
            )
        y = _targets(scan.select(target).collect().to_series())
        rows = len(y)
        size = max(1, _BLOCK_BYTES // (4 * max(len(names), 1)))
        lazy = scan.select(names)

        def read(number: int) -> np.ndarray:
            return lazy.slice(number * size, size).collect().cast(pl.Float32).to_numpy()

        return StoredRows((rows, len(names)), np.dtype(np.float32), size, read), y


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean


def _targets(column: pl.Series) -> np.ndarray:
    if _is_number(column.dtype):
        return column.to_numpy()
    return np.unique(column.cast(pl.String).to_numpy(), return_inverse=True)[1].astype(np.int32)


def _images(path: Path, image_size: tuple[int, int] | None) -> tuple[StoredRows, np.ndarray]:
    classes = sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
    found = [
        (file, number)
        for number, folder in enumerate(classes)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in EXTENSIONS
    ]
    if not found:
        raise DataError(
            expected=f"images in class folders of {path}",
            received="none",
            remedy="sort them into class/picture.jpg",
        )
    files = [file for file, _ in found]
    first = _decoded(files[0], image_size)
    shape = (*first.shape[:2], first.shape[2])
    size = max(1, _BLOCK_BYTES // first.nbytes)

    def read(number: int) -> np.ndarray:
        block = files[number * size : (number + 1) * size]
        return np.concatenate([with_channels(_decoded(one, shape[:2])[None], shape[2]) for one in block])

    return (
        StoredRows((len(files), *shape), np.dtype(np.uint8), size, read),
        np.array([number for _, number in found], np.int32),
    )


def _decoded(file: Path, size: tuple[int, int] | None) -> np.ndarray:
    found = decode_image(file.read_bytes(), size)
    if isinstance(found, Bad):
        raise DataError(
            expected=f"an image in {file}",
            received=found.reason,
            remedy="remove the file: a stream reads each image when it is needed, and cannot leave one out",
        )
    return found
