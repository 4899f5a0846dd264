"""One training of a study: a student made of reused layers, fine-tuned on labels, and scored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from kilter._compare.comparison import Comparison, PairedRun, verdicts
from kilter._engine.inference import predict
from kilter._plotting import Figure, drawn
from kilter._transfer.fine_tuning import fine_tune
from kilter._transfer.stages import Stage
from kilter.runs.records import to_json


@dataclass(frozen=True)
class ReuseStudy:
    """The result of :func:`kilter.reuse_study`.

    ``comparisons`` has one for each of ``labels``, whose baseline is the training from scratch; their scores
    are the accuracy on ``tested`` rows after the last epoch. ``unlabelled`` rows were given to each way, and
    ``pretraining`` has the seconds that each spent on them, the median over the pairs.
    """

    labels: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    unlabelled: int
    tested: int
    pretraining: Mapping[str, float]

    def table(self) -> list[dict[str, Any]]:
        """A row for each number of labels and way: as in :meth:`kilter._treatment.Comparison.table`."""
        return [
            {"labels": count, **row, "pairs": len(one.baseline.runs)}
            for count, one in zip(self.labels, self.comparisons, strict=True)
            for row in one.table()
        ]

    def verdicts(self) -> list[str]:
        """A sentence for each number of labels and way."""
        return [
            f"{count} labels: {said}"
            for count, one in zip(self.labels, self.comparisons, strict=True)
            for said in verdicts(one)
        ]

    def plot(self) -> Figure:
        """Accuracy against the number of labels, a line for each way: mean, lowest and highest pair."""
        return drawn("reuse_study", self)

    def to_json(self) -> str:
        """All of it as JSON text; numbers that are not finite are the strings "nan", "inf" and "-inf"."""
        return to_json(asdict(self), indent=2)


Labelled = tuple[np.ndarray, np.ndarray]

# A quarter of the epochs trains the head alone; then all at a third of the rate.
HEAD_START = 0.25
TUNING_RATE = 1 / 3


@dataclass(frozen=True)
class Plan:
    """How students learn the labels: the same number of epochs, whatever they start from."""

    classes: int
    epochs: int
    learning_rate: float
    batch_size: int

    def from_scratch(self, epochs: int | None = None) -> tuple[Stage, ...]:
        """All layers from the start, for ``epochs`` or the plan's."""
        return (Stage(epochs or self.epochs, train="all", learning_rate=self.learning_rate),)

    def of_reused(self) -> tuple[Stage, ...]:
        """The frozen head-start, then all layers at a lower rate."""
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
    """Fine-tune ``student`` on ``labelled`` rows, and score it on those ``tested``."""
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
    """The share of rows whose class has the highest output; NaN where an output is not finite."""
    outputs = predict(model, tested[0], verbose=0)
    if not np.isfinite(outputs).all():
        return float("nan")
    return float((outputs.argmax(axis=1) == tested[1]).mean())
