"""When an output lies on a flat end of its layer's activation, where next to no gradient passes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax

from kilter import _backend  # noqa: F401

# isort: split
import keras

# An output within 1 % of a bound: the slope there is below 0.02 (tanh), 0.01 (sigmoid, elu).
MARGIN = 0.01
# -scale · alpha, the lower bound of SELU (Klambauer et al. 2017).
_SELU_BOUND = -1.7580993408473766


class Saturation(NamedTuple):
    """The slopes of an activation: outputs below ``low`` or above ``high`` are saturated."""

    low: float | jax.Array
    high: float | jax.Array

    def of(self, output: jax.Array) -> jax.Array:
        """Which elements of an output are saturated: float array -> bool array of its shape."""
        return (output < self.low) | (output > self.high)


def saturation(layer: keras.layers.Layer) -> Saturation | None:
    """Where outputs of ``layer`` are saturated; None where its activation is unknown, or flat only where 0.

    Known are tanh, sigmoid, hard_sigmoid, softsign, elu and selu. ReLU's flat side shows as zeros and dead
    units; a softmax is flat where it is right, which is no fault.
    """
    name = activation_name(layer)
    if name in ("tanh", "softsign"):
        return Saturation(MARGIN - 1, 1 - MARGIN)
    if name in ("sigmoid", "hard_sigmoid"):
        return Saturation(MARGIN, 1 - MARGIN)
    if name == "selu":
        return Saturation((1 - MARGIN) * _SELU_BOUND, math.inf)
    if name == "elu":
        return Saturation((MARGIN - 1) * float(getattr(layer, "alpha", 1.0)), math.inf)
    return None


def activation_name(layer: Any) -> str | None:
    """What the layer's activation is called in Keras, such as ``"relu"``; None for none, or one of yours."""
    for kind, name in (
        (keras.layers.ReLU, "relu"),
        (keras.layers.LeakyReLU, "leaky_relu"),
        (keras.layers.ELU, "elu"),
        (keras.layers.Softmax, "softmax"),
    ):
        if isinstance(layer, kind):
            return name
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", None)
    return name if name is not None and getattr(keras.activations, name, None) is function else None
