"""NumPy arrays x and y, also of parts such as x_train and test_labels: .npz, .npy files; never unpickled."""

import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from kilter._validation import errors_as
from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import LoadOptions, Source
from kilter.data.folders import PARTS
from kilter.data.paths import DAMAGE, first_named, nearest_name, quote, require_file, require_room
from kilter.errors import DataError

_ROLES: Final = {
    "x": ("x", "data", "images", "image", "imgs", "features", "inputs", "input"),
    "y": ("y", "labels", "label", "targets", "target"),
}
_SPARSE: Final = {"indices", "indptr", "shape", "data"}


def recognises(path: Path) -> bool:
    """Whether the path ends in .npz or .npy, or is a folder of .npy files."""
    if path.is_dir():
        return ("", "x") in (found := _places(_stems(path))) or ("train", "x") in found
    return path.suffix.lower() in (".npz", ".npy")


def read(path: Path, options: LoadOptions) -> Source:
    """Read x and y of an archive or a folder, or one array as rows without labels.

    The arrays may be those of parts, and have other common names: ``train_images``, ``y_test``, ``data``.
    """
    what = "folder of arrays" if path.is_dir() else "NumPy archive"
    if not path.is_dir():
        require_file(path)
    with errors_as(
        DataError,
        *(*DAMAGE, zipfile.BadZipFile),
        expected=f"an intact {what} {path}",
        received="one that cannot be read",
        remedy="the file is truncated or damaged: write it again with numpy.savez",
    ):
        about = About("npz", str(path), path.stem)
        if path.is_dir():
            arrays = {stem: path / f"{stem}.npy" for stem in _stems(path)}
            return _read_arrays(lambda key: _of_file(arrays[key]), list(arrays), path, options, about)
        if path.suffix.lower() == ".npy":
            return assemble(Part(_of_file(path), None), None, options, about)
        with np.load(path, allow_pickle=False) as archive:
            return _read_arrays(lambda key: _array(archive, key, path), archive.files, path, options, about)


def _stems(folder: Path) -> list[str]:
    return sorted(entry.stem for entry in folder.iterdir() if entry.suffix == ".npy")


def _places(keys: Iterable[str]) -> dict[tuple[str, str], str]:
    """The keys by the part ("" for all rows) and the role, "x" or "y"; of several, the usual name."""
    found: dict[tuple[str, str], tuple[int, str]] = {}
    for key in keys:
        words = re.sub(r"^([xy])(?=[a-z]{2})|(?<=[a-z]{2})([xy])$", r"\1 \2", key.lower())
        rest = [word for word in re.split(r"[^a-z]+", words) if word]
        part = next((name for name, names in PARTS.items() if any(one in names for one in rest)), "")
        rest = [one for one in rest if not any(one in names for names in PARTS.values())]
        role = next((role for role, names in _ROLES.items() if len(rest) == 1 and rest[0] in names), "")
        if role:
            place = part, role
            found[place] = min(found.get(place, (len(_ROLES[role]), "")), (_ROLES[role].index(rest[0]), key))
    return {place: key for place, (_, key) in found.items()}


def _read_arrays(
    array: Callable[[str], np.ndarray], keys: list[str], path: Path, options: LoadOptions, about: About
) -> Source:
    places = _places(keys)

    def part(name: str) -> Part | None:
        if (name, "x") not in places:
            return None
        labels = array(places[name, "y"]) if (name, "y") in places else None
        if labels is not None and labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        return Part(array(places[name, "x"]), labels)

    sparse = set(keys) >= _SPARSE
    train = None if sparse else part("train") or part("")
    if train is None:
        remedy = f"write it with numpy.savez(path, x=..., y=...){nearest_name('x_train', keys)}"
        if sparse:
            remedy = "write the matrix with numpy.savez(path, x=scipy.sparse.load_npz(FILE).toarray(), y=...)"
        raise DataError(
            expected=f"arrays x and y, or x_train, y_train, x_test and y_test, in {path}",
            received=f"the arrays {first_named(map(quote, keys)) or 'none'}",
            remedy=remedy,
        )
    others = [key for key in keys if key not in places.values()]
    notes = (f"not read: {first_named(map(quote, others))}",) if others else ()
    return assemble(train, part("test"), options, replace(about, notes=notes), part("validation"))


def _of_file(path: Path) -> np.ndarray:
    require_room(path.stat().st_size, path)
    return _plain(lambda: np.load(path, allow_pickle=False), path.name, path)


def _array(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    members = [] if archive.zip is None else archive.zip.infolist()
    require_room(sum(one.file_size for one in members if one.filename in (key, f"{key}.npy")), path)
    return _plain(lambda: archive[key], key, path)


def _plain(read_one: Callable[[], Any], key: str, path: Path) -> np.ndarray:
    try:
        array = read_one()
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
