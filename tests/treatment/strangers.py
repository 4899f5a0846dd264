"""Models as strangers write them, each of which Keras trains: (model, x, y, batch size)."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

Program = tuple[keras.Model, Any, Any, int]
GENERATOR = np.random.default_rng(0)
ROWS = 128
FLAT = GENERATOR.normal(size=(ROWS, 4)).astype("float32")
STEPS = GENERATOR.normal(size=(ROWS, 6, 3)).astype("float32")
WORDS = GENERATOR.integers(1, 10, size=(ROWS, 6))
CLASSES = (FLAT[:, 0] > 0).astype("int32")
NUMBERS = FLAT @ np.array([[1.0], [2.0], [0.0], [-1.0]], "float32")
BINARY = "binary_crossentropy"


def compiled(model: keras.Model, loss: Any = BINARY, optimizer: Any = None, **options: Any) -> keras.Model:
    model.compile(keras.optimizers.SGD(30.0) if optimizer is None else optimizer, loss, **options)
    return model


def head() -> layers.Layer:
    return layers.Dense(1, activation="sigmoid")


class Block(layers.Layer):
    """A layer of other layers, without get_config."""

    def __init__(self, units: int, *, activation: Any):
        super().__init__()
        self.parts = [layers.Dense(units, activation=activation), layers.Dropout(0.7)]
        self.norm = layers.BatchNormalization()
        self.table = {"out": layers.Dense(4)}

    def call(self, inputs, training=None):
        value = inputs
        for part in self.parts:
            value = part(value, training=training)
        return inputs + self.table["out"](self.norm(value, training=training))


class Scan(layers.Layer):
    """A layer that calls another in a traced loop."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3, activation="relu")

    def build(self, shape):
        self.dense.build((shape[0], shape[-1]))

    def call(self, inputs):
        steps = ops.moveaxis(inputs, 1, 0)
        last, _ = ops.scan(
            lambda state, step: (state + self.dense(step), state), ops.zeros_like(steps[0]), steps
        )
        return last


class Written(keras.Model):
    """A class with a call of its own that looks at no graph, and an argument without a default."""

    def __init__(self, block):
        super().__init__()
        self.block, self.out = block, head()

    def call(self, inputs, training=None):
        return self.out(ops.convert_to_tensor(np.float32(2)) * self.block(inputs, training=training))


class Stepping(keras.Model):
    """A functional model with its own training step, loss and metric."""

    def __init__(self, factor):
        inputs = keras.Input((4,))
        super().__init__(
            inputs, head()(layers.Dense(3, activation="relu", kernel_initializer="zeros")(inputs))
        )
        self.factor, self.seen = factor, keras.metrics.Mean(name="seen")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = self.factor * ops.mean((y_pred - ops.cast(ops.reshape(y, (-1, 1)), "float32")) ** 2)
        self.seen.update_state(loss)
        return loss

    @property
    def metrics(self):
        return [*super().metrics, self.seen]


class OwnOptimizer(keras.optimizers.SGD):
    def __init__(self, speed):
        super().__init__(learning_rate=speed)


class Ones(keras.initializers.Initializer):
    def __init__(self, value):
        self.value = value

    def __call__(self, shape, dtype=None, **options):
        return ops.full(shape, self.value, dtype=dtype)


class Counted(keras.metrics.Metric):
    def __init__(self, start):
        super().__init__(name="counted")
        self.total = self.add_variable((), initializer="zeros", name="total")
        self.start = start

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(ops.sum(y_pred))

    def result(self):
        return self.total + self.start


def attention() -> Program:
    inputs = keras.Input((6,), dtype="int32")
    value = layers.Embedding(12, 4)(inputs)
    value = layers.Add()([value, layers.MultiHeadAttention(2, 2, dropout=0.7)(value, value)])
    return compiled(keras.Model(inputs, head()(layers.GlobalAveragePooling1D()(value)))), WORDS, CLASSES, 32


def lambda_with_globals() -> Program:
    stack = [
        keras.Input((4,)),
        layers.Lambda(lambda value: ops.abs(value) * ROWS),
        layers.Dense(4, "relu"),
        head(),
    ]
    return compiled(keras.Sequential(stack)), FLAT, CLASSES, 32


def siamese() -> Program:
    encoder = keras.Sequential([keras.Input((4,)), layers.Dense(4, activation="sigmoid")])
    left, right = keras.Input((4,)), keras.Input((4,))
    distance = layers.Lambda(lambda pair: ops.abs(pair[0] - pair[1]))([encoder(left), encoder(right)])
    return compiled(keras.Model([left, right], head()(distance))), [FLAT, FLAT[::-1].copy()], CLASSES, 32


def stateful() -> Program:
    stack = [keras.Input((6, 3), batch_size=16), layers.LSTM(3, stateful=True), head()]
    return compiled(keras.Sequential(stack)), STEPS[:120], CLASSES[:120], 16


def fixed_batch() -> Program:
    inputs = keras.Input(batch_shape=(16, 4))
    value = layers.Dense(4, activation="relu")(inputs)
    value = ops.reshape(value, (16, 4))
    return compiled(keras.Model(inputs, head()(value))), FLAT, CLASSES, 32


def stateful_written() -> Program:
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = layers.GRU(3, stateful=True), head()

        def call(self, inputs):
            return self.out(self.rnn(inputs))

    model = Model()
    model(STEPS[:16])
    return compiled(model), STEPS, CLASSES, 16


def block() -> Program:
    stack = [keras.Input((4,)), Block(4, activation=lambda value: ops.maximum(value, 0)), head()]
    return compiled(keras.Sequential(stack)), FLAT, CLASSES, 32


def scan() -> Program:
    return compiled(keras.Sequential([keras.Input((6, 3)), Scan(), head()])), STEPS, CLASSES, 32


def time_distributed() -> Program:
    stack = [
        keras.Input((6, 3)),
        layers.TimeDistributed(layers.Dense(3, activation="sigmoid")),
        layers.Flatten(),
    ]
    return compiled(keras.Sequential([*stack, head()])), STEPS, CLASSES, 32


def written() -> Program:
    return compiled(Written(Block(4, activation="relu"))), FLAT, CLASSES, 32


def stepping() -> Program:
    return compiled(Stepping(3.0), loss=None), FLAT, CLASSES, 32


def own_parts() -> Program:
    stack = [layers.Dense(4, activation=lambda value: ops.tanh(value), kernel_initializer=Ones(0.1)), head()]
    model = keras.Sequential([keras.Input((4,)), *stack])
    return compiled(model, lambda y, p: (y - p) ** 2, metrics=[Counted(1.0)]), FLAT, NUMBERS, 32


def own_optimizer() -> Program:
    stack = [keras.Input((4,)), layers.Dense(4, activation="relu", kernel_initializer="zeros"), head()]
    return compiled(keras.Sequential(stack), optimizer=OwnOptimizer(30.0)), FLAT, CLASSES, 32


def one_target_for_all_steps() -> Program:
    stack = [
        keras.Input((6, 3)),
        layers.LSTM(3, return_sequences=True),
        layers.Dense(1, activation="sigmoid"),
    ]
    return compiled(keras.Sequential(stack), "mse"), STEPS, CLASSES[:, None], 32


def masked() -> Program:
    stack = [
        keras.Input((6,)),
        layers.Embedding(12, 3, mask_zero=True),
        layers.Bidirectional(layers.GRU(2)),
        head(),
    ]
    return compiled(keras.Sequential(stack)), WORDS, CLASSES, 32


def outputs() -> Program:
    inputs = keras.Input((4,))
    value = layers.Dense(4, activation="relu")(inputs)
    model = keras.Model(inputs, {"a": head()(value), "b": layers.Dense(1)(value)})
    return compiled(model, {"a": BINARY, "b": "mse"}), FLAT, {"a": CLASSES, "b": NUMBERS}, 32


def half() -> Program:
    policy = "mixed_float16"
    stack = [
        layers.Dense(4, activation="relu", dtype=policy),
        layers.Dense(1, activation="sigmoid", dtype="float32"),
    ]
    return compiled(keras.Sequential([keras.Input((4,)), *stack])), FLAT, CLASSES, 32


def frozen() -> Program:
    base = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, activation="sigmoid"), layers.BatchNormalization()]
    )
    base.trainable = False
    return compiled(keras.Sequential([keras.Input((4,)), base, head()])), FLAT, CLASSES, 32


def tied() -> Program:
    inputs, shared = keras.Input((6,)), layers.Dense(6, activation="sigmoid", name="shared")
    x = GENERATOR.normal(size=(ROWS, 6)).astype("float32")
    return compiled(keras.Model(inputs, head()(shared(shared(shared(inputs)))))), x, CLASSES, 32


def images() -> Program:
    x = GENERATOR.integers(0, 256, size=(ROWS, 8, 8, 3)).astype("uint8")
    stack = [
        layers.Rescaling(1 / 255),
        layers.RandomFlip(),
        layers.Conv2D(2, 3, activation="relu"),
        layers.Flatten(),
    ]
    return compiled(keras.Sequential([keras.Input((8, 8, 3)), *stack, head()])), x, CLASSES, 32


def callable_rate() -> Program:
    stack = [keras.Input((4,)), layers.Dense(4, activation="relu"), head()]
    return compiled(keras.Sequential(stack), optimizer=keras.optimizers.Adam(lambda: 9.0)), FLAT, CLASSES, 32


def unbuilt() -> Program:
    stack = [layers.Dense(4, activation="relu", kernel_initializer="zeros"), head()]
    return compiled(keras.Sequential(stack)), FLAT, CLASSES, 32


PROGRAMS: tuple[Callable[[], Program], ...] = (
    attention, lambda_with_globals, siamese, stateful, fixed_batch, stateful_written, block, scan,
    time_distributed, written, stepping, own_parts, own_optimizer, one_target_for_all_steps, masked, outputs,
    half, frozen, tied, images, callable_rate, unbuilt,
)  # fmt: skip
