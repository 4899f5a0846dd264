"""The callback that fills a run directory while a model trains, and keeps the best weights.

It works with :func:`kilter.fit` and with Keras's own ``model.fit``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kilter._array_types import Host
from kilter._engine.averaging import WeightAverage
from kilter._engine.program_cache import shelf
from kilter._models.variables import assign, values_kept, variables
from kilter.errors import RunError
from kilter.runs import checkpoints
from kilter.runs.best_epoch import Watch
from kilter.runs.directory import Run
from kilter.runs.reading import read_history
from kilter.runs.records import EpochRecord, Result, Status

Weights = list[Host]

# The groups of variables in a checkpoint; metrics are reset every epoch.
_GROUPS = ("trainable", "non_trainable", "optimizer")


@dataclass(frozen=True, eq=False)
class Finished:
    """The checkpoint of the last finished epoch, kept until it is saved or the next epoch ends."""

    epoch: int
    tree: dict[str, Any]
    history: tuple[str, ...]
    score: float


class Recorder(keras.callbacks.Callback):
    """Writes a line and scalars for each epoch; model.keras and a checkpoint when due, and at the end.

    `watch` decides which epoch is best and when to stop; a resumed run passes its state with the `best`
    weights and the lines of its `history`. `average`: the callback that puts averaged weights into the model
    at the end of an epoch; a checkpoint has the trained weights and the state of the average, everything else
    the averages. Saves take at most 5 % of the time; in between, the state after the last finished epoch is
    kept in memory for :meth:`save_finished`.
    """

    def __init__(
        self,
        run: Run,
        watch: Watch,
        *,
        best: Weights | None = None,
        average: WeightAverage | None = None,
        history: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.run = run
        self.watch = watch
        self.average = average
        self._best = best
        self._history = tuple(history)
        self._finished: Finished | None = None
        self._throttle = checkpoints.Throttle()
        self._checkpointed: int | None = watch.last_epoch
        self._model_epoch: int | None = None
        self._began = 0.0
        self._compiled = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._began = time.perf_counter()
        self._compiled = shelf(_model(self)).seconds

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the epoch, and save if a save is due."""
        model = _model(self)
        compiling = shelf(model).seconds - self._compiled
        numbers = {name: float(value) for name, value in (logs or {}).items() if np.ndim(value) == 0}
        record = EpochRecord(
            epoch=epoch,
            logs=numbers,
            seconds=time.perf_counter() - self._began - compiling,
            compile_seconds=compiling,
            # The logged rate, if any: the optimiser may already have the next epoch's.
            learning_rate=numbers.get("learning_rate", learning_rate(model)),
        )
        self.run.record_epoch(record)
        self.watch = self.watch.saw(epoch, record.logs)
        if self.watch.is_best:
            self._best = model.get_weights()
        self._history = (*self._history, record.to_json())
        self._finished = self._state_after(epoch)
        if self.watch.has_waited_enough:
            model.stop_training = True
        # Before the optimiser's moving average, if it keeps one, replaces the weights at the end of training.
        if self._throttle.due() or model.stop_training or epoch + 1 == (self.params or {}).get("epochs"):
            self._save_all()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Save what another callback's stop left unsaved, and put the best weights into the model."""
        if self._checkpointed != self.watch.last_epoch:
            self._save_all()
        self.keep_best()

    def result(self, status: Status, reason: str, **more: Any) -> Result:
        """The result of the run so far; ``more``: other fields of :class:`Result`."""
        watch, history = self.watch, read_history(self.run.path)
        return Result(
            status=status,
            reason=reason,
            monitor=watch.monitor,
            direction=watch.direction,
            best_epoch=watch.best_epoch,
            epochs=len(history),
            seconds=sum(line.seconds + line.compile_seconds for line in history),
            **more,
        )

    def keep_best(self) -> None:
        """Put the best weights, if any, into the model and model.keras; also after Ctrl-C, in mid-epoch."""
        model = _model(self)
        if not model.built:
            return
        if self._best is not None:
            model.set_weights(self._best)
        self._save_model()

    def save_finished(self) -> None:
        """Save a checkpoint of the last finished epoch if there is none; also in mid-epoch."""
        finished = self._finished
        if finished is None or finished.epoch == self._checkpointed:
            return
        scalars = {"monitor": self.watch.monitor, checkpoints.HISTORY: list(finished.history)}
        checkpoints.save(self.run.path, finished.epoch, finished.tree, scalars, score=finished.score)
        self._checkpointed = finished.epoch

    def _save_all(self) -> None:
        began = time.monotonic()
        self._save_model()
        self.save_finished()
        self._throttle.saved(time.monotonic() - began)

    def _state_after(self, epoch: int) -> Finished:
        average = self.average
        with contextlib.nullcontext() if average is None else average.training_weights():
            state = _state(_model(self))
        tree = {**state, "best": self._best or [], "average": [] if average is None else average.state()}
        return Finished(epoch, tree, self._history, self.watch.score)

    def _save_model(self) -> None:
        """Write model.keras with the best weights, if it has others; the model's weights do not change."""
        if self._model_epoch is not None and self._model_epoch == self.watch.best_epoch:
            return
        model = _model(self)
        with values_kept(model.weights):
            if self._best is not None:
                model.set_weights(self._best)
            self.run.save_best(model)
        self._model_epoch = self.watch.best_epoch


def average_in(callbacks: Iterable[keras.callbacks.Callback]) -> WeightAverage | None:
    """The callback that averages the weights, if there is one among ``callbacks``."""
    return next((one for one in callbacks if isinstance(one, WeightAverage)), None)


def restore(
    model: keras.Model, checkpoint: checkpoints.Checkpoint, average: WeightAverage | None = None
) -> Weights | None:
    """Put a checkpoint's state into a built, compiled model and into ``average``."""
    groups = _groups(model)
    for name, group in groups.items():
        saved = checkpoint.tree[name]
        found = [(tuple(value.shape), str(value.dtype)) for value in saved]
        wanted = [(tuple(variable.shape), str(variable.dtype)) for variable in group]
        if found != wanted:
            raise RunError(
                expected=f"a checkpoint of this model: {len(wanted)} {name} arrays of its shapes",
                received=f"{len(found)} arrays, or other shapes, in that of epoch {checkpoint.epoch}",
                remedy="resume with the code and packages that the run was started with (environment.json)",
            )
        assign(zip(group, saved, strict=True))
    if average is not None:
        average.restore(checkpoint.tree["average"])
    return [np.asarray(value) for value in checkpoint.tree["best"]] or None


def learning_rate(model: keras.Model) -> float | None:
    """The optimiser's learning rate now, if it has one."""
    rate = getattr(model.optimizer, "learning_rate", None)
    return None if rate is None else float(rate)


def _state(model: keras.Model) -> dict[str, list[Any]]:
    return {name: [variable.value for variable in group] for name, group in _groups(model).items()}


def _groups(model: keras.Model) -> dict[str, list[Any]]:
    """The Keras variables of the model by group."""
    return dict(zip(_GROUPS, variables(model), strict=False))


def _model(callback: keras.callbacks.Callback) -> keras.Model:
    model = callback.model
    if model is None:
        raise RuntimeError("the callback was called without a model: pass it to fit(callbacks=[...])")
    return model
