"""One writer a run directory: an advisory lock that a crash releases by itself.

The operating system holds the lock on the open file and drops it when the process ends, however it ends. The
file that is left behind is stale, and the next writer takes it over. Its text, for people, says who holds it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from filelock import lock_descriptor

from kilter.errors import RunError
from kilter.runs.atomic import errors_named

# `kilter runs` takes the lock for an instant to see whether it is free: writers and other readers try again.
_PATIENCE_SECONDS = 0.5
_LOOKS = 3
_PAUSE_SECONDS = 0.02


class Lock:
    """A held lock. Made by :func:`acquire`; :meth:`release` may be called more than once."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Remove the file and free the lock. Removed first, so that nobody locks a file about to vanish."""
        if self._descriptor is None:
            return
        with contextlib.suppress(PermissionError):  # Windows cannot remove an open file; it stays, stale
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None


def acquire(path: Path) -> Lock:
    """Take the lock at `path` for this process, or raise :class:`RunError` that names who holds it."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        descriptor = _try(path)
        if descriptor is not None:
            return Lock(path, descriptor)
        if time.monotonic() > deadline:
            raise RunError(
                expected=f"no other process to write to {path.parent}",
                received=f"a lock held by {_holder(path)}",
                remedy="wait until that process is done, or stop it",
            )
        time.sleep(_PAUSE_SECONDS)


def held(path: Path) -> bool:
    """Whether a living process holds the lock at `path`; a file left behind by a crash is not held."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # there is no lock file, or we may not read it
        return False
    try:
        for _ in range(_LOOKS):
            if lock_descriptor(descriptor, blocking=False):
                return False
            time.sleep(_PAUSE_SECONDS)
        return True
    finally:
        os.close(descriptor)


def _try(path: Path) -> int | None:
    with errors_named(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # Between open and lock the former holder may have removed the file: the lock is then on nothing.
            if lock_descriptor(descriptor, blocking=False) and _is_at(path, descriptor):
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None


def _is_at(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _sign(descriptor: int) -> None:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    content = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": started})
    os.ftruncate(descriptor, 0)
    os.write(descriptor, content.encode("utf-8"))


def _holder(path: Path) -> str:
    try:
        record = json.loads(path.read_text("utf-8"))
        return f"process {record['pid']} on {record['host']} since {record['started']}"
    except (OSError, ValueError, KeyError, TypeError):  # being signed or removed at this moment
        return "another process"
