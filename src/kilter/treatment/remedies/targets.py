"""What a model is to predict, read from its targets and from what it is compiled for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from kilter.health.facts import OutputFacts

Task = Literal["binary", "classes", "one-hot", "labels", "shares", "signs", "numbers"]

_CLASS_LOSSES: Final = (
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "sparse_categorical_crossentropy",
    "smoothed_sparse_categorical_crossentropy",
    "kl_divergence",
)
_NUMBER_LOSSES: Final = (
    "mean_squared_error",
    "mean_absolute_error",
    "mean_squared_logarithmic_error",
    "mean_absolute_percentage_error",
    "huber",
    "log_cosh",
    "poisson",
)
# More different whole numbers than this are quantities, unless the model says that they are classes.
_MOST_CLASSES: Final = 1000
_FEW_CLASSES: Final = 20


@dataclass(frozen=True)
class Wanted:
    """The output that fits the targets.

    Attributes:
        task: "binary" (0 or 1), "classes" (whole numbers), "one-hot", "labels" (several 0 or 1 a row),
            "shares" (numbers from 0 to 1), "signs" (-1 or 1), "numbers".
        activation, loss: by Keras's names; units: of the last layer.
        losses: others that do as well.
    """

    task: Task
    activation: str
    loss: str
    units: int
    losses: tuple[str, ...] = ()


def wanted_output(targets: Any, output: OutputFacts, *, accuracy: bool) -> Wanted | None:
    """The output for ``targets`` [n], [n, 1] or [n, k]; None where none is known.

    Whole numbers are classes where the model is compiled or built for classes: with a cross-entropy, with
    ``accuracy``, or ending in a softmax or sigmoid.
    """
    array = np.asarray(targets)
    if array.ndim > 2 or array.dtype.kind not in "biuf" or not len(array) or not np.all(np.isfinite(array)):
        return None
    if array.ndim == 2 and array.shape[1] > 1:
        return _of_rows(array, output)
    values = np.unique(array)
    loss = output.loss.name if output.loss else None
    of_classes = loss in _CLASS_LOSSES or accuracy or output.activation in ("softmax", "sigmoid")
    whole = bool(np.all(values == np.round(values)))
    few = len(values) <= max(_FEW_CLASSES, output.units) or loss in _CLASS_LOSSES
    if whole and of_classes and few and values.min() >= 0 and values.max() < _MOST_CLASSES:
        return _of_classes(int(values.max()) + 1, output)
    if list(values) == [-1.0, 1.0] and (of_classes or "hinge" in str(loss)):
        return Wanted("signs", "tanh", "hinge", 1, ("squared_hinge", "mean_squared_error"))
    if values.min() >= 0 and values.max() <= 1 and output.activation == "sigmoid" and not whole:
        return Wanted("shares", "sigmoid", "binary_crossentropy", 1, _NUMBER_LOSSES)
    return Wanted("numbers", "linear", "mean_squared_error", 1, _NUMBER_LOSSES)


def _of_classes(classes: int, output: OutputFacts) -> Wanted:
    if classes <= 2 and output.units == 1:
        return Wanted("binary", "sigmoid", "binary_crossentropy", 1, ("binary_focal_crossentropy",))
    others = ("smoothed_sparse_categorical_crossentropy",)
    units = max(classes, output.units, 2)
    return Wanted("classes", "softmax", "sparse_categorical_crossentropy", units, others)


def _of_rows(array: np.ndarray, output: OutputFacts) -> Wanted:
    units = array.shape[1]
    sums_to_one = bool(np.allclose(array.sum(axis=1), 1, atol=1e-3))
    within = bool(array.min() >= 0 and array.max() <= 1)
    if sums_to_one and within:
        others = ("categorical_focal_crossentropy", "kl_divergence")
        return Wanted("one-hot", "softmax", "categorical_crossentropy", units, others)
    if within and np.all((array == 0) | (array == 1)):
        return Wanted("labels", "sigmoid", "binary_crossentropy", units, ("binary_focal_crossentropy",))
    return Wanted("numbers", "linear", "mean_squared_error", units, _NUMBER_LOSSES)
