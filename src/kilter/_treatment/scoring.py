"""How good a trained model is on validation rows, by a measure that does not depend on its loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import jax
import keras
import numpy as np
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from kilter._compare.comparison import OwnMeasure
from kilter._engine.inference import evaluate
from kilter._models.variables import values_kept
from kilter._treatment.own_measures import (
    answers,
    are_classes,
    chance_accuracy,
    class_numbers,
    judged_in,
    predictions,
    row_measures,
)
from kilter._treatment.policy import Policy, ScoringPolicy
from kilter._treatment.subject import Subject

_POLICY: Final = Policy().scoring
Measure = Literal["val_accuracy", "val_rmse", "val_loss"]


@dataclass(frozen=True)
class Scoring:
    """The measure of a treatment, and the scores that results are compared with.

    Attributes:
        measure: "val_accuracy" for classes, "val_rmse" for numbers, "val_loss" for several outputs.
        chance: what a constant answer reaches; no better than that has learnt nothing. Infinite for a loss.
        baseline: what nearest neighbours and ridge regression reach; NaN where it is unknown.
        slack: how much worse than that (see :meth:`better_by`) a trained network may be.
        original: the subject before treatment, which says what each output is to learn.
    """

    measure: Measure
    chance: float
    baseline: float = math.nan
    slack: float = ScoringPolicy.short_error
    original: Subject | None = field(default=None, repr=False)
    policy: ScoringPolicy = field(default=_POLICY, repr=False)

    @property
    def sign(self) -> float:
        """1 where more is better, -1 where less is."""
        return 1.0 if self.measure == "val_accuracy" else -1.0

    def learnt_nothing(self, score: float) -> bool:
        """Whether a score is not finite, or no better than a constant prediction's."""
        return not math.isfinite(score) or self.sign * score <= self.sign * self.chance

    @property
    def clear(self) -> float:
        """A difference (see :meth:`better_by`) that is worth more changes than are needed to learn."""
        accuracy = self.measure == "val_accuracy"
        return self.policy.clear_accuracy if accuracy else self.policy.clear_error

    def leaves_little(self, score: float) -> bool:
        """Whether a score can hardly be improved."""
        if self.measure == "val_accuracy":
            return score >= 1 - self.policy.short_accuracy
        return (
            score <= self.policy.little_left * self.chance
            if math.isfinite(self.chance)
            else math.isfinite(score)
        )

    def falls_short(self, score: float, *, sound: bool = False) -> bool:
        """Whether a score is no better than a constant answer's, or clearly worse than the baselines'.

        A network without findings (``sound``) may be several times further behind: how long to train it is
        its owner's choice.
        """
        if self.learnt_nothing(score) or math.isnan(self.baseline):
            return self.learnt_nothing(score)
        negligible = self.policy.negligible * self.chance
        if self.measure != "val_accuracy" and abs(score - self.baseline) <= negligible:
            return False
        factor = self.policy.sound_factor if sound else 1
        return self.better_by(self.baseline, score) > self.slack * factor

    def is_behind(self, score: float) -> bool:
        """Whether a baseline is better than a score; False where no baseline is known."""
        return not math.isnan(self.baseline) and self.better_by(self.baseline, score) > 0

    def better_by(self, score: float, other: float) -> float:
        """How much better than ``other``: the difference of accuracies, the share of the error saved.

        Infinite if only one of them is finite, 0 if neither is.
        """
        if not (math.isfinite(score) and math.isfinite(other)):
            return (math.isfinite(score) - math.isfinite(other)) * math.inf if score != other else 0.0
        if self.measure == "val_accuracy":
            return score - other
        return (other - score) / max(abs(other), abs(score), 1e-12)

    def score(self, subject: Subject, model: keras.Model) -> float:
        """The score of ``model`` on the subject's validation rows; NaN where an output is not finite."""
        if self.measure == "val_loss":
            with values_kept(model.non_trainable_variables):
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
        if self.original is None:
            return {}
        outputs = [np.asarray(one) for one in jax.tree.leaves(predictions(subject, model))]
        found = row_measures(self.original, subject, outputs)
        return {one.name: OwnMeasure(one.value, one.direction) for one in found}


def scoring_of(subject: Subject) -> Scoring:
    """The measure that fits what the subject is to learn, from its validation targets and its loss."""
    return replace(
        _scoring_of(subject, subject.policy.scoring), original=subject, policy=subject.policy.scoring
    )


def _scoring_of(subject: Subject, policy: ScoringPolicy) -> Scoring:
    outputs = subject.facts[1]
    if len(outputs) != 1 or outputs[0].loss is None:
        return Scoring("val_loss", math.inf)
    targets = np.asarray(subject.y_val)
    if are_classes(np.asarray(subject.y), outputs[0].loss.name, outputs[0].units):
        counts = np.unique(class_numbers(targets), return_counts=True)[1]
        share = float(counts.max() / counts.sum())
        chance = chance_accuracy(share, len(targets), policy)
        numbers = class_numbers(np.asarray(subject.y)), class_numbers(targets)
        known = baseline_accuracy(subject.x, numbers[0], subject.x_val, numbers[1], policy)
        error = 0.0 if math.isnan(known) else math.sqrt(known * (1 - known) / len(targets))
        return Scoring("val_accuracy", chance, known, policy.short_accuracy + error)
    if targets[:1].size == math.prod(outputs[0].shape[1:]):
        chance = policy.chance_rmse * float(np.std(targets.astype(np.float64)))
        known = baseline_error(subject.x, np.asarray(subject.y), subject.x_val, targets, policy)
        return Scoring("val_rmse", chance, known, policy.short_error)
    return Scoring("val_loss", math.inf)


def baseline_accuracy(
    x: Any, classes: np.ndarray, x_val: Any, classes_val: np.ndarray, policy: ScoringPolicy = _POLICY
) -> float:
    """The better accuracy of nearest neighbours and ridge regression, on samples of the rows.

    NaN if the inputs are not one array of numbers, or if fewer than two classes are left.
    """
    parts = _parts(x, classes, x_val, classes_val, policy)
    if parts is None or len(np.unique(parts[1])) < 2:
        return math.nan
    rows, known, held, wanted = parts
    count = min(policy.neighbours, len(rows))
    return max(
        float(np.mean(method.fit(rows, known).predict(held) == wanted))
        for method in (KNeighborsClassifier(count), RidgeClassifier())
    )


def baseline_error(
    x: Any, y: np.ndarray, x_val: Any, y_val: np.ndarray, policy: ScoringPolicy = _POLICY
) -> float:
    """The smaller root mean squared error of the two; NaN also for more than 100 numbers a row."""
    if y[:1].size > policy.baseline_targets:
        return math.nan
    parts = _parts(x, y.reshape(len(y), -1), x_val, y_val.reshape(len(y_val), -1), policy)
    if parts is None or not np.isfinite(parts[1]).all():
        return math.nan
    rows, known, held, wanted = parts
    count = min(policy.neighbours, len(rows))
    return min(
        float(np.sqrt(np.mean((method.fit(rows, known).predict(held).reshape(wanted.shape) - wanted) ** 2)))
        for method in (KNeighborsRegressor(count), Ridge())
    )


def _parts(
    x: Any, y: np.ndarray, x_val: Any, y_val: np.ndarray, policy: ScoringPolicy
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Samples of finite rows, standardised by the training rows, and their targets in float64 or whole."""
    if len(jax.tree.leaves(x)) != 1:
        return None
    arrays = [np.asarray(jax.tree.leaves(one)[0]) for one in (x, x_val)]
    if any(array.dtype.kind not in "fiub" for array in arrays):
        return None
    (rows, known), (held, wanted) = (_sample(*part, policy) for part in zip(arrays, (y, y_val), strict=True))
    if len(rows) < 2 or not len(held):
        return None
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    deviation[deviation == 0] = 1.0
    return (rows - mean) / deviation, known, (held - mean) / deviation, wanted


def _sample(array: np.ndarray, targets: np.ndarray, policy: ScoringPolicy) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.random.default_rng(0).permutation(len(array))[: policy.baseline_rows]
    rows = array[chosen].reshape(len(chosen), -1).astype(np.float64)
    rows = rows[:, :: max(1, rows.shape[1] // policy.baseline_features)]
    finite = np.isfinite(rows).all(axis=1)
    return rows[finite], targets[chosen][finite]
