"""What is seen of a training run while it runs: a bar on a terminal, plain lines anywhere else.

Both are Keras callbacks, and context managers that leave the terminal as it was, however the training ends.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from kilter import backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from kilter.cli.words import measures, number
from kilter.words import duration


class EpochLines(keras.callbacks.Callback):
    """Prints a line at the end of each epoch: its number, the measures, the time it took.

    Example of a line: ``epoch 3/20  loss 0.4012  val_loss 0.4379  0.83 s``.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._began = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Print the line."""
        took = time.perf_counter() - self._began
        line = f"epoch {epoch + 1}/{self._epochs()}  {measures(_numbers(logs))}  {duration(took)}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _epochs(self) -> int | str:
        return (self.params or {}).get("epochs") or "?"


class EpochBar(EpochLines):
    """The lines of :class:`EpochLines`, and below them a bar for the epoch that runs.

    It shows the measures so far, batches a second, and the time left if all epochs are run. It is told of
    batches as the engine reaches the end of a compiled chunk, so it moves in leaps.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._epoch = 0
        self._steps_before = 0
        self._first: tuple[int, float] | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[pace]}"),
            TextColumn("{task.fields[measured]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("preparing", total=None, pace="", measured="")

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Show the bar."""
        self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the bar back to the start of the epoch."""
        super().on_epoch_begin(epoch, logs)
        self._epoch = epoch
        title, pace = f"epoch {epoch + 1}/{self._epochs()}", self._bar.tasks[0].fields["pace"]
        self._bar.reset(self._task, total=self._steps(), description=title, pace=pace, measured="")

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Move the bar on."""
        pace = self._pace(batch + 1)
        self._bar.update(self._task, completed=batch + 1, pace=pace, measured=measures(_numbers(logs)))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Print the line above the bar."""
        super().on_epoch_end(epoch, logs)
        self._steps_before += self._steps() or 0

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Take the bar away."""
        self.close()

    def _steps(self) -> int | None:
        return (self.params or {}).get("steps")

    def _pace(self, done: int) -> str:
        """Batches a second, and the time left: the mean since the first report (compiling was before)."""
        now, trained = time.perf_counter(), self._steps_before + done
        if self._first is None:
            self._first = trained, now
            return ""
        rate = (trained - self._first[0]) / max(now - self._first[1], 1e-9)
        steps, epochs = self._steps(), self._epochs()
        left = ""
        if steps and isinstance(epochs, int) and rate > 0:
            left = f", {duration(((epochs - self._epoch) * steps - done) / rate)} left"
        return f"{number(rate)} batches/s{left}"


def progress(console: Console) -> EpochLines:
    """The bar where ``console`` is a terminal, the lines elsewhere."""
    return EpochBar(console) if console.is_terminal else EpochLines(console)


def _numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    return {name: float(value) for name, value in (logs or {}).items()}
