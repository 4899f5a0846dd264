"""A run directory as bytes, and the run directories of several processes.

Packed to move it between machines, without its checkpoints. Of several processes, process 0 writes the run,
the others a copy that goes with them.
"""

import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from kilter._engine.processes import count, from_first, is_first
from kilter.errors import RunError
from kilter.runs.atomic import errors_named, fsync_path, fsync_tree
from kilter.runs.checkpoints import FOLDER
from kilter.runs.reading import require_run


def pack(run: Path, *, checkpoints: bool = False) -> bytes:
    """The files of a run as a tar archive with the run's folder in it; with `checkpoints`, their folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path in sorted(run.rglob("*")):
            inner = path.relative_to(run)
            wanted = path.is_file() or inner == Path(FOLDER)
            if wanted and inner.name != "lock" and (checkpoints or inner.parts[0] != FOLDER):
                archive.add(path, arcname=str(Path(run.name, inner)), recursive=False)
    return stream.getvalue()


def unpack(packed: bytes, parent: Path) -> Path:
    """Write a packed run below ``parent``, whole or not at all; returns its folder."""
    room = parent / ".unpacking"
    with errors_named(parent):
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r") as archive:
            archive.extractall(room, filter="data")
        fsync_tree(room)
        (run,) = room.iterdir()
        target = parent / run.name
        if target.exists():
            raise RunError(
                expected=f"no run in {target}",
                received="one",
                remedy="do not change the folder while it is in use",
            )
        os.replace(run, target)
        room.rmdir()
        fsync_path(parent)
    return target


@contextmanager
def written_by_first(parent: Path) -> Generator[Path]:
    """The parent of a new run: ``parent`` for process 0, a temporary folder for the others."""
    if is_first():
        yield parent
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def resume_command(path: Path) -> str:
    """How to go on with a run; what the other processes write goes with them."""
    return f"kilter resume {path}" if is_first() else "kilter resume, with the run directory of process 0"


def first_has(found: bool) -> bool:
    """What process 0 found, on every process. All must call it at the same point."""
    return found if count() == 1 else from_first(b"1" if found else b"0") == b"1"


@contextmanager
def copied_from_first(path: Path) -> Generator[Path]:
    """The run to go on with: ``path`` for process 0, a copy of it for the others, who need no common disk."""
    if count() == 1:
        require_run(path)
        yield path
        return
    if is_first():
        require_run(path)
        from_first(pack(path, checkpoints=True))
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield unpack(from_first(b""), Path(folder))
