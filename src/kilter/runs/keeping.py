"""A run directory kept beside a training that came as a model and arrays, without a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kilter import backend  # noqa: F401

# isort: split
import keras

from kilter.engine.averaging import WeightAverage
from kilter.engine.history import History
from kilter.runs.directory import create_run, discarded_unless_begun
from kilter.runs.environment import describe_environment
from kilter.runs.reading import read_history
from kilter.runs.recorder import Recorder
from kilter.runs.records import Result, Status
from kilter.runs.training import device_name
from kilter.runs.watch import Watch


def keep(
    model: keras.Model,
    parent: Path,
    seed: int,
    callbacks: list[keras.callbacks.Callback],
    train: Callable[[list[keras.callbacks.Callback]], History],
    *,
    validated: bool,
) -> History:
    """Train with a recorder that keeps what happens in a new run directory below ``parent``.

    The best epoch is that of the least validation loss, or the least loss where nothing is ``validated``.
    ``train`` gets the callbacks, the recorder among them. Ctrl-C leaves a directory that says so, with the
    best weights in it, and is raised again. What is refused before the first epoch leaves no directory.
    """
    watch = Watch("val_loss" if validated else "loss", "min")
    with create_run(parent, model.name) as directory, discarded_unless_begun(directory):
        directory.write_environment(describe_environment(device=device_name(), seed=seed))
        average = next((one for one in callbacks if isinstance(one, WeightAverage)), None)
        recorder = Recorder(directory, watch, average=average)
        recorder.set_model(model)
        try:
            history = train([*callbacks, recorder])
        except KeyboardInterrupt:
            recorder.keep_best()
            directory.finish(_result(recorder, "interrupted", "Ctrl-C"))
            raise
        directory.finish(_result(recorder, "finished", "a callback" if model.stop_training else "epochs"))
        return history


def _result(recorder: Recorder, status: Status, reason: str) -> Result:
    watch, lines = recorder.watch, read_history(recorder.run.path)
    return Result(
        status=status,
        reason=reason,
        monitor=watch.monitor,
        direction=watch.direction,
        best_epoch=watch.best_epoch,
        epochs=len(lines),
        seconds=sum(line.seconds + line.compile_seconds for line in lines),
    )
