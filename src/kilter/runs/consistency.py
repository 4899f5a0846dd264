"""Brings checkpoint and history of a resumed run to the newest epoch that both of them have."""

import warnings
from pathlib import Path
from typing import Any

from kilter._engine.cuts import Start
from kilter._text import counted
from kilter.errors import RunError, RunWarning
from kilter.runs import checkpoints
from kilter.runs.atomic import read_lines
from kilter.runs.best_epoch import Watch
from kilter.runs.checkpoints import Checkpoint
from kilter.runs.checksums import CHECKSUMS, identity_of
from kilter.runs.directory import Run
from kilter.runs.reading import HISTORY, read_history
from kilter.runs.recorder import Recorder, best_of, start_of
from kilter.runs.records import EpochRecord


def newest_cut(path: Path) -> Checkpoint | None:
    """The newest checkpoint for which the run at `path` has the whole history; None if there is none.

    Checkpoints of kilter 0.1.0 contain no history: history.jsonl must then reach as far. Raises
    :class:`RunError` if their folder is missing: it is made with the run, so it was lost.
    """
    folder = path / checkpoints.FOLDER
    if not folder.exists():
        raise RunError(
            expected=f"the folder {folder}, which every run has",
            received="no such folder: the checkpoints were removed, or were not copied with the run",
            remedy="copy it from where the run was. To train from the first epoch again instead, make an "
            f"empty folder {checkpoints.FOLDER} there",
        )
    checkpoints.sweep(folder)
    identity = identity_of(path)
    unknown: list[str] = []

    def require(found: Checkpoint) -> None:
        if identity is None and checkpoints.RUN in found.scalars:
            unknown.append(found.where)
        _require_own(found, identity)
        _require_history(path, found)

    try:
        checkpoint = checkpoints.latest(path, require)
    except RunError:
        if not unknown:
            raise
        raise RunError(
            expected=f"{path / CHECKSUMS}, which says which checkpoints are of this run",
            received="no such file",
            remedy="copy it from where the run was",
        ) from None
    if checkpoint is not None and checkpoints.HISTORY in checkpoint.scalars:
        _require_no_contradiction(path / HISTORY, checkpoint)
    return checkpoint


def recorder_at(
    run: Run, watch: Watch, checkpoint: Checkpoint | None, **more: Any
) -> tuple[Recorder, Start | None]:
    """The recorder as it was at the checkpoint, and where training continues; newer checkpoints are removed.

    ``more``: other arguments of :class:`Recorder`.
    """
    history = restore_history(run, checkpoint)
    for line in read_history(run.path):
        watch = watch.saw(line.epoch, line.logs)
    if checkpoint is None:
        return Recorder(run, watch, history=history, **more), None
    checkpoints.drop_newer(run.path, checkpoint)
    recorder = Recorder(run, watch, best=best_of(checkpoint), history=history, **more)
    recorder.stopped = checkpoint.scalars.get("stopped", False)
    return recorder, start_of(checkpoint)


def restore_history(run: Run, checkpoint: Checkpoint | None) -> tuple[str, ...]:
    """Make history.jsonl end at the checkpoint's epoch, write its missing lines, and return all of them."""
    found = read_lines(run.path / HISTORY)
    if checkpoint is None:
        if found:
            _tell(run, f"{run.path} has no checkpoint: training starts again from the first epoch")
        run.restore_history(())
        return ()
    for problem in checkpoint.passed_over:
        run.note(f"{problem}; resumed from {checkpoint.where}")
    if checkpoints.HISTORY not in checkpoint.scalars:
        lines = read_history(run.path)
        kept = tuple(line.to_json() for line in lines if line.epoch < checkpoint.finished)
        run.restore_history(kept)
        return kept
    saved = tuple(checkpoint.scalars[checkpoints.HISTORY])
    later = [line for line in found if _is_after(line, checkpoint.finished)]
    if later and not checkpoint.passed_over:  # else it is said why
        after = f"after the newest checkpoint ({checkpoint.where}), to be trained again"
        _tell(run, f"{run.path / HISTORY} has {counted(len(later), 'epoch')} {after}")
    missing = len(set(saved) - set(found))
    if missing:
        _tell(
            run,
            f"{run.path / HISTORY} lacked {missing} of {len(saved)} epochs, now restored from the checkpoint",
        )
    run.restore_history(saved)
    return saved


def _tell(run: Run, text: str) -> None:
    warnings.warn(text, RunWarning, stacklevel=3)
    run.note(text)


def _require_own(checkpoint: Checkpoint, identity: str | None) -> None:
    """Raise :class:`RunError` for a checkpoint of another run, which may be whole."""
    if checkpoint.scalars.get(checkpoints.RUN, identity) != identity:
        raise RunError(
            expected="a checkpoint of this run",
            received=f"the checkpoint of {checkpoint.where} is of another run",
            remedy="restore the run's own checkpoint",
        )


def _require_history(path: Path, checkpoint: Checkpoint) -> None:
    """Raise :class:`RunError` unless checkpoint or history.jsonl has every epoch up to the checkpoint's."""
    if checkpoints.HISTORY in checkpoint.scalars:
        return
    epochs = [line.epoch for line in read_history(path) if line.epoch <= checkpoint.epoch]
    if epochs != list(range(checkpoint.epoch + 1)):
        raise RunError(
            expected=f"the {checkpoint.epoch + 1} epochs before the checkpoint in {path / HISTORY}",
            received=f"{HISTORY} has only {len(epochs)} of the {checkpoint.epoch + 1} epochs "
            f"before the checkpoint of epoch {checkpoint.epoch + 1}",
            remedy=f"restore {HISTORY} from a backup",
        )


def _require_no_contradiction(path: Path, checkpoint: Checkpoint) -> None:
    """Raise :class:`RunError` if a line of history.jsonl was changed: the user has to decide."""
    found, saved = read_lines(path), set(checkpoint.scalars[checkpoints.HISTORY])
    if saved <= set(found):
        return
    for number, line in enumerate(found, start=1):
        if line not in saved and not _is_after(line, checkpoint.finished):
            raise RunError(
                expected=f"{path} as kilter wrote it, up to epoch {checkpoint.finished}",
                received=f"line {number} differs from that in the checkpoint: {line[:80]!r}",
                remedy="remove that line, or the file, and resume again: the checkpoint has what is missing",
            )


def _is_after(line: str, finished: int) -> bool:
    try:
        return EpochRecord.from_json(line).epoch >= finished
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
