"""Programs as people write them, with odd overrides: each takes a way to train and returns all that it sees.

A way has ``fit``, ``evaluate`` and ``predict``: Keras's or kilter's.
"""

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np

layers, ops = keras.layers, keras.ops
X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = (X[:, :2] * 0.5 + 0.1).astype("float32")
CLASSES = (X[:, 0] > 0).astype("int64")
PROGRAMS: dict[str, Callable[[Any], Any]] = {}


def program(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Add it to the table."""
    PROGRAMS[function.__name__] = function
    return function


def small(kind: type[keras.Model] = keras.Model, outputs: int = 2, last: str | None = None) -> Any:
    """A functional model of this class."""
    inputs = keras.Input((3,))
    hidden = layers.Dense(4, "tanh")(inputs)
    return kind(inputs, layers.Dense(outputs, last)(hidden))


def loss_of(model: Any, state: Any, data: Any, scale: Any = 1.0) -> Any:
    """One step by hand: logs and state."""
    weights, fixed, slots, metrics = state
    x, y = data

    def loss(weights: Any) -> Any:
        outputs, new = model.stateless_call(weights, fixed, x, training=True)
        return scale * ops.mean(ops.square(outputs - y)), new

    (value, fixed), gradient = jax.value_and_grad(loss, has_aux=True)(weights)
    weights, slots = model.optimizer.stateless_apply(slots, gradient, weights)
    return {"loss": value}, (weights, fixed, slots, metrics)
