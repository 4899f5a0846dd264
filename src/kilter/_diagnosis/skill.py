"""How good predictions are, row by row: 0 is the best constant prediction, 1 is perfect."""

import math
from typing import Any, Final

import jax
import keras
import numpy as np
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from kilter._diagnosis.context import Context
from kilter._diagnosis.targets import are_inputs, are_shares, labels, ordered_classes
from kilter._measures import rare_class
from kilter._models.layers import OutputFacts

# The lowest skill of a row: one row of a diverged model must not outweigh all others.
LEAST: Final = -3.0
_ROWS: Final = 1_000
_FEATURES: Final = 512
_NEIGHBOURS: Final = 5
_MOST_TARGETS: Final = 100
_MOST_COLUMNS: Final = 4_096
_MOST_IDS: Final = 50_000
_SHARES: Final = ("sigmoid", "hard_sigmoid", "softmax")
_ENDS: Final = 2  # tokens at each end whose ids count


def row_skill(output: OutputFacts, predicted: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """The skill of each row, float64 [n]; their mean is that of all. None if it cannot be measured.

    Classes: accuracy over that of the most common class. If a class is rare: balanced accuracy, and if it is
    one of two, the mean with how well the rows are ranked (2 AUC - 1), which does not depend on the threshold
    that few answers for a rare class exceed. Binary elements: balanced accuracy over one half. Numbers: 1 -
    squared error / variance (R²); under a custom loss without the mean error.
    """
    count = len(targets)
    if count == 0 or targets.dtype.kind not in "fiub" or len(predicted) != count:
        return None
    predicted = predicted.astype(np.float64)
    if not np.isfinite(predicted).all():
        return np.full(count, LEAST)
    classes = _classes(output, predicted, targets)
    if classes is not None:
        answers, wanted = classes
        skill = _of_classes(answers.reshape(count, -1), wanted.reshape(count, -1))
        ranked = _of_ranks(predicted.reshape(count, -1), wanted.reshape(count, -1))
        return skill if ranked is None else (skill + ranked) / 2
    if predicted.size != targets.size:
        return None
    wanted, given = targets.reshape(count, -1).astype(np.float64), predicted.reshape(count, -1)
    if _binary(output, targets):
        middle = 0.5 if given.min() >= 0 else 0.0
        return _of_classes((given > middle).astype(int), (wanted > 0.5).astype(int))
    missed = given - wanted
    if output.loss is not None and output.loss.name is None:
        missed -= missed.mean(axis=0)  # the best answer of a custom loss, such as a quantile, may be no mean
    error = np.square(missed).mean(axis=1)
    variance = float(np.square(wanted - wanted.mean(axis=0)).mean())
    return np.maximum(1 - error / variance, LEAST) if variance > 0 else None


def _classes(
    output: OutputFacts, predicted: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Predicted and true class numbers, of rows or of their elements; None if there are no classes."""
    name = "" if output.loss is None else output.loss.name or ""
    wide = predicted.ndim > 1 and predicted.shape[-1] > 1
    whole = bool(np.all(targets == np.round(targets)))
    if "sparse" in name and whole and wide and targets.size * predicted.shape[-1] == predicted.size:
        return predicted.argmax(-1), targets.astype(int)
    numbers = labels(targets)
    if numbers is not None and numbers.max() < 2 and predicted.size == len(targets):
        if are_distances(output):
            return cut_where_best(predicted.ravel(), numbers), numbers
        return (predicted.ravel() > (0.5 if predicted.min() >= 0 else 0.0)).astype(int), numbers
    if numbers is not None and predicted.size == len(targets) and ordered_classes(output):
        return np.round(predicted.ravel()), numbers
    if numbers is not None and predicted.ndim == 2 and predicted.shape[1] > numbers.max():
        return predicted.argmax(-1), numbers
    shares = "categorical" in name and targets.shape == predicted.shape and are_shares(targets)
    return (predicted.argmax(-1), targets.argmax(-1)) if shares else None


def are_distances(output: OutputFacts) -> bool:
    """Whether numbers for two classes may be distances: under a custom loss, unbounded or unknown."""
    return output.loss is not None and output.loss.name is None and output.activation not in _SHARES


def cut_where_best(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Class numbers from the best threshold, in the better direction: which distances mean 1 is unknown."""
    limits = np.unique(np.quantile(values, np.linspace(0.02, 0.98, 25)))
    ways = [(values > limit) == above for limit in limits for above in (True, False)]
    return max(ways, key=lambda one: float(np.mean(one == (wanted > 0)))).astype(int)


def _binary(output: OutputFacts, targets: np.ndarray) -> bool:
    name = "" if output.loss is None else output.loss.name or ""
    return "squared" not in name and "absolute" not in name and len(np.unique(targets)) == 2


def _of_classes(answers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Skill of class numbers [n, elements]."""
    kinds, counts = np.unique(wanted, return_counts=True)
    right = (answers == wanted).astype(np.float64)
    if len(kinds) < 2:
        return right.mean(axis=1)
    weights, chance = np.ones(wanted.shape), counts.max() / counts.sum()
    if rare_class(counts) is not None:
        share = dict(zip(kinds.tolist(), counts.sum() / (len(kinds) * counts), strict=True))
        weights, chance = np.vectorize(share.get)(wanted).astype(np.float64), 1 / len(kinds)
    return ((weights * right).mean(axis=1) - chance) / (1 - chance)


def _of_ranks(predicted: np.ndarray, wanted: np.ndarray) -> np.ndarray | None:
    """How each row ranks against those of the other class: the mean is 2 AUC - 1. None without a rare class.

    ``predicted``: one number a row, or one for each of two classes.
    """
    counts = np.bincount(wanted.ravel(), minlength=2)
    if wanted.shape[1] != 1 or len(counts) != 2 or predicted.shape[1] > 2 or rare_class(counts) is None:
        return None
    positive = wanted[:, 0] == 1
    score = predicted[:, -1] - (predicted[:, 0] if predicted.shape[1] == 2 else 0)
    above = np.sign(score[positive][:, None] - score[~positive])
    found = np.empty(len(score))
    found[positive], found[~positive] = above.mean(axis=1), above.mean(axis=0)
    return found * len(score) / (2 * counts[wanted[:, 0]])


def features(context: Context, x: Any) -> np.ndarray | None:
    """Numbers for cheap learners, float64 [n, k]: columns, pixels, values of a series, counts of tokens.

    A series is pooled too (mean, deviation, first and last step), and tokens count at both ends.

    Inputs of one shape also give their distance, element by element. None if an input is not made of numbers.
    """
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(x)]
    same = len(arrays) == len(context.inputs)
    if not arrays or not same or any(one.dtype.kind not in "fiub" for one in arrays):
        return None
    tokens = any(isinstance(one.layer, keras.layers.Embedding) for one in context.layers)
    parts: list[np.ndarray] = []
    for one, training in zip(arrays, context.inputs, strict=True):
        flat = one.reshape(len(one), -1).astype(np.float64)
        common = _common_ids(np.asarray(training)) if tokens else None
        parts.append(flat if common is None else _counted(flat.astype(int), common))
    parts += [_pooled(one.astype(np.float64)) for one in arrays if one.ndim == 3 and one.shape[1] > 2]
    if len(arrays) == 2 and arrays[0].shape == arrays[1].shape and parts[0].shape == parts[1].shape:
        parts.append(np.abs(parts[0] - parts[1]))
    found = np.concatenate([part[:, :: max(1, part.shape[1] // _FEATURES)] for part in parts], axis=1)
    return found if np.isfinite(found).all() else None


def _common_ids(training: np.ndarray) -> np.ndarray | None:
    """The most common ids of the training rows, which count in all rows; None if these are no ids."""
    if not (np.all(training == np.round(training)) and training.min(initial=0) >= 0):
        return None
    if training.max(initial=0) >= _MOST_IDS:
        return None
    kinds, counts = np.unique(training.astype(int), return_counts=True)
    return kinds[np.argsort(-counts, kind="stable")[: _FEATURES // 2]]


def _counted(ids: np.ndarray, common: np.ndarray) -> np.ndarray:
    """How often each of the ``common`` ids comes in a row, and which are the first and the last."""
    bags = np.stack([(ids == one).sum(1) for one in common], axis=1)
    return np.concatenate([bags, ids[:, :_ENDS], ids[:, -_ENDS:]], axis=1).astype(np.float64)


def _pooled(series: np.ndarray) -> np.ndarray:
    """Of a series [rows, steps, columns]: its mean, deviation, first and last step, and mean change."""
    change = np.abs(np.diff(series, axis=1)).mean(axis=1)
    return np.concatenate([series.mean(1), series.std(1), series[:, 0], series[:, -1], change], axis=1)


def sampled(rows: np.ndarray, most: int) -> np.ndarray:
    """The numbers of at most ``most`` of the rows, in a random order that is always the same."""
    return np.random.default_rng(0).permutation(len(rows))[:most]


def baseline(context: Context, x_val: Any, y_val: list[np.ndarray]) -> float:
    """The better skill of nearest neighbours and ridge regression on the output; NaN where it is unknown.

    For targets that are the inputs it is that of as many principal components as the narrowest layer has
    units.
    """
    if len(context.outputs) != 1 or len(y_val) != 1 or context.outputs[0].targets is None:
        return math.nan
    if are_inputs(context.inputs, context.outputs[0].targets):
        return _of_components(context, y_val[0])
    output, wanted = context.outputs[0], y_val[0]
    rows, held = features(context, context.x), features(context, x_val)
    targets = np.asarray(output.targets)
    if rows is None or held is None or rows.shape[1] != held.shape[1] or targets[:1].size > _MOST_TARGETS:
        return math.nan
    chosen = sampled(rows, _ROWS)
    rows, targets = rows[chosen], targets[chosen]
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    deviation[deviation == 0] = 1.0
    rows, held = (rows - mean) / deviation, (held - mean) / deviation
    numbers, near = labels(np.asarray(output.targets)), min(_NEIGHBOURS, len(rows))
    if numbers is not None:
        known, right = numbers[chosen], labels(wanted)
        right = wanted.reshape(len(wanted), -1)[:, 0].astype(int) if right is None else right
        if len(np.unique(known)) < 2:
            return math.nan
        made = [KNeighborsClassifier(near), RidgeClassifier()]
        return max(_of_learner(one.fit(rows, known), held, right[:, None]) for one in made)
    flat = targets.reshape(len(targets), -1).astype(np.float64)
    skills = [
        row_skill(output, one.fit(rows, flat).predict(held).reshape(wanted.shape), wanted)
        for one in (KNeighborsRegressor(near), Ridge())
    ]
    return max((float(one.mean()) for one in skills if one is not None), default=math.nan)


def _of_components(context: Context, wanted: np.ndarray) -> float:
    """The skill of principal components in place of the narrowest layer, numbers alone."""
    rows = np.asarray(context.outputs[0].targets)[:_ROWS]
    flat = [one.reshape(len(one), -1).astype(np.float64) for one in (rows, wanted)]
    width = min((math.prod(one.shape[1:]) for one in context.layers if len(one.shape) > 1), default=0)
    if not 0 < width < flat[0].shape[1] <= _MOST_COLUMNS or not all(np.isfinite(one).all() for one in flat):
        return math.nan
    mean = flat[0].mean(axis=0)
    basis = np.linalg.svd(flat[0] - mean, full_matrices=False)[2][:width]
    held = flat[1] - mean
    variance = float(np.square(flat[1] - flat[1].mean(axis=0)).mean())
    return 1 - float(np.square(held - held @ basis.T @ basis).mean()) / variance if variance > 0 else math.nan


def _of_learner(fitted: Any, held: np.ndarray, wanted: np.ndarray) -> float:
    """The mean skill of a classifier's answers, measured as a network's."""
    given, scores = answers_of(fitted, held)
    skill = float(_of_classes(given[:, None], wanted).mean())
    if len(fitted.classes_) > 2:
        return skill
    ranked = _of_ranks(scores[:, [1]], wanted)
    return skill if ranked is None else (skill + float(ranked.mean())) / 2


def answers_of(fitted: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes that a scikit-learn classifier answers, and its probabilities or scores [rows, classes].

    In one pass: nearest neighbours take as long as the rest of a baseline.
    """
    scores = getattr(fitted, "predict_proba", None) or fitted.decision_function
    found = np.asarray(scores(rows))
    found = np.stack([-found, found], axis=1) if found.ndim == 1 else found
    return fitted.classes_[found.argmax(axis=1)], found
