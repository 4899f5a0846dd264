"""Checksums of a run's files, to detect damage before they are used.

``checksums.json`` has the SHA-256 of each file by its name. While a file is being replaced it lists two, the
new and the old: whenever the writer is killed, the file is one of them.
"""

import hashlib
import json
import re
import tomllib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kilter._system import sha256_of
from kilter._validation import errors_as
from kilter.errors import RunError
from kilter.runs.atomic import errors_named, fsync_path, read_record, write_text

CHECKSUMS = "checksums.json"
# The entry for the content of a recipe, regardless of its layout: a checksum of each key, without those that
# may change before a resume: how long to train, and where the data are (data.json has their checksums).
RECIPE_CONTENT = "recipe keys"
IDENTITY = "run"
_MAY_CHANGE = {
    "": ("name",),
    "train": ("epochs", "early_stopping"),
    "data": ("source", "validation", "test"),
    "model": ("file",),
}


def bytes_of(array: np.ndarray) -> memoryview:
    """The bytes of an array in C order, for a checksum; copied only if they lie in memory in another order.

    The array must not hold Python objects.
    """
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def sha256_of_arrays(arrays: Iterable[Any]) -> str:
    """SHA-256 of arrays with their types and shapes, in hexadecimal.

    Example:
        >>> sha256_of_arrays([np.zeros(2)]) == sha256_of_arrays([np.zeros((2, 1))])
        False
    """
    digest = hashlib.sha256()
    for one in map(np.asarray, arrays):
        digest.update(f"{one.dtype}{one.shape}".encode())
        digest.update(bytes_of(one))
    return digest.hexdigest()


@contextmanager
def replacing(run: Path, name: str, sha256: str) -> Iterator[None]:
    """Replace the file in the body by one with this `sha256`; if that fails, the old one stays valid."""
    before = _read(run)
    old = before.get(name, [])
    if old:
        _write(run, {**before, name: [sha256, *(one for one in old if one != sha256)]})
    yield
    if old != [sha256]:  # of a first file only now: a killed writer leaves none, or one without checksum
        _write(run, {**before, name: [sha256]})


def give_identity(run: Path) -> None:
    """Give a new run an identity, by which its checkpoints are known."""
    _write(run, {**_read(run), IDENTITY: [uuid.uuid4().hex]})


def identity_of(run: Path) -> str | None:
    """The identity of a run; None if it has none, as those of kilter 0.1.0."""
    return next(iter(_read(run).get(IDENTITY, [])), None)


def keep_recipe(run: Path, recipe_text: str) -> None:
    """Remember what the recipe of a run says."""
    _write(run, {**_read(run), RECIPE_CONTENT: _content_of(recipe_text)})


def _content_of(recipe_text: str) -> list[str]:
    """Each key that may not change with the SHA-256 of its value; ``ValueError`` if it is not TOML."""
    found: list[str] = []
    for section, values in tomllib.loads(recipe_text).items():
        within = isinstance(values, dict)
        for key, value in values.items() if within else [(section, values)]:
            free = key in _MAY_CHANGE.get(section if within else "", ())
            if not free or (section == "data" and not isinstance(value, str)):  # a share of the rows
                text = json.dumps(value, sort_keys=True, default=str)
                name = f"{section}.{key}" if within else key
                found.append(f"{name} {hashlib.sha256(text.encode()).hexdigest()}")
    return found


def require_unchanged(path: Path) -> None:
    """Raise :class:`RunError` if a file has changed since kilter wrote it; an unlisted file passes."""
    wanted = _read(path.parent).get(path.name)
    if wanted is None:
        return
    if not path.is_file():
        raise _changed(path, "no such file")
    with errors_named(path, doing="read"):
        found = sha256_of(path)
    if found not in wanted:
        raise _changed(path, f"a file that was changed or damaged (SHA-256 {found[:12]}…)")


def require_same_recipe(path: Path) -> None:
    """Raise :class:`RunError` if the recipe.toml at `path` has changed since the run started."""
    wanted = _read(path.parent).get(RECIPE_CONTENT)
    if wanted is None or not path.is_file():
        return
    text = read_record(path).decode("utf-8", "backslashreplace")
    try:
        found = _content_of(text)
    except ValueError:
        return  # loading it reports what is wrong
    changed = sorted({one.rpartition(" ")[0] for one in set(wanted) ^ set(found)})
    if changed:
        names = (f"{section}.{key}".strip(".") for section, keys in _MAY_CHANGE.items() for key in keys)
        raise RunError(
            expected=f"the recipe that the run was started with in {path}",
            received=f"one that was changed: {', '.join(changed)}",
            remedy=f"restore it from a backup, or train it as a new run; only {', '.join(names)} may change",
        )


def _changed(path: Path, received: str) -> RunError:
    return RunError(
        expected=f"{path} as kilter wrote it",
        received=received,
        remedy="restore it from a backup, or train the run's recipe.toml again; if you changed the file "
        f"yourself, remove its entry from {CHECKSUMS}",
    )


def _read(run: Path) -> dict[str, list[str]]:
    """The checksums by file name; {} for a run of kilter 0.1.0, which has none."""
    path = run / CHECKSUMS
    if not path.is_file():
        return {}
    content = read_record(path)
    with errors_as(
        RunError,
        *(ValueError, TypeError, AttributeError),
        expected=f"{path} as kilter wrote it",
        remedy="restore it from a backup, or remove it: damage to the run's files then goes undetected",
    ):
        return {name: list(map(str, values)) for name, values in json.loads(content).items()}


def _write(run: Path, checksums: dict[str, list[str]]) -> None:
    write_text(run / CHECKSUMS, json.dumps(checksums, indent=1) + "\n")


MANIFEST = "manifest.json"
# What macOS and Windows add to folders that are copied or looked at.
_LITTER = re.compile(r"\._|\.DS_Store$|Thumbs\.db$|desktop\.ini$", re.IGNORECASE)


def write_manifest(folder: Path) -> None:
    """Write ``manifest.json`` into `folder`; files that change afterwards count as damaged."""
    files = {name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for name, path in _files(folder)}
    write_text(folder / MANIFEST, json.dumps({"files": files}, indent=1) + "\n")
    fsync_path(folder)


def damage(folder: Path) -> str | None:
    """What is wrong with the files in `folder`, as file and reason; None if all are unchanged."""
    try:
        wanted = json.loads((folder / MANIFEST).read_bytes())["files"]
        names = sorted({*wanted, *(found := dict(_files(folder)))})
    except OSError as error:
        return f"{MANIFEST} is missing or cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} is damaged"
    for name in names:
        try:
            problem = _problem(found.get(name), wanted.get(name))
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        except (KeyError, TypeError, AttributeError):
            return f"{MANIFEST} is damaged"
        if problem is not None:
            return f"{name} {problem}"
    return None


def _problem(path: Path | None, wanted: dict[str, Any] | None) -> str | None:
    """What is wrong with one file."""
    if wanted is None:
        return f"is not listed in {MANIFEST}"
    if path is None or not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != wanted["bytes"]:
        return f"has {size} bytes instead of {wanted['bytes']}"
    return None if sha256_of(path) == wanted["sha256"] else "has changed (another SHA-256)"


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Every file below `folder` except the manifest, by its name relative to `folder`."""
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir() and not _LITTER.match(path.name))
    return [(path.relative_to(folder).as_posix(), path) for path in paths if path != folder / MANIFEST]
