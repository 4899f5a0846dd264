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
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from kilter.cli.words import duration, measures, number


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
        self._started = 0.0
        self._first_epoch: int | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Rate(),
            _TimeLeft(),
            TextColumn("{task.fields[measured]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("compiling", total=None, measured="", left=None)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Show the bar."""
        self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the bar back to the start of the epoch."""
        super().on_epoch_begin(epoch, logs)
        if self._first_epoch is None:
            self._first_epoch, self._started = epoch, time.perf_counter()
        title = f"epoch {epoch + 1}/{self._epochs()}"
        self._bar.reset(self._task, total=(self.params or {}).get("steps"), description=title, measured="")

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Move the bar on."""
        self._bar.update(
            self._task,
            completed=batch + 1,
            measured=measures(_numbers(logs)),
            left=self._seconds_left(batch + 1),
        )

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Take the bar away."""
        self.close()

    def _seconds_left(self, done: int) -> float | None:
        """At the mean pace so far; None where the number of steps or epochs is not known."""
        task = self._bar.tasks[0]
        epochs = self._epochs()
        if not task.total or not isinstance(epochs, int) or self._first_epoch is None:
            return None
        epoch = int(task.description.removeprefix("epoch ").partition("/")[0]) - 1
        trained = (epoch - self._first_epoch) * task.total + done
        ahead = (epochs - epoch) * task.total - done
        return (time.perf_counter() - self._started) / trained * ahead


class _Rate(ProgressColumn):
    """Batches a second in the epoch that runs."""

    def render(self, task: Task) -> Text:
        return Text(f"{number(task.speed)} batches/s" if task.speed else "")


class _TimeLeft(ProgressColumn):
    """The time to the last epoch."""

    def render(self, task: Task) -> Text:
        left = task.fields["left"]
        return Text("" if left is None else f"{duration(left)} left")


def progress(console: Console) -> EpochLines:
    """The bar where ``console`` is a terminal, the lines elsewhere."""
    return EpochBar(console) if console.is_terminal else EpochLines(console)


def _numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    return {name: float(value) for name, value in (logs or {}).items()}
