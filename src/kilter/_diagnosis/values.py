"""Values of inputs that are no amounts: numbers that stand for missing ones, and masked padding."""

from typing import Any, Final

import keras
import numpy as np

_DISTINCT: Final = 10
_LEAST_ROWS: Final = 20


def sentinels(array: np.ndarray) -> dict[int, float]:
    """The columns with one isolated, repeated value far outside of all others, and that value.

    Far: away from the others by more than twice their range. Repeated: in at least three rows and 0.2 % of
    them; a single far value is an outlier.
    """
    if array.ndim != 2 or array.dtype.kind not in "fiu" or len(array) < _LEAST_ROWS:
        return {}
    found = {}
    for index, column in enumerate(array.T):
        values, counts = np.unique(column[np.isfinite(column)], return_counts=True)
        if len(values) <= _DISTINCT:
            continue
        # The outermost value on each side, its count, and its neighbour; then the far end of the others.
        ends = (
            (values[0], counts[0], values[1], values[-1]),
            (values[-1], counts[-1], values[-2], values[0]),
        )
        for value, count, near, other in ends:
            span = abs(float(other) - float(near))
            far = abs(float(near) - float(value)) > 2 * span > 0
            if far and max(3, 0.002 * len(column)) <= count < 0.9 * len(column):
                found[index] = float(value)
    return found


def without_sentinels(array: np.ndarray) -> np.ndarray:
    """The table with the median of the other values in place of sentinels; the array itself without any."""
    found = sentinels(array)
    if not found:
        return array
    filled = array.astype(np.float64)
    for index, value in found.items():
        own = filled[:, index] != value
        filled[~own, index] = np.median(filled[own, index])
    return filled


def masked_values(first: list[Any]) -> list[float]:
    """What the Masking layers among the ``first`` layers leave out."""
    return [float(one.mask_value) for one in first if isinstance(one, keras.layers.Masking)]


def unmasked(array: np.ndarray, masked: list[float]) -> np.ndarray:
    """The steps of sequences without padding, [steps, features]; the array itself if nothing is masked."""
    if not masked or array.ndim < 3:
        return array
    padding = np.zeros(array.shape[:2], dtype=bool)
    for value in masked:
        padding |= np.all(array == value, axis=tuple(range(2, array.ndim)))
    return array[~padding] if not padding.all() else array
