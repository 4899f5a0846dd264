"""One training of a study: a student made of reused layers, fine-tuned on labels, and scored."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import plotly.graph_objects as graph_objects
from plotly.colors import qualitative

from kilter._compare.comparison import Comparison, PairedRun, verdicts
from kilter._engine.inference import predict
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
        """A row for each number of labels and way."""
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

    def plot(self) -> graph_objects.Figure:
        """Accuracy against the number of labels, a line a way: the mean, and from lowest to highest pair."""
        figure = graph_objects.Figure()
        for index, name in enumerate(one.name for one in self.comparisons[0].candidates):
            scores = [each.candidates[index].scores for each in self.comparisons]
            means = [statistics.fmean(of) for of in scores]
            figure.add_scatter(
                x=self.labels,
                y=means,
                name=name,
                mode="lines+markers",
                line={"color": qualitative.D3[index % len(qualitative.D3)]},
                error_y={
                    "type": "data",
                    "array": [max(of) - mean for of, mean in zip(scores, means, strict=True)],
                    "arrayminus": [mean - min(of) for of, mean in zip(scores, means, strict=True)],
                },
            )
        return figure.update_layout(
            template="plotly_white",
            xaxis={"title": "labelled rows", "type": "log", "tickvals": self.labels},
            yaxis={"title": f"accuracy on {self.tested} rows (share)"},
        )

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
