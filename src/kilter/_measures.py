"""Measures of predictions: one registry for classes, numbers and masks, as scikit-learn defines them.

Training, evaluation, comparison and treatment take their measures from here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from sklearn import metrics as sk

Kind = Literal["classes", "numbers", "masks"]
Direction = Literal["min", "max"]


@dataclass(frozen=True)
class MeasurePolicy:
    """When accuracy misleads, and when a threshold can be chosen."""

    rare_share: float = 0.2
    """Share of the rows, for two classes: below it, accuracy hides that a class is never predicted. For k
    classes the limit is 2/k of it, so that ten equal classes are not rare."""
    fewest_rows: int = 5
    """Rows of each class, in validation: with fewer, a threshold would fit noise."""
    fewest_to_judge: int = 10
    """Rows needed to say that a model is no better than a constant prediction: with fewer, that is often
    chance. The standard error of a root mean square of 10 rows is about a fifth of it."""


POLICY: Final = MeasurePolicy()


@dataclass(frozen=True, eq=False)
class Answers:
    """True values and a model's predictions.

    Attributes:
        kind: "classes", "numbers" or "masks".
        true: class indexes int ``[n]``; numbers float ``[n, k]``; mask elements ``[n, ...]``, bool or class
            indexes.
        given: the predictions, in the form of ``true``.
        shares: for classes, their probabilities, float64 ``[n, classes]``.
        classes: of masks, how many there are.
        positive: for two classes, the index of the one that precision, recall and average precision refer to.
    """

    kind: Kind
    true: np.ndarray
    given: np.ndarray
    shares: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    positive: int = 1
    classes: int = 2

    @property
    def finite(self) -> bool:
        """Whether all outputs are finite; otherwise no measure is computed."""
        return bool(np.isfinite(self.shares if self.kind == "classes" else self.given).all())


@dataclass(frozen=True)
class Measure:
    """A measure: its name, which direction is better, and how it is computed."""

    name: str
    kind: Kind
    direction: Direction
    of: Callable[[Answers], float] = field(repr=False)


def _recalls(answers: Answers) -> float:
    # scikit-learn's balanced_accuracy_score warns about predicted classes that none of these rows has.
    present = np.unique(answers.true)
    return float(sk.recall_score(answers.true, answers.given, labels=present, average="macro"))


def _by_class(score: Callable[..., Any]) -> Callable[[Answers], float]:
    """Precision, recall or F1: of the positive class if there are two, otherwise the mean."""

    def of(answers: Answers) -> float:
        labels = [answers.positive] if answers.shares.shape[1] == 2 else np.unique(answers.true)
        return float(score(answers.true, answers.given, labels=labels, average="macro", zero_division=0))

    return of


def _by_share(score: Callable[..., Any]) -> Callable[[Answers], float]:
    """A ranking measure: of the positive class if there are two, otherwise the mean over all classes."""

    def of(answers: Answers) -> float:
        count = answers.shares.shape[1]
        chosen = [answers.positive] if count == 2 else range(count)
        found = [
            score(answers.true == one, answers.shares[:, one])
            for one in chosen
            if 0 < np.count_nonzero(answers.true == one) < len(answers.true)
        ]
        return float(np.mean(found)) if found else float("nan")

    return of


def _r2(answers: Answers) -> float:
    if len(answers.true) < 2:
        return float("nan")
    return float(sk.r2_score(answers.true, answers.given))


def _overlap(answers: Answers, weight: int) -> float:
    """Intersection over union (weight 1) or Dice (weight 2) of all elements; 1 if both masks are empty.

    Of the elements that are 1 if there are two classes, otherwise the mean over the classes that occur.
    """
    found = []
    for one in [1] if answers.classes == 2 else range(answers.classes):
        true, given = answers.true == one, answers.given == one
        both, either = np.count_nonzero(true & given), np.count_nonzero(true | given)
        found += [weight * both / (either + (weight - 1) * both)] if either else []
    return float(np.mean(found)) if found else 1.0


REGISTRY: Final = (
    Measure("accuracy", "classes", "max", lambda a: float(np.mean(a.true == a.given))),
    Measure("balanced_accuracy", "classes", "max", _recalls),
    Measure("average_precision", "classes", "max", _by_share(sk.average_precision_score)),
    Measure("roc_auc", "classes", "max", _by_share(sk.roc_auc_score)),
    Measure("precision", "classes", "max", _by_class(sk.precision_score)),
    Measure("recall", "classes", "max", _by_class(sk.recall_score)),
    Measure("f1", "classes", "max", _by_class(sk.f1_score)),
    Measure("rmse", "numbers", "min", lambda a: float(sk.mean_squared_error(a.true, a.given)) ** 0.5),
    Measure("mae", "numbers", "min", lambda a: float(sk.mean_absolute_error(a.true, a.given))),
    Measure("r2", "numbers", "max", _r2),
    Measure("iou", "masks", "max", lambda a: _overlap(a, 1)),
    Measure("dice", "masks", "max", lambda a: _overlap(a, 2)),
    Measure("pixel_accuracy", "masks", "max", lambda a: float(np.mean(a.true == a.given))),
)


def value(name: str, answers: Answers) -> float:
    """The measure of this name; NaN if an output is not finite or there are no rows."""
    if not answers.finite or not len(answers.true):
        return float("nan")
    return next(one for one in REGISTRY if one.name == name).of(answers)


def measured(answers: Answers, *, first: str | None = None) -> dict[str, float]:
    """All measures that fit this kind of prediction, by name; ``first`` comes first."""
    return {name: value(name, answers) for name in names_of(answers.kind, first=first)}


def names_of(kind: Kind, *, first: str | None = None) -> list[str]:
    """The names of the measures of this kind, with ``first`` first.

    Example:
        >>> names_of("numbers", first="mae")
        ['mae', 'rmse', 'r2']
    """
    return sorted((one.name for one in REGISTRY if one.kind == kind), key=lambda name: name != first)


def direction_of(name: str) -> Direction | None:
    """Whether less or more of a measure is better; None if the registry has none of this name."""
    return next((one.direction for one in REGISTRY if one.name == name), None)


def rare_class(counts: np.ndarray) -> int | None:
    """The index of the rarest class if it is too rare for accuracy; classes without rows do not count.

    Example:
        >>> rare_class(np.array([93, 7])), rare_class(np.array([60, 40])), rare_class(np.full(10, 50))
        (1, None, None)
    """
    present = np.flatnonzero(counts)
    if len(present) < 2:
        return None
    rarest = int(present[np.argmin(counts[present])])
    limit = POLICY.rare_share * 2 / len(present)
    return rarest if counts[rarest] < limit * counts.sum() else None


def fitting(kind: Kind, counts: np.ndarray | None = None) -> str:
    """The measure to judge by: for a rare class (``counts``: rows by class) never the accuracy.

    Example:
        >>> fitting("classes", np.array([93, 7])), fitting("classes", np.array([50, 40, 2]))
        ('average_precision', 'balanced_accuracy')
    """
    if kind != "classes":
        return "rmse" if kind == "numbers" else "iou"
    if counts is None or rare_class(counts) is None:
        return "accuracy"
    return "average_precision" if len(counts) == 2 else "balanced_accuracy"


def constant_for(kind: Kind, true: np.ndarray, classes: int = 0) -> tuple[float, ...]:
    """The best constant prediction of the training part: its most frequent class, by index, or its medians.

    Example:
        >>> constant_for("classes", np.array([0, 2, 2]), 3), constant_for("numbers", np.array([[1.0], [5.0]]))
        ((2.0,), (3.0,))
    """
    if kind != "numbers":
        return (float(np.argmax(np.bincount(true.ravel(), minlength=classes))),)
    return tuple(np.atleast_1d(np.median(true, axis=0)).tolist())


def can_tell(kind: Kind, rows: int, constant: Mapping[str, float]) -> bool:
    """Whether so many rows can tell a model from a constant prediction with the measures ``constant``.

    Not fewer than ``POLICY.fewest_to_judge`` rows; nor, of classes, so few that the accuracy of a perfect
    model is within two standard errors (binomial) of that of the constant prediction.

    Example:
        >>> [can_tell("classes", rows, {"accuracy": 2 / 3}) for rows in (3, 30)]
        [False, True]
    """
    if rows < POLICY.fewest_to_judge:
        return False
    share = constant.get("accuracy")
    return kind != "classes" or share is None or share + 2 * (share * (1 - share) / rows) ** 0.5 < 1


def of_constant(answers: Answers, constant: tuple[float, ...] = ()) -> dict[str, float]:
    """The measures of one prediction for all rows; {} without rows.

    ``constant``: that prediction, as :func:`constant_for` gives it; else the most frequent class or median of
    these rows.
    """
    if not len(answers.true):
        return {}
    if answers.kind == "classes":
        shares = np.bincount(answers.true, minlength=answers.shares.shape[1]) / len(answers.true)
        present = shares[(shares > 0) & (shares < 1)]
        ranked = {"roc_auc": 0.5, "average_precision": float(present.mean())} if len(present) else {}
        if len(shares) == 2 and ranked:
            ranked["average_precision"] = float(shares[answers.positive])
        balanced = 1 / np.count_nonzero(shares)
        given = int(constant[0]) if constant else int(shares.argmax())
        return {"accuracy": float(shares[given]), "balanced_accuracy": balanced} | ranked
    if answers.kind == "masks":
        shares = np.bincount(answers.true.ravel(), minlength=answers.classes) / answers.true.size
        share, present = float(shares.max()), int(np.count_nonzero(shares))
        if answers.classes == 2:  # a mask of ones is best by the overlap
            share, present = float(shares[1]), 1
        dice = 2 * share / (1 + share) / present
        return {"pixel_accuracy": float(shares.max()), "iou": share / present, "dice": dice}
    middle = np.array(constant) if constant else np.median(answers.true, axis=0)
    always = Answers("numbers", answers.true, np.broadcast_to(middle, answers.true.shape))
    return {name: value for name, value in measured(always).items() if name != "r2"}


def best_threshold(true: np.ndarray, shares: np.ndarray, share: float) -> float | None:
    """The probability from which the positive class is predicted, for a good balanced accuracy.

    ``true``: bool ``[n]``, whether a row is positive; ``shares``: its probability, float ``[n]``. Of all
    thresholds within a standard error of the best, the one nearest to ``share``, the class's share of the
    training rows, which is best for exact probabilities; few rows cannot determine it more precisely. None if
    a class has too few rows or the probabilities are not finite.
    """
    rows = np.count_nonzero(true), np.count_nonzero(~true)
    if min(rows) < POLICY.fewest_rows or not np.isfinite(shares).all():
        return None
    wrong, right, steps = sk.roc_curve(true, shares, drop_intermediate=False)
    gain = right - wrong
    best = int(np.argmax(gain))
    # Laplace's rule: a share of 1 in five rows is not certain.
    found = [(part[best] * n + 1) / (n + 2) for part, n in zip((right, wrong), rows, strict=True)]
    good = gain >= gain[best] - np.sqrt(sum(p * (1 - p) / n for p, n in zip(found, rows, strict=True)))
    # A row is positive at its own probability: the threshold may be anywhere above the next lower one.
    lower = np.append(np.maximum(steps[1:], 0.0), 0.0)
    middle = np.clip((np.minimum(steps, 1.0) + lower) / 2, 0.0, 1.0)[good]
    return float(middle[np.argmin(np.abs(middle - share))])


@dataclass(frozen=True)
class ClassFigures:
    """One class in an evaluation: its rows (of masks its pixels), and how well they are predicted.

    ``precision``: the share of correct ones among predictions of this class, NaN without any; ``recall``: the
    share of its rows that are predicted correctly, NaN without rows; ``found``: their number.
    """

    name: str
    rows: int
    found: int
    precision: float
    recall: float

    @property
    def iou(self) -> float:
        """Intersection over union of the true and the predicted rows; NaN if there are none of either."""
        if not self.found:
            return float("nan") if np.isnan(self.recall) and np.isnan(self.precision) else 0.0
        return 1 / (1 / self.precision + 1 / self.recall - 1)

    @property
    def dice(self) -> float:
        """Dice, which is F1."""
        return 2 * self.iou / (1 + self.iou)


def confusion_of(true: np.ndarray, given: np.ndarray, classes: int) -> np.ndarray:
    """Counts by true (row) and predicted class (column), int ``[classes, classes]``, of any shape."""
    pairs = true.ravel().astype(np.int64) * classes + given.ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def by_class(confusion: np.ndarray, classes: tuple[str, ...]) -> tuple[ClassFigures, ...]:
    """The results for each class, from counts by true class (row) and predicted class (column)."""
    rows, answers, found = confusion.sum(axis=1), confusion.sum(axis=0), np.diag(confusion)
    with np.errstate(invalid="ignore"):
        precision, recall = found / answers, found / rows
    columns = zip(rows.tolist(), found.tolist(), precision.tolist(), recall.tolist(), strict=True)
    return tuple(ClassFigures(name, *row) for name, row in zip(classes, columns, strict=True))
