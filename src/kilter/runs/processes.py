"""Run directories of several processes: process 0 writes the run, the others a copy that goes with them."""

from __future__ import annotations

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
