"""Calibration of a classifier: whether predictions are right as often as their probabilities say."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kilter._array_types import Labels, Probabilities
from kilter._records import Figure, drawn
from kilter._validation import whole_number
from kilter.errors import DataError

_SHOWN_ROWS = 5
_ROUNDING = 1e-3  # allowed deviation from 1 of a row of float16 or float32 probabilities


@dataclass(frozen=True, eq=False)
class Calibration:
    """How well predicted probabilities fit the true classes of ``count`` rows.

    Attributes:
        negative_log_likelihood: mean of -log p(true class), in nats; infinite if a true class has
            probability 0.
        brier: mean of Σ_k (p_k - [k is true])², from 0 to 2 (Brier 1950); for two classes twice the score of
            one class.
        expected_calibration_error: Σ_b n_b / n · abs(accuracy_b - confidence_b) over the bins (Guo et al.
            2017, who take 15).
        accuracy: the share of rows for which the most probable class is the true one.
        confidence: mean probability of the most probable class; above the accuracy means overconfident.
        edges: ``[bins + 1]``, edges of the confidence bins; a bin includes its upper edge.
        counts: ``[bins]``, rows in each bin.
        bin_accuracy: ``[bins]``, NaN in an empty bin.
        bin_confidence: ``[bins]``, NaN in an empty bin.
    """

    negative_log_likelihood: float
    brier: float
    expected_calibration_error: float
    accuracy: float
    confidence: float
    edges: np.ndarray
    counts: np.ndarray
    bin_accuracy: np.ndarray
    bin_confidence: np.ndarray

    def plot(self) -> Figure:
        """The reliability diagram: accuracy against confidence, bin by bin."""
        return drawn("reliability", self)


def calibration(probabilities: Probabilities, y: Labels, *, bins: int = 15) -> Calibration:
    """Measure how well predicted probabilities fit the true classes.

    Args:
        probabilities: ``[n, classes]``, rows that sum to 1; or ``[n]`` or ``[n, 1]`` for the second of two
            classes.
        y: the true classes, whole numbers ``[n]`` or ``[n, 1]`` from 0.
        bins: number of equal bins of confidence from 0 to 1.

    Raises:
        DataError: if the shapes do not match, or the rows are not probabilities.
        OptionError: for fewer than one bin.

    Example:
        >>> found = calibration([[0.9, 0.1], [0.6, 0.4]], [0, 1], bins=10)
        >>> found.accuracy, round(found.brier, 3), round(found.expected_calibration_error, 3)
        (0.5, 0.37, 0.35)
    """
    bins = whole_number("bins", bins, 1, remedy="leave it out: 15")
    shares = _probabilities(probabilities)
    labels = _labels(y, shares)
    rows = np.arange(len(shares))
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == labels
    # Divided integers, not np.linspace, so that a confidence of 0.6 is exactly on the edge 0.6.
    edges = np.arange(bins + 1) / bins
    placed = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts, correct, confident = (
        np.bincount(placed, weights, minlength=bins) for weights in (None, right, confidence)
    )
    distances = shares**2
    distances[rows, labels] = (1 - shares[rows, labels]) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):  # a probability of 0, an empty bin
        return Calibration(
            negative_log_likelihood=float(-np.log(shares[rows, labels]).mean()),
            brier=float(distances.sum(axis=1).mean()),
            expected_calibration_error=float(np.abs(correct - confident).sum() / len(rows)),
            accuracy=float(right.mean()),
            confidence=float(confidence.mean()),
            edges=edges,
            counts=counts,
            bin_accuracy=correct / counts,
            bin_confidence=confident / counts,
        )


def _probabilities(values: Any) -> np.ndarray:
    shares = np.asarray(values, dtype=np.float64)
    if shares.ndim == 1:
        shares = shares[:, None]
    if shares.ndim != 2 or shares.size == 0:
        raise DataError(
            expected="probabilities of shape (rows, classes), or (rows,) for two classes",
            received=f"shape {np.shape(values)}",
            remedy="give one row of class probabilities for each row of y",
        )
    if shares.shape[1] == 1:
        shares = np.concatenate([1 - shares, shares], axis=1)
    sums = shares.sum(axis=1)
    bad = np.flatnonzero(~((np.abs(sums - 1) <= _ROUNDING) & (shares >= 0).all(axis=1)))  # NaN is bad too
    if len(bad):
        raise DataError(
            expected="probabilities from 0 to 1 that sum to 1 in every row",
            received=f"{len(bad)} other rows; first rows {bad[:_SHOWN_ROWS].tolist()} sum to "
            f"{sums[bad[:_SHOWN_ROWS]].tolist()}",
            remedy="apply softmax to logits first; kilter.predict_mc(...).mean holds probabilities already",
        )
    return shares


def _labels(y: Any, shares: np.ndarray) -> np.ndarray:
    labels = np.asarray(y)
    if labels.shape == (len(shares), 1):
        labels = labels[:, 0]
    if labels.shape != (len(shares),):
        raise DataError(
            expected=f"y of shape ({len(shares)},), a class for each row of probabilities",
            received=f"y of shape {np.shape(y)}",
            remedy="pass class numbers; for one-hot rows y.argmax(axis=1)",
        )
    bad = np.flatnonzero(~((labels >= 0) & (labels < shares.shape[1]) & (labels == np.floor(labels))))
    if len(bad):
        raise DataError(
            expected=f"whole numbers from 0 to {shares.shape[1] - 1} in y",
            received=f"{len(bad)} others; in rows {bad[:_SHOWN_ROWS].tolist()} "
            f"{labels[bad[:_SHOWN_ROWS]].tolist()}",
            remedy="number the classes in the order of the columns of probabilities",
        )
    return labels.astype(np.int64)
