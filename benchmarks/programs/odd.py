"""Valid programs of every other kind: what people pass to Keras, and what must never end in an exception."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final

import jax
import keras
import numpy as np

import kilter
from kilter.errors import KilterError
from programs.rows import rows
from programs.sketch import Program

layers = keras.layers
Make = Callable[[], Program]

ODD: Final[dict[str, Make]] = {}


def _odd(make: Make) -> Make:
    ODD[make.__name__.strip("_").replace("_", "-")] = make
    return make


def _chain(
    shape: Sequence[int], *stack: Any, loss: Any, optimizer: Any = "adam", **compiled: Any
) -> keras.Model:
    model = keras.Sequential([keras.Input(tuple(shape)), *stack])
    model.compile(optimizer, loss, **compiled)
    return model


def _of(model: keras.Model, x: Any, y: Any, validation: Any = None, **options: Any) -> Program:
    return Program(model, x, y, validation, options={"epochs": 3, **options})


def _dense(units: int, activation: str | None = "relu", **options: Any) -> Any:
    return layers.Dense(units, activation=activation, **options)


def _circles() -> tuple[np.ndarray, np.ndarray]:
    known = rows("circles")
    return known.x, known.y


def _texts(count: int = 300, length: int = 12, words: int = 50) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.integers(1, words, (count, length))
    return x, (x == 7).any(axis=1).astype("int64")


@_odd
def _xor_of_four_rows() -> Program:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype="float32")
    y = np.array([[0], [1], [1], [0]], dtype="float32")
    model = _chain((2,), _dense(2, "sigmoid"), _dense(1, "sigmoid"), loss="mse", optimizer="sgd")
    return _of(model, x, y, (x, y), epochs=40)


@_odd
def _xor_without_validation() -> Program:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    model = _chain((2,), _dense(8, "relu"), _dense(1, "softmax"), loss="binary_crossentropy")
    return _of(model, x, np.array([0, 1, 1, 0]), epochs=10)


@_odd
def _two_units() -> Program:
    return _of(_chain((2,), _dense(2), _dense(1, "sigmoid"), loss="binary_crossentropy"), *_circles())


@_odd
def _one_unit_deep() -> Program:
    stack = [_dense(1, "sigmoid") for _ in range(12)]
    return _of(_chain((2,), *stack, _dense(1, "sigmoid"), loss="binary_crossentropy"), *_circles())


@_odd
def _no_hidden_layer() -> Program:
    return _of(_chain((2,), _dense(1, "softmax"), loss="binary_crossentropy"), *_circles())


@_odd
def _batch_larger_than_data() -> Program:
    x, y = _circles()
    model = _chain((2,), _dense(8, "sigmoid"), _dense(1, "softmax"), loss="binary_crossentropy")
    return _of(model, x[:50], y[:50], batch_size=512)


@_odd
def _batch_of_one() -> Program:
    x, y = _circles()
    model = _chain((2,), *[_dense(8, "sigmoid") for _ in range(8)], _dense(1, "sigmoid"), loss="mse")
    return _of(model, x[:80], y[:80], batch_size=1)


@_odd
def _targets_in_a_column() -> Program:
    x, y = _circles()
    model = _chain((2,), _dense(8), _dense(1, "relu"), loss="binary_crossentropy", metrics=["accuracy"])
    return _of(model, x, y[:, None].astype("float64"), (x[:99], y[:99, None]))


@_odd
def _truth_values() -> Program:
    x, y = _circles()
    model = _chain((2,), _dense(8), _dense(1, "softmax"), loss="binary_crossentropy")
    return _of(model, x.astype("float64"), y.astype(bool))


@_odd
def _lists() -> Program:
    x, y = _circles()
    model = _chain((2,), _dense(8), _dense(2, "softmax"), loss="sparse_categorical_crossentropy")
    return _of(model, np.asarray(x[:100]), y[:100].tolist())


@_odd
def _unbuilt() -> Program:
    model = keras.Sequential([_dense(16, "sigmoid") for _ in range(10)] + [_dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    return _of(model, *_circles())


@_odd
def _trained_before() -> Program:
    x, y = _circles()
    model = _chain((2,), _dense(16), _dense(1, "softmax"), loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=2, verbose=0)
    return _of(model, x, y)


@_odd
def _trained_to_nan() -> Program:
    x, y = rows("table").x, rows("table").y * 1e6
    model = _chain((8,), _dense(16), _dense(16), _dense(1, None), loss="mse", optimizer="sgd")
    model.fit(x, y, epochs=1, verbose=0)
    return _of(model, x, y)


@_odd
def _several_outputs() -> Program:
    known = rows("table")
    inputs = keras.Input((8,))
    value = inputs
    for _ in range(8):
        value = _dense(16, "sigmoid")(value)
    model = keras.Model(
        inputs, [_dense(1, None, name="amount")(value), _dense(1, "sigmoid", name="large")(value)]
    )
    model.compile("adam", {"amount": "mse", "large": "binary_crossentropy"})
    return _of(model, known.x, {"amount": known.y, "large": (known.y > 0).astype("float32")})


@_odd
def _several_outputs_as_lists() -> Program:
    known = rows("table")
    inputs = keras.Input((8,))
    value = _dense(16, kernel_initializer="zeros")(inputs)
    model = keras.Model(inputs, [_dense(1, None)(value), _dense(2, "softmax")(value)])
    model.compile("sgd", ["mse", "sparse_categorical_crossentropy"], metrics=[["mae"], ["accuracy"]])
    return _of(model, known.x, [known.y, (known.y > 0).astype("int64")])


@_odd
def _several_inputs() -> Program:
    x, y = rows("blobs").x, rows("blobs").y
    left, right = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    value = layers.Concatenate()([_dense(8, "sigmoid")(left), _dense(8, "sigmoid")(right)])
    for _ in range(8):
        value = _dense(8, "sigmoid")(value)
    model = keras.Model([left, right], _dense(4, "softmax")(value))
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return _of(model, {"left": 1000 * x[:, :3], "right": x[:, 3:]}, y)


@keras.saving.register_keras_serializable(package="programs")
class Written(keras.Model):
    """A model with a call of its own."""

    def __init__(self, activation: str = "sigmoid", depth: int = 8, **options: Any) -> None:
        super().__init__(**options)
        self.activation, self.depth = activation, depth
        self.stack = [_dense(16, activation) for _ in range(depth)]
        self.head = _dense(1, "sigmoid")

    def call(self, inputs: Any) -> Any:
        """One after the other."""
        for layer in self.stack:
            inputs = layer(inputs)
        return self.head(inputs)

    def get_config(self) -> dict[str, Any]:
        """To make it anew."""
        return {"activation": self.activation, "depth": self.depth}


@_odd
def _subclassed() -> Program:
    model = Written()
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    return _of(model, *_circles())


class Bare(keras.Model):
    """A model that Keras cannot make anew: no configuration."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.hidden, self.head = _dense(units, kernel_initializer="zeros"), _dense(1, "softmax")

    def call(self, inputs: Any) -> Any:
        """Forward."""
        return self.head(self.hidden(inputs))


@_odd
def _subclassed_without_configuration() -> Program:
    model = Bare(8)
    model.compile("adam", "binary_crossentropy")
    return _of(model, *_circles())


@_odd
def _recurrent() -> Program:
    x, y = _texts()
    stack = [layers.Embedding(50, 8), layers.LSTM(8), _dense(1, "softmax")]
    return _of(_chain((12,), *stack, loss="binary_crossentropy", metrics=["accuracy"]), x, y)


@_odd
def _embedded_average() -> Program:
    x, y = _texts()
    stack = [
        layers.Embedding(50, 8),
        layers.GlobalAveragePooling1D(),
        *[_dense(8, "sigmoid") for _ in range(8)],
    ]
    return _of(_chain((12,), *stack, _dense(1, "sigmoid"), loss="binary_crossentropy", optimizer="sgd"), x, y)


@_odd
def _series() -> Program:
    x = np.random.default_rng(0).normal(size=(200, 20, 3)).astype("float32") * 500
    stack = [layers.GRU(6, return_sequences=True), layers.GRU(6), _dense(1, "relu")]
    return _of(_chain((20, 3), *stack, loss="mse", optimizer="rmsprop"), x, x.mean(axis=(1, 2)))


@_odd
def _waves() -> Program:
    x = np.random.default_rng(0).normal(size=(200, 32, 2)).astype("float32")
    stack = [layers.Conv1D(8, 3, activation="sigmoid") for _ in range(6)]
    model = _chain(
        (32, 2), *stack, layers.Flatten(), _dense(3, "sigmoid"), loss="sparse_categorical_crossentropy"
    )
    return _of(model, x, np.arange(200) % 3)


@_odd
def _autoencoder() -> Program:
    x = rows("digits").x
    stack = [_dense(16, "sigmoid"), _dense(2, "sigmoid"), _dense(16, "sigmoid"), _dense(64, "relu")]
    return _of(_chain((64,), *stack, loss="binary_crossentropy"), x, x)


@_odd
def _pictures_to_pictures() -> Program:
    x = rows("digits-images").raw
    stack = [layers.Conv2D(4, 3, padding="same", activation="relu"), layers.Conv2D(1, 3, padding="same")]
    return _of(_chain((8, 8, 1), *stack, loss="mse", optimizer="sgd"), x[:300], x[:300])


@_odd
def _classes_of_pixels() -> Program:
    x = rows("digits-images").x[:300]
    stack = [
        layers.Conv2D(4, 3, padding="same", activation="sigmoid"),
        layers.Conv2D(2, 1, activation="softmax"),
    ]
    model = _chain((8, 8, 1), *stack, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return _of(model, x, (x[..., 0] > 0.5).astype("int64"))


@_odd
def _own_loss() -> Program:
    def distance(truth: Any, answer: Any) -> Any:
        return keras.ops.mean(keras.ops.abs(truth - answer), axis=-1)

    known = rows("table")
    stack = [_dense(16, kernel_initializer="zeros"), _dense(1, None)]
    return _of(_chain((8,), *stack, loss=distance, metrics=[distance]), known.x, known.y[:, None])


@_odd
def _own_activation() -> Program:
    stack = [layers.Dense(16, activation=lambda value: keras.ops.sin(value)), _dense(1, "softmax")]
    return _of(_chain((2,), *stack, loss="binary_crossentropy"), *_circles())


@_odd
def _lambda_layer() -> Program:
    stack = [layers.Lambda(lambda value: value * 2.0), _dense(16, "exponential"), _dense(16, "exponential")]
    return _of(_chain((2,), *stack, _dense(1, "sigmoid"), loss="binary_crossentropy"), *_circles())


@_odd
def _shared_layer() -> Program:
    shared = _dense(8, "sigmoid")
    first, second = keras.Input((3,)), keras.Input((3,))
    model = keras.Model(
        [first, second], _dense(4, "sigmoid")(layers.Subtract()([shared(first), shared(second)]))
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = rows("blobs").x
    return _of(model, [x[:, :3], x[:, 3:]], rows("blobs").y)


@_odd
def _half_precision() -> Program:
    stack = [_dense(16, "sigmoid", dtype="mixed_float16") for _ in range(6)]
    model = _chain((2,), *stack, _dense(1, "sigmoid", dtype="float32"), loss="binary_crossentropy")
    return _of(model, *_circles())


@_odd
def _eager() -> Program:
    x, y = _circles()
    model = _chain((2,), _dense(8), _dense(1, "softmax"), loss="binary_crossentropy", run_eagerly=True)
    return _of(model, x[:100], y[:100])


@_odd
def _scheduled_rate() -> Program:
    rate = keras.optimizers.schedules.ExponentialDecay(10.0, 100, 0.9)
    stack = [_dense(16), _dense(1, "sigmoid")]
    return _of(
        _chain((2,), *stack, loss="binary_crossentropy", optimizer=keras.optimizers.SGD(rate)), *_circles()
    )


@_odd
def _frozen_base() -> Program:
    base = keras.Sequential([keras.Input((2,)), _dense(16), layers.BatchNormalization()], name="base")
    base.trainable = False
    model = keras.Sequential([keras.Input((2,)), base, _dense(1, "softmax")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return _of(model, *_circles())


@_odd
def _many_labels() -> Program:
    known = rows("table")
    y = (known.x[:, :3] > 0).astype("float32")
    stack = [_dense(16, kernel_initializer="zeros"), _dense(3, "sigmoid")]
    return _of(_chain((8,), *stack, loss="binary_crossentropy", metrics=["binary_accuracy"]), known.x, y)


@_odd
def _several_amounts() -> Program:
    known = rows("table")
    y = np.stack([known.y, 1000 * known.y], axis=1)
    return _of(_chain((8,), _dense(16), _dense(2, "sigmoid"), loss="mse", optimizer="sgd"), known.x, y)


@_odd
def _mostly_missing() -> Program:
    known = rows("table")
    x = known.x.copy()
    x[:, 3] = np.nan
    return _of(_chain((8,), _dense(16), _dense(1, None), loss="mse"), x, known.y)


@_odd
def _missing_in_validation_too() -> Program:
    known = rows("table")
    x, x_val = known.x.copy(), known.x_val.copy()
    x[::9, 3], x_val[::7, 2] = np.nan, np.nan
    return _of(_chain((8,), _dense(16), _dense(1, None), loss="mse"), x, known.y, (x_val, known.y_val))


@_odd
def _constant_inputs() -> Program:
    model = _chain((2,), _dense(16), _dense(1, "sigmoid"), loss="binary_crossentropy")
    return _of(model, np.ones((100, 2), "float32"), np.arange(100) % 2)


@_odd
def _constant_amounts() -> Program:
    model = _chain((2,), _dense(16), _dense(1, None), loss="mse")
    return _of(model, _circles()[0], np.full(len(_circles()[0]), 3.0))


@_odd
def _weighted_classes() -> Program:
    x, y = _circles()
    model = _chain((2,), _dense(8), _dense(1, "softmax"), loss="binary_crossentropy")
    return _of(model, x, y, class_weight={0: 1.0, 1: 5.0})


@_odd
def _one_epoch() -> Program:
    stack = [_dense(16, "sigmoid") for _ in range(20)]
    return _of(_chain((2,), *stack, _dense(1, "sigmoid"), loss="binary_crossentropy"), *_circles(), epochs=1)


@_odd
def _words_as_loss_objects() -> Program:
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    y = np.eye(4, dtype="float32")[rows("blobs").y]
    metrics = [keras.metrics.CategoricalAccuracy(), keras.metrics.AUC()]
    return _of(_chain((6,), _dense(16), _dense(4, "softmax"), loss=loss, metrics=metrics), rows("blobs").x, y)


@_odd
def _attention() -> Program:
    inputs = keras.Input((10, 8))
    value = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(inputs, inputs) + inputs)
    model = keras.Model(inputs, _dense(1, "softmax")(layers.GlobalAveragePooling1D()(value)))
    model.compile("adam", "binary_crossentropy")
    x = np.random.default_rng(0).normal(size=(200, 10, 8)).astype("float32")
    return _of(model, x, (x.mean(axis=(1, 2)) > 0).astype("int64"))


@_odd
def _nested() -> Program:
    inner = keras.Sequential([keras.Input((2,)), *[_dense(8, "sigmoid") for _ in range(8)]], name="inner")
    inputs = keras.Input((2,))
    model = keras.Model(inputs, _dense(1, "sigmoid")(inner(inputs)))
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    return _of(model, *_circles())


@_odd
def _wide_picture_first_channels() -> Program:
    x = np.random.default_rng(0).integers(0, 256, (120, 12, 12, 3)).astype("uint8")
    stack = [layers.Rescaling(1.0), layers.Conv2D(8, 3, activation="sigmoid"), layers.Flatten()]
    model = _chain((12, 12, 3), *stack, _dense(100, "softmax"), loss="sparse_categorical_crossentropy")
    return _of(model, x, np.arange(120) % 5)


@_odd
def _validation_without_a_class() -> Program:
    known = rows("blobs")
    held = known.y_val < 2
    model = _chain(
        (6,),
        _dense(16, kernel_initializer="zeros"),
        _dense(4, "softmax"),
        loss="sparse_categorical_crossentropy",
    )
    return _of(model, known.x, known.y, (known.x_val[held], known.y_val[held]))


@_odd
def _validation_of_one_row() -> Program:
    known = rows("blobs")
    model = _chain(
        (6,),
        _dense(16, kernel_initializer="zeros"),
        _dense(4, "softmax"),
        loss="sparse_categorical_crossentropy",
    )
    return _of(model, known.x, known.y, (known.x_val[:1], known.y_val[:1]))


def tried(only: Sequence[str], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Treat each, and note what is raised.

    A :class:`~kilter.errors.KilterError` is an exception too: every one of these trains in Keras.
    """
    results = []
    for name, make in ODD.items():
        if only and not any(part in name for part in only):
            continue
        began, error, told = time.perf_counter(), "", ""
        keras.utils.set_random_seed(0)
        try:
            one = make()
            found = kilter.treat(one.model, one.x, one.y, validation_data=one.validation, **one.options)
            changes = ", ".join(change.remedy for change in found.changes) or "no change"
            told = f"{found.trials.measure} {found.after.score:.4g}: {changes}"
        except KilterError as problem:
            error = f"{type(problem).__name__}: {problem}"
        except Exception:  # noqa: BLE001  (an exception is what is measured)
            error = "".join(traceback.format_exc())
        results.append({"case": name, "told": told, "error": error, "seconds": time.perf_counter() - began})
        say(f"{'!!' if error else '  '} {name:36} {results[-1]['seconds']:5.1f} s  {error or told}")
        keras.backend.clear_session()
        jax.clear_caches()
    return results
