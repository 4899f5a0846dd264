"""A run directory as bytes, to move it between machines; without its checkpoints."""

import io
import os
import shutil
import tarfile
from pathlib import Path

from kilter.errors import RunError
from kilter.runs.atomic import errors_named, fsync_path, fsync_tree
from kilter.runs.checkpoints import FOLDER


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
                remedy="leave the folder alone while it is used",
            )
        os.replace(run, target)
        room.rmdir()
        fsync_path(parent)
    return target
