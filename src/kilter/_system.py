"""The machine and the process around kilter: files, free memory, context variables, signals to stop."""

import errno
import hashlib
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, TypeVar

from kilter.errors import KilterError

T = TypeVar("T")
_MEMINFO: Final = Path("/proc/meminfo")
_STATUS: Final = Path("/proc/self/status")
_CGROUP: Final = Path("/sys/fs/cgroup")
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

# Closing the terminal sends SIGHUP. Windows does not have this signal.
STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
# The exit code after a signal is this number plus the signal's, as in shells: 130 for Ctrl-C, 143 for
# SIGTERM.
BY_SIGNAL = 128
BY_CTRL_C: Final = BY_SIGNAL + signal.SIGINT
# No space, over quota and over the file size limit need the same remedy.
FULL_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# The exit code after a KilterError.
BAD_INPUT: Final = 2


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """The command line's handler of :data:`STOPPING`: clean up and end with the signal's exit code."""
    raise SystemExit(BY_SIGNAL + number)


@contextmanager
def ended_at_once_by_signals() -> Generator[None]:
    """While libraries load, a signal ends the process at once: there is nothing to save yet.

    An exception within the initialisation of a compiled module would come out as an ImportError with its
    stack, or crash the process. Ignored signals, as under nohup, stay so. Has no effect in other threads.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *STOPPING)}
    caught = {number: one for number, one in before.items() if one not in (signal.SIG_IGN, None)}
    for number in caught:
        signal.signal(number, lambda number, frame: os._exit(BY_SIGNAL + number))
    try:
        yield
    finally:
        for number, one in caught.items():
            signal.signal(number, one)


@contextmanager
def context_value(variable: ContextVar[T], value: T) -> Generator[T]:
    """Context in which a context variable has this value."""
    token = variable.set(value)
    try:
        yield value
    finally:
        variable.reset(token)


def at_home(path: str | Path) -> Path:
    """The path with a leading ``~`` or ``~user`` replaced by the home directory, if the user exists."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def sibling_names(path: Path) -> list[str]:
    """Names of the other entries in the folder of ``path``; [] if there is no such folder."""
    try:
        return sorted(entry.name for entry in path.parent.iterdir() if entry.name != path.name)
    except (OSError, ValueError):
        return []


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_memory(
    needed: int, kind: type[KilterError], *, expected: str, received: str, remedy: str
) -> None:
    """Raise an error of ``kind``, with both sizes, if ``needed`` bytes exceed the free memory."""
    free = free_memory()
    if free is not None and needed > free:
        raise kind(
            expected=expected,
            received=f"{received}: {in_bytes(needed)} needed, {in_bytes(free)} free",
            remedy=remedy,
        )


def fits_memory(needed: float) -> bool:
    """Whether ``needed`` bytes are at most the free memory; true where the system does not report it."""
    free = free_memory()
    return free is None or needed <= free


def free_memory() -> int | None:
    """Bytes of main memory available to this process; None if the system does not report it (macOS).

    The limit of a container (cgroup v2) counts too. Caches that the system can drop count as free.
    """
    available = _fields(_MEMINFO).get("MemAvailable:")
    found = (None if available is None else available * 1024, _of_container())
    return min((free for free in found if free is not None), default=None)


def resident_memory() -> int:
    """Bytes of main memory that this process holds; 0 if the system does not report it (macOS, Windows)."""
    return _fields(_STATUS).get("VmRSS:", 0) * 1024


def in_bytes(count: int) -> str:
    """A number of bytes in a suitable unit.

    Example:
        >>> in_bytes(512), in_bytes(3 << 29)
        ('512 B', '1.5 GiB')
    """
    size, unit = float(count), 0
    while size >= 1024 and unit + 1 < len(_UNITS):
        size, unit = size / 1024, unit + 1
    return f"{size:.4g} {_UNITS[unit]}"


def _of_container() -> int | None:
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is None or used is None:
        return None
    return max(0, limit - used + _fields(_CGROUP / "memory.stat").get("inactive_file", 0))


def _fields(path: Path) -> dict[str, int]:
    """The numbers in a file with lines ``name number ...``; {} if it cannot be read."""
    lines = [line.split() for line in _text(path).splitlines()]
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""  # another system
