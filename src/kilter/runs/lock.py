"""One writer per run directory: an advisory lock that a crash releases.

The kernel keeps the lock for the open file (``flock``) and drops it when the process ends, however it ends.
The next writer takes over the stale file; its text is for people.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from kilter.errors import RunError
from kilter.runs.atomic import errors_named

# `kilter runs` takes the lock for an instant to see whether it is free; a writer waits for that.
_PATIENCE_SECONDS = 0.5


class Lock:
    """A lock that is taken. Made by :func:`acquire`; :meth:`release` may be called more than once."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Remove the file and free the lock. Removed first, so that nobody locks a file about to vanish."""
        if self._descriptor is None:
            return
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None


def acquire(path: Path) -> Lock:
    """Take the lock at `path` for this process, or raise :class:`RunError` that names its owner."""
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
        time.sleep(0.02)


def held(path: Path) -> bool:
    """Whether a living process has the lock at `path`; a file left by a crash does not count."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # no lock, or not readable
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _try(path: Path) -> int | None:
    with errors_named(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between open and flock the former owner may have removed the file.
            if not path.exists() or os.fstat(descriptor).st_ino != path.stat().st_ino:
                raise BlockingIOError
            _sign(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


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
