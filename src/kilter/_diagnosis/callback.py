"""A Keras callback that diagnoses, for users of ``model.fit``."""

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kilter._array_types import Arrays
from kilter._diagnosis.checks import speed
from kilter._diagnosis.context import checks_in
from kilter._diagnosis.diagnose import diagnose, read_context, run_checks
from kilter._diagnosis.thresholds import Thresholds
from kilter._diagnosis.watch import BatchLosses, Layers, Place, Stopwatch, cadence
from kilter._engine.training_spec import TrainingSpec
from kilter._layout import columns, wrapped
from kilter._models.keras_internals import io_utils
from kilter._models.variables import assign
from kilter._records import Diagnosis, Finding, ranked
from kilter._validation import whole_number
from kilter.errors import ModelError

_FIRST = 10  # steps after which silent errors show


class Doctor(keras.callbacks.Callback):
    """Diagnoses a model before, during and after training, and prints severe findings when they happen.

    Works with ``model.fit`` and :func:`kilter.fit`, and does not change the training by a single bit, unless
    ``stop`` ends it. The loss is checked after every batch (with :func:`kilter.fit` at the end of each chunk
    of batches); the layers are read at a cadence that costs about 1 % of the training's work. At the end it
    says what made the training slow: waiting for data, compiling, or small batches.

    Args:
        x, y: training rows, as for :func:`kilter.diagnose`.
        validation_data: (x, y), checked for rows that are also training rows.
        batch_size: as in training.
        steps: training steps to try with a copy of the model beforehand; 0 for none.
        every: steps between two readings of the layers; None for the cadence of 1 %, 0 for no readings.
        stop: whether to end the training at a severe finding. The weights of the start are kept then:
            :meth:`restart` puts them back, for :func:`kilter.treat`.
        thresholds: the limits of the checks.
        verbose: whether to print severe findings, and what happens during the training.

    Attributes:
        diagnosis: the latest one; None before training.
        events: (steps taken, finding) for what happened during the training, each code once.
        stopped: the finding that ended the training; None if none did.
    """

    kilter_chunked = True  # it only reads, so that kilter.fit need not pause at every batch

    def __init__(
        self,
        x: Arrays,
        y: Arrays,
        *,
        validation_data: tuple[Any, Any] | None = None,
        batch_size: int = 32,
        steps: int = 0,
        every: int | None = None,
        stop: bool = False,
        thresholds: Thresholds | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__()
        self._data = (x, y)
        self._options: dict[str, Any] = {
            "validation_data": validation_data,
            "batch_size": batch_size,
            "thresholds": thresholds,
        }
        self._steps = steps
        self._every = every if every is None else whole_number("every", every, 0)
        self._stop = stop
        self._verbose = verbose
        self._history: dict[str, list[float]] = {}
        self._start: list[np.ndarray] | None = None
        self._watch: Any = None
        self.diagnosis: Diagnosis | None = None
        self.events: list[tuple[int, Finding]] = []
        self.stopped: Finding | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Diagnose model and data, and if asked some training steps of a copy."""
        model: Any = self.model  # Keras has set it before any callback is called
        self._history, self.events, self.stopped = {}, [], None
        if self._watch is not None:  # of a training that an error ended
            self._watch.stop()
        self._diagnose(steps=self._steps)
        self._start = [np.array(one) for one in model.variables] if self._stop else None
        spec = TrainingSpec(batch_size=self._options["batch_size"])
        self._context = read_context(model, *self._data, spec, thresholds=self._options["thresholds"])
        self._losses = BatchLosses(self._context.thresholds)
        self._taken = self._batches = self._epoch = 0
        self._next = self._first_reading()
        self._layers = None if self._next is None else Layers(model, *self._data, self._context)
        if self._stop and self.diagnosis is not None and not self.diagnosis.ok:
            self._end(self.diagnosis.findings[0])
        self._watch = Stopwatch(model)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Running means start again."""
        self._epoch, self._batches = epoch, 0
        self._losses.begin_epoch()
        self._watch.begin_epoch()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Judge the loss of the batch, and read the layers if it is time."""
        self._watch.lap()
        self._taken += batch + 1 - self._batches
        self._batches = batch + 1
        place = Place(self._epoch, batch, self._taken)
        if logs and "loss" in logs:
            found = self._losses.see(place, float(logs["loss"]))
            self._happened(place, [] if found is None else [found])
        if self._next is not None and self._taken >= self._next and self.stopped is None:
            self._happened(place, self._reading())
            self._next = self._taken + self._cadence()
        self._watch.resume()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the numbers of the epoch."""
        self._watch.end_epoch()
        for name, value in (logs or {}).items():
            self._history.setdefault(name, []).append(float(value))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Diagnose the trained model, its learning curves, and what made the training slow."""
        self._watch.stop()
        steps = (self.params or {}).get("steps") or self._context.steps_per_epoch
        timing = self._watch.timing(steps, self._layers.work if self._layers else 0.0)
        if self.stopped is None:
            self._diagnose(steps=0, history=self._history)
        known = Diagnosis(()) if self.diagnosis is None else self.diagnosis
        slow = run_checks(checks_in(speed), replace(self._context, timing=timing))
        happened = {one.code: one for one in (*slow, *(one for _, one in self.events))}
        others = [one for one in known.findings if one.code not in happened]
        self.diagnosis = Diagnosis(ranked([*happened.values(), *others]), known.unchecked)

    def restart(self) -> keras.Model:
        """Put back the weights from before the training, and return the model, for :func:`kilter.treat`.

        Raises :class:`~kilter.errors.ModelError` without ``stop=True``, and before any training.
        """
        model: Any = self.model
        if self._start is None:
            raise ModelError(
                expected="a training run watched with stop=True, which keeps the initial weights",
                received="none",
                remedy="pass kilter.Doctor(x, y, stop=True) as a callback",
            )
        assign(zip(model.variables, self._start, strict=True))
        model.stop_training = False
        return model

    def _first_reading(self) -> int | None:
        """The step of the first reading: early if the training is long enough to pay for it."""
        if self._every is not None:
            return self._every or None
        planned = (self.params or {}).get("steps") or self._context.steps_per_epoch
        total = planned * (self.params or {}).get("epochs", 1)
        return _FIRST if total >= self._cadence() else None

    def _cadence(self) -> int:
        rows = min(128, 2 * self._context.batch_size)
        return self._every or cadence(rows, self._context.batch_size)

    def _reading(self) -> list[Finding]:
        model: Any = self.model
        return [] if self._layers is None else self._layers.read(model, self._taken)

    def _happened(self, place: Place, found: Iterable[Finding]) -> None:
        """Keep and say what is new, and end the training at a severe finding if asked."""
        known = {one.code for _, one in self.events}
        for one in found:
            if one.code in known:
                continue
            self.events.append((place.step, one))
            if self._verbose:
                _say(one, f"at {place}: ")
            if self._stop and one.severity == "severe" and self.stopped is None:
                self._end(one)

    def _end(self, found: Finding) -> None:
        model: Any = self.model
        self.stopped = found
        model.stop_training = True
        if self._verbose:
            io_utils.print_msg(f"kilter: training stopped by {found.code}; see Doctor.restart()")

    def _diagnose(self, **options: Any) -> None:
        model: Any = self.model
        diagnosis = diagnose(model, *self._data, **self._options, **options, verbose=0)
        known = () if self.diagnosis is None else self.diagnosis.codes("severe")
        self.diagnosis = diagnosis
        for one in diagnosis.findings:
            if self._verbose and one.severity == "severe" and one.code not in known:
                _say(one, "")


def _say(found: Finding, when: str) -> None:
    text = f"kilter: {when}{found.code}: {found.explanation}"
    io_utils.print_msg("\n".join(wrapped(text, columns(sys.stdout), indent="    ")))
