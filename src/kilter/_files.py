"""Paths and files: the home folder, checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path


def at_home(path: str | Path) -> Path:
    """The path with a leading ``~`` or ``~user`` replaced by the home directory, if the user exists."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
