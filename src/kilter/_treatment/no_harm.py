"""Whether one trained model is worse than another on any measure of any output, on the same validation rows.

A model is worse if a measure is worse by more than one standard error of the paired difference. The standard
error is that of a delete-a-group jackknife over 20 groups of rows, left out of both models' measures.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import jax
import keras
import numpy as np

from kilter._engine.arrays import collect
from kilter._engine.inference import evaluate
from kilter._treatment.own_measures import names_of, predictions, row_measures
from kilter._treatment.policy import Policy, ScoringPolicy
from kilter._treatment.subject import Subject
from kilter.runs.best_epoch import direction_of
from kilter.runs.records import Direction

# Compiled metrics, by Keras's names, that repeat an own measure.
_OWN: Final = (
    "accuracy",
    "acc",
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
    "root_mean_squared_error",
    "mean_squared_error",
    "mse",
    "rmse",
)
# Metrics where less is better. Metrics of any other name are not compared: their direction is unknown.
_LESS_IS_BETTER: Final = (
    "error",
    "loss",
    "mae",
    "mape",
    "msle",
    "crossentropy",
    "hinge",
    "divergence",
    "logcosh",
    "poisson",
)


_POLICY: Final = Policy().scoring


@dataclass(frozen=True, eq=False)
class Measured:
    """A measure of one model: on all validation rows, and without each group of them, [groups].

    ``learnt``: whether it beats a constant answer; None where that is unknown.
    """

    name: str
    output: str
    direction: Direction
    value: float
    without: np.ndarray
    learnt: bool | None


@dataclass(frozen=True)
class MeasureCheck:
    """One measure of one output, of the given model and of another, on the same validation rows.

    ``error`` is the standard error of the difference, NaN where it is unknown. The verdict is on ``other``:
    "better" or "worse" where they differ by more than ``ScoringPolicy.harm_errors`` of it, else "alike". A
    model with outputs that are not finite is worse than any other.
    """

    measure: str
    given: float
    other: float
    error: float
    verdict: Literal["better", "alike", "worse"]

    def __str__(self) -> str:
        """In words, such as "accuracy of kind: 0.53 → 0.26"."""
        return f"{self.measure}: {self.given:.4g} → {self.other:.4g}"


def measured(original: Subject, subject: Subject, model: keras.Model) -> list[Measured]:
    """All measures of ``model``, a trained model of ``subject``, on the subject's validation rows.

    The own measures of each output (see ``own_measures``), and compiled metrics that add to them. If an
    output has no measure of its own, its loss is used, provided the subject still has its original loss.
    """
    structured = predictions(subject, model)
    outputs = [np.asarray(one) for one in jax.tree.leaves(structured)]
    groups = (
        min(subject.policy.scoring.jackknife_groups, subject.validation_rows)
        if subject.validation_rows > 1
        else 0
    )
    own = [
        Measured(
            one.name,
            one.output,
            one.direction,
            one.value,
            one.without(groups),
            _has_learnt(one.direction, one.value, one.chance),
        )
        for one in row_measures(original, subject, outputs)
    ]
    unmeasured = len({one.output for one in own}) < len(outputs)
    losses = _loss(subject, model, groups) if unmeasured and _same_loss(original, subject) else []
    return own + losses + _compiled(subject, model, structured, groups)


def compared(
    given: Sequence[Measured], other: Sequence[Measured], policy: ScoringPolicy = _POLICY
) -> tuple[MeasureCheck, ...]:
    """A check for every measure that both have.

    If the ``given`` model has learnt nothing of an output, its compiled metrics are left out: a constant
    answer may have a perfect recall.
    """
    theirs = {one.name: one for one in other}
    idle = {one.output for one in given if one.learnt is False} - {one.output for one in given if one.learnt}
    return tuple(
        _check(one, theirs[one.name], policy)
        for one in given
        if one.name in theirs and not (one.learnt is None and one.output in idle)
    )


def harms(checks: Sequence[MeasureCheck]) -> list[MeasureCheck]:
    """The checks that say "worse"."""
    return [one for one in checks if one.verdict == "worse"]


def has_learnt(of: Sequence[Measured]) -> bool:
    """Whether a model is better than a constant answer on any output."""
    return any(one.learnt for one in of)


def values(of: Sequence[Measured]) -> dict[str, float]:
    """The measures on all rows, by name."""
    return {one.name: one.value for one in of}


def _check(given: Measured, other: Measured, policy: ScoringPolicy) -> MeasureCheck:
    sign = 1.0 if given.direction == "max" else -1.0
    gain = sign * (other.value - given.value)
    error = _jackknife_error(other.without - given.without)
    if not math.isfinite(given.value) or not math.isfinite(other.value):
        gain, error = float(math.isfinite(other.value)) - float(math.isfinite(given.value)), math.nan
    allowed = policy.harm_errors * error if math.isfinite(error) else 0.0
    verdict = "better" if gain > allowed else "worse" if gain < -allowed else "alike"
    return MeasureCheck(given.name, given.value, other.value, error, verdict)


def _jackknife_error(without: np.ndarray) -> float:
    """The delete-a-group jackknife's standard error; NaN for fewer than two groups.

    B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 11.
    """
    count = len(without)
    if count < 2 or not np.isfinite(without).all():
        return math.nan
    return float(np.sqrt((count - 1) * np.var(without)))


def _has_learnt(direction: Direction, value: float, chance: float) -> bool | None:
    if not math.isfinite(chance):
        return None
    return math.isfinite(value) and (value > chance if direction == "max" else value < chance)


def _compiled(subject: Subject, model: keras.Model, predicted: Any, groups: int) -> list[Measured]:
    """Compiled metrics that no own measure stands for, from the predictions."""
    metrics: Any = getattr(model, "_compile_metrics", None)
    if metrics is None or not metrics.built:
        return []
    names = [name for name in metrics.result() if not _base(name).endswith(_OWN)]
    directions: dict[str, Direction] = {name: way for name in names if (way := _direction(name)) is not None}
    if not directions:
        return []
    wanted = collect(subject.x_val, subject.y_val).data[1]
    rows = np.arange(subject.validation_rows)
    full = _results(metrics, wanted, predicted, rows)
    without = [_results(metrics, wanted, predicted, rows[rows % groups != group]) for group in range(groups)]
    outputs = names_of(model, len(jax.tree.leaves(predicted)))
    return [
        Measured(
            name,
            _output_of(name, outputs),
            way,
            full[name],
            np.array([one[name] for one in without]),
            None,
        )
        for name, way in directions.items()
    ]


def _loss(subject: Subject, model: keras.Model, groups: int) -> list[Measured]:
    """The compiled loss: of each group of rows, and so of all, and of all but one."""
    rows = np.arange(subject.validation_rows)
    chosen = [rows[group::groups] for group in range(groups)] or [rows]
    each = np.array([_loss_of(subject, model, part) for part in chosen])
    sizes = np.array([len(part) for part in chosen])
    total = float(each @ sizes)
    without = (total - each * sizes) / np.maximum(len(rows) - sizes, 1)
    return [Measured("loss", "", "min", total / len(rows), without, None)]


def _loss_of(subject: Subject, model: keras.Model, rows: np.ndarray) -> float:
    x, y = (_chosen(part, rows) for part in (subject.x_val, subject.y_val))
    return evaluate(model, x, y, batch_size=len(rows), verbose=0)["loss"]


def _same_loss(original: Subject, subject: Subject) -> bool:
    given, now = (getattr(one.model, "_compile_config", None) for one in (original, subject))
    if given is None or now is None:
        return False
    return all(given.config[name] is now.config[name] for name in ("loss", "loss_weights"))


def _chosen(data: Any, rows: np.ndarray) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], data)


def _results(metrics: Any, wanted: Any, predicted: Any, rows: np.ndarray) -> dict[str, float]:
    metrics.reset_state()
    metrics.update_state(_chosen(wanted, rows), _chosen(predicted, rows))
    found = {name: float(np.mean(value)) for name, value in metrics.result().items()}
    metrics.reset_state()
    return found


def _output_of(name: str, outputs: Sequence[str]) -> str:
    """The output that a metric is of: Keras puts its name before the metric's."""
    return next((one for one in sorted(outputs, key=len, reverse=True) if name.startswith(f"{one}_")), "")


def _base(name: str) -> str:
    """The metric's name without the number that Keras adds to a second one."""
    return re.sub(r"_\d+$", "", name.lower())


def _direction(name: str) -> Direction | None:
    base = _base(name).replace("io_u", "iou")
    if direction_of(base) == "max":
        return "max"
    return "min" if base.endswith(_LESS_IS_BETTER) else None
