"""The epochs of a training as a person sees them: which one runs, its measures, the time left.

Keras callbacks that report to a :class:`~kilter._progress.Progress`, shared by ``fit``, the command line and
treatments.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import keras
import numpy as np

from kilter._engine.program_cache import shelf
from kilter._progress import SILENT, Display, Pace, Progress, UpdatingLine, Verbose, check_verbose, display
from kilter._text import duration, measures, number


class EpochStages(keras.callbacks.Callback):
    """Tells ``progress`` which epoch runs and how long the others will take.

    ``clock`` gives seconds, by default those that pass while nothing is compiled for the model. Within the
    first epoch its steps after the first chunk are timed, later the epochs after it: what is loaded and set
    up once is in neither.
    """

    def __init__(
        self, progress: Progress, name: str = "Epoch", *, clock: Callable[[], float] | None = None
    ) -> None:
        super().__init__()
        self._progress = progress
        self._name = name
        self._clock = self._without_compiling if clock is None else clock
        self._pace = Pace(self._clock)
        self._epoch = 0
        self._first = 0
        self._timing = False
        self._epoch_began = 0.0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Forget the pace of an earlier training."""
        self._pace = Pace(self._clock)
        self._first = -1
        self._timing = False

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Name the epoch."""
        if self._first < 0:
            self._first = epoch
        if epoch - self._first < 2:
            self._pace.begin(epoch)
        self._epoch, self._epoch_began = epoch, time.perf_counter()
        self._tell(epoch, detail="compiling" if epoch == self._first and self._must_compile() else "")

    def _tell(self, done: float, detail: str = "") -> None:
        epochs = self._epochs()
        left = self._pace.seconds_left(done, epochs) if epochs else None
        self._progress.stage(self._name, self._epoch + 1, epochs, detail=detail, seconds_left=left)

    def _must_compile(self) -> bool:
        return isinstance(self.model, keras.Model) and not shelf(self.model).programs

    def _epochs(self) -> int:
        return (self.params or {}).get("epochs") or 0

    def _without_compiling(self) -> float:
        compiled = shelf(self.model).seconds if isinstance(self.model, keras.Model) else 0.0
        return time.perf_counter() - compiled


class EpochLines(EpochStages):
    """Prints a line at the end of each epoch too: its number, the measures, the time it took.

    Example of a line: ``epoch 3/20  loss 0.4012  val_loss 0.4379  0.83 s``.
    """

    def __init__(self, display: Display, *, clock: Callable[[], float] | None = None) -> None:
        super().__init__(display, clock=clock)
        self._display = display

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Print the line."""
        took = duration(time.perf_counter() - self._epoch_began)
        self._display.print(f"epoch {epoch + 1}/{self._epochs() or '?'}  {measures(_numbers(logs))}  {took}")

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Take away what does not stay."""
        self._display.close()


class EpochBar(EpochLines):
    """Shows how far the epoch is as well: the measures so far, batches a second.

    The engine reports batches at the end of a compiled chunk, so the numbers move in leaps.
    """

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Show how far the epoch is."""
        steps = (self.params or {}).get("steps")
        if not steps:
            self._tell(self._epoch, f"batch {batch + 1}, {measures(_numbers(logs))}")
            return
        done = self._epoch + (batch + 1) / steps
        if not self._timing and self._epoch == self._first:
            self._pace.begin(done)  # the first chunk of steps was compiled, and all set up for it
            self._timing = True
        rate = self._pace.rate(done)
        pace = "" if rate is None else f"{number(rate * steps)} batches/s, "
        self._tell(done, f"{pace}batch {batch + 1} of {steps}, {measures(_numbers(logs))}")


def epochs_on(shown: Display, *, clock: Callable[[], float] | None = None) -> EpochLines:
    """The bar where the display changes in place, the lines elsewhere: only the bar asks for batches."""
    return (EpochBar if isinstance(shown, UpdatingLine) else EpochLines)(shown, clock=clock)


@contextlib.contextmanager
def epochs_told(verbose: Verbose) -> Iterator[list[EpochStages]]:
    """The callbacks of a training that show what ``verbose`` asks for; a listener hears of the epochs."""
    check_verbose(verbose)
    if not isinstance(verbose, str | int):
        yield [] if verbose is SILENT else [_heard_by(verbose)]
        return
    shown = display(verbose)
    try:
        yield [] if verbose == 0 else [epochs_on(shown)]
    finally:
        shown.close()


def _heard_by(listener: Progress) -> EpochStages:
    return EpochStages(listener) if not hasattr(listener, "print") else epochs_on(cast(Display, listener))


def _numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """The measures that are single numbers: an overridden ``train_step`` may log arrays too."""
    return {name: float(value) for name, value in (logs or {}).items() if np.ndim(value) == 0}
