"""The result of a training run: Keras's History with times, measurements, findings and a plot."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import keras

from kilter._engine.divergence import Event
from kilter._records import Figure, Finding, Measurements, drawn


class History(keras.callbacks.History):
    """Keras's history (``.history``, ``.epoch``, ``.params``) with more.

    Attributes:
        seconds: one float per epoch, with validation and without compilation.
        compiling, waiting: seconds of each epoch that went into compiling, and into waiting for data.
        compile_seconds: tracing and compiling, or loading from the cache; 0.0 if all programs existed.
        memory: bytes that the process held after each epoch; 0 where the system does not say.
        stable_loss: True if a cross-entropy was computed from logits where Keras would clip probabilities.
        events: where the training broke and went back, see ``guard`` of :func:`kilter.fit`.
        not_finite: NaN and infinity found in the data, by input, for "data" and "validation data".
        measurements: of the layers after some of the epochs; None if there are none.
        examine: makes the findings from measurements and curves; called once.

    A pickle or copy holds the numbers and the findings, but not the model.
    """

    def __init__(self, not_finite: dict[str, dict[str, str]] | None = None) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.seconds: list[float] = []
        self.compiling: list[float] = []
        self.waiting: list[float] = []
        self.memory: list[int] = []
        self.compile_seconds = 0.0
        self.stable_loss = False
        self.events: list[Event] = []
        self.not_finite = not_finite or {}
        self.measurements: Measurements | None = None
        self.examine: Callable[[], tuple[Finding, ...]] = tuple

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the model, which may not be picklable; the findings, which need it, are made now."""
        return vars(self) | {"findings": self.findings, "examine": tuple, "_model": None}

    def append(self, other: "History", *, shift: int = 0) -> None:
        """Add the epochs of another training, with ``shift`` added to their numbers.

        A measure that an epoch lacks is NaN there.
        """
        before, after = len(self.epoch), len(other.epoch)
        for name in dict.fromkeys([*self.history, *other.history]):
            earlier = self.history.get(name, [math.nan] * before)
            self.history[name] = [*earlier, *other.history.get(name, [math.nan] * after)]
        self.epoch += [epoch + shift for epoch in other.epoch]
        self.seconds += other.seconds
        self.events += other.events
        self.compile_seconds += other.compile_seconds
        self.params = other.params

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The problems that curves and measurements show, most severe first."""
        return self.examine()

    def plot(self) -> Figure:
        """Each logged number against the epoch, one colour for each measure.

        Solid: training. Dotted: training rows in inference mode (``train_``). Dashed: validation.
        """
        return drawn("history", self)
