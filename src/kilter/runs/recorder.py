"""The callback that fills a run directory while a model trains, and keeps the best weights.

It works with :func:`kilter.fit` and with Keras's own ``model.fit``.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np

from kilter._array_types import Host
from kilter._engine.averaging import WeightAverage
from kilter._engine.cuts import Cut, Start
from kilter._engine.divergence import Broken
from kilter._engine.program_cache import shelf
from kilter._models.variables import State, assign, copied, values_kept, variables
from kilter.errors import RunError
from kilter.runs import checkpoints
from kilter.runs.atomic import read_lines
from kilter.runs.best_epoch import Watch
from kilter.runs.callback_states import states_of
from kilter.runs.directory import Run
from kilter.runs.flights import write_flight
from kilter.runs.reading import HISTORY, read_history
from kilter.runs.records import EpochRecord, Result, Status

Weights = list[Host]

# The groups of variables in a checkpoint; those of the metrics only within an epoch, which resets them.
_GROUPS = ("trainable", "non_trainable", "optimizer")


class Best(NamedTuple):
    """The best weights so far, and the optimiser's state of the same epoch."""

    weights: Weights
    optimizer: Weights


@dataclass(frozen=True, eq=False)
class Unsaved:
    """A state that makes a checkpoint, kept until it is saved or there is a newer one."""

    epoch: int
    step: int | None
    tree: dict[str, Any]
    scalars: dict[str, Any]
    score: float


class Saver:
    """Runs one save at a time in a thread. What it raises is raised by the next call, and not lost."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="kilter-save")
        self._running: Future[object] | None = None

    def is_free(self) -> bool:
        """Whether no save is running; raises the error of the last one."""
        if self._running is not None and self._running.done():
            self.wait()
        return self._running is None

    def start(self, save: Callable[[], object]) -> None:
        """Begin a save, after the end of the last one."""
        self.wait()
        self._running = self._threads.submit(save)

    def wait(self) -> None:
        """Wait for the running save, if any."""
        running, self._running = self._running, None
        if running is not None:
            running.result()


class Recorder(keras.callbacks.Callback):
    """Writes a line and scalars for each epoch; model.keras and a checkpoint when due, and at the end.

    `watch` decides which epoch is best and when to stop; a resumed run passes its state with the `best`
    weights and the lines of its `history`. `average`: the callback that puts averaged weights into the model
    at the end of an epoch; a checkpoint has the trained weights and the state of the average, everything else
    the averages. `beside`: the other callbacks, of which those of Keras that count epochs are in the
    checkpoint too. `restored`: called when training begins, with the built model.

    Checkpoints are written beside training, also within an epoch, about every 30 s and in at most 2 % of the
    time. In between, the state after the last finished epoch is kept in memory for :meth:`save_newest`.
    """

    def __init__(
        self,
        run: Run,
        watch: Watch,
        *,
        best: Best | None = None,
        average: WeightAverage | None = None,
        history: Sequence[str] = (),
        beside: Sequence[keras.callbacks.Callback] = (),
        restored: "Callable[[Recorder], None]" = lambda recorder: None,
    ) -> None:
        super().__init__()
        self.run = run
        self.watch = watch
        self.average = average
        self.best = best
        self._history = tuple(history)
        self.beside = beside
        self._restored = restored
        self._newest: Unsaved | None = None
        self._saver = Saver()
        self._throttle = checkpoints.Throttle()
        self._model_epoch: int | None = None
        # Batches of the running epoch that a checkpoint has been made of; None after whole epochs.
        self.within: int | None = None
        self._divergence: dict[str, Any] | None = None
        self.stopped = False  # by another callback, after the newest epoch
        self._began = 0.0
        self._compiled = 0.0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Put a restored state into the model and the other callbacks, once."""
        restored, self._restored = self._restored, lambda recorder: None
        restored(self)

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
            self.best = Best(model.get_weights(), [np.array(one.value) for one in _optimizer_of(model)])
        self._history = (*self._history, record.to_json())
        self.stopped = bool(model.stop_training)
        average = self.average
        with contextlib.nullcontext() if average is None else average.training_weights():
            self._newest = self._unsaved(epoch, None, _state(model))
        if self.watch.has_waited_enough:
            model.stop_training = True
        # Before the optimiser's moving average, if it keeps one, replaces the weights at the end of training.
        if model.stop_training or epoch + 1 == (self.params or {}).get("epochs"):
            self._save_model()
            self.save_newest()
        elif self._saver.is_free() and self._throttle.due():
            self._save_model()
            self._save_beside(self._newest)

    def kilter_broken(self, broken: Broken) -> None:
        """Keep what a replay of a step that broke the training needs, and note it."""
        write_flight(self.run, broken)

    def kilter_cut(self, cut: Cut) -> None:
        """Save within an epoch, if that is due; keep what can be kept without a copy."""
        if cut.taken and not (self._saver.is_free() and self._throttle.due()):
            return
        state = copied(cut.state) if cut.taken else cut.state
        tree = dict(zip(State._fields, state, strict=True))
        names = _names(cut.logs)
        if names:
            tree["logs"] = [cut.logs[name] for name in names]
        self._divergence = cut.divergence
        self._newest = self._unsaved(cut.epoch, cut.step, tree, {"logs": names})
        if cut.taken:
            self._save_beside(self._newest)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Save what another callback's stop left unsaved, and put the best weights into the model."""
        self._saver.wait()
        if self._newest is not None:
            self._save_model()
            self.save_newest()
        self.keep_best()

    def result(self, status: Status, reason: str, **more: Any) -> Result:
        """The result of the run so far; ``more``: other fields of :class:`Result`.

        Lines of history.jsonl that were removed or changed while the run trained are written again.
        """
        if tuple(read_lines(self.run.path / HISTORY)) != self._history:
            self.run.restore_history(self._history)
            self.run.note(f"{HISTORY} was removed or changed during training, and is written again")
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
        if self.best is not None:
            model.set_weights(self.best.weights)
        self._save_model()

    def save_newest(self) -> None:
        """Save a checkpoint of the newest state that is known, if there is none; also in mid-epoch."""
        self._saver.wait()
        if self._newest is not None:
            self._save(self._newest)

    def save_model(self) -> None:
        """Write model.keras with the best weights of a restored run, whatever it has now."""
        if self.best is not None:
            self._save_model()

    def _save_beside(self, unsaved: Unsaved) -> None:
        self._throttle.saved(0.0)

        def save() -> None:
            began = time.monotonic()
            self._save(unsaved)
            self._throttle.saved(time.monotonic() - began)

        self._saver.start(save)

    def _save(self, unsaved: Unsaved) -> None:
        moment = {"step": unsaved.step, "score": unsaved.score}
        checkpoints.save(self.run.path, unsaved.epoch, unsaved.tree, unsaved.scalars, **moment)
        self.within = unsaved.step
        if self._newest is unsaved:
            self._newest = None

    def _unsaved(
        self, epoch: int, step: int | None, state: dict[str, Any], more: dict[str, Any] | None = None
    ) -> Unsaved:
        best = self.best or Best([], [])
        average = [] if self.average is None else self.average.state()
        tree = {**state, "best": best.weights, "best_optimizer": best.optimizer, "average": average}
        scalars = {
            "monitor": self.watch.monitor,
            "callbacks": states_of(self.beside),
            "divergence": self._divergence,
            "stopped": self.stopped and step is None,
            checkpoints.RUN: self.run.identity,
            checkpoints.HISTORY: list(self._history),
            **(more or {}),
        }
        return Unsaved(epoch, step, tree, scalars, self.watch.score if step is None else math.nan)

    def _save_model(self) -> None:
        """Write model.keras with the best weights, if it has others; the model itself does not change."""
        if self._model_epoch is not None and self._model_epoch == self.watch.best_epoch:
            return
        model = _model(self)
        with values_kept([*model.weights, *_optimizer_of(model)]):
            if self.best is not None:
                model.set_weights(self.best.weights)
                kept = zip(_optimizer_of(model), self.best.optimizer, strict=False)
                assign((one, value) for one, value in kept if one.shape == value.shape)
            self.run.save_best(model)
        self._model_epoch = self.watch.best_epoch


def average_in(callbacks: Iterable[keras.callbacks.Callback]) -> WeightAverage | None:
    """The callback that averages the weights, if there is one among ``callbacks``."""
    return next((one for one in callbacks if isinstance(one, WeightAverage)), None)


def restore(
    model: keras.Model, checkpoint: checkpoints.Checkpoint, average: WeightAverage | None = None
) -> None:
    """Put a checkpoint's state into a built, compiled model and ``average``."""
    groups = _groups(model)
    for name, group in groups.items():
        saved = checkpoint.tree[name]
        found, wanted = ([f"{tuple(one.shape)} {one.dtype}" for one in part] for part in (saved, group))
        if found != wanted:
            pairs = zip(group, wanted, found, strict=False)
            names = [(f"{one.path} {want}", have) for one, want, have in pairs if want != have]
            here, there = [*names, (f"{len(wanted)} {name} arrays", str(len(found)))][0]
            raise RunError(
                expected=f"the model of the run: {there} in its checkpoint of {checkpoint.where}",
                received=f"another model: {here}",
                remedy="resume with the model, code and packages that the run was started with, or begin a "
                "new run",
            )
        assign(zip(group, saved, strict=True))
    if average is not None:
        average.restore(checkpoint.tree["average"])


def best_of(checkpoint: checkpoints.Checkpoint) -> Best | None:
    """The best weights in a checkpoint, if any."""
    weights, optimizer = (
        [np.asarray(value) for value in checkpoint.tree.get(name, [])] for name in ("best", "best_optimizer")
    )
    return Best(weights, optimizer) if weights else None


def start_of(checkpoint: checkpoints.Checkpoint) -> Start:
    """Where the engine continues after a checkpoint."""
    divergence = checkpoint.scalars.get("divergence")
    if checkpoint.step is None:
        return Start(divergence=divergence)
    names = checkpoint.scalars.get("logs")
    logs = dict(zip(names, checkpoint.tree["logs"], strict=True)) if names else None
    return Start(checkpoint.step, checkpoint.tree["metrics"], logs, divergence)


def learning_rate(model: keras.Model) -> float | None:
    """The optimiser's learning rate now, if it has one."""
    rate = getattr(model.optimizer, "learning_rate", None)
    return None if rate is None else float(rate)


def _names(logs: Any) -> list[str]:
    """The names of a step's own logs, if they are single numbers."""
    single = isinstance(logs, dict) and all(np.ndim(value) == 0 for value in logs.values())
    return list(logs) if single else []


def _optimizer_of(model: keras.Model) -> list[Any]:
    return variables(model).optimizer


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
