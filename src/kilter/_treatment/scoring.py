"""How good a trained model is on validation rows, by a measure that does not depend on its loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import jax
import keras
import numpy as np
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from kilter import _measures
from kilter._compare.comparison import OwnMeasure
from kilter._diagnosis.skill import answers_of
from kilter._diagnosis.targets import are_inputs
from kilter._engine.inference import evaluate
from kilter._measures import Answers
from kilter._models.layers import OutputFacts
from kilter._models.reading import paired_targets
from kilter._models.variables import values_kept
from kilter._treatment.own_measures import (
    Constant,
    OwnAnswers,
    class_numbers,
    judged_in,
    own_answers,
    own_measures,
    predictions,
)
from kilter._treatment.policy import Policy, ScoringPolicy
from kilter._treatment.subject import Subject
from kilter._validation import instance_of
from kilter.errors import OptionError

_POLICY: Final = Policy().scoring
# The mean over several outputs, each on the way from a constant prediction (0) to perfection (1).
SKILL: Final = "val_skill_score"
LOSS: Final = "val_loss"
# A constant prediction can have a perfect one.
_ONE_SIDED: Final = ("precision", "recall")


@dataclass(frozen=True)
class Scoring:
    """The measure of a treatment, and the scores that results are compared with.

    Attributes:
        measure: "val_" and the registry's name of it; "val_skill_score" for several outputs, "val_loss" where
            an output cannot be measured.
        chance: what a constant prediction reaches; no better is to have learnt nothing. Infinite for a loss.
        baseline: what nearest neighbours and ridge regression reach; NaN where it is unknown.
        slack: how much worse than that (see :meth:`better_by`) a trained network may be.
        original: the subject before treatment, which says what each output is to learn.
        constant: a constant prediction's score, without the noise that ``chance`` allows for; NaN if unknown.
        sibling: what the sound sibling reaches in the same training; NaN where it was not trained.
        outputs: a constant prediction's measure for each output, by name, with the measure's name.
    """

    measure: str
    chance: float
    baseline: float = math.nan
    slack: float = ScoringPolicy.short_error
    original: Subject | None = field(default=None, repr=False)
    policy: ScoringPolicy = field(default=_POLICY, repr=False)
    constant: float = math.nan
    sibling: float = math.nan
    outputs: tuple[tuple[str, str, Constant], ...] = ()

    @property
    def of_shares(self) -> bool:
        """Whether more is better, up to 1; otherwise it is an error."""
        return self.measure != LOSS and _direction(self.measure) == "max"

    @property
    def sign(self) -> float:
        """1 where more is better, -1 where less is."""
        return 1.0 if self.of_shares else -1.0

    def learnt_nothing(self, score: float) -> bool:
        """Whether a score is not finite, or no better than a constant prediction's."""
        return not math.isfinite(score) or self.sign * score <= self.sign * self.chance

    def learnt_beyond_noise(self, score: float) -> bool:
        """Whether a score is too good for targets that are unrelated to the inputs."""
        constant = self.constant if math.isfinite(self.constant) else self.chance
        clear = self.gain(score, constant) > self.policy.beyond_noise
        return clear and not self.learnt_nothing(score)

    @property
    def noise(self) -> float:
        """The standard error of a score, as a difference (see :meth:`better_by`)."""
        short = self.policy.short_accuracy if self.of_shares else self.policy.short_error
        return max(0.0, self.slack - short)

    @property
    def direction(self) -> _measures.Direction:
        """Whether more or less is better."""
        return "max" if self.of_shares else "min"

    @property
    def clear(self) -> float:
        """A difference (see :meth:`better_by`) that is worth more changes than are needed to learn."""
        return self.policy.clear_accuracy if self.of_shares else self.policy.clear_error

    def leaves_little(self, score: float) -> bool:
        """Whether a score can hardly be improved."""
        if self.of_shares:
            return score >= 1 - self.policy.short_accuracy
        return (
            score <= self.policy.little_left * self.chance
            if math.isfinite(self.chance)
            else math.isfinite(score)
        )

    @property
    def reference(self) -> float:
        """The best of the sibling and of the baselines; NaN if neither is known."""
        known = [one for one in (self.sibling, self.baseline) if math.isfinite(one)]
        return max(known, key=lambda one: self.sign * one, default=math.nan)

    def falls_short(self, score: float, *, sound: bool = False) -> bool:
        """Whether a score is no better than a constant prediction's, or clearly worse than the reference.

        A network without findings (``sound``) may be further behind: how long to train it is its owner's
        choice.
        """
        if self.learnt_nothing(score) or math.isnan(self.reference):
            return self.learnt_nothing(score)
        if not self.of_shares and abs(score - self.reference) <= self.policy.negligible * self.chance:
            return False
        short = self.better_by(self.reference, score) > self.slack
        return short and (not sound or self.gain(self.reference, score) > self.policy.sound_margin)

    def is_behind(self, score: float) -> bool:
        """Whether the reference is better than a score; False where none is known."""
        return not math.isnan(self.reference) and self.better_by(self.reference, score) > 0

    def better_by(self, score: float, other: float) -> float:
        """How much better than ``other``: the difference of accuracies, the share of the error saved.

        Infinite if only one of them is finite, 0 if neither is.
        """
        if not (math.isfinite(score) and math.isfinite(other)):
            return (math.isfinite(score) - math.isfinite(other)) * math.inf if score != other else 0.0
        if self.of_shares:
            return score - other
        return (other - score) / max(abs(other), abs(score), 1e-12)

    def gain(self, score: float, other: float) -> float:
        """How much further than ``other`` on the way from a constant prediction (0) to perfection (1).

        A run that diverged counts as an error as far below a constant prediction as perfection is above
        it, or as a share of 0. The share of the error saved if the constant prediction's measure is unknown.
        """
        constant = self.constant if math.isfinite(self.constant) else self.chance
        if not math.isfinite(constant):
            return max(-2.0, min(2.0, self.better_by(score, other)))
        way = abs((1.0 if self.of_shares else 0.0) - constant)
        # Shares have a smallest value of their own; errors may be as large as they like.
        worst = min(-1.0, -constant / max(way, 1e-12)) if self.of_shares else -1.0
        first, second = (
            max(worst, self.sign * (one - constant) / max(way, 1e-12)) if math.isfinite(one) else worst
            for one in (score, other)
        )
        return first - second

    def is_gain(self, score: float, other: float) -> bool:
        """Whether a score shows learning, and is better than ``other`` by what matters, beyond noise."""
        little = self.gain(score, other) <= self.policy.least_gain
        return not (little or self.learnt_nothing(score)) and self.better_by(score, other) > self.noise

    def score(self, subject: Subject, model: keras.Model) -> float:
        """The score of ``model`` on the subject's validation rows; NaN where an output is not finite."""
        if self.measure == LOSS:
            with values_kept(model.non_trainable_variables):
                size = judged_in(subject)
                return evaluate(model, subject.x_val, subject.y_val, batch_size=size, verbose=0)["loss"]
        found = self._answered(subject, model)
        if self.measure != SKILL:
            name = self.outputs[0][0] if self.outputs else found[0].output
            return next(one for one in found if one.output == name).value(self.measure.removeprefix("val_"))
        answered = {one.output: one for one in found}
        values = [answered[output].value(measure) for output, measure, _ in self.outputs]
        signs = [1 if _direction(measure) == "max" else -1 for _, measure, _ in self.outputs]
        ways = [constant for *_, constant in self.outputs]
        parts = zip(values, signs, ways, strict=True)
        skills = [sign * (value - one.value) / one.way for value, sign, one in parts]
        return float(np.mean(np.maximum(skills, -1.0))) if np.isfinite(skills).all() else math.nan

    def own(self, subject: Subject, model: keras.Model) -> dict[str, OwnMeasure]:
        """The own measures of every output of ``model``, by name, on the subject's validation rows."""
        if self.original is None:
            return {}
        found = {}
        also = [measure for _, measure, _ in self.outputs]
        for one, measure in own_measures(self._answered(subject, model), *also):
            way = one.constant(measure, self.policy).way
            known = OwnMeasure(one.value(measure), _direction(measure), way)
            found[one.named(measure)] = known
        return found

    def _answered(self, subject: Subject, model: keras.Model) -> list[OwnAnswers]:
        outputs = [np.asarray(one) for one in jax.tree.leaves(predictions(subject, model))]
        return own_answers(self.original or subject, subject, outputs)


def _direction(measure: str) -> _measures.Direction:
    """Whether less or more of a measure of the registry is better; more of a skill."""
    return _measures.direction_of(measure.removeprefix("val_")) or "max"


def scoring_of(subject: Subject, metric: str | None = None) -> Scoring:
    """The measure that fits what the subject is to learn, from its validation targets and its loss.

    ``metric``: the measure that is asked for. Raises :class:`OptionError` if it fits no output.
    """
    policy = subject.policy.scoring
    answered = answers_for(subject, metric)
    complete = metric is not None or len(answered) == len(subject.facts[1])
    chosen = [(one, _measure_of(one, metric)) for one in answered]
    known = [(one.output, name, one.constant(name, policy)) for one, name in chosen]
    if not complete or not known or any(math.isnan(constant.way) for *_, constant in known):
        return Scoring(LOSS, math.inf, original=subject, policy=policy)
    if len(known) > 1:
        chances = [abs(one.chance - one.value) / one.way for *_, one in known]
        made = Scoring(SKILL, float(np.mean(chances)), slack=policy.short_accuracy, constant=0.0)
    else:
        made = _of_one(subject, *chosen[0], known[0][2])
    return replace(made, original=subject, policy=policy, outputs=tuple(known))


def answers_for(subject: Subject, metric: str | None) -> list[OwnAnswers]:
    """The outputs that are judged, all of them without a ``metric``; raises as :func:`scoring_of`."""
    targets = [np.asarray(one) for one in paired_targets(subject.model, subject.y_val)]
    answered = own_answers(subject, subject, list(map(_blank, subject.facts[1], targets)))
    return answered if metric is None else _asked(metric, answered)


def _blank(output: OutputFacts, targets: np.ndarray) -> np.ndarray:
    """Outputs of zeros for the rows of these targets."""
    return np.zeros((len(targets), *output.shape[1:]))


def _asked(metric: str, answered: Sequence[OwnAnswers]) -> list[OwnAnswers]:
    """The outputs that are judged by the metric: by "rmse" all that have one, by "rmse of price" that one."""
    instance_of("metric", metric, str, "the name of a measure")
    name, _, output = metric.removeprefix("val_").partition(" of ")
    known = [
        (measure, one)
        for one in answered
        for measure in _measures.names_of(one.kind)
        if measure not in _ONE_SIDED
    ]
    found = [one for measure, one in known if measure == name and output in ("", one.output)]
    if not found:
        names = ", ".join(dict.fromkeys(one.named(measure) for measure, one in known))
        raise OptionError(
            expected="metric as a measure that fits an output",
            received=f"metric={metric!r}",
            remedy=f"use one of: {names}" if names else "leave it out: no output can be measured",
        )
    return found


def _measure_of(one: OwnAnswers, metric: str | None) -> str:
    return one.measures[0] if metric is None else metric.removeprefix("val_").partition(" of ")[0]


def _of_one(subject: Subject, one: OwnAnswers, measure: str, constant: Constant) -> Scoring:
    """The scoring of a single output, with what simple learners reach."""
    policy = subject.policy.scoring
    known = baseline(subject, one, measure)
    slack = policy.short_error
    if _direction(measure) == "max":
        rows = len(one.wanted) if not one.rare else max(1, int(np.bincount(one.wanted.ravel()).min()))
        inside = min(max(known, 0.0), 1.0)
        slack = policy.short_accuracy + (
            0.0 if math.isnan(known) else math.sqrt(inside * (1 - inside) / rows)
        )
    return Scoring(f"val_{measure}", constant.chance, known, slack, constant=constant.value)


def baseline(subject: Subject, one: OwnAnswers, measure: str) -> float:
    """What the better of nearest neighbours and ridge regression reaches by a measure of a single output.

    On samples of the rows. NaN if the inputs are not one array of numbers, for masks, for too many targets a
    row, and for targets that are the inputs.
    """
    if one.output or one.kind == "masks" or one.wanted.shape[1] > subject.policy.scoring.baseline_targets:
        return math.nan
    y, y_val = np.asarray(subject.y), np.asarray(subject.y_val)
    if are_inputs([np.asarray(leaf) for leaf in jax.tree.leaves(subject.x)], y):
        return math.nan
    if one.kind == "classes":
        if one.wanted.shape[1] > 1:
            return math.nan
        return baseline_of_classes(
            subject.x, class_numbers(y), subject.x_val, class_numbers(y_val), measure, subject.policy.scoring
        )
    return baseline_error(subject.x, y, subject.x_val, y_val, measure, subject.policy.scoring)


def baseline_of_classes(
    x: Any,
    classes: np.ndarray,
    x_val: Any,
    classes_val: np.ndarray,
    measure: str = "accuracy",
    policy: ScoringPolicy = _POLICY,
) -> float:
    """The better measure of nearest neighbours and ridge regression, on samples of the rows.

    NaN if the inputs are not one array of numbers, or if fewer than two classes are left.
    """
    parts = _parts(x, classes, x_val, classes_val, policy)
    if parts is None or len(np.unique(parts[1])) < 2:
        return math.nan
    rows, known, held, wanted = parts
    kinds = int(max(known.max(), wanted.max())) + 1
    near = KNeighborsClassifier(min(policy.neighbours, len(rows))).fit(rows, known)
    ridge = RidgeClassifier().fit(rows, known)
    found = []
    for learner in (near, ridge):
        given, value = answers_of(learner, held)
        shares = np.full((len(held), kinds), value.min() - 1)
        shares[:, learner.classes_] = value
        positive = _measures.rare_class(np.bincount(wanted, minlength=2))
        answers = Answers("classes", wanted, given, shares, 1 if positive is None else positive)
        found.append(_measures.value(measure, answers))
    return float(np.nanmax(found)) if np.isfinite(found).any() else math.nan


def baseline_error(
    x: Any,
    y: np.ndarray,
    x_val: Any,
    y_val: np.ndarray,
    measure: str = "rmse",
    policy: ScoringPolicy = _POLICY,
) -> float:
    """The better of the two for numbers; NaN also for more than 100 numbers a row."""
    if y[:1].size > policy.baseline_targets:
        return math.nan
    parts = _parts(x, y.reshape(len(y), -1), x_val, y_val.reshape(len(y_val), -1), policy)
    if parts is None or not np.isfinite(parts[1]).all():
        return math.nan
    rows, known, held, wanted = parts
    best = max if _direction(measure) == "max" else min
    return best(
        _measures.value(
            measure, Answers("numbers", wanted, method.fit(rows, known).predict(held).reshape(wanted.shape))
        )
        for method in (KNeighborsRegressor(min(policy.neighbours, len(rows))), Ridge())
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
