"""Baselines: what nearest neighbours and ridge regression reach on the same rows."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from kilter._treatment.policy import Policy, ScoringPolicy

_POLICY = Policy().scoring


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
