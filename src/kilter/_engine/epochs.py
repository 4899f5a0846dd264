"""Progress of a training run: the current epoch, its metrics, the time left.

Keras callbacks that report to a :class:`~kilter._progress.Progress`, for ``fit``, the command line and
treatments.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, cast

import keras
import numpy as np

from kilter._engine.program_cache import shelf
from kilter._progress import SILENT, Display, Pace, Progress, UpdatingLine, Verbose, check_verbose, display
from kilter._text import duration, measures, number


class EpochStages(keras.callbacks.Callback):
    """Reports the current epoch and the time left to ``progress``.

    In the first epoch the steps after the first chunk are timed, later the epochs after the first, and never
    compilation, unless ``clock`` has it.
    """

    kilter_chunked = True

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
        """Reset the pace."""
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
        compiles = epoch == self._first and isinstance(self.model, keras.Model)
        compiles = compiles and not shelf(self.model).programs
        self._tell(epoch, detail="compiling" if compiles else "")

    def _tell(self, done: float, detail: str = "") -> None:
        epochs = self._epochs()
        left = self._pace.seconds_left(done, epochs) if epochs else None
        self._progress.stage(self._name, self._epoch + 1, epochs, detail=detail, seconds_left=left)

    def _epochs(self) -> int:
        return (self.params or {}).get("epochs") or 0

    def _without_compiling(self) -> float:
        compiled = shelf(self.model).seconds if isinstance(self.model, keras.Model) else 0.0
        return time.perf_counter() - compiled


class EpochLines(EpochStages):
    """Also prints a line an epoch: ``epoch 3/20  loss 0.4012  val_loss 0.4379  0.83 s``."""

    def __init__(self, display: Display, *, clock: Callable[[], float] | None = None) -> None:
        super().__init__(display, clock=clock)
        self._display = display

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Print the line."""
        took = duration(time.perf_counter() - self._epoch_began)
        self._display.print(f"epoch {epoch + 1}/{self._epochs() or '?'}  {measures(_numbers(logs))}  {took}")

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Remove the line that changes in place."""
        self._display.close()


class EpochBar(EpochLines):
    """Also shows metrics so far and batches per second, at the end of each compiled chunk."""

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Show the progress within the epoch."""
        steps = (self.params or {}).get("steps")
        if not steps:
            self._tell(self._epoch, f"batch {batch + 1}, {measures(_numbers(logs))}")
            return
        done = self._epoch + (batch + 1) / steps
        if not self._timing and self._epoch == self._first:
            self._pace.begin(done)  # the first chunk includes compilation and set-up
            self._timing = True
        rate = self._pace.rate(done)
        pace = "" if rate is None else f"{number(rate * steps)} batches/s, "
        self._tell(done, f"{pace}batch {batch + 1} of {steps}, {measures(_numbers(logs))}")


def epochs_on(shown: Display, *, clock: Callable[[], float] | None = None) -> EpochLines:
    """The bar if the display changes in place, else the lines: only the bar needs batches."""
    return (EpochBar if isinstance(shown, UpdatingLine) else EpochLines)(shown, clock=clock)


@contextlib.contextmanager
def epochs_told(verbose: Verbose) -> Generator[list[EpochStages]]:
    """The callbacks that show a training as ``verbose`` says; a listener gets the epochs."""
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
    """The metrics that are single numbers: an overridden ``train_step`` may log arrays too."""
    return {name: float(value) for name, value in (logs or {}).items() if np.ndim(value) == 0}
