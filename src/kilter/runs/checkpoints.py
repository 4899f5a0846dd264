"""Checkpoints of a run: a tree of arrays and a few numbers, from which training resumes bit for bit.

Orbax writes ``checkpoints/epoch-000007/`` under a temporary name; it gets a manifest with the SHA-256 of
every file, is synced to disk and renamed. The last two and the best are kept. Checksums are verified before a
checkpoint is read; if it is damaged, the previous one is used, with a :class:`~kilter.errors.RunWarning`.
"""

from __future__ import annotations

import math
import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from kilter._engine.processes import is_first, local
from kilter._text import first_line
from kilter.errors import RunError, RunWarning
from kilter.runs.atomic import errors_named, fsync_path, fsync_tree, unwritable
from kilter.runs.checksums import MANIFEST, damage, write_manifest

FOLDER = "checkpoints"
KEEP_LAST = 2
# The scalar with the lines of history.jsonl up to the checkpoint's epoch, to restore a lost file.
HISTORY = "history"

# 1: kilter 0.1.0, which wrote neither this number nor a manifest. 2: with a manifest.
_FORMAT = 2
_UNFINISHED = ".unfinished"
_NAME = re.compile(r"epoch-(\d{6,})")
# tensorstore raises ValueError with the system's number in the text.
_SYSTEM_ERROR = re.compile(r"os_error_code='(\d+)'")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read. `epoch` counts from 0; `passed_over`: the newer ones that are unusable."""

    epoch: int
    tree: Any
    scalars: dict[str, Any]
    verified: bool = True
    passed_over: tuple[str, ...] = ()


def save(run: Path, epoch: int, tree: Any, scalars: Mapping[str, Any], *, score: float = math.nan) -> Path:
    """Save `tree` (dicts and lists of arrays) and `scalars` (JSON values) as the state after `epoch`.

    Of all checkpoints the last :data:`KEEP_LAST` and the one with the best `score` (less is better) are kept.
    Raises :class:`RunError` if the disk is full, whatever orbax raises; the older checkpoints stay.
    """
    folder = run / FOLDER
    path, unfinished = folder / f"epoch-{epoch:06d}", folder / _UNFINISHED
    if not is_first():  # of several processes, the first has the run
        return path
    own = {"epoch": epoch, "score": score, "format": _FORMAT}
    content = ocp.args.Composite(
        state=ocp.args.StandardSave(local(tree)),
        scalars=ocp.args.JsonSave({**scalars, **own}),
    )
    with errors_named(path):
        folder.mkdir(exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            # The caller waits: an asynchronous save's error would surface an epoch later or never.
            with _checkpointer() as checkpointer:
                checkpointer.save(unfinished.absolute(), args=content)
            fsync_tree(unfinished)
            write_manifest(unfinished)
            _remove(path)
            unfinished.rename(path)
        except ValueError as error:
            found = _SYSTEM_ERROR.search(str(error))
            if found is None:  # a tree that cannot be saved: a bug, not a disk error
                raise
            raise unwritable(path, int(found.group(1)), str(error)) from error
        finally:
            _sweep(folder)
        fsync_path(folder)
        _retire(folder)
    return path


def latest(run: Path, require: Callable[[Checkpoint], None] | None = None) -> Checkpoint | None:
    """The newest usable checkpoint; None if there are none, :class:`RunError` if all are unusable.

    Damaged ones, and those for which `require` raises :class:`RunError`, are skipped with a warning.
    """
    problems: list[str] = []
    for epoch, path in reversed(_saved(run / FOLDER)):
        try:
            found = _read(epoch, path)
            if require is not None:
                require(found)
        except RunError as error:
            problems.append(error.received)
            continue
        if problems:
            _warn(f"{'; '.join(problems)}. Using the checkpoint of epoch {epoch + 1} ({path.name}) instead")
        if not found.verified:
            _warn(f"{path} has no checksums (kilter 0.1.0 wrote none): damage cannot be detected")
        return replace(found, passed_over=tuple(problems))
    if problems:
        raise RunError(
            expected=f"a checkpoint in {run / FOLDER} that can be used",
            received="; ".join(problems),
            remedy=f"restore {FOLDER}/ from a backup; or remove that folder and run kilter resume, to train "
            "from the first epoch again",
        )
    return None


def drop_newer(run: Path, epoch: int) -> None:
    """Remove the checkpoints after `epoch`, from which training resumes."""
    for saved, path in _saved(run / FOLDER):
        if saved > epoch:
            with errors_named(path):
                _remove(path)


class Throttle:
    """Limits saves to `share` of the time; the first is due after `patience` seconds.

    A save of 0.5 million parameters with two slots each takes 0.2 to 0.4 s on 2 cores, an epoch of a small
    model a hundredth of that.
    """

    def __init__(self, *, share: float = 0.05, patience: float = 10.0) -> None:
        self._share = share
        self._due = time.monotonic() + patience

    def due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return time.monotonic() >= self._due

    def saved(self, seconds: float) -> None:
        """Note a save that took `seconds`."""
        self._due = time.monotonic() + seconds / self._share


def _checkpointer() -> ocp.Checkpointer:
    # Without waiting for the other processes: the first writes its run, the others read their copy.
    alone = ocp.options.MultiprocessingOptions(primary_host=None, active_processes={jax.process_index()})
    parts = ocp.CompositeOptions(multiprocessing_options=alone)
    handler = ocp.CompositeCheckpointHandler(composite_options=parts)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _warn(text: str) -> None:
    warnings.warn(text, RunWarning, stacklevel=3)


def _read(epoch: int, path: Path) -> Checkpoint:
    """The checkpoint in `path`; :class:`RunError` if it is damaged or orbax cannot read it."""
    found = damage(path)
    # Only kilter 0.1.0 wrote none; whether the checkpoint is that old is known once it has been read.
    is_old = found is not None and not (path / MANIFEST).exists()
    if found is not None and not is_old:
        raise _unusable(path, found)
    try:
        checkpoint = _restore(epoch, path)
        saved_epoch, is_new = checkpoint.scalars["epoch"], "format" in checkpoint.scalars
    except MemoryError:  # says nothing about the checkpoint
        raise
    except Exception as error:
        raise _unusable(path, f"{type(error).__name__}: {first_line(error)}") from error
    if is_old and is_new:
        raise _unusable(path, f"{MANIFEST} is missing")
    if saved_epoch != epoch:
        raise _unusable(path, f"it contains epoch {saved_epoch}, counted from 0, not {epoch}")
    return replace(checkpoint, verified=not is_old)


def _unusable(path: Path, why: str) -> RunError:
    return RunError(
        expected=f"an intact checkpoint in {path}",
        received=f"{path.name} is damaged: {why}",
        remedy="use an older checkpoint",
    )


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
    except Exception:  # noqa: BLE001  (orbax raises anything for a damaged one, which cannot be the best)
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
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a checkpoint; renamed first, so that no half-removed folder has a checkpoint's name."""
    if path.exists():
        doomed = path.with_name(f"{_UNFINISHED}-{path.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed)


def _sweep(folder: Path) -> None:
    """Remove what failed saves left behind."""
    for path in folder.iterdir():
        if path.name.startswith(_UNFINISHED):
            shutil.rmtree(path, ignore_errors=True)
