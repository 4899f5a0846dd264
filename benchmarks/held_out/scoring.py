"""Scores of predictions: 1 is perfect, and a constant answer has a known value."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from held_out.case import Case

SPOILT = 0.0


def _classes(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if p.shape[-1] > 1 and p.ndim > 1:
        if y.shape == p.shape:
            return y.argmax(-1).ravel(), p.argmax(-1).ravel()
        return y.reshape(p.shape[:-1]).ravel(), p.argmax(-1).ravel()
    cut = 0.0 if (p < -0.01).any() and (p > 1.01).any() else 0.5
    return (y.ravel() > 0.5).astype(int), (p.ravel() > cut).astype(int)


def _balanced(y: np.ndarray, p: np.ndarray) -> float:
    return float(np.mean([(p[y == c] == c).mean() for c in np.unique(y)]))


def _overlap(y: np.ndarray, p: np.ndarray) -> float:
    union = (y | p).sum()
    return float((y & p).sum() / union) if union else 1.0


def _labels(y: np.ndarray, p: np.ndarray) -> float:
    """Return the mean over labels of the balanced accuracy."""
    return float(np.mean([_balanced(y[:, k] > 0.5, p[:, k] > 0.5) for k in range(y.shape[1])]))


def score(measure: str, y: Any, p: Any) -> float:
    """Return the score of predictions `p`; values that are not finite score 0."""
    y, p = np.asarray(y), np.asarray(p, dtype="float64")
    if not np.isfinite(p).all():
        return SPOILT
    if measure == "rmse":
        y = y.reshape(p.shape).astype("float64")
        return float(1 - np.sqrt(((p - y) ** 2).mean()) / np.sqrt(((y - y.mean(0)) ** 2).mean()))
    if measure == "iou":
        return _overlap(y.ravel() > 0.5, p.ravel() > 0.5)
    if measure == "labels":
        return _labels(y, p)
    if measure in ("auc", "distance"):
        sign = -1 if measure == "distance" else 1
        return float(roc_auc_score(y.ravel() > 0.5, sign * p.ravel()))
    if measure == "below zero":
        return float((p < 0).mean())
    truth, answer = _classes(y, p)
    if measure == "tokens":
        truth, answer = truth[truth > 0], answer[truth > 0]
    return _balanced(truth, answer) if measure == "balanced" else float((truth == answer).mean())


def constant(measure: str, y: Any) -> float:
    """Return the score of the best constant answer."""
    y = np.asarray(y)
    if measure == "rmse":
        return 0.0
    if measure == "iou":
        return float((y > 0.5).mean())
    if measure in ("auc", "distance", "labels", "below zero"):
        return 0.5
    flat = (
        y.argmax(-1).ravel() if y.ndim > 1 and y.shape[-1] > 1 and set(np.unique(y)) <= {0, 1} else y.ravel()
    )
    if measure == "tokens":
        flat = flat[flat > 0]
    counts = np.unique(flat, return_counts=True)[1]
    return float(1 / len(counts)) if measure == "balanced" else float(counts.max() / counts.sum())


def _each(case: Case, y: Any, function: Any, predictions: Any = None) -> float:
    measures = case.measure if isinstance(case.measure, tuple) else (case.measure,)
    if len(measures) == 1:
        return function(measures[0], y, predictions) if predictions is not None else function(measures[0], y)
    if isinstance(predictions, dict):
        predictions = list(predictions.values())
    pairs = enumerate(measures)
    if predictions is None:
        return float(np.mean([function(m, y[i]) for i, m in pairs]))
    return float(np.mean([function(m, y[i], predictions[i]) for i, m in pairs]))


def case_score(case: Case, model: Any = None) -> float:
    """Return the score on the validation rows, the mean over outputs."""
    model = case.model if model is None else model
    x, y = case.val
    return _each(case, y, score, model.predict(x, verbose=0, batch_size=case.batch_size))


def case_constant(case: Case) -> float:
    """Return the score that a constant answer has on the validation rows."""
    return _each(case, case.val[1], constant)
