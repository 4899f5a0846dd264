"""Programs whose treatment is timed: faulty and sound networks of several kinds, on generated rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import kilter  # isort: skip  # noqa: F401  (before keras: it chooses the backend)
import keras
import numpy as np
from keras import layers


@dataclass(frozen=True)
class Program:
    """A compiled model, rows to train on and to judge by, and the options of its training."""

    model: keras.Model
    x: Any
    y: Any
    held: tuple[Any, Any]
    options: dict[str, Any] = field(default_factory=dict)


def _split(model: keras.Model, x: Any, y: Any, **options: Any) -> Program:
    """The last fifth of the rows is held out."""
    rows = len(y[0] if isinstance(y, list) else y)
    cut = rows * 4 // 5

    def part(data: Any, rows: slice) -> Any:
        return [one[rows] for one in data] if isinstance(data, list) else data[rows]

    first, last = slice(cut), slice(cut, rows)
    return Program(model, part(x, first), part(y, first), (part(x, last), part(y, last)), options)


def _clusters(rows: int, columns: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    y = random.integers(0, classes, rows)
    x = random.normal(size=(classes, columns))[y] + 1.6 * random.normal(size=(rows, columns))
    return x.astype("float32"), y.astype("int32")


def _waves(rows: int, steps: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Noisy waves; the class is the frequency."""
    random = np.random.default_rng(1)
    y = random.integers(0, classes, rows)
    phase, time = random.uniform(0, 6, (rows, 1)), np.arange(steps)[None]
    x = np.sin(phase + (0.25 + 0.12 * y[:, None]) * time) + 0.5 * random.normal(size=(rows, steps))
    return x[..., None].astype("float32"), y.astype("int32")


def _pictures(rows: int, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """A bar in one of four directions."""
    random = np.random.default_rng(2)
    y = random.integers(0, 4, rows)
    across, down = np.meshgrid(np.arange(size), np.arange(size))
    ways = np.stack([across, down, across + down, across - down])
    place = random.integers(4, size - 4, rows) + np.array([0, 0, 8, -8])[y]
    x = np.exp(-((ways[y] - place[:, None, None]) ** 2) / 4) + 0.6 * random.normal(size=(rows, size, size))
    return x[..., None].astype("float32"), y.astype("int32")


def _tokens(rows: int, length: int = 24, words: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Whether the word 1 comes before the word 2."""
    random = np.random.default_rng(3)
    x = random.integers(3, words, (rows, length))
    first, second = np.sort(np.argsort(random.random((rows, length)))[:, :2], axis=1).T
    y = random.integers(0, 2, rows)
    x[np.arange(rows), first], x[np.arange(rows), second] = np.where(y, 1, 2), np.where(y, 2, 1)
    return x.astype("int32"), y.astype("int32")


_CLASSES: Final = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}


def dense_rate() -> Program:
    """Four dense layers, Adam with a rate of 0.3."""
    x, y = _clusters(8000, 24, 6)
    model = keras.Sequential(
        [keras.Input((24,)), *(layers.Dense(128, "relu") for _ in range(4)), layers.Dense(6, "softmax")]
    )
    model.compile(keras.optimizers.Adam(0.3), **_CLASSES)
    return _split(model, x, y, batch_size=32, epochs=90)


def dense_sigmoids() -> Program:
    """Eight layers of sigmoids on columns of 0 to 1000, plain gradient descent."""
    x, y = _clusters(6000, 16, 4)
    model = keras.Sequential(
        [keras.Input((16,)), *(layers.Dense(64, "sigmoid") for _ in range(8)), layers.Dense(4, "softmax")]
    )
    model.compile(keras.optimizers.SGD(0.01), **_CLASSES)
    return _split(model, (x - x.min()) * 80, y, batch_size=32, epochs=160)


def dense_sound() -> Program:
    """A sound network with batch normalisation and dropout."""
    x, y = _clusters(8000, 24, 6)
    hidden = [
        part
        for _ in range(2)
        for part in (
            layers.Dense(96, use_bias=False, kernel_initializer="he_normal"),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Dropout(0.2),
        )
    ]
    model = keras.Sequential([keras.Input((24,)), *hidden, layers.Dense(6, "softmax")])
    model.compile("adam", **_CLASSES)
    return _split(model, x, y, batch_size=32, epochs=50)


def lstm_slow() -> Program:
    """An LSTM trained by gradient descent with a rate of 0.0001."""
    x, y = _waves(4000, 40)
    model = keras.Sequential([keras.Input((40, 1)), layers.LSTM(32), layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.SGD(1e-4), **_CLASSES)
    return _split(model, x, y, batch_size=32, epochs=70)


def gru_relu() -> Program:
    """Two GRUs with relu cells and a rate of 0.1."""
    x, y = _waves(2500, 40)
    cells = [layers.GRU(24, activation="relu", return_sequences=True), layers.GRU(24, activation="relu")]
    model = keras.Sequential([keras.Input((40, 1)), *cells, layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.Adam(0.1), **_CLASSES)
    return _split(model, x, y, batch_size=32, epochs=24)


def cnn_zeros() -> Program:
    """Three convolutions, the kernels of one drawn far too small, sigmoids, gradient descent."""
    x, y = _pictures(3000)
    small = keras.initializers.RandomNormal(stddev=1e-3)
    parts = [
        part
        for width in (16, 32)
        for part in (
            layers.Conv2D(width, 3, activation="sigmoid", kernel_initializer=small),
            layers.MaxPooling2D(),
        )
    ]
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            *parts,
            layers.Flatten(),
            layers.Dense(64, "sigmoid"),
            layers.Dense(4, "softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), **_CLASSES)
    return _split(model, x, y, batch_size=32, epochs=40)


def transformer_rate() -> Program:
    """Two blocks of attention without positions, Adam with a rate of 0.03."""
    x, y = _tokens(3000)
    tokens = keras.Input((24,), dtype="int32")
    flow = layers.Embedding(40, 32)(tokens)
    for _ in range(2):
        flow = layers.LayerNormalization()(flow + layers.MultiHeadAttention(4, 8)(flow, flow))
        flow = layers.LayerNormalization()(flow + layers.Dense(32)(layers.Dense(64, "relu")(flow)))
    outputs = layers.Dense(2, "softmax")(layers.GlobalAveragePooling1D()(flow))
    model = keras.Model(tokens, outputs)
    model.compile(keras.optimizers.Adam(0.03), **_CLASSES)
    return _split(model, x, y, batch_size=32, epochs=20)


def autoencoder() -> Program:
    """A dense autoencoder of values up to 255 that ends in sigmoids."""
    random = np.random.default_rng(4)
    x = random.normal(size=(6000, 5)) @ random.normal(size=(5, 64))
    x = (255 / (1 + np.exp(-x))).astype("float32")
    widths = [layers.Dense(width, "relu") for width in (64, 16, 5, 16, 64)]
    model = keras.Sequential([keras.Input((64,)), *widths, layers.Dense(64, "sigmoid")])
    model.compile("adam", "mse")
    return _split(model, x, x, batch_size=32, epochs=100)


def two_outputs() -> Program:
    """A class and a price in thousands from one trunk, whose price drowns the class."""
    x, y = _clusters(6000, 20, 3)
    price = (20_000 + 8_000 * np.tanh(x[:, :1] - x[:, 1:2])).astype("float32")
    inputs = keras.Input((20,))
    flow = inputs
    for _ in range(3):
        flow = layers.Dense(64, "relu")(flow)
    ends = layers.Dense(3, "softmax", name="kind")(flow), layers.Dense(1, name="price")(flow)
    model = keras.Model(inputs, list(ends))
    model.compile("adam", ["sparse_categorical_crossentropy", "mse"], metrics=[["accuracy"], []])
    return _split(model, x, [y, price], batch_size=32, epochs=80)


def noise() -> Program:
    """Labels that are unrelated to the columns."""
    x, _ = _clusters(4000, 24, 6)
    y = np.random.default_rng(5).integers(0, 2, len(x)).astype("int32")
    model = keras.Sequential(
        [keras.Input((24,)), *(layers.Dense(64, "relu") for _ in range(2)), layers.Dense(2, "softmax")]
    )
    model.compile("adam", **_CLASSES)
    return _split(model, x, y, batch_size=32, epochs=150)


PROGRAMS: Final[dict[str, Callable[[], Program]]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        dense_rate,
        dense_sigmoids,
        dense_sound,
        lstm_slow,
        gru_relu,
        cnn_zeros,
        transformer_rate,
        autoencoder,
        two_outputs,
        noise,
    )
}
