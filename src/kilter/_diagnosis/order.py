"""Whether the order of steps, or a part of them, tells something about the targets: cheap learners say."""

from typing import Final

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.model_selection import cross_val_score

from kilter._diagnosis.context import Context
from kilter._diagnosis.learnable import ROWS
from kilter._diagnosis.skill import sampled
from kilter._diagnosis.targets import labels

_COLUMNS: Final = 400
_TREES: Final = 60
_PAST: Final = 16
_IDS: Final = 40
_PAIRED: Final = 12


def gain_of_order(context: Context) -> float:
    """How much better trees tell the targets with the order of steps than without, in skill; NaN if unknown.

    Skill is 0 for a constant prediction and 1 for perfection, out of fold.
    """
    series = _series(context)
    if series is None:
        return float("nan")
    return _gain(context, [_bag(series)], [_bag(series), _ordered(series)])


def gain_of_steps(context: Context, read: np.ndarray) -> float:
    """How much better trees tell the targets from all steps than from those ``read`` [steps], in skill."""
    series = _series(context)
    if series is None or len(read) != series.shape[1]:
        return float("nan")
    kept = series[:, read] if read.any() else np.zeros_like(series[:, :1])
    kept = np.repeat(kept, 2, axis=1) if kept.shape[1] == 1 else kept  # for differences between steps
    return _gain(context, [_bag(kept), _ordered(kept)], [_bag(series), _ordered(series)])


def gain_of_past(context: Context, lags: tuple[int, int]) -> tuple[float, int]:
    """How much better trees tell an output's step from more earlier steps than it sees; and how many more.

    ``lags``: see :class:`SequenceReading`. For targets of one number a step, and series; NaN for others, and
    where the earliest of :data:`_PAST` steps is seen.
    """
    series, targets = _series(context), context.outputs[0].targets if context.outputs else None
    if (
        series is None
        or series.ndim != 3
        or targets is None
        or targets.shape[:2] != context.inputs[0].shape[:2]
    ):
        return float("nan"), 0
    steps, columns = series.shape[1:]
    past, ahead = min(_PAST, steps // 2, _COLUMNS // columns), max(0, -lags[0])
    if lags[1] >= past or targets[0, 0].size != 1 or targets.dtype.kind not in "fiub":
        return float("nan"), 0
    random = np.random.default_rng(0)
    at = random.integers(past, max(steps - ahead, past + 1), len(series))
    chosen = sampled(targets, ROWS)
    wanted = targets[chosen, at].reshape(-1)
    numbers = labels(wanted)
    rows = np.arange(len(series))[:, None]
    every = np.minimum(at[:, None] + np.arange(-past, min(ahead, past) + 1), steps - 1)
    given = series[rows, every]
    flat = [
        part.reshape(len(given), -1).astype(float) for part in (given[:, past - max(lags[1], 0) :], given)
    ]
    told = wanted.astype(float) if numbers is None else numbers
    poor, rich = (_skill(one, told, classes=numbers is not None) for one in flat)
    return rich - max(poor, 0.0), past


def gain_of_ids(context: Context) -> float:
    """How much better trees tell the targets if whole numbers are also counted as ids, in skill."""
    series = _series(context)
    if series is None:
        return float("nan")
    return _gain(context, [_thinned(series)], [_thinned(series), _bag(series)])


def _series(context: Context) -> np.ndarray | None:
    """The only input's rows of steps: ids [rows, steps], or numbers [rows, steps, columns]."""
    if len(context.inputs) != 1 or len(context.outputs) != 1 or context.outputs[0].targets is None:
        return None
    array = context.inputs[0]
    finite = array.dtype.kind in "iub" or (array.dtype.kind == "f" and np.isfinite(array).all())
    chosen = sampled(array, ROWS)
    return array[chosen] if array.ndim in (2, 3) and finite else None


def _gain(context: Context, without: list[np.ndarray], given: list[np.ndarray]) -> float:
    targets = np.asarray(context.outputs[0].targets)
    chosen = sampled(targets, ROWS)
    numbers = labels(targets)
    if numbers is None and (targets[:1].size != 1 or targets.dtype.kind not in "fiub"):
        return float("nan")
    wanted = targets[chosen].reshape(-1).astype(float) if numbers is None else numbers[chosen]
    poor, rich = (
        _skill(np.concatenate(part, axis=1), wanted, classes=numbers is not None) for part in (without, given)
    )
    return rich - max(poor, 0.0)


def _skill(rows: np.ndarray, wanted: np.ndarray, *, classes: bool) -> float:
    if len(wanted) < 30:
        return float("nan")
    if classes:
        counts = np.bincount(wanted)
        chance = counts.max() / counts.sum()
        if counts[counts > 0].min() < 3 or chance == 1:
            return float("nan")
        trees = ExtraTreesClassifier(_TREES, random_state=0, min_samples_leaf=2)
        found = float(cross_val_score(trees, rows, wanted, cv=3).mean())
        return (found - chance) / (1 - chance)
    trees = ExtraTreesRegressor(_TREES, random_state=0, min_samples_leaf=2)
    return float(cross_val_score(trees, rows, wanted, cv=3).mean())


def _thinned(rows: np.ndarray) -> np.ndarray:
    flat = rows.reshape(len(rows), -1).astype(float)
    return flat[:, :: max(1, flat.shape[1] // _COLUMNS)]


def _bag(series: np.ndarray) -> np.ndarray:
    """What stays the same if the steps of a row are permuted."""
    if series.ndim == 3:
        return _thinned(np.sort(series, axis=1))
    return np.stack([(series == one).sum(axis=1) for one in _common(series)[:_COLUMNS]], axis=1).astype(float)


def _ordered(series: np.ndarray) -> np.ndarray:
    """The steps in their order, and how each follows the one before."""
    steps = series[..., None] if series.ndim == 2 else series
    rises = (np.diff(steps.astype(float), axis=1) > 0).mean(axis=1)
    parts = [_thinned(series), _thinned(np.diff(steps.astype(float), axis=1)), rises]
    return np.concatenate([*parts, *([_places(series)] if series.ndim == 2 else [])], axis=1)


def _places(ids: np.ndarray) -> np.ndarray:
    """Where the common ids first come, which of two comes first, and how often two follow each other."""
    common = _common(ids)[:_IDS]
    places = np.stack(
        [np.where((ids == one).any(axis=1), (ids == one).argmax(axis=1), -1) for one in common], axis=1
    )
    few = places[:, :_PAIRED]
    first = np.sign(few[:, :, None] - few[:, None])[:, *np.triu_indices(few.shape[1], 1)]
    _, codes = np.unique(ids, return_inverse=True)
    codes = codes.reshape(ids.shape)
    couples = codes[:, :-1] * (int(codes.max()) + 1) + codes[:, 1:]
    follow = np.stack([(couples == one).sum(axis=1) for one in _common(couples)[:_IDS]], axis=1)
    return np.concatenate([places, first, follow], axis=1).astype(float)


def _common(ids: np.ndarray) -> np.ndarray:
    """All ids, the most common ones first."""
    kinds, counts = np.unique(ids, return_counts=True)
    return kinds[np.argsort(-counts, kind="stable")]
