"""Valid programs with data, targets and training of every kind but the usual."""

from __future__ import annotations

import keras
import numpy as np

from programs.odd_base import chain, circles, dense, layers, odd, program_of
from programs.rows import rows
from programs.sketch import Program


@odd
def _xor_of_four_rows() -> Program:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype="float32")
    y = np.array([[0], [1], [1], [0]], dtype="float32")
    model = chain((2,), dense(2, "sigmoid"), dense(1, "sigmoid"), loss="mse", optimizer="sgd")
    return program_of(model, x, y, (x, y), epochs=40)


@odd
def _xor_without_validation() -> Program:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    model = chain((2,), dense(8, "relu"), dense(1, "softmax"), loss="binary_crossentropy")
    return program_of(model, x, np.array([0, 1, 1, 0]), epochs=10)


@odd
def _batch_larger_than_data() -> Program:
    x, y = circles()
    model = chain((2,), dense(8, "sigmoid"), dense(1, "softmax"), loss="binary_crossentropy")
    return program_of(model, x[:50], y[:50], batch_size=512)


@odd
def _batch_of_one() -> Program:
    x, y = circles()
    model = chain((2,), *[dense(8, "sigmoid") for _ in range(8)], dense(1, "sigmoid"), loss="mse")
    return program_of(model, x[:80], y[:80], batch_size=1)


@odd
def _targets_in_a_column() -> Program:
    x, y = circles()
    model = chain((2,), dense(8), dense(1, "relu"), loss="binary_crossentropy", metrics=["accuracy"])
    return program_of(model, x, y[:, None].astype("float64"), (x[:99], y[:99, None]))


@odd
def _truth_values() -> Program:
    x, y = circles()
    model = chain((2,), dense(8), dense(1, "softmax"), loss="binary_crossentropy")
    return program_of(model, x.astype("float64"), y.astype(bool))


@odd
def _lists() -> Program:
    x, y = circles()
    model = chain((2,), dense(8), dense(2, "softmax"), loss="sparse_categorical_crossentropy")
    return program_of(model, np.asarray(x[:100]), y[:100].tolist())


@odd
def _trained_before() -> Program:
    x, y = circles()
    model = chain((2,), dense(16), dense(1, "softmax"), loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=2, verbose=0)
    return program_of(model, x, y)


@odd
def _trained_to_nan() -> Program:
    x, y = rows("table").x, rows("table").y * 1e6
    model = chain((8,), dense(16), dense(16), dense(1, None), loss="mse", optimizer="sgd")
    model.fit(x, y, epochs=1, verbose=0)
    return program_of(model, x, y)


@odd
def _many_labels() -> Program:
    known = rows("table")
    y = (known.x[:, :3] > 0).astype("float32")
    stack = [dense(16, kernel_initializer="zeros"), dense(3, "sigmoid")]
    return program_of(
        chain((8,), *stack, loss="binary_crossentropy", metrics=["binary_accuracy"]), known.x, y
    )


@odd
def _several_amounts() -> Program:
    known = rows("table")
    y = np.stack([known.y, 1000 * known.y], axis=1)
    return program_of(chain((8,), dense(16), dense(2, "sigmoid"), loss="mse", optimizer="sgd"), known.x, y)


@odd
def _mostly_missing() -> Program:
    known = rows("table")
    x = known.x.copy()
    x[:, 3] = np.nan
    return program_of(chain((8,), dense(16), dense(1, None), loss="mse"), x, known.y)


@odd
def _missing_in_validation_too() -> Program:
    known = rows("table")
    x, x_val = known.x.copy(), known.x_val.copy()
    x[::9, 3], x_val[::7, 2] = np.nan, np.nan
    return program_of(chain((8,), dense(16), dense(1, None), loss="mse"), x, known.y, (x_val, known.y_val))


@odd
def _constant_inputs() -> Program:
    model = chain((2,), dense(16), dense(1, "sigmoid"), loss="binary_crossentropy")
    return program_of(model, np.ones((100, 2), "float32"), np.arange(100) % 2)


@odd
def _constant_amounts() -> Program:
    model = chain((2,), dense(16), dense(1, None), loss="mse")
    return program_of(model, circles()[0], np.full(len(circles()[0]), 3.0))


@odd
def _weighted_classes() -> Program:
    x, y = circles()
    model = chain((2,), dense(8), dense(1, "softmax"), loss="binary_crossentropy")
    return program_of(model, x, y, class_weight={0: 1.0, 1: 5.0})


@odd
def _one_epoch() -> Program:
    stack = [dense(16, "sigmoid") for _ in range(20)]
    return program_of(
        chain((2,), *stack, dense(1, "sigmoid"), loss="binary_crossentropy"), *circles(), epochs=1
    )


@odd
def _words_as_loss_objects() -> Program:
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    y = np.eye(4, dtype="float32")[rows("blobs").y]
    metrics = [keras.metrics.CategoricalAccuracy(), keras.metrics.AUC()]
    return program_of(
        chain((6,), dense(16), dense(4, "softmax"), loss=loss, metrics=metrics), rows("blobs").x, y
    )


@odd
def _scheduled_rate() -> Program:
    rate = keras.optimizers.schedules.ExponentialDecay(10.0, 100, 0.9)
    stack = [dense(16), dense(1, "sigmoid")]
    return program_of(
        chain((2,), *stack, loss="binary_crossentropy", optimizer=keras.optimizers.SGD(rate)), *circles()
    )


@odd
def _wide_picture_first_channels() -> Program:
    x = np.random.default_rng(0).integers(0, 256, (120, 12, 12, 3)).astype("uint8")
    stack = [layers.Rescaling(1.0), layers.Conv2D(8, 3, activation="sigmoid"), layers.Flatten()]
    model = chain((12, 12, 3), *stack, dense(100, "softmax"), loss="sparse_categorical_crossentropy")
    return program_of(model, x, np.arange(120) % 5)


@odd
def _validation_without_a_class() -> Program:
    known = rows("blobs")
    held = known.y_val < 2
    model = chain(
        (6,),
        dense(16, kernel_initializer="zeros"),
        dense(4, "softmax"),
        loss="sparse_categorical_crossentropy",
    )
    return program_of(model, known.x, known.y, (known.x_val[held], known.y_val[held]))


@odd
def _validation_of_one_row() -> Program:
    known = rows("blobs")
    model = chain(
        (6,),
        dense(16, kernel_initializer="zeros"),
        dense(4, "softmax"),
        loss="sparse_categorical_crossentropy",
    )
    return program_of(model, known.x, known.y, (known.x_val[:1], known.y_val[:1]))
