"""Each output's own measures, chosen by the kind of its targets, whatever the compiled loss.

Accuracy for classes, and balanced accuracy if a class is rare; accuracy and intersection over union for
binary elements such as masks; root mean squared error for numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import keras
import numpy as np

from kilter._diagnosis.checks.output import SQUARES
from kilter._diagnosis.targets import labels, target_facts
from kilter._engine.inference import predict_unchanged
from kilter._models.layers import OutputFacts, output_names
from kilter._models.reading import paired_targets
from kilter._models.tracing import fixed_batch_size
from kilter._treatment.policy import Policy, ScoringPolicy
from kilter._treatment.subject import Subject
from kilter.runs.records import Direction

_POLICY: Final = Policy().scoring
Kind = Literal["classes", "binary", "numbers"]

DISTANCES: Final = (*SQUARES, "mean_squared_logarithmic_error")
_MOST_AT_ONCE: Final = 512


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


@dataclass(frozen=True, eq=False)
class RowMeasure:
    """A measure as a function of the mean of per-row statistics.

    ``output``: its name, "" for a single one. ``rows``: float64 [n, k]. ``of_mean``: from their mean, [k], to
    the measure. ``chance``: what a constant answer reaches, with its noise for an accuracy; NaN if unknown.
    """

    measure: str
    direction: Direction
    rows: np.ndarray
    of_mean: Callable[[np.ndarray], float]
    chance: float = math.nan
    output: str = ""

    @property
    def name(self) -> str:
        """The measure, and the output's name if there are several."""
        return f"{self.measure} of {self.output}" if self.output else self.measure

    @property
    def value(self) -> float:
        """The measure on all rows; NaN if an output is not finite."""
        return self.of_mean(self.rows.mean(axis=0))

    def measured(self, groups: int) -> Measured:
        """The measure with and without each group of rows: row i is in group i mod ``groups``."""
        total, count = self.rows.sum(axis=0), len(self.rows)
        parts = (self.rows[group::groups] for group in range(groups))
        without = [self.of_mean((total - part.sum(axis=0)) / (count - len(part))) for part in parts]
        learnt = None
        if math.isfinite(self.chance):
            gain = self.value - self.chance if self.direction == "max" else self.chance - self.value
            learnt = gain > 0
        return Measured(self.name, self.output, self.direction, self.value, np.array(without), learnt)


def predictions(subject: Subject, model: keras.Model) -> Any:
    """Predictions of ``model`` for the subject's validation rows; leaves in the order of its output facts."""
    return predict_unchanged(model, subject.x_val, batch_size=judged_in(subject))


def row_measures(original: Subject, subject: Subject, outputs: Sequence[np.ndarray]) -> list[RowMeasure]:
    """The own measures of every output with a loss and targets, on the validation rows of ``subject``.

    What an output is to learn is read from the ``original`` model: the treated one may have another loss.
    """
    targets = paired_targets(original.model, subject.y_val)
    if not len(original.facts[1]) == len(subject.facts[1]) == len(outputs) == len(targets):
        return []
    found: list[RowMeasure] = []
    for index, name in enumerate(names_of(original.model, len(outputs))):
        kind = kind_of(original.facts[1][index])
        if kind is not None:
            one = _measures(
                kind, outputs[index], targets[index], subject.facts[1][index], subject.policy.scoring
            )
            found += [replace(measure, output=name) for measure in one]
    return found


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
    if are_classes(targets, loss, classes):
        return "classes"
    sparse = "sparse_categorical" in loss and targets[:1].size * classes == elements
    shares = loss.startswith("categorical") and targets[:1].size == elements and classes > 1
    if sparse or shares:
        return "classes"
    if targets[:1].size != elements:
        return None
    return "binary" if loss not in DISTANCES and len(np.unique(targets)) == 2 else "numbers"


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
    return not (counts and loss in DISTANCES)


def class_numbers(targets: np.ndarray) -> np.ndarray:
    """The class of each row, int [n]: the place of the 1 in one-hot rows, else the number, -1 being 0."""
    rows = targets.reshape(len(targets), -1)
    if rows.shape[1] > 1:
        return rows.argmax(axis=1)
    return np.where(rows[:, 0] < 0, 0, np.round(rows[:, 0])).astype(np.int64)


def answers(outputs: np.ndarray, output: OutputFacts) -> np.ndarray:
    """The class of each row of outputs [n, units], by the loss that the ``output`` is compiled with."""
    if outputs.shape[1] > 1:
        return outputs.argmax(axis=1)
    return (outputs[:, 0] > (0.0 if _are_logits(output) else 0.5)).astype(np.int64)


def chance_accuracy(share: float, rows: float, policy: ScoringPolicy = _POLICY) -> float:
    """The accuracy of always answering a class with this share of the rows, with its noise."""
    return min(share + policy.chance_errors * math.sqrt(share * (1 - share) / rows), (1 + share) / 2)


def judged_in(subject: Subject) -> int:
    """The batch size for the validation rows: the model's fixed one, or one that makes few whole batches."""
    return fixed_batch_size(subject.model) or whole_batches(subject.validation_rows)


def whole_batches(rows: int) -> int:
    """A batch size that divides the rows, so that one program serves them all; 512 if there is none.

    Example:
        >>> whole_batches(600), whole_batches(397), whole_batches(10_007)
        (300, 397, 512)
    """
    divisors = (size for size in range(_MOST_AT_ONCE, _MOST_AT_ONCE // 4, -1) if rows % size == 0)
    return next(divisors, rows if 0 < rows <= 2 * _MOST_AT_ONCE else _MOST_AT_ONCE)


def _are_logits(output: OutputFacts) -> bool:
    loss = output.loss
    return loss is not None and (loss.from_logits or "hinge" in (loss.name or ""))


def _measures(
    kind: Kind, outputs: np.ndarray, targets: np.ndarray, output: OutputFacts, policy: ScoringPolicy
) -> Iterator[RowMeasure]:
    outputs = outputs.astype(np.float64)
    if kind == "numbers":
        return _of_numbers(outputs, targets.astype(np.float64), policy)
    finite = np.asarray(np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1))
    if kind == "binary":
        return _of_elements(outputs, targets, output, finite, policy)
    units = outputs.shape[-1] if outputs.ndim > 1 else 1
    given = answers(outputs.reshape(-1, units), output).reshape(len(outputs), -1)
    # Each position of a sequence or an image has a class of its own.
    places = targets.reshape(given.size, -1) if targets.size % given.size == 0 else targets
    wanted = class_numbers(places)
    return _of_classes(given, wanted.reshape(len(outputs), -1), finite, policy)


def _of_classes(
    given: np.ndarray, wanted: np.ndarray, finite: np.ndarray, policy: ScoringPolicy
) -> Iterator[RowMeasure]:
    """Accuracy, and the mean accuracy over classes if one is rare; classes [n, places]."""
    right = (given == wanted).astype(np.float64)
    right[~finite] = np.nan
    classes, counts = np.unique(wanted, return_counts=True)
    shares = counts / counts.sum()
    chance = chance_accuracy(float(shares.max()), float(counts.sum()), policy)
    yield RowMeasure("accuracy", "max", right.mean(axis=1, keepdims=True), _first, chance)
    if len(classes) > 1 and shares.min() < policy.rare_class:
        of_class = [wanted == one for one in classes]
        rows = [np.where(mine, right, 0.0).sum(axis=1) for mine in of_class]
        rows += [mine.sum(axis=1) for mine in of_class]
        yield RowMeasure("balanced accuracy", "max", np.stack(rows, axis=1), _mean_share, 1 / len(classes))


def _of_elements(
    outputs: np.ndarray, targets: np.ndarray, output: OutputFacts, finite: np.ndarray, policy: ScoringPolicy
) -> Iterator[RowMeasure]:
    """Accuracy of the elements [n, k], and intersection over union of those with the higher target."""
    low, high = float(targets.min()), float(targets.max())
    bounded = output.activation in ("sigmoid", "hard_sigmoid", "softmax")
    threshold = 0.0 if _are_logits(output) else 0.5 if bounded else (low + high) / 2
    given, wanted = outputs.reshape(len(outputs), -1) > threshold, targets.reshape(len(targets), -1) > low
    right = (given == wanted).mean(axis=1, keepdims=True)
    both, any_ = (given & wanted).sum(axis=1), (given | wanted).sum(axis=1)
    overlap = np.stack([both, any_], axis=1).astype(np.float64)
    right[~finite], overlap[~finite] = np.nan, np.nan
    share = float(wanted.mean())
    chance = chance_accuracy(max(share, 1 - share), float(wanted.size), policy)
    yield RowMeasure("accuracy", "max", right, _first, chance)
    yield RowMeasure("IoU", "max", overlap, _mean_share, share)


def _of_numbers(outputs: np.ndarray, targets: np.ndarray, policy: ScoringPolicy) -> Iterator[RowMeasure]:
    """The root mean squared error, and that of each column if there are a few; numbers [n, columns]."""
    outputs, targets = (part.reshape(len(part), -1) for part in (outputs, targets))
    errors = np.where(np.isfinite(outputs), (outputs - targets) ** 2, np.nan)
    chance = policy.chance_rmse * float(np.std(targets))
    yield RowMeasure("rmse", "min", errors.mean(axis=1, keepdims=True), _root, chance)
    if 1 < errors.shape[1] <= policy.most_columns:
        for column in range(errors.shape[1]):
            chance = policy.chance_rmse * float(np.std(targets[:, column]))
            own = errors[:, column : column + 1]
            yield RowMeasure(f"rmse of column {column}", "min", own, _root, chance)


def _first(mean: np.ndarray) -> float:
    return float(mean[0])


def _root(mean: np.ndarray) -> float:
    return math.sqrt(max(mean[0], 0.0)) if math.isfinite(mean[0]) else math.nan


def _mean_share(mean: np.ndarray) -> float:
    """The mean of ratios, [k] numerators, then [k] denominators; ratios with denominator 0 are left out."""
    part, whole = np.split(mean, 2)
    if not np.isfinite(mean).all():
        return math.nan
    return float(np.mean(part[whole > 0] / whole[whole > 0])) if (whole > 0).any() else 1.0
