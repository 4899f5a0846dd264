"""Each output's own measures, from the registry (:mod:`kilter._measures`), whatever the compiled loss.

What an output learns is read from its targets: classes, masks (binary elements), or numbers.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, NamedTuple

import keras
import numpy as np
from scipy.special import expit, softmax

from kilter import _measures
from kilter._diagnosis.checks.output import SQUARES
from kilter._diagnosis.skill import are_distances, cut_where_best
from kilter._diagnosis.targets import are_shares, labels, ordered_classes, target_facts
from kilter._engine.inference import predict_unchanged, whole_batches
from kilter._measures import Answers, Direction, Kind
from kilter._models.layers import LossFacts, OutputFacts, output_names
from kilter._models.reading import paired_targets
from kilter._models.tracing import fixed_batch_size
from kilter._treatment.policy import Policy, ScoringPolicy
from kilter._treatment.subject import Subject

_POLICY: Final = Policy().scoring
DISTANCES: Final = (*SQUARES, "mean_squared_logarithmic_error")
_OF_MASKS: Final = 4  # axes of outputs with a class for each pixel: rows, height, width, classes
_BOUNDED: Final = ("sigmoid", "hard_sigmoid", "softmax")


@dataclass(frozen=True, eq=False)
class Measured:
    """A measure of one model: on all validation rows, and without each group of them, [groups].

    ``learnt``: whether it beats a constant prediction; None where that is unknown. ``way``: from a constant
    answer's measure to the perfect one; NaN where that is unknown.
    """

    name: str
    output: str
    direction: Direction
    value: float
    without: np.ndarray
    learnt: bool | None
    way: float = math.nan


class Constant(NamedTuple):
    """What a constant prediction reaches by a measure, what is no better, and the way to perfection."""

    value: float
    chance: float
    way: float


@dataclass(frozen=True, eq=False)
class OwnAnswers:
    """The answers of one output on the validation rows, row by row.

    Attributes:
        output: its name, "" for a single one; suffix: what is added to the measures' names.
        kind: what it learns.
        wanted, given: class indexes, numbers or mask elements, [n, places].
        shares: of classes: what the probabilities or their order are, [n, places, classes].
        finite: whether all outputs of a row are, [n].
        rare: whether a class is too rare for accuracy.
        classes: of masks, how many there are.
    """

    output: str
    kind: Kind
    wanted: np.ndarray
    given: np.ndarray
    shares: np.ndarray
    finite: np.ndarray
    rare: bool = False
    suffix: str = ""
    classes: int = 2

    @property
    def measures(self) -> tuple[str, ...]:
        """The registry's names of the measures that fit, the first one to choose by.

        Answers for a rare class are chosen by balanced accuracy: the model answers at its own threshold.
        """
        if self.kind == "classes":
            return ("balanced_accuracy", "average_precision") if self.rare else ("accuracy",)
        if self.kind == "numbers":
            return ("rmse",)
        return ("iou",) if self.rare else ("iou", "pixel_accuracy")

    def named(self, measure: str) -> str:
        """A measure's name with the column's and the output's, where there are several."""
        return f"{measure}{self.suffix}" + (f" of {self.output}" if self.output else "")

    def value(self, measure: str, rows: Any = slice(None)) -> float:
        """The measure on some rows; NaN if an output is not finite."""
        if not self.finite[rows].all() or not len(self.wanted[rows]):
            return math.nan
        return _measures.value(measure, self._answers(rows))

    def _answers(self, rows: Any) -> Answers:
        wanted, given, shares = self.wanted[rows], self.given[rows], self.shares[rows]
        if self.kind != "classes":
            return Answers(self.kind, wanted, given, classes=self.classes)
        flat = shares.reshape(-1, shares.shape[-1])
        positive = _measures.rare_class(np.bincount(self.wanted.ravel(), minlength=2))
        return Answers("classes", wanted.ravel(), given.ravel(), flat, 1 if positive is None else positive)

    def constant(self, measure: str, policy: ScoringPolicy = _POLICY) -> Constant:
        """A constant prediction's measure; NaN where it is unknown or could not be better."""
        perfect = 0.0 if _measures.direction_of(measure) == "min" else 1.0
        if self.kind == "numbers":
            deviation = float(np.std(self.wanted))
            known = {"rmse": deviation, "mae": _absolute(self.wanted), "r2": 0.0}.get(measure, math.nan)
            chance = 1 - policy.chance_rmse**2 if measure == "r2" else policy.chance_rmse * known
        else:
            answers = self._answers(slice(None))
            constant = _measures.of_constant(answers)
            known = _constant_f1(answers) if measure == "f1" else constant.get(measure, math.nan)
            plain = measure.endswith("accuracy") and measure != "balanced_accuracy"
            chance = chance_accuracy(known, float(self.wanted.size), policy) if plain else known
        way = abs(perfect - known)
        return Constant(known, chance, way) if way > 0 else Constant(known, chance, math.nan)

    def measured(self, measure: str, groups: int, policy: ScoringPolicy = _POLICY) -> Measured:
        """The measure with and without each group of rows: row i is in group i mod ``groups``."""
        sign = 1.0 if _measures.direction_of(measure) == "max" else -1.0
        value, constant = self.value(measure), self.constant(measure, policy)
        number = np.arange(len(self.wanted))
        without = [self.value(measure, number % groups != group) for group in range(groups)]
        learnt = None if math.isnan(constant.chance) else sign * (value - constant.chance) > 0
        return Measured(self.named(measure), self.output, "max" if sign > 0 else "min", value,
                        np.array(without), learnt, constant.way)  # fmt: skip

    @cached_property
    def columns(self) -> "tuple[OwnAnswers, ...]":
        """The columns of numbers, where there are a few; () otherwise."""
        count = self.wanted.shape[1] if self.kind == "numbers" else 0
        if not 1 < count <= _POLICY.most_columns:
            return ()
        return tuple(
            replace(
                self, wanted=self.wanted[:, [one]], given=self.given[:, [one]], suffix=f" of column {one}"
            )
            for one in range(count)
        )


def _constant_f1(answers: Answers) -> float:
    """The F1 of always answering the positive one of two classes, or the commonest of more."""
    shares = np.bincount(answers.true, minlength=answers.shares.shape[1]) / len(answers.true)
    if len(shares) == 2:
        return float(2 * shares[answers.positive] / (1 + shares[answers.positive]))
    return float(2 * shares.max() / (1 + shares.max()) / np.count_nonzero(shares))


def _absolute(numbers: np.ndarray) -> float:
    """The mean absolute error of the median."""
    return float(np.mean(np.abs(numbers - np.median(numbers, axis=0))))


def predictions(subject: Subject, model: keras.Model) -> Any:
    """Predictions of ``model`` for the subject's validation rows; leaves in the order of its output facts."""
    return predict_unchanged(model, subject.x_val, batch_size=judged_in(subject))


def own_answers(original: Subject, subject: Subject, outputs: Sequence[np.ndarray]) -> list[OwnAnswers]:
    """The answers of every output with targets, on the validation rows of ``subject``; () if none has a loss.

    What an output is to learn is read from the ``original`` model: the treated one may have another loss.
    """
    targets = paired_targets(original.model, subject.y_val)
    if not len(original.facts[1]) == len(subject.facts[1]) == len(outputs) == len(targets):
        return []
    found: list[OwnAnswers] = []
    learns = any(one.loss is not None for one in original.facts[1])
    for index, name in enumerate(names_of(original.model, len(outputs))):
        came = original.facts[1][index]
        if learns and came.loss is None:
            came = replace(came, loss=LossFacts(""))  # a treated model may have one: its targets decide
        kind = kind_of(came)
        if kind is not None:
            given = np.asarray(outputs[index], dtype=np.float64)
            found.append(_answered(kind, name, came, given, targets[index], subject.facts[1][index]))
    return found


def own_measures(answered: Sequence[OwnAnswers], *also: str) -> Iterator[tuple[OwnAnswers, str]]:
    """Every answer with each measure that fits it, those of columns and ``also`` included."""
    for one in answered:
        asked = [name for name in also if name in _measures.names_of(one.kind)]
        for part in (one, *one.columns):
            for measure in dict.fromkeys((*part.measures, *asked)):
                yield part, measure


def names_of(model: keras.Model, count: int) -> list[str]:
    """A name for each output, in the order of its facts; "" for a single one."""
    if count == 1:
        return [""]
    names = output_names(model)
    return names if len(set(names)) == count else [f"output {index + 1}" for index in range(count)]


def kind_of(output: OutputFacts) -> Kind | None:
    """What an output learns, from its training targets and its loss; None if that is unknown."""
    if output.loss is None or output.targets is None or output.targets.dtype.kind not in "fiub":
        return None
    targets, loss, classes = output.targets, output.loss.name or "", output.units
    elements = math.prod(output.shape[1:])
    if are_classes(targets, loss, classes) or ordered_classes(output):
        return "classes"
    numbered = output.loss.name is None and _are_numbered(targets, classes)
    sparse = ("sparse_categorical" in loss or numbered) and targets[:1].size * classes == elements
    rows = loss.startswith("categorical") or (output.loss.name is None and output.activation == "softmax")
    shares = rows and targets[:1].size == elements and are_shares(targets)
    if sparse or shares:
        return "classes"
    if targets[:1].size != elements:
        return None
    return "masks" if loss not in DISTANCES and len(np.unique(targets)) == 2 else "numbers"


def _are_numbered(targets: np.ndarray, classes: int) -> bool:
    """Whether targets are numbers of two classes or more."""
    return classes > 1 and bool(np.isin(targets, np.arange(classes)).all())


def are_classes(targets: np.ndarray, loss: str | None, units: int) -> bool:
    """Whether targets, one a row, are classes: class numbers, signs of a hinge, or shares of classes."""
    facts = target_facts(targets)
    if facts is None:
        return False
    signs = facts.width == 1 and facts.whole and (facts.low, facts.high) == (-1.0, 1.0)
    if signs and ("hinge" in (loss or "") or loss == "binary_crossentropy"):
        return True
    if labels(targets) is None and not facts.shares:
        return False
    counts = facts.width == 1 and facts.classes > 2 and units == 1
    return not counts or "crossentropy" in (loss or "")


def class_numbers(targets: np.ndarray) -> np.ndarray:
    """The class of each row, int [n]: the place of the 1 in one-hot rows, else the number, -1 being 0."""
    rows = targets.reshape(len(targets), -1)
    if rows.shape[1] > 1:
        return rows.argmax(axis=1)
    return np.where(rows[:, 0] < 0, 0, np.round(rows[:, 0])).astype(np.int64)


def chance_accuracy(share: float, rows: float, policy: ScoringPolicy = _POLICY) -> float:
    """The accuracy of always answering a class with this share of the rows, with its noise."""
    return min(share + policy.chance_errors * math.sqrt(share * (1 - share) / rows), (1 + share) / 2)


def judged_in(subject: Subject) -> int:
    """The batch size for the validation rows: the model's fixed one, or one that makes few whole batches."""
    return fixed_batch_size(subject.model) or whole_batches(subject.validation_rows)


def _are_logits(output: OutputFacts) -> bool:
    loss = output.loss
    return loss is not None and (loss.from_logits or "hinge" in (loss.name or ""))


def _answered(
    kind: Kind, name: str, came: OutputFacts, outputs: np.ndarray, targets: np.ndarray, now: OutputFacts
) -> OwnAnswers:
    """``came``: the output of the original model; ``now``: of the one that answers ``outputs``."""
    count = len(outputs)
    finite = np.asarray(np.isfinite(outputs).reshape(count, -1).all(axis=1))
    none = np.zeros((count, 0))
    if kind == "classes":
        units = outputs.shape[-1] if outputs.ndim > 1 else 1
        shares = _shares(outputs.reshape(-1, units), now)
        # Each position of a sequence or an image has a class of its own.
        places = _places(targets, len(shares) // count)
        wanted = class_numbers(places)
        if units == 1 and are_distances(now) and len(wanted) == len(shares) and finite.all():
            shares = np.eye(2)[cut_where_best(outputs.ravel(), wanted)]
        if units == 1 and (classes := ordered_classes(came)):
            shares = -np.abs(outputs.reshape(-1, 1) - np.arange(classes))  # the nearest class
        given = shares.argmax(axis=1)
        known = class_numbers(_places(np.asarray(came.targets), len(shares) // count))
        rare = _measures.rare_class(np.bincount(known)) is not None
        if outputs.ndim == _OF_MASKS:  # as kilter train measures them
            rows = (wanted.reshape(count, -1), given.reshape(count, -1))
            return OwnAnswers(name, "masks", *rows, none, finite, rare, classes=units)
        # A class that the network has no output for gets the probability 0.
        missing = 1 + max(known.max(), wanted.max()) - shares.shape[1]
        shares = np.pad(shares, ((0, 0), (0, max(missing, 0))))
        return OwnAnswers(name, kind, wanted.reshape(count, -1), given.reshape(count, -1),
                          shares.reshape(count, -1, shares.shape[-1]), finite, rare)  # fmt: skip
    flat, wanted = outputs.reshape(count, -1), targets.reshape(count, -1)
    if kind == "numbers":
        return OwnAnswers(name, kind, wanted.astype(np.float64), flat, none, finite)
    low, high = float(targets.min()), float(targets.max())
    threshold = 0.0 if _are_logits(now) else 0.5 if now.activation in _BOUNDED else (low + high) / 2
    pixels = np.asarray(came.targets) > low
    rare = _measures.rare_class(np.array([pixels.size - pixels.sum(), pixels.sum()])) is not None
    return OwnAnswers(name, kind, wanted > low, flat > threshold, none, finite, rare)


def _places(targets: np.ndarray, places: int) -> np.ndarray:
    """Targets as rows of one class each, one-hot or numbers; a row with one class has it at every place."""
    count = len(targets) * places
    if targets.size % count == 0:
        return targets.reshape(count, -1)
    return np.repeat(targets.reshape(len(targets), -1), places, axis=0)


def _shares(outputs: np.ndarray, output: OutputFacts) -> np.ndarray:
    """Probabilities of the classes from outputs [n, units]; of one unit those of two classes."""
    logits = _are_logits(output)
    if outputs.shape[1] == 1:
        one = expit(outputs[:, 0]) if logits else outputs[:, 0]
        # A tie is the first class, as for any number of units.
        return np.stack([1 - one, one], axis=1)
    return softmax(outputs, axis=1) if logits else outputs
