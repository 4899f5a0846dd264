"""A run directory for ``kilter.fit(..., run=)``: a training without a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras

from kilter._engine.history import History
from kilter.runs.best_epoch import Watch
from kilter.runs.directory import create_run, discarded_unless_begun
from kilter.runs.environment import describe_environment
from kilter.runs.recorder import Recorder, average_in
from kilter.runs.records import Status
from kilter.runs.termination import saving_what_is_done
from kilter.runs.training import device_name


def keep(
    model: keras.Model,
    parent: Path,
    seed: int,
    callbacks: list[keras.callbacks.Callback],
    train: Callable[[list[keras.callbacks.Callback]], History],
    *,
    validated: bool,
) -> History:
    """Train with a recorder that fills a new run directory; an error before the first epoch leaves none."""
    watch = Watch("val_loss" if validated else "loss", "min")
    with create_run(parent, model.name) as directory, discarded_unless_begun(directory):
        directory.write_environment(describe_environment(device=device_name(), seed=seed))
        recorder = Recorder(directory, watch, average=average_in(callbacks))
        recorder.set_model(model)

        def finish(status: Status, reason: str) -> None:
            directory.finish(recorder.result(status, reason))

        with saving_what_is_done(recorder, finish, lambda: _where(recorder)):
            history = train([*callbacks, recorder])
            finish("finished", "a callback" if model.stop_training else "epochs")
        return history


def _where(recorder: Recorder) -> str:
    """Where the state is; without a recipe ``kilter resume`` does not apply."""
    if recorder.watch.last_epoch is None:
        return f"Nothing was trained yet; the run directory is {recorder.run.path}"
    return f"Its checkpoint and its best weights, which the model has now, are in {recorder.run.path}"
