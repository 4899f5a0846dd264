"""Subjects with sequences that need a remedy, and what the treated ones must have."""

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.treatment.subjects import RNG, subject

# isort: split
import keras
from keras import layers

from kilter._treatment.subject import Subject

SERIES = RNG.normal(size=(96, 6, 2)).astype("float32")
IDS = RNG.integers(0, 9, size=(96, 6))
SIGNS = (SERIES[:, 0, 0] > 0).astype("int32")
LSTM, Dense = layers.LSTM, layers.Dense


def series(*stack: Any, batch: int | None = None, **options: Any) -> Subject:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 2), batch_size=batch)
    model = keras.Sequential([inputs, *stack, Dense(1, "sigmoid")])
    return subject(model, SERIES, SIGNS, **{"batch_size": 32, **options})


def ids() -> Subject:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,), dtype="int32")
    value = layers.Embedding(9, 4, name="ids")(inputs)
    value = layers.GlobalAveragePooling1D()(value + layers.MultiHeadAttention(1, 4)(value, value))
    return subject(keras.Model(inputs, Dense(1, "sigmoid")(value)), IDS, SIGNS, optimizer="adam")


def weighted() -> Subject:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 2))
    states = LSTM(4, return_sequences=True)(inputs)
    scores = Dense(1, "softmax", name="scores")(states)
    value = keras.ops.sum(states * scores, axis=1)
    return subject(keras.Model(inputs, Dense(1, "sigmoid")(value)), SERIES, SIGNS)


def cell(treated: Subject) -> Any:
    return next(one for one in treated.model._flatten_layers() if isinstance(one, layers.RNN)).cell


def is_orthogonal(treated: Subject) -> bool:
    kernel = np.asarray(cell(treated).recurrent_kernel)
    return np.allclose(kernel @ kernel.T, np.eye(4), atol=1e-4)


def permuted_differs(treated: Subject) -> bool:
    given, moved = (np.asarray(treated.model(x)) for x in (IDS, IDS[:, ::-1]))
    return not np.allclose(given, moved, atol=1e-6)


def long_series() -> Subject:
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(3).normal(size=(96, 250, 2)).astype("float32")
    return subject(keras.Sequential([keras.Input((250, 2)), LSTM(4), Dense(1, "sigmoid")]), x, SIGNS)


SEQUENCES: dict[str, tuple[Callable[[], Subject], Callable[[Subject], object]]] = {
    "pool-steps": (
        long_series,
        lambda p: p.model.layers[0].pool_size == (2,) and np.asarray(p.model(p.x[:2])).shape == (2, 1),
    ),
    "recurrent-tanh": (
        lambda: series(layers.Bidirectional(LSTM(4, activation="relu"))),
        lambda p: cell(p).activation is keras.activations.tanh,
    ),
    "orthogonal-recurrent": (
        lambda: series(LSTM(4, recurrent_initializer="zeros", kernel_initializer="ones")),
        is_orthogonal,
    ),
    "unit-forget-bias": (
        lambda: series(LSTM(4, unit_forget_bias=False)),
        lambda p: np.asarray(cell(p).bias).tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8,
    ),
    "stateless": (
        lambda: series(LSTM(4, stateful=True), batch=32),
        lambda p: not any(getattr(one, "stateful", False) for one in p.model.layers),
    ),
    "read-last-step": (
        lambda: series(LSTM(4, return_sequences=True), loss="mse", metrics=()),
        lambda p: p.model.output_shape == (None, 1),
    ),
    "add-positions": (ids, permuted_differs),
    "repair-softmax-axis": (
        weighted,
        lambda p: any(isinstance(one, layers.Softmax) and one.axis == 1 for one in p.model.layers),
    ),
    "warm-up": (ids, lambda p: p.cycle == 1e-3 and p.optimizer.optimizer.clipnorm == 1.0),
}
