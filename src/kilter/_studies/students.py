"""One training of a study: a student built on reused layers is fine-tuned on labels and scored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kilter._compare.comparison import PairedRun
from kilter._engine.inference import predict
from kilter._transfer.fine_tuning import fine_tune
from kilter._transfer.stages import Stage

Labelled = tuple[Any, np.ndarray]

# A quarter of the epochs trains the head alone; the rest trains all layers at a third of the rate.
HEAD_START = 0.25
TUNING_RATE = 1 / 3


@dataclass(frozen=True)
class Plan:
    """How students are trained on labels: for the same number of epochs, whatever they start from."""

    classes: int
    epochs: int
    learning_rate: float
    batch_size: int

    def from_scratch(self, epochs: int | None = None) -> tuple[Stage, ...]:
        """One stage that trains all layers, for ``epochs`` or the plan's."""
        return (Stage(epochs or self.epochs, train="all", learning_rate=self.learning_rate),)

    def of_reused(self) -> tuple[Stage, ...]:
        """The head alone first, then all layers at a lower rate."""
        start = max(1, round(HEAD_START * self.epochs))
        stages = [Stage(start, train="head", learning_rate=self.learning_rate)]
        if self.epochs > start:
            rate = TUNING_RATE * self.learning_rate
            stages.append(Stage(self.epochs - start, train="all", learning_rate=rate))
        return tuple(stages)


def trained(
    student: keras.Model,
    stages: Sequence[Stage],
    plan: Plan,
    labelled: Labelled,
    tested: Labelled,
    seed: int,
) -> PairedRun:
    """Fine-tune ``student`` on the ``labelled`` rows, and score it on the ``tested`` ones."""
    began = time.perf_counter()
    history = fine_tune(student, *labelled, stages=stages, batch_size=plan.batch_size, seed=seed, verbose=0)
    logs = [
        {name: values[epoch] for name, values in history.history.items()}
        for epoch in range(len(history.epoch))
    ]
    return PairedRun(
        seed=seed,
        score=accuracy(student, tested),
        best_epoch=len(logs) - 1,
        seconds=time.perf_counter() - began,
        history=tuple(logs),
        path="",
    )


def accuracy(model: keras.Model, tested: Labelled) -> float:
    """The share of rows whose class has the highest output; NaN if an output is not finite."""
    outputs = predict(model, tested[0], verbose=0)
    if not np.isfinite(outputs).all():
        return float("nan")
    return float((outputs.argmax(axis=1) == tested[1]).mean())
