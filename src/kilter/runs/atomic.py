"""Atomic writes: temporary file, fsync, rename, fsync the folder.

A reader sees either the old file or the new one, no matter when the writer is killed. A failed write raises a
:class:`~kilter.errors.RunError` that names file and cause, and leaves the old file.
"""

import errno
import os
import re
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from kilter._system import FULL_DISK, require_memory
from kilter._text import cause
from kilter.errors import RunError

# The system's number in the errors of tensorstore and polars, which are no OSErrors.
_NUMBER = re.compile(r"os(?:_error_code='| error )(\d+)")
_WINDOWS = os.name == "nt"
_BINARY = getattr(os, "O_BINARY", 0)  # on Windows: no translation of line breaks


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all; :class:`RunError` leaves `path` unchanged."""

    def fill(temporary: Path) -> None:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
        try:
            _write_all(descriptor, content)
        finally:
            os.close(descriptor)

    write_with(path, fill)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, whole or not at all; errors as in :func:`write_bytes`."""
    write_bytes(path, content.encode("utf-8"))


def write_with(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a temporary file next to `path` with its suffix, then rename it to `path`."""
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    with errors_named(path):
        try:
            fill(temporary)
            fsync_path(temporary)
            os.replace(temporary, path)
        except BaseException:  # Ctrl-C too must leave no temporary file behind
            temporary.unlink(missing_ok=True)
            raise
        fsync_path(path.parent)


def entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name; [] for no folder, :class:`RunError` if it may not be listed."""
    with errors_named(folder, doing="listed"):
        return sorted(folder.iterdir()) if folder.is_dir() else []


_TEMPORARY = re.compile(r"\..+-[0-9a-f]{32}(\.\w+)?")


def remove_temporary(folder: Path) -> None:
    """Remove the temporary files that a killed writer left in `folder`."""
    with errors_named(folder, doing="cleared of temporary files"):
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Append one line to a file and sync it to disk.

    An incomplete last line, left by a crash, is cut off first; a failed write leaves the old length.
    """
    if "\n" in line:
        raise ValueError(f"a line must not contain a line break: {line!r}")
    with errors_named(path):
        made = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _BINARY, 0o666)
        try:
            end = _whole_lines_end(descriptor)
            try:
                os.ftruncate(descriptor, end)
                os.lseek(descriptor, end, os.SEEK_SET)
                _write_all(descriptor, f"{line}\n".encode())
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)
        if made:
            fsync_path(path.parent)


def read_lines(path: Path) -> list[str]:
    """The complete lines of a file that :func:`append_line` wrote; [] for no file.

    An editor or a copy may have given them the line breaks of Windows.
    """
    if not path.exists():
        return []
    whole, line_break, _torn = read_record(path).replace(b"\r\n", b"\n").rpartition(b"\n")
    return whole.decode("utf-8", "backslashreplace").split("\n") if line_break else []


def read_record(path: Path) -> bytes:
    """The bytes of a small file; :class:`RunError` if it is too large to read whole, or no regular file."""
    with errors_named(path, doing="read"):
        if not path.is_file():
            raise OSError("not a file")  # reading a named pipe would wait for ever
        require_memory(
            path.stat().st_size,
            RunError,
            expected=f"{path} as kilter wrote it",
            received="a file larger than that",
            remedy="restore it from a backup",
        )
        return path.read_bytes()


def fsync_path(path: Path) -> None:
    """Sync a file, or a folder's directory entries, to disk."""
    if _WINDOWS and path.is_dir():  # has no file descriptor there
        return
    descriptor = os.open(path, os.O_RDWR if _WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Sync everything below `folder`, and `folder` itself, to disk."""
    for directory, _, files in os.walk(folder, topdown=False):
        for name in files:
            fsync_path(Path(directory, name))
        fsync_path(Path(directory))


@contextmanager
def errors_named(path: Path, *, doing: str = "written") -> Generator[None]:
    """Turn a system error raised inside into a :class:`RunError` that names `path`, cause and remedy."""
    try:
        yield
    except RunError:
        raise
    except OSError as error:
        raise _failed(path, error.errno, cause(error), doing=doing) from error
    except Exception as error:
        found = _NUMBER.search(str(error))
        if found is None:
            raise
        number = int(found[1])
        raise _failed(path, number, os.strerror(number), doing=doing) from error


def _failed(path: Path, number: int | None, cause: str, *, doing: str) -> RunError:
    """The :class:`RunError` for a file that could not be written or read; `number` is the system's errno."""
    if number in FULL_DISK:
        return RunError(
            expected=f"room on the disk for {path}",
            received=f"a full disk, quota or file size limit ({cause})",
            remedy=f"free some space below {path.parent} or choose another place with --runs; "
            "earlier files are intact",
        )
    remedy = "check that the folder exists and that you may read and write it"
    if number == errno.EISDIR:
        remedy = "remove that folder"
    if number == errno.EMFILE:
        remedy = "allow this process more open files, with ulimit -n 1024"
    return RunError(expected=f"{path} to be {doing}", received=cause, remedy=remedy)


def _write_all(descriptor: int, content: bytes) -> None:
    """``os.write`` may write less than it is given; a full disk shows on the next call."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _whole_lines_end(descriptor: int) -> int:
    """Length of the file up to and including its last line break, found by reading backwards."""
    end = os.lseek(descriptor, 0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        os.lseek(descriptor, start, os.SEEK_SET)
        found = os.read(descriptor, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
