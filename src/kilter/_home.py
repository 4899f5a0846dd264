"""Paths that begin with ``~``."""

from __future__ import annotations

from pathlib import Path


def at_home(path: str | Path) -> Path:
    """The path with a leading ``~`` or ``~user`` replaced by the home directory.

    A path that names an unknown user stays as it is: whoever opens it says that it does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
