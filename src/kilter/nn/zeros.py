"""How many weights an L1 penalty has made zero, or nearly zero."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

NEAR_ZERO: Final = 1e-3


@dataclass(frozen=True)
class PenalizedWeights:
    """Weights with an L1 penalty: path, count, and the shares that are 0 and nearly 0 (including 0)."""

    path: str
    count: int
    zeros: float
    near_zeros: float


def l1_zeros(model: Any, near: float = NEAR_ZERO) -> tuple[PenalizedWeights, ...]:
    """The weights of a built Keras model that have an L1 penalty, with the shares of w = 0 and |w| < near.

    In model order; () if no weight is penalised. Gradient steps rarely hit 0 exactly: weights oscillate
    around it by about the learning rate times the penalty's factor. Set them to zero afterwards, or use
    Ftrl's ``l1_regularization_strength``. NaN counts as neither.

    Example:
        >>> import keras
        >>> layer = keras.layers.Dense(2, use_bias=False, kernel_regularizer=keras.regularizers.L1(0.1))
        >>> model = keras.Sequential([keras.Input((2,)), layer])
        >>> model.set_weights([np.array([[0.0, 1e-4], [0.5, -2.0]])])
        >>> [(found.count, found.zeros, found.near_zeros) for found in l1_zeros(model)]
        [(4, 0.25, 0.5)]
    """
    penalized = [
        variable
        for variable in model.weights
        if float(getattr(getattr(variable, "regularizer", None), "l1", 0.0)) > 0
    ]
    sizes = {variable.path: np.abs(np.asarray(variable.value)) for variable in penalized}
    return tuple(
        PenalizedWeights(path, size.size, float(np.mean(size == 0)), float(np.mean(size < near)))
        for path, size in sizes.items()
    )
