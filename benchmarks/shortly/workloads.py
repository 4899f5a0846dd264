"""The short trainings: a compiled model, rows, targets and a batch size each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import kilter  # isort: skip  # noqa: F401  (before keras: it chooses the backend)
import keras
import numpy as np
from keras import layers

Workload = tuple[keras.Model, np.ndarray, np.ndarray, int]


def _rows(count: int, *shape: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(0)
    return drawn.standard_normal((count, *shape)).astype("float32"), drawn.integers(0, classes, count)


def _compiled(model: keras.Model) -> keras.Model:
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def lstm() -> Workload:
    """LSTM of 64 units over 50 steps of 16 numbers."""
    model = keras.Sequential([keras.Input((50, 16)), layers.LSTM(64), layers.Dense(10, "softmax")])
    return _compiled(model), *_rows(2010, 50, 16), 32


def transformer() -> Workload:
    """Two encoder blocks of width 64 over 64 tokens."""
    tokens = keras.Input((64,), dtype="int32")
    flow = layers.Embedding(1000, 64)(tokens)
    for _ in range(2):
        attended = layers.MultiHeadAttention(4, 16, dropout=0.1)(flow, flow)
        flow = layers.LayerNormalization()(flow + attended)
        inner = layers.Dense(64)(layers.Dense(128, "gelu")(flow))
        flow = layers.LayerNormalization()(flow + layers.Dropout(0.1)(inner))
    outputs = layers.Dense(10, "softmax")(layers.GlobalAveragePooling1D()(flow))
    drawn = np.random.default_rng(0)
    x, y = drawn.integers(0, 1000, (1010, 64)).astype("int32"), drawn.integers(0, 10, 1010)
    return _compiled(keras.Model(tokens, outputs)), x, y, 32


def cnn() -> Workload:
    """Two convolutions on 28×28 images."""
    model = keras.Sequential(
        [keras.Input((28, 28, 1))]
        + [
            part
            for width in (16, 32)
            for part in (layers.Conv2D(width, 3, activation="relu"), layers.MaxPooling2D())
        ]
        + [layers.Flatten(), layers.Dense(64, "relu"), layers.Dense(10, "softmax")]
    )
    return _compiled(model), *_rows(2010, 28, 28, 1), 32


def resnet() -> Workload:
    """ResNet-20 on 32×32 images."""

    def unit(flow: Any, width: int, stride: int = 1, *, active: bool = True) -> Any:
        flow = layers.Conv2D(width, 3, stride, padding="same", use_bias=False)(flow)
        flow = layers.BatchNormalization()(flow)
        return layers.ReLU()(flow) if active else flow

    images = keras.Input((32, 32, 3))
    flow = unit(images, 16)
    for width in (16, 32, 64):
        for block in range(3):
            stride = 2 if width > 16 and block == 0 else 1
            inner = unit(unit(flow, width, stride), width, active=False)
            if stride > 1:
                flow = layers.Conv2D(width, 1, stride, use_bias=False)(flow)
            flow = layers.ReLU()(flow + inner)
    outputs = layers.Dense(10, "softmax")(layers.GlobalAveragePooling2D()(flow))
    return _compiled(keras.Model(images, outputs)), *_rows(522, 32, 32, 3), 32


def batch_norm() -> Workload:
    """Three layers of 256 units with batch normalisation and dropout."""
    unit = (lambda: layers.Dense(256, "relu"), layers.BatchNormalization, lambda: layers.Dropout(0.3))
    hidden = [part() for _ in range(3) for part in unit]
    model = keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(10, "softmax")])
    return _compiled(model), *_rows(10_010, 64), 32


def _dense(depth: int, width: int, count: int, inputs: int = 100) -> Workload:
    hidden = [layers.Dense(width, "elu", kernel_initializer="he_normal") for _ in range(depth)]
    model = keras.Sequential([keras.Input((inputs,)), *hidden, layers.Dense(10, "softmax")])
    return _compiled(model), *_rows(count, inputs), 32


def dense_512() -> Workload:
    """Thirty layers of 512 units."""
    return _dense(30, 512, 1010)


def dense_1024() -> Workload:
    """Four layers of 1,024 units."""
    return _dense(4, 1024, 2010)


def dense_100() -> Workload:
    """Twenty layers of 100 units."""
    return _dense(20, 100, 10_010)


def rows_100() -> Workload:
    """A hundred rows."""
    return _dense(2, 32, 100, inputs=8)


def mobilenet() -> Workload:
    """A new head on a frozen MobileNetV2, on 64×64 images."""
    base = keras.applications.MobileNetV2((64, 64, 3), include_top=False, weights=None, pooling="avg")
    base.trainable = False
    model = keras.Sequential([keras.Input((64, 64, 3)), base, layers.Dense(10, "softmax")])
    return _compiled(model), *_rows(330, 64, 64, 3), 32


WORKLOADS: Final[dict[str, Callable[[], Workload]]] = {
    "lstm": lstm,
    "transformer": transformer,
    "cnn": cnn,
    "resnet-20": resnet,
    "batch-norm": batch_norm,
    "dense-512": dense_512,
    "dense-1024": dense_1024,
    "dense-100": dense_100,
    "rows-100": rows_100,
    "mobilenet": mobilenet,
}
