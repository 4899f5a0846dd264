"""One writer per run directory: an advisory lock that a crash releases.

The operating system drops the lock when the process ends, however it ends. The next writer takes over the
stale file; its text is only for users.
"""

import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from kilter.errors import RunError
from kilter.runs.atomic import errors_named

# `kilter runs` takes the lock for an instant to see whether it is free; a writer waits that long.
_PATIENCE_SECONDS = 0.5


class Lock:
    """A lock that this process holds.

    Made by :func:`acquire`; :meth:`release` may be called more than once.
    """

    def __init__(self, path: Path, lock: BaseFileLock) -> None:
        self.path = path
        self._lock = lock

    def release(self) -> None:
        """Remove the file, then free the lock, so that nobody locks a file that is about to disappear."""
        if self._lock.is_locked:
            with suppress(OSError):  # Windows does not remove an open file
                self.path.unlink(missing_ok=True)
            self._lock.release()


def acquire(path: Path) -> Lock:
    """Take the lock at `path` for this process, or raise :class:`RunError` that names its owner."""
    lock = FileLock(path)
    with errors_named(path):
        try:
            lock.acquire(timeout=_PATIENCE_SECONDS, poll_interval=0.02)
        except Timeout:
            raise RunError(
                expected=f"no other process writing to {path.parent}",
                received=f"a lock held by {_owner(path)}",
                remedy="wait until that process is done, or stop it",
            ) from None
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError):  # on Windows nobody else can write to or read a locked file
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": started}))
    return Lock(path, lock)


def held(path: Path) -> bool:
    """Whether a running process has the lock at `path`; False if this cannot be tested."""
    if not path.exists():
        return False
    probe = FileLock(path)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    probe.release()
    return False


def _owner(path: Path) -> str:
    try:
        record = json.loads(path.read_text("utf-8"))
        return f"process {record['pid']} on {record['host']} since {record['started']}"
    except (OSError, ValueError, KeyError, TypeError):  # being written or removed at this moment
        return "another process"
