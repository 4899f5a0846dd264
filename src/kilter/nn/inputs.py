"""The front of a built network: it takes rows as they are and normalises them itself.

The statistics are part of the model, so that a saved model takes raw inputs and no scaling can be forgotten.
"""

from __future__ import annotations

from typing import Any, Final

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras
import numpy as np
from numpy.typing import ArrayLike

from kilter.errors import OptionError

# A constant computed in float64 has a variance of at most about (eps·mean)²; what is below this share of the
# squared mean is rounding, and dividing by it would turn the first other value ever seen into 1e7.
CONSTANT: Final = 1e-12


def input_layers(shape: tuple[int, ...], normalization: tuple[ArrayLike, ArrayLike] | None) -> list[Any]:
    """The input, and where statistics are given the layer that computes ``(x - mean) / sqrt(variance)``.

    A feature that never varies is centred and not scaled. The layer works in float32 under every dtype
    policy: a column such as a year has no room for its differences in bfloat16.

    Raises :class:`OptionError` for statistics whose shape is neither ``shape`` nor that of its last axis nor
    a number, that are not finite, or that have a negative variance.
    """
    layers: list[Any] = [keras.Input(shape, name="input")]
    if normalization is None:
        return layers
    mean, variance = (np.asarray(part, dtype="float32") for part in normalization)
    _check(shape, mean, variance)
    variance = np.where(variance <= CONSTANT * np.square(mean, dtype="float64"), np.float32(1), variance)
    axis: Any = tuple(range(1, len(shape) + 1)) if mean.shape == shape else (-1 if mean.ndim else None)
    layers.append(
        keras.layers.Normalization(
            axis=axis, mean=mean, variance=variance.astype("float32"), dtype="float32", name="normalization"
        )
    )
    return layers


def _check(shape: tuple[int, ...], mean: np.ndarray, variance: np.ndarray) -> None:
    allowed = {shape, shape[-1:], ()}
    if mean.shape not in allowed or variance.shape != mean.shape:
        raise OptionError(
            expected=f"a mean and a variance of one shape: {', '.join(str(one) for one in sorted(allowed))}",
            received=f"mean of {mean.shape}, variance of {variance.shape}",
            remedy="compute them over the rows of the training data",
        )
    faulty = np.sum(~np.isfinite(mean)) + np.sum(~(np.isfinite(variance) & (variance >= 0)))
    if faulty:
        raise OptionError(
            expected="finite means and variances of 0 or more",
            received=f"{faulty} numbers that are not",
            remedy="look for NaN and infinity in the training data",
        )
