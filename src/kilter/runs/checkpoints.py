"""Checkpoints of a run: a tree of arrays and a few numbers, from which training goes on with the same bits.

``checkpoints/epoch-000007/`` is written by orbax under another name, brought to the disk, then renamed: a
folder with that name is whole. The last two and the best stay, so damage to one costs one save.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from kilter.errors import RunError
from kilter.runs.atomic import errors_named, fsync_path, fsync_tree, unwritable

FOLDER = "checkpoints"
KEEP_LAST = 2

_UNFINISHED = ".unfinished"
_NAME = re.compile(r"epoch-(\d{6,})")
# tensorstore raises ValueError with the system's number in the text.
_SYSTEM_ERROR = re.compile(r"os_error_code='(\d+)'")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read: `tree` has the dicts, lists and array dtypes that were saved.

    `epoch` counts from 0: that epoch was done when it was saved.
    """

    epoch: int
    tree: Any
    scalars: dict[str, Any]


def save(run: Path, epoch: int, tree: Any, scalars: Mapping[str, Any], *, score: float = math.nan) -> Path:
    """Save `tree` (dicts and lists of arrays) and `scalars` (JSON values) as the state after `epoch`.

    Empty lists may be in it, arrays of size 0 may not (``ValueError`` from orbax). `score` says how good that
    epoch was, less is better; NaN is worst. Afterwards the last :data:`KEEP_LAST` and the one with the best
    score are there. Returns the folder; one of the same epoch is replaced. Raises :class:`RunError` where the
    disk is full, whatever orbax raised; the older checkpoints stay.
    """
    folder = run / FOLDER
    path, unfinished = folder / f"epoch-{epoch:06d}", folder / _UNFINISHED
    content = ocp.args.Composite(
        state=ocp.args.StandardSave(tree),
        scalars=ocp.args.JsonSave({**scalars, "epoch": epoch, "score": score}),
    )
    with errors_named(path):
        folder.mkdir(exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            # The caller waits: an asynchronous save's error would surface an epoch later or never.
            with _checkpointer() as checkpointer:
                checkpointer.save(unfinished.absolute(), args=content)
            fsync_tree(unfinished)
            shutil.rmtree(path, ignore_errors=True)
            unfinished.rename(path)
        except ValueError as error:
            found = _SYSTEM_ERROR.search(str(error))
            if found is None:  # a tree that cannot be saved: a mistake of ours, not the disk's
                raise
            raise unwritable(path, int(found.group(1)), str(error)) from error
        finally:
            _sweep(folder)
        fsync_path(folder)
        _retire(folder)
    return path


def latest(run: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read; None where there is none.

    One that is damaged is passed over for the one before it. Raises :class:`RunError` where all are damaged.
    """
    problems = []
    for epoch, path in reversed(_saved(run / FOLDER)):
        try:
            return _restore(epoch, path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"{path.name}: {type(error).__name__}: {error}")
    if problems:
        raise RunError(
            expected=f"a whole checkpoint in {run / FOLDER}",
            received="; ".join(problems),
            remedy="take the checkpoints from a copy, or train the run's recipe.toml again",
        )
    return None


class Throttle:
    """Says when the next save is due, so that saves take at most `share` of the time.

    A save costs 0.2 to 0.4 s for 0.5 million parameters with two slots each on a 2-core machine, an epoch of
    a small model a hundredth of that. The first save is due after `patience` seconds.
    """

    def __init__(self, *, share: float = 0.05, patience: float = 10.0) -> None:
        self._share = share
        self._due = time.monotonic() + patience

    def due(self) -> bool:
        """Whether enough time has gone by since the last save."""
        return time.monotonic() >= self._due

    def saved(self, seconds: float) -> None:
        """A save just ended that took `seconds`."""
        self._due = time.monotonic() + seconds / self._share


def _checkpointer() -> ocp.Checkpointer:
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler())


def _restore(epoch: int, path: Path) -> Checkpoint:
    content = ocp.args.Composite(state=ocp.args.StandardRestore(), scalars=ocp.args.JsonRestore())
    with _checkpointer() as checkpointer:
        restored = checkpointer.restore(path.absolute(), args=content)
    return Checkpoint(epoch, restored["state"], restored["scalars"])


def _score(path: Path) -> float:
    """The score saved with a checkpoint; infinity where it is NaN or cannot be read."""
    try:
        with _checkpointer() as checkpointer:
            content = ocp.args.Composite(scalars=ocp.args.JsonRestore())
            score = float(checkpointer.restore(path.absolute(), args=content)["scalars"]["score"])
    except (OSError, ValueError, KeyError, TypeError):
        return math.inf
    return math.inf if math.isnan(score) else score


def _saved(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints in `folder` with their epochs, oldest first."""
    if not folder.is_dir():
        return []
    named = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(found.group(1)), path) for found, path in named if found)


def _retire(folder: Path) -> None:
    """Remove all but the last :data:`KEEP_LAST` and, of all of them, the first with the best score."""
    saved = [path for _, path in _saved(folder)]
    best = min(saved, key=_score)
    for path in saved[:-KEEP_LAST]:
        if path != best:
            # Renamed first: a folder with a checkpoint's name is never a half-removed one.
            doomed = folder / f"{_UNFINISHED}-{path.name}"
            path.rename(doomed)
            shutil.rmtree(doomed)


def _sweep(folder: Path) -> None:
    """Remove what a save that failed, now or in a crash, left behind."""
    for path in folder.iterdir():
        if path.name.startswith(_UNFINISHED):
            shutil.rmtree(path, ignore_errors=True)
