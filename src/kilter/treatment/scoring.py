"""How good a trained model is on validation rows, by a measure that no change of its loss changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kilter import backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras

from kilter.engine.inference import evaluate, predict
from kilter.health.targets import labels, target_facts
from kilter.treatment.patient import Patient
from kilter.treatment.yardstick import plain_accuracy, plain_error

Measure = Literal["val_accuracy", "val_rmse", "val_loss"]

_DISTANCES = (
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
    "log_cosh",
    "mean_squared_logarithmic_error",
)
# A model that is no further than so many standard errors above chance has learnt nothing.
_CHANCE_ERRORS = 3.0
# Nor has a regression whose error is not below this share of the targets' deviation.
_CHANCE_RMSE = 0.97
# A trained network that a plain method is better than by more than this share of the error is not well yet.
_SHORT = 0.05
# Of accuracies by more than this, and a standard error of the accuracy on so many rows.
_SHORT_ACCURACY = 0.02
# More changes are worth it for so much more of accuracies, or of an error the share above.
_CLEAR_ACCURACY = 0.01
# An error below this share of a constant answer's leaves little to explain: 2 % of the variance.
_LITTLE = 0.14
# A network that looked sound may fall short by so many times as much.
_SOUND = 5
# Errors that differ by less than this share of a constant answer's are alike, however small the lesser is.
_NEXT_TO_NOTHING = 0.02
_MOST_AT_ONCE = 512


@dataclass(frozen=True)
class Scoring:
    """The measure of a treatment, and what a model reaches that has learnt nothing.

    Attributes:
        measure: "val_accuracy" for classes, "val_rmse" for numbers, "val_loss" for several outputs.
        chance: the score that is no better than a constant answer: accuracy at or below it, an error at or
            above it. Infinite for a loss, whose chance is not known.
        plain: what plain methods reach (:mod:`kilter.treatment.yardstick`); NaN where that is not known.
        slack: how much worse than that (see :meth:`better_by`) a trained network may be.
    """

    measure: Measure
    chance: float
    plain: float = math.nan
    slack: float = _SHORT

    @property
    def sign(self) -> float:
        """1 where more is better, -1 where less is."""
        return 1.0 if self.measure == "val_accuracy" else -1.0

    def learnt_nothing(self, score: float) -> bool:
        """Whether a score is not finite, or no better than a constant answer's."""
        return not math.isfinite(score) or self.sign * score <= self.sign * self.chance

    @property
    def clear(self) -> float:
        """A difference (see :meth:`better_by`) that is worth more changes than suffice without it."""
        return _CLEAR_ACCURACY if self.measure == "val_accuracy" else _SHORT

    def leaves_little(self, score: float) -> bool:
        """Whether hardly anything is left to gain on a score."""
        if self.measure == "val_accuracy":
            return score >= 1 - _SHORT_ACCURACY
        return score <= _LITTLE * self.chance if math.isfinite(self.chance) else math.isfinite(score)

    def falls_short(self, score: float, *, sound: bool = False) -> bool:
        """Whether a score is no better than a constant answer's, or clearly worse than a plain method's.

        Of a network in which nothing was found (``sound``) five times as much is allowed: it is a
        person's own choice how far to train it.
        """
        if self.learnt_nothing(score) or math.isnan(self.plain):
            return self.learnt_nothing(score)
        if self.measure != "val_accuracy" and abs(score - self.plain) <= _NEXT_TO_NOTHING * self.chance:
            return False  # a share of an error that is next to nothing says nothing
        return self.better_by(self.plain, score) > self.slack * (_SOUND if sound else 1)

    def is_behind(self, score: float) -> bool:
        """Whether plain methods are better than a score; not where theirs is not known."""
        return not math.isnan(self.plain) and self.better_by(self.plain, score) > 0

    def better_by(self, score: float, other: float) -> float:
        """How much better than ``other``: of accuracies their difference, of errors the share saved.

        Infinite where only one of them is finite, 0 where none is.
        """
        if not (math.isfinite(score) and math.isfinite(other)):
            return (math.isfinite(score) - math.isfinite(other)) * math.inf if score != other else 0.0
        if self.measure == "val_accuracy":
            return score - other
        return (other - score) / max(abs(other), abs(score), 1e-12)

    def score(self, patient: Patient, model: keras.Model) -> float:
        """The score of ``model`` on the patient's validation rows; NaN where an output is not finite."""
        if self.measure == "val_loss":
            size = whole_batches(len(keras.tree.flatten(patient.x_val)[0]))
            return evaluate(model, patient.x_val, patient.y_val, batch_size=size, verbose=0)["loss"]
        size = whole_batches(len(patient.y_val))
        outputs = np.asarray(predict(model, patient.x_val, batch_size=size, verbose=0), dtype=np.float64)
        outputs = outputs.reshape(len(outputs), -1)
        if not np.isfinite(outputs).all():
            return math.nan
        targets = np.asarray(patient.y_val)
        if self.measure == "val_rmse":
            return float(np.sqrt(np.mean((outputs - targets.reshape(len(targets), -1)) ** 2)))
        return float(np.mean(_answers(patient, outputs) == class_numbers(targets)))


def whole_batches(rows: int) -> int:
    """A size of batches that so many rows fill, so that one program serves them all; 512 where there is none.

    Example:
        >>> whole_batches(600), whole_batches(397), whole_batches(10_007)
        (300, 397, 512)
    """
    divisors = (size for size in range(_MOST_AT_ONCE, _MOST_AT_ONCE // 4, -1) if rows % size == 0)
    return next(divisors, rows if 0 < rows <= 2 * _MOST_AT_ONCE else _MOST_AT_ONCE)


def scoring_of(patient: Patient) -> Scoring:
    """The measure that fits what the patient is to learn, by its validation targets and its loss."""
    outputs = patient.facts[1]
    if len(outputs) != 1 or outputs[0].loss is None:
        return Scoring("val_loss", math.inf)
    targets = np.asarray(patient.y_val)
    if _are_classes(np.asarray(patient.y), outputs[0].loss.name, outputs[0].units):
        counts = np.unique(class_numbers(targets), return_counts=True)[1]
        share = float(counts.max() / counts.sum())
        error = math.sqrt(share * (1 - share) / len(targets))
        chance = min(share + _CHANCE_ERRORS * error, (1 + share) / 2)
        numbers = class_numbers(np.asarray(patient.y)), class_numbers(targets)
        plain = plain_accuracy(patient.x, numbers[0], patient.x_val, numbers[1])
        error = 0.0 if math.isnan(plain) else math.sqrt(plain * (1 - plain) / len(targets))
        return Scoring("val_accuracy", chance, plain, _SHORT_ACCURACY + error)
    if targets[:1].size == math.prod(outputs[0].shape[1:]):
        chance = _CHANCE_RMSE * float(np.std(targets.astype(np.float64)))
        plain = plain_error(patient.x, np.asarray(patient.y), patient.x_val, targets)
        return Scoring("val_rmse", chance, plain)
    return Scoring("val_loss", math.inf)


def class_numbers(targets: np.ndarray) -> np.ndarray:
    """The class of each row, int [n]: the place of the 1 in one-hot rows, else the number, -1 being 0."""
    rows = targets.reshape(len(targets), -1)
    if rows.shape[1] > 1:
        return rows.argmax(axis=1)
    return np.where(rows[:, 0] < 0, 0, np.round(rows[:, 0])).astype(np.int64)


def _are_classes(targets: np.ndarray, loss: str | None, units: int) -> bool:
    facts = target_facts(targets)
    if facts is None:
        return False
    if (
        facts.width == 1
        and facts.whole
        and (facts.low, facts.high) == (-1.0, 1.0)
        and ("hinge" in (loss or "") or loss == "binary_crossentropy")
    ):
        return True
    if labels(targets) is None and not facts.shares:
        return False
    counts = facts.width == 1 and facts.classes > 2 and units == 1
    return not (counts and loss in _DISTANCES)


def _answers(patient: Patient, outputs: np.ndarray) -> Any:
    if outputs.shape[1] > 1:
        return outputs.argmax(axis=1)
    loss = patient.facts[1][0].loss
    logits = loss is not None and (loss.from_logits or "hinge" in (loss.name or ""))
    return (outputs[:, 0] > (0.0 if logits else 0.5)).astype(np.int64)
