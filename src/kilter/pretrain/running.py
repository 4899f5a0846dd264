"""What all pretraining shares: the encoder copied, the rows looked at, the outcome measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import keras
import numpy as np

from kilter._engine.arrays import check_batch_size
from kilter._engine.fit import check_whole_numbers
from kilter._engine.history import History
from kilter._engine.inference import evaluate
from kilter._models.copying import copy_model
from kilter._models.tracing import some_rows
from kilter._plotting import Figure, drawn
from kilter.pretrain.pretext import PretextModel, Training
from kilter.pretrain.targets import check_encoder, check_varied, checked_rows
from kilter.runs.records import DataRecord


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A pretrained encoder.

    Attributes:
        task: what it was trained for, such as "denoising autoencoder" or "rotation".
        encoder: the trained copy of the encoder that was given, uncompiled, ready for :func:`kilter.reuse`.
        decoder: from codes to rows in the data's own units, for tasks that reconstruct; else None.
        history: the epochs; a greedy stack has those of all its stages in order.
        figures: what was measured at the end, on validation rows where there are any, else on training rows.
            For tasks that reconstruct ``error`` is the mean squared error, ``baseline`` that of the mean row,
            both in the units of the loss's targets, and ``explained`` is 1 - error / baseline. For tasks with
            an answer to choose ``accuracy`` and ``chance``, the accuracy of guessing. ``rows``: how many rows
            were measured. A sparse autoencoder has ``activity``, the mean of its codes.
        notes: sentences about what is wrong; empty where nothing is.
        learnt: whether the encoder is better at its task than one that looks at nothing.
        data: how the rows were read, for a recipe; it goes into the encoder's file. None for arrays.
    """

    task: str
    encoder: keras.Model
    decoder: keras.Model | None
    history: History
    figures: Mapping[str, float]
    notes: tuple[str, ...]
    learnt: bool
    data: DataRecord | None = field(default=None, kw_only=True)

    @property
    def seconds(self) -> float:
        """How long the epochs took, without compilation."""
        return sum(self.history.seconds)

    def to_json(self) -> dict[str, Any]:
        """The outcome as a JSON object, without the models."""
        return {
            "task": self.task,
            "learnt": self.learnt,
            "figures": dict(self.figures),
            "notes": list(self.notes),
            "epochs": len(self.history.epoch),
            "seconds": self.seconds,
            "compile_seconds": self.history.compile_seconds,
        }

    def plot(self) -> Figure:
        """The history, with a dotted line at the baseline error or at the accuracy of guessing."""
        levels = {name: self.figures[name] for name in ("baseline", "chance") if name in self.figures}
        return drawn("history", self.history, levels=levels)


MEASURED_ROWS: Final = 4096
# Below this share of the baseline's error taken away, an autoencoder is said to have learnt nothing.
LEAST_EXPLAINED: Final = 0.05
# Standard deviations of the share of right guesses that an accuracy is to lie above chance.
SURE: Final = 3.0

Encoder = keras.Model | Callable[[], keras.Model]


class Subject(NamedTuple):
    """The copy of the encoder that is trained, the rows, and those of validation if there are any."""

    encoder: keras.Model
    rows: np.ndarray
    held_out: np.ndarray | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row."""
        return tuple(self.rows.shape[1:])

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Of a row's code."""
        return tuple(self.encoder.outputs[0].shape[1:])

    def measured_rows(self, seed: int) -> np.ndarray:
        """At most :data:`MEASURED_ROWS` rows to measure on: of validation if there are any."""
        return some_rows(self.rows if self.held_out is None else self.held_out, MEASURED_ROWS, seed)


def subject_of(encoder: Encoder, x: Any, validation: Any, training: Training) -> Subject:
    """Check everything that is known before training, and copy the encoder."""
    check_batch_size(training.batch_size)
    check_whole_numbers(1, epochs=training.epochs)
    check_whole_numbers(seed=training.seed)
    training.make_optimizer()
    if not isinstance(encoder, keras.Model) and callable(encoder):
        encoder = encoder()
    check_encoder(encoder)
    rows = checked_rows(x, encoder)
    check_varied(rows)
    held_out = (
        None if validation is None else checked_rows(validation, encoder, named="validation_data", least=1)
    )
    return Subject(copy_model(encoder).model, rows, held_out)


def reconstruction_figures(
    model: PretextModel, subject: Subject, baseline: float, seed: int
) -> dict[str, float]:
    """The error of a model that gives rows back, beside ``baseline``, the error of the mean row."""
    rows = subject.measured_rows(seed)
    error = evaluate(model, rows, verbose=0)["error"]
    return {"error": error, "baseline": baseline, "explained": 1 - error / baseline, "rows": len(rows)}


def baseline_error(subject: Subject, targets: Any, seed: int) -> float:
    """The mean squared error, in the units of the targets, of taking every row for the mean training row."""
    mean = np.asarray(targets.of(some_rows(subject.rows, MEASURED_ROWS, seed))).mean(axis=0, dtype=np.float64)
    return float(np.square(np.asarray(targets.of(subject.measured_rows(seed))) - mean).mean())


def reconstruction_notes(figures: dict[str, float]) -> tuple[str, ...]:
    """What is wrong with a model that gives rows back."""
    if not math.isfinite(figures["error"]):
        return ("The error is not finite: training diverged. Lower the learning rate.",)
    if figures["explained"] >= LEAST_EXPLAINED:
        return ()
    return (
        f"Nothing was learnt: the error, {figures['error']:.4g}, is no better than that of the mean row, "
        f"{figures['baseline']:.4g}. Train longer, at another learning rate, or with a wider code.",
    )


def choice_notes(figures: dict[str, float]) -> tuple[str, ...]:
    """What is wrong with a model that chooses an answer: its accuracy is what guessing could give."""
    accuracy, chance = figures["accuracy"], figures["chance"]
    deviation = math.sqrt(chance * (1 - chance) / figures["rows"])
    if accuracy > chance + SURE * deviation:
        return ()
    return (
        f"Nothing was learnt: {accuracy:.2%} right answers on {figures['rows']:.0f} rows, where guessing "
        f"gives {chance:.2%}. Train longer, at another learning rate, or choose an easier task.",
    )
