"""NumPy archives with x and y, or x_train, y_train, x_test and y_test; never unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from kilter._validation import errors_as
from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import LoadOptions, Source
from kilter.data.paths import DAMAGE, first_named, nearest_name, quote, require_file, require_room
from kilter.errors import DataError


def recognises(path: Path) -> bool:
    """Whether the path ends in .npz."""
    return path.suffix.lower() == ".npz"


def read(path: Path, options: LoadOptions) -> Source:
    """Read an archive with x and y, or with x_train, y_train and optionally x_test, y_test, in any case."""
    require_file(path)
    with (
        errors_as(
            DataError,
            *(*DAMAGE, zipfile.BadZipFile),
            expected=f"an intact NumPy archive {path}",
            received="one that cannot be read",
            remedy="the file is truncated or damaged: write it again with numpy.savez",
        ),
        np.load(path, allow_pickle=False) as archive,
    ):
        return _read_archive(archive, path, options)


def _read_archive(archive: np.lib.npyio.NpzFile, path: Path, options: LoadOptions) -> Source:
    keys = {key.lower(): key for key in archive.files}
    about = About("npz", str(path), path.stem)
    if "x_train" in keys:
        train = _part(archive, keys, "x_train", "y_train", path)
        test = _part(archive, keys, "x_test", "y_test", path) if "x_test" in keys else None
        return assemble(train, test, options, about)
    if "x" not in keys:
        raise DataError(
            expected=f"arrays x and y, or x_train, y_train, x_test and y_test, in {path}",
            received=f"the arrays {first_named(map(quote, archive.files)) or 'none'}",
            remedy=f"write it with numpy.savez(path, x=..., y=...){nearest_name('x_train', keys)}",
        )
    return assemble(_part(archive, keys, "x", "y", path), None, options, about)


def _part(archive: np.lib.npyio.NpzFile, keys: dict[str, str], x: str, y: str, path: Path) -> Part:
    return Part(_array(archive, keys[x], path), _array(archive, keys[y], path) if y in keys else None)


def _array(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    members = [] if archive.zip is None else archive.zip.infolist()
    require_room(sum(one.file_size for one in members if one.filename in (key, f"{key}.npy")), path)
    try:
        array = archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            expected=f"arrays of numbers or text in {path}",
            received=f"pickled Python objects under the key {quote(key)}",
            remedy="save it as numbers or text: kilter never unpickles, since that can run any code",
        ) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"the entry {quote(key)} is not an array")
    return array
