"""How good a trained model is on validation rows, by a measure that no change of its loss changes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import jax
import keras
import numpy as np

from kilter._compare.comparison import OwnMeasure
from kilter._engine.inference import evaluate, layer_state_kept
from kilter._treatment.baselines import plain_accuracy, plain_error
from kilter._treatment.own_measures import (
    CHANCE_RMSE,
    answers,
    are_classes,
    chance_accuracy,
    class_numbers,
    judged_in,
    predictions,
    row_measures,
)
from kilter._treatment.subject import Subject

Measure = Literal["val_accuracy", "val_rmse", "val_loss"]

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


@dataclass(frozen=True)
class Scoring:
    """The measure of a treatment, and what a model reaches that has learnt nothing.

    Attributes:
        measure: "val_accuracy" for classes, "val_rmse" for numbers, "val_loss" for several outputs.
        chance: the score that is no better than a constant answer: accuracy at or below it, an error at or
            above it. Infinite for a loss, whose chance is not known.
        plain: what plain methods reach (:mod:`kilter._treatment.baselines`); NaN where that is not known.
        slack: how much worse than that (see :meth:`better_by`) a trained network may be.
        came: the subject as it came, which says what each output is to learn; None for no own measures.
    """

    measure: Measure
    chance: float
    plain: float = math.nan
    slack: float = _SHORT
    came: Subject | None = field(default=None, repr=False)

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

    def score(self, subject: Subject, model: keras.Model) -> float:
        """The score of ``model`` on the subject's validation rows; NaN where an output is not finite."""
        if self.measure == "val_loss":
            with layer_state_kept(model):
                size = judged_in(subject)
                return evaluate(model, subject.x_val, subject.y_val, batch_size=size, verbose=0)["loss"]
        (outputs,) = jax.tree.leaves(predictions(subject, model))
        outputs = outputs.astype(np.float64).reshape(len(outputs), -1)
        if not np.isfinite(outputs).all():
            return math.nan
        targets = np.asarray(subject.y_val)
        if self.measure == "val_rmse":
            return float(np.sqrt(np.mean((outputs - targets.reshape(len(targets), -1)) ** 2)))
        return float(np.mean(answers(outputs, subject.facts[1][0]) == class_numbers(targets)))

    def own(self, subject: Subject, model: keras.Model) -> dict[str, OwnMeasure]:
        """The own measures of every output of ``model``, by name, on the subject's validation rows."""
        if self.came is None:
            return {}
        outputs = [np.asarray(one) for one in jax.tree.leaves(predictions(subject, model))]
        found = row_measures(self.came, subject, outputs)
        return {one.name: OwnMeasure(one.value, one.direction) for one in found}


def scoring_of(subject: Subject) -> Scoring:
    """The measure that fits what the subject is to learn, by its validation targets and its loss."""
    return replace(_scoring_of(subject), came=subject)


def _scoring_of(subject: Subject) -> Scoring:
    outputs = subject.facts[1]
    if len(outputs) != 1 or outputs[0].loss is None:
        return Scoring("val_loss", math.inf)
    targets = np.asarray(subject.y_val)
    if are_classes(np.asarray(subject.y), outputs[0].loss.name, outputs[0].units):
        counts = np.unique(class_numbers(targets), return_counts=True)[1]
        share = float(counts.max() / counts.sum())
        chance = chance_accuracy(share, len(targets))
        numbers = class_numbers(np.asarray(subject.y)), class_numbers(targets)
        plain = plain_accuracy(subject.x, numbers[0], subject.x_val, numbers[1])
        error = 0.0 if math.isnan(plain) else math.sqrt(plain * (1 - plain) / len(targets))
        return Scoring("val_accuracy", chance, plain, _SHORT_ACCURACY + error)
    if targets[:1].size == math.prod(outputs[0].shape[1:]):
        chance = CHANCE_RMSE * float(np.std(targets.astype(np.float64)))
        plain = plain_error(subject.x, np.asarray(subject.y), subject.x_val, targets)
        return Scoring("val_rmse", chance, plain)
    return Scoring("val_loss", math.inf)
