"""Run directories of several processes: process 0 writes the run, the others a copy that goes with them."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from kilter._engine.processes import count, from_first, is_first
from kilter.runs.packing import pack, unpack
from kilter.runs.reading import require_run


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
