"""The manifest of a folder: size and SHA-256 of every file in it, to detect damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kilter._system import sha256_of
from kilter.runs.atomic import fsync_path, write_text

MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Write ``manifest.json`` into `folder`; files that change afterwards count as damaged."""
    files = {name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for name, path in _files(folder)}
    write_text(folder / MANIFEST, json.dumps({"files": files}, indent=1) + "\n")
    fsync_path(folder)


def damage(folder: Path) -> str | None:
    """What is wrong with the files in `folder`, as file and reason; None if all are as written.

    A folder without a manifest counts as damaged.
    """
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
    if path is None:
        return "is missing"
    size = path.stat().st_size
    if size != wanted["bytes"]:
        return f"has {size} bytes instead of {wanted['bytes']}"
    return None if sha256_of(path) == wanted["sha256"] else "has changed (another SHA-256)"


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Every file below `folder` except the manifest, by its name relative to `folder`."""
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return [(path.relative_to(folder).as_posix(), path) for path in paths if path != folder / MANIFEST]
