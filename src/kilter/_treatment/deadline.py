"""``max_seconds``: an explicit limit on the time of a treatment. Without it no clock decides anything."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras


@dataclass
class Deadline:
    """The limit, counted from the creation of this object, and what was left out because it had passed."""

    seconds: float | None = None
    left_out: list[str] = field(default_factory=list)
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """The seconds since the creation of this object."""
        return time.monotonic() - self._began

    def stops(self, step: str) -> bool:
        """Whether the limit has passed, so that ``step`` is left out."""
        if self.seconds is None or self.elapsed < self.seconds:
            return False
        if step not in self.left_out:
            self.left_out.append(step)
        return True

    def callbacks(self) -> tuple[keras.callbacks.Callback, ...]:
        """The callbacks that end a training after the epoch in which the limit passes; () without a limit."""
        return () if self.seconds is None else (_Stop(self),)

    def __str__(self) -> str:
        """What was left out, as text; "" for nothing."""
        done = "" if not self.left_out else f"after {self.seconds:g} seconds (max_seconds), without "
        return done + ", ".join(self.left_out)


class _Stop(keras.callbacks.Callback):
    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self.deadline = deadline

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        model: Any = self.model  # Keras has set both before any callback is called
        params: Any = self.params
        if epoch + 1 < params["epochs"] and self.deadline.stops("all epochs of a full training"):
            model.stop_training = True
