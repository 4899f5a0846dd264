"""Valid programs with models of every kind but plain stacks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from programs.odd_base import chain, circles, dense, layers, odd, program_of
from programs.rows import rows
from programs.sketch import Program


def _texts(count: int = 300, length: int = 12, words: int = 50) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.integers(1, words, (count, length))
    return x, (x == 7).any(axis=1).astype("int64")


@odd
def _two_units() -> Program:
    return program_of(chain((2,), dense(2), dense(1, "sigmoid"), loss="binary_crossentropy"), *circles())


@odd
def _one_unit_deep() -> Program:
    stack = [dense(1, "sigmoid") for _ in range(12)]
    return program_of(chain((2,), *stack, dense(1, "sigmoid"), loss="binary_crossentropy"), *circles())


@odd
def _no_hidden_layer() -> Program:
    return program_of(chain((2,), dense(1, "softmax"), loss="binary_crossentropy"), *circles())


@odd
def _unbuilt() -> Program:
    model = keras.Sequential([dense(16, "sigmoid") for _ in range(10)] + [dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    return program_of(model, *circles())


@odd
def _several_outputs() -> Program:
    known = rows("table")
    inputs = keras.Input((8,))
    value = inputs
    for _ in range(8):
        value = dense(16, "sigmoid")(value)
    model = keras.Model(
        inputs, [dense(1, None, name="amount")(value), dense(1, "sigmoid", name="large")(value)]
    )
    model.compile("adam", {"amount": "mse", "large": "binary_crossentropy"})
    return program_of(model, known.x, {"amount": known.y, "large": (known.y > 0).astype("float32")})


@odd
def _several_outputs_as_lists() -> Program:
    known = rows("table")
    inputs = keras.Input((8,))
    value = dense(16, kernel_initializer="zeros")(inputs)
    model = keras.Model(inputs, [dense(1, None)(value), dense(2, "softmax")(value)])
    model.compile("sgd", ["mse", "sparse_categorical_crossentropy"], metrics=[["mae"], ["accuracy"]])
    return program_of(model, known.x, [known.y, (known.y > 0).astype("int64")])


@odd
def _several_inputs() -> Program:
    x, y = rows("blobs").x, rows("blobs").y
    left, right = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    value = layers.Concatenate()([dense(8, "sigmoid")(left), dense(8, "sigmoid")(right)])
    for _ in range(8):
        value = dense(8, "sigmoid")(value)
    model = keras.Model([left, right], dense(4, "softmax")(value))
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return program_of(model, {"left": 1000 * x[:, :3], "right": x[:, 3:]}, y)


@keras.saving.register_keras_serializable(package="programs")
class Written(keras.Model):
    """A model with a call of its own."""

    def __init__(self, activation: str = "sigmoid", depth: int = 8, **options: Any) -> None:
        super().__init__(**options)
        self.activation, self.depth = activation, depth
        self.stack = [dense(16, activation) for _ in range(depth)]
        self.head = dense(1, "sigmoid")

    def call(self, inputs: Any) -> Any:
        """One after the other."""
        for layer in self.stack:
            inputs = layer(inputs)
        return self.head(inputs)

    def get_config(self) -> dict[str, Any]:
        """To make it anew."""
        return {"activation": self.activation, "depth": self.depth}


@odd
def _subclassed() -> Program:
    model = Written()
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    return program_of(model, *circles())


class Bare(keras.Model):
    """A model that Keras cannot make anew: no configuration."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.hidden, self.head = dense(units, kernel_initializer="zeros"), dense(1, "softmax")

    def call(self, inputs: Any) -> Any:
        """Forward."""
        return self.head(self.hidden(inputs))


@odd
def _subclassed_without_configuration() -> Program:
    model = Bare(8)
    model.compile("adam", "binary_crossentropy")
    return program_of(model, *circles())


@odd
def _recurrent() -> Program:
    x, y = _texts()
    stack = [layers.Embedding(50, 8), layers.LSTM(8), dense(1, "softmax")]
    return program_of(chain((12,), *stack, loss="binary_crossentropy", metrics=["accuracy"]), x, y)


@odd
def _embedded_average() -> Program:
    x, y = _texts()
    stack = [
        layers.Embedding(50, 8),
        layers.GlobalAveragePooling1D(),
        *[dense(8, "sigmoid") for _ in range(8)],
    ]
    return program_of(
        chain((12,), *stack, dense(1, "sigmoid"), loss="binary_crossentropy", optimizer="sgd"), x, y
    )


@odd
def _series() -> Program:
    x = np.random.default_rng(0).normal(size=(200, 20, 3)).astype("float32") * 500
    stack = [layers.GRU(6, return_sequences=True), layers.GRU(6), dense(1, "relu")]
    return program_of(chain((20, 3), *stack, loss="mse", optimizer="rmsprop"), x, x.mean(axis=(1, 2)))


@odd
def _waves() -> Program:
    x = np.random.default_rng(0).normal(size=(200, 32, 2)).astype("float32")
    stack = [layers.Conv1D(8, 3, activation="sigmoid") for _ in range(6)]
    model = chain(
        (32, 2), *stack, layers.Flatten(), dense(3, "sigmoid"), loss="sparse_categorical_crossentropy"
    )
    return program_of(model, x, np.arange(200) % 3)


@odd
def _autoencoder() -> Program:
    x = rows("digits").x
    stack = [dense(16, "sigmoid"), dense(2, "sigmoid"), dense(16, "sigmoid"), dense(64, "relu")]
    return program_of(chain((64,), *stack, loss="binary_crossentropy"), x, x)


@odd
def _pictures_to_pictures() -> Program:
    x = rows("digits-images").raw
    stack = [layers.Conv2D(4, 3, padding="same", activation="relu"), layers.Conv2D(1, 3, padding="same")]
    return program_of(chain((8, 8, 1), *stack, loss="mse", optimizer="sgd"), x[:300], x[:300])


@odd
def _classes_of_pixels() -> Program:
    x = rows("digits-images").x[:300]
    stack = [
        layers.Conv2D(4, 3, padding="same", activation="sigmoid"),
        layers.Conv2D(2, 1, activation="softmax"),
    ]
    model = chain((8, 8, 1), *stack, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return program_of(model, x, (x[..., 0] > 0.5).astype("int64"))


@odd
def _own_loss() -> Program:
    def distance(truth: Any, answer: Any) -> Any:
        return keras.ops.mean(keras.ops.abs(truth - answer), axis=-1)

    known = rows("table")
    stack = [dense(16, kernel_initializer="zeros"), dense(1, None)]
    return program_of(chain((8,), *stack, loss=distance, metrics=[distance]), known.x, known.y[:, None])


@odd
def _own_activation() -> Program:
    stack = [layers.Dense(16, activation=lambda value: keras.ops.sin(value)), dense(1, "softmax")]
    return program_of(chain((2,), *stack, loss="binary_crossentropy"), *circles())


@odd
def _lambda_layer() -> Program:
    stack = [layers.Lambda(lambda value: value * 2.0), dense(16, "exponential"), dense(16, "exponential")]
    return program_of(chain((2,), *stack, dense(1, "sigmoid"), loss="binary_crossentropy"), *circles())


@odd
def _shared_layer() -> Program:
    shared = dense(8, "sigmoid")
    first, second = keras.Input((3,)), keras.Input((3,))
    model = keras.Model(
        [first, second], dense(4, "sigmoid")(layers.Subtract()([shared(first), shared(second)]))
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = rows("blobs").x
    return program_of(model, [x[:, :3], x[:, 3:]], rows("blobs").y)


@odd
def _half_precision() -> Program:
    stack = [dense(16, "sigmoid", dtype="mixed_float16") for _ in range(6)]
    model = chain((2,), *stack, dense(1, "sigmoid", dtype="float32"), loss="binary_crossentropy")
    return program_of(model, *circles())


@odd
def _eager() -> Program:
    x, y = circles()
    model = chain((2,), dense(8), dense(1, "softmax"), loss="binary_crossentropy", run_eagerly=True)
    return program_of(model, x[:100], y[:100])


@odd
def _frozen_base() -> Program:
    base = keras.Sequential([keras.Input((2,)), dense(16), layers.BatchNormalization()], name="base")
    base.trainable = False
    model = keras.Sequential([keras.Input((2,)), base, dense(1, "softmax")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return program_of(model, *circles())


@odd
def _attention() -> Program:
    inputs = keras.Input((10, 8))
    value = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(inputs, inputs) + inputs)
    model = keras.Model(inputs, dense(1, "softmax")(layers.GlobalAveragePooling1D()(value)))
    model.compile("adam", "binary_crossentropy")
    x = np.random.default_rng(0).normal(size=(200, 10, 8)).astype("float32")
    return program_of(model, x, (x.mean(axis=(1, 2)) > 0).astype("int64"))


@odd
def _nested() -> Program:
    inner = keras.Sequential([keras.Input((2,)), *[dense(8, "sigmoid") for _ in range(8)]], name="inner")
    inputs = keras.Input((2,))
    model = keras.Model(inputs, dense(1, "sigmoid")(inner(inputs)))
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    return program_of(model, *circles())
