"""Which rows are labelled: nested choices, each class in its share."""

from __future__ import annotations

from typing import Any

import numpy as np

from kilter.errors import DataError


def labelled_first(y: np.ndarray, *, seed: int) -> np.ndarray:
    """The row numbers in an order whose first n rows have the classes in their shares, for every n.

    ``y``: whole numbers, shape (rows,). The first n rows are among the first n + 1: more labels are the same
    ones and some more.

    Example:
        >>> order = labelled_first(np.array([0] * 6 + [1] * 3), seed=0)
        >>> np.bincount(np.array([0] * 6 + [1] * 3)[order[:3]]).tolist()
        [2, 1]
    """
    generator = np.random.default_rng(seed)
    place = np.empty(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        place[generator.permutation(rows)] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.lexsort((generator.random(len(y)), place))


def class_numbers(y: Any, name: str = "y") -> np.ndarray:
    """``y`` as class numbers of shape (rows,); :class:`DataError` for anything that is no classes.

    A last axis of length 1 is dropped.
    """
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        raise DataError(
            expected=f"{name} as class numbers from 0, shape (rows,)",
            received=f"{name} of shape {labels.shape} and type {labels.dtype}",
            remedy="number the classes, such as with np.unique(y, return_inverse=True)",
        )
    return labels.astype(np.int32)
