"""Checkpoints of a run: a tree of arrays and a few numbers. Training resumes from them bit for bit.

Orbax writes ``checkpoints/epoch-000007/`` (after that epoch) or ``epoch-000007-step-00000120/`` (within it)
under a temporary name; it gets a manifest with the SHA-256 of every file, is synced to disk and renamed. The
last two and the best are kept. Checksums are verified before a checkpoint is read; if it is damaged, the
previous one is used, with a :class:`~kilter.errors.RunWarning`.
"""

import errno
import logging
import math
import os
import re
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from kilter._engine.processes import is_first, local
from kilter._text import first_line
from kilter._validation import errors_as
from kilter.errors import RunError, RunWarning
from kilter.runs.atomic import entries, errors_named, fsync_path, fsync_tree
from kilter.runs.checksums import MANIFEST, damage, write_manifest
from kilter.runs.reading import CHECKPOINTS as FOLDER

KEEP_LAST = 2
# The scalar with the lines of history.jsonl up to the checkpoint's epoch, to restore a lost file.
HISTORY = "history"
# The scalar with the identity of the run, so that no checkpoint of another run is taken for its own.
RUN = "run"

# 1: kilter 0.1.0, which wrote neither this number nor a manifest. 2: with a manifest.
_FORMAT = 2
_UNFINISHED = ".unfinished"
_NAME = re.compile(r"epoch-(\d{6,})(?:-step-(\d{8,}))?")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    `epoch` counts from 0. `step`: batches trained in it; None after the whole epoch. `passed_over`: the newer
    checkpoints that are unusable.
    """

    epoch: int
    tree: Any
    scalars: dict[str, Any]
    verified: bool = True
    passed_over: tuple[str, ...] = ()
    step: int | None = None

    @property
    def finished(self) -> int:
        """The number of whole epochs that it contains, and the epoch in which training continues."""
        return self.epoch + (self.step is None)

    @property
    def where(self) -> str:
        """The moment as text, counted from 1."""
        return f"epoch {self.epoch + 1}" + ("" if self.step is None else f", batch {self.step}")


def save(
    run: Path,
    epoch: int,
    tree: Any,
    scalars: Mapping[str, Any],
    *,
    step: int | None = None,
    score: float = math.nan,
) -> Path:
    """Save `tree` (dicts and lists of arrays) and `scalars` (JSON values) as the state after `epoch`.

    With `step`: the state within the epoch, after so many batches. Of all checkpoints the last
    :data:`KEEP_LAST` and the one with the best `score` (less is better) are kept. Raises :class:`RunError` if
    the disk is full, whatever orbax raises; the older checkpoints stay.
    """
    within = "" if step is None else f"-step-{step:08d}"
    name = f"epoch-{epoch:06d}{within}"
    if not is_first():  # of several processes, only the first writes
        return run / FOLDER / name
    own = {"epoch": epoch, "score": score} | ({} if step is None else {"step": step})
    path = write(run / FOLDER, name, tree, {**scalars, **own})
    with errors_named(path):
        _retire(run / FOLDER)
    return path


def write(folder: Path, name: str, tree: Any, scalars: Mapping[str, Any]) -> Path:
    """Write `tree` and `scalars` as ``folder/name/``, with a manifest, whole or not at all."""
    path, unfinished = folder / name, folder / _UNFINISHED
    arrays = local(tree)
    content = ocp.args.Composite(
        state=ocp.args.StandardSave(arrays),
        scalars=ocp.args.JsonSave({**scalars, "format": _FORMAT}),
    )
    with errors_named(path):
        folder.mkdir(exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        _require_disk(folder, arrays)
        try:
            # The caller waits: an asynchronous save's error would surface an epoch later or never.
            with _checkpointer() as checkpointer:
                checkpointer.save(unfinished.absolute(), args=content)
            fsync_tree(unfinished)
            write_manifest(unfinished)
            _remove(path)
            unfinished.rename(path)
        finally:
            sweep(folder)
        fsync_path(folder)
    return path


def _require_disk(folder: Path, tree: Any) -> None:
    """Raise OSError if the disk has no room for the arrays of `tree`.

    Orbax's threads print the stacks of what they do after a full disk has stopped them.
    """
    disk = shutil.disk_usage(folder)
    needed = sum(getattr(leaf, "nbytes", 0) for leaf in jax.tree.leaves(tree))
    if disk.total and disk.free < needed:  # some network disks report nothing
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(path: Path) -> tuple[Any, dict[str, Any]]:
    """What :func:`write` wrote; :class:`RunError` if it is damaged."""
    found = damage(path)
    if found is not None:
        raise _unusable(path, found)
    with errors_as(
        RunError, Exception, expected=f"{path} as kilter wrote it", remedy="restore it from a backup"
    ):
        return _restored(path)


def latest(run: Path, require: Callable[[Checkpoint], None] | None = None) -> Checkpoint | None:
    """The newest usable checkpoint; None if there are none, :class:`RunError` if all are unusable.

    Damaged ones, and those for which `require` raises :class:`RunError`, are skipped with a warning.
    """
    problems: list[str] = []
    for moment, path in reversed(_saved(run / FOLDER)):
        try:
            found = _read(moment, path)
            if require is not None:
                require(found)
        except RunError as error:
            problems.append(error.received)
            continue
        if problems:
            _warn(f"{'; '.join(problems)}. Using the checkpoint of {found.where} ({path.name}) instead")
        if not found.verified:
            _warn(f"{path} has no checksums (kilter 0.1.0 wrote none): damage cannot be detected")
        return replace(found, passed_over=tuple(problems))
    if problems:
        raise RunError(
            expected=f"a checkpoint in {run / FOLDER} that can be used",
            received="; ".join(problems),
            remedy=f"restore {FOLDER}/ from a backup; or empty that folder and run kilter resume, to train "
            "from the first epoch again",
        )
    return None


def drop_newer(run: Path, checkpoint: Checkpoint) -> None:
    """Remove the checkpoints after the one from which training resumes."""
    kept = _moment(checkpoint.epoch, checkpoint.step)
    for saved, path in _saved(run / FOLDER):
        if saved > kept:
            with errors_named(path):
                _remove(path)


class Throttle:
    """Says when a save is due: every `interval` seconds, and at most `share` of the time.

    A save of 0.5 million parameters with two slots each takes 0.2 to 0.4 s on 2 cores, an epoch of a small
    model a hundredth of that.
    """

    def __init__(self, *, share: float = 0.02, interval: float = 30.0) -> None:
        self._share = share
        self._interval = interval
        self._due = time.monotonic() + interval

    def due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return time.monotonic() >= self._due

    def saved(self, seconds: float) -> None:
        """Note a save that took `seconds`."""
        self._due = time.monotonic() + max(self._interval, seconds / self._share)


@contextmanager
def _checkpointer() -> Iterator[ocp.Checkpointer]:
    # Orbax logs the stack of an error that it also raises.
    log = logging.getLogger("absl")
    log.addFilter(_is_no_error)
    try:
        with _alone() as checkpointer:
            yield checkpointer
    finally:
        log.removeFilter(_is_no_error)


def _is_no_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR


def _alone() -> ocp.Checkpointer:
    # Without waiting for the other processes: the first writes its run, the others read their copy.
    alone = ocp.options.MultiprocessingOptions(primary_host=None, active_processes={jax.process_index()})
    parts = ocp.CompositeOptions(multiprocessing_options=alone)
    handler = ocp.CompositeCheckpointHandler(composite_options=parts)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _warn(text: str) -> None:
    warnings.warn(text, RunWarning, stacklevel=3)


Moment = tuple[int, float]  # the epoch, and the batches trained in it: infinity after the whole epoch


def _moment(epoch: int, step: int | None) -> Moment:
    return epoch, math.inf if step is None else step


def _read(moment: Moment, path: Path) -> Checkpoint:
    """The checkpoint in `path`; :class:`RunError` if it is damaged or orbax cannot read it."""
    found = damage(path)
    # Only kilter 0.1.0 wrote no manifest; whether the checkpoint is that old is known only after reading it.
    is_old = found is not None and not os.path.exists(path / MANIFEST)
    if found is not None and not is_old:
        raise _unusable(path, found)
    try:
        checkpoint = _restore(path)
        is_new = "format" in checkpoint.scalars
    except MemoryError:  # says nothing about the checkpoint
        raise
    except Exception as error:
        raise _unusable(path, f"{type(error).__name__}: {first_line(error)}") from error
    if is_old and is_new:
        raise _unusable(path, f"{MANIFEST} is missing")
    if _moment(checkpoint.epoch, checkpoint.step) != moment:
        raise _unusable(path, f"it contains {checkpoint.where}, not the moment of its name")
    return replace(checkpoint, verified=not is_old)


def _unusable(path: Path, why: str) -> RunError:
    return RunError(
        expected=f"an intact checkpoint in {path}",
        received=f"{path.name} is damaged: {why}",
        remedy="use an older checkpoint",
    )


def _restore(path: Path) -> Checkpoint:
    tree, scalars = _restored(path)
    return Checkpoint(int(scalars["epoch"]), tree, scalars, step=scalars.get("step"))


def _restored(path: Path) -> tuple[Any, dict[str, Any]]:
    content = ocp.args.Composite(state=ocp.args.StandardRestore(), scalars=ocp.args.JsonRestore())
    with _checkpointer() as checkpointer:
        restored = checkpointer.restore(path.absolute(), args=content)
    return restored["state"], restored["scalars"]


def _score(path: Path) -> float:
    """The score saved with a checkpoint; infinity where it is NaN or cannot be read."""
    try:
        with _checkpointer() as checkpointer:
            content = ocp.args.Composite(scalars=ocp.args.JsonRestore())
            score = float(checkpointer.restore(path.absolute(), args=content)["scalars"]["score"])
    except Exception:  # noqa: BLE001  (orbax raises anything for a damaged one, which cannot be the best)
        return math.inf
    return math.inf if math.isnan(score) else score


def _saved(folder: Path) -> list[tuple[Moment, Path]]:
    """The checkpoints in `folder` with their moments, oldest first."""
    named = ((_NAME.fullmatch(path.name), path) for path in entries(folder))
    return sorted(
        (_moment(int(found.group(1)), int(found.group(2)) if found.group(2) else None), path)
        for found, path in named
        if found
    )


def _retire(folder: Path) -> None:
    """Remove all but the last :data:`KEEP_LAST` and, of whole epochs, the last and the first best one."""
    saved = _saved(folder)
    whole = [path for (_, step), path in saved if step == math.inf]
    kept = {*whole[-1:], *([min(whole, key=_score)] if whole else [])}
    for _, path in saved[:-KEEP_LAST]:
        if path not in kept:
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a checkpoint; renamed first, so that no half-removed folder has a checkpoint's name."""
    if path.exists():
        doomed = path.with_name(f"{_UNFINISHED}-{uuid.uuid4().hex}")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)  # of a damaged one, a folder may forbid it


def sweep(folder: Path) -> None:
    """Remove what failed saves, or a killed writer, left behind."""
    for path in entries(folder):
        if path.name.startswith(_UNFINISHED):
            shutil.rmtree(path, ignore_errors=True)
