"""The returned model is never worse than the original one, on any measure of any output.

The treated model is returned unless it is worse than the original model after the user's own training. In
that case the original model is returned, with the weights of its best validation loss, or with its last
weights if those are better. A model that has already learnt something is never returned worse than it was: if
more training makes it worse, it is returned untrained.

A model is worse if the measure that decides is worse at all: what gains nothing there is not worth a change.
It is worse too if any other measure is worse by more than one standard error of the paired difference, or by
as many more as several measures need (:func:`errors_allowed`). The standard error is that of a delete-a-group
jackknife over 20 groups of rows, left out of both models' measures. Of several outputs, each has a measure
that decides: it may lose no more than the smallest gain that matters. Between the last and the best weights
of the original model no such measure may lose anything.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import keras
import numpy as np
from scipy import stats

from kilter._engine.arrays import collect
from kilter._engine.inference import evaluate
from kilter._treatment.full_training import AsGiven, Trained
from kilter._treatment.own_measures import Measured, names_of, own_answers, own_measures, predictions
from kilter._treatment.policy import Policy, ScoringPolicy
from kilter._treatment.result import MeasureCheck
from kilter._treatment.scoring import LOSS, Scoring
from kilter._treatment.subject import Subject
from kilter.errors import KilterError
from kilter.runs.best_epoch import direction_of
from kilter.runs.records import Direction

# Compiled metrics, by Keras's names, that repeat an own measure, or mislead where a class is rare.
_OWN: Final = ("accuracy", "acc", "root_mean_squared_error", "mean_squared_error", "mse", "rmse")
# Metrics where less is better. Metrics of any other name are not compared: their direction is unknown.
_LESS_IS_BETTER: Final = (
    *("error", "loss", "mae", "mape", "msle"),
    *("crossentropy", "hinge", "divergence", "logcosh", "poisson"),
)
_POLICY: Final = Policy().scoring


@dataclass(frozen=True, eq=False)
class Returned:
    """The trained model that is returned, why it is the original one ("" if it is not), and the measures.

    ``checks``: the treated model against the original one, both trained; () if nothing was changed.
    ``before`` and ``after``: the measures of the original and of the returned model.
    """

    trained: Trained
    kept: str
    checks: tuple[MeasureCheck, ...]
    before: dict[str, float]
    after: dict[str, float]


def safest(
    original: Subject, treated: Trained | None, given: AsGiven, scoring: Scoring, *, by_reason: bool = False
) -> Returned:
    """What to return: the ``treated`` model (None if nothing was changed), or the ``given`` one.

    ``by_reason``: whether the changes need not show that they learn something, as on a few rows they cannot.
    """
    policy = original.policy.scoring
    rows = original if treated is None else treated.subject
    also = [measure for _, measure, _ in scoring.outputs]
    deciding = tuple(f"{measure} of {output}" for output, measure, _ in scoring.outputs if output)
    last, before = (_measured(original, rows, one, *also) for one in (given.last, given.before))
    references = [last]
    if original.trained or any(one.learnt for one in before):
        references.append(before)
    kept, checks = "", ()
    if treated is not None:
        own = _measured(original, treated.subject, treated, *also)
        checks = compared(last, own, policy, deciding)
        kept = _against(own, references, policy, deciding)
        kept = kept or ("" if by_reason else _gained_nothing(treated, given, scoring))
        if not kept:
            return Returned(treated, "", checks, _values(last), _values(own))
        kept = f"with the changes, {kept}"
    choices = [(given.best, _measured(original, rows, given.best, *also)), (given.last, last)]
    if scoring.better_by(given.last.score, given.best.score) > 0 or _loses(choices[0][1], last, deciding):
        choices.reverse()
    worse = ""
    for one, found in choices:
        worse = _against(found, references, policy, deciding)
        if not worse:
            return Returned(one, kept, checks, _values(last), _values(found))
    kept = kept or f"after more training, {worse}"
    return Returned(given.before, kept, checks, _values(last), _values(before))


def _loses(found: Sequence[Measured], other: Sequence[Measured], deciding: Sequence[str]) -> bool:
    """Whether one of the measures that decide is less good than another model's."""
    theirs = {one.name: one for one in other if one.name in deciding}
    signed = (
        (one, theirs[one.name], 1 if one.direction == "max" else -1) for one in found if one.name in theirs
    )
    return any(sign * (one.value - their.value) < 0 for one, their, sign in signed)


def _against(
    found: Sequence[Measured],
    references: Sequence[Sequence[Measured]],
    policy: ScoringPolicy,
    deciding: Sequence[str],
) -> str:
    """What is worse than in one of the references, as text; "" if nothing is."""
    for reference in references:
        if reference and not found:
            return "the model cannot be evaluated on the validation rows"
        worse = [one for one in compared(reference, found, policy, deciding) if one.verdict == "worse"]
        if worse:
            listed = "; ".join(map(str, worse))
            return f"this got worse by more than chance: {listed}"
    return ""


def _gained_nothing(treated: Trained, given: AsGiven, scoring: Scoring) -> str:
    """Why the changes are not worth keeping; "" if they are, as when the given training diverged."""
    if math.isfinite(treated.score) and not math.isfinite(given.last.score):
        return ""
    if scoring.learnt_nothing(treated.score):
        return (
            f"the model is still no better than a constant prediction ({scoring.measure} {treated.score:.4g})"
        )
    if scoring.measure != LOSS and scoring.better_by(given.last.score, treated.score) > 0:
        return f"{scoring.measure} is {treated.score:.4g}, without them {given.last.score:.4g}"
    return ""


def _measured(original: Subject, rows: Subject, one: Trained, *also: str) -> list[Measured]:
    """The measures of a trained model on the validation rows of ``rows``; [] if it cannot take them."""
    own = one.subject.with_training(validation_data=rows.training.validation_data)
    if one.failed:
        return []
    try:
        return measured(original, own, one.restored(), *also)
    except KilterError:
        return []


def _values(of: Sequence[Measured]) -> dict[str, float]:
    return {one.name: one.value for one in of}


def measured(original: Subject, subject: Subject, model: keras.Model, *also: str) -> list[Measured]:
    """All measures of ``model``, a trained model of ``subject``, on the subject's validation rows.

    The own measures of each output (see ``own_measures``), and compiled metrics that add to them. If an
    output has no measure of its own, its loss is used, provided the subject still has its original loss.
    ``also``: further measures of the registry.
    """
    structured = predictions(subject, model)
    outputs = [np.asarray(one) for one in jax.tree.leaves(structured)]
    count = subject.validation_rows
    groups = min(subject.policy.scoring.jackknife_groups, count) if count > 1 else 0
    policy = subject.policy.scoring
    judged = own_measures(own_answers(original, subject, outputs), *also)
    own = [one.measured(measure, groups, policy) for one, measure in judged]
    unmeasured = len({one.output for one in own}) < len(outputs)
    losses = _loss(subject, model, groups) if unmeasured and _same_loss(original, subject) else []
    return own + losses + _compiled(subject, model, structured, groups)


def compared(
    given: Sequence[Measured],
    other: Sequence[Measured],
    policy: ScoringPolicy = _POLICY,
    deciding: Sequence[str] = (),
) -> tuple[MeasureCheck, ...]:
    """A check for every measure that both have; those that decide may lose no more than what matters.

    If the ``given`` model has learnt nothing of an output, its compiled metrics are left out: a constant
    answer may have a perfect recall. If the ``other`` has, the other outputs share its layers with it, and
    may lose a small part of what it gains.
    """
    theirs = {one.name: one for one in other}
    idle = {one.output for one in given if one.learnt is False} - {one.output for one in given if one.learnt}
    chosen = [one for one in given if one.name in theirs and not (one.learnt is None and one.output in idle)]
    errors = errors_allowed(len(chosen), policy.harm_errors)
    gained = [_share(one, theirs[one.name]) for one in chosen if one.output in idle and one.name in deciding]
    traded = policy.trade * max(gained, default=0.0)
    return tuple(
        _check(
            one,
            theirs[one.name],
            errors,
            policy.least_gain * one.way if one.name in deciding else math.inf,
            traded * one.way if traded > 0 and math.isfinite(one.way) else 0.0,
        )
        for one in chosen
    )


def _share(given: Measured, other: Measured) -> float:
    """What the other gains, on the way from a constant prediction to perfection; 0 where it is unknown."""
    share = (other.value - given.value) / given.way * (1.0 if given.direction == "max" else -1.0)
    return share if math.isfinite(share) else 0.0


def errors_allowed(measures: int, alone: float) -> float:
    """The standard errors by which one of several measures may be worse, if one alone may be by ``alone``.

    By Šidák, so that models that do not differ are called worse as often with many measures as with one.

    Example:
        >>> [round(errors_allowed(count, 1.0), 2) for count in (1, 3, 10)]
        [1.0, 1.59, 2.12]
    """
    return float(stats.norm.ppf(stats.norm.cdf(alone) ** (1 / max(measures, 1))))


def _check(given: Measured, other: Measured, errors: float, most: float, traded: float) -> MeasureCheck:
    """``errors``: the standard errors that the other may lose, but no more than ``most``, or ``traded``."""
    sign = 1.0 if given.direction == "max" else -1.0
    gain = sign * (other.value - given.value)
    error = _jackknife_error(other.without - given.without)
    if not math.isfinite(given.value) or not math.isfinite(other.value):
        gain, error = float(math.isfinite(other.value)) - float(math.isfinite(given.value)), math.nan
    allowed = errors * error if math.isfinite(error) else 0.0
    verdict = "better" if gain > allowed else "worse" if gain < -max(min(allowed, most), traded) else "alike"
    return MeasureCheck(given.name, given.value, other.value, error, verdict)


def _jackknife_error(without: np.ndarray) -> float:
    """The delete-a-group jackknife's standard error; NaN for fewer than two groups.

    B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 11.
    """
    count = len(without)
    if count < 2 or not np.isfinite(without).all():
        return math.nan
    return float(np.sqrt((count - 1) * np.var(without)))


def _compiled(subject: Subject, model: keras.Model, predicted: Any, groups: int) -> list[Measured]:
    """Compiled metrics that no own measure covers, from the predictions."""
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
    found = []
    for name, way in directions.items():
        left_out = np.array([one[name] for one in without])
        found.append(Measured(name, _output_of(name, outputs), way, full[name], left_out, None))
    return found


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
