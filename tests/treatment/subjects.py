"""Small subjects, faulty in one way each."""

from typing import Any

import numpy as np

import kilter
from kilter import _backend  # noqa: F401

# isort: split
import keras
from keras import layers

from kilter._engine.arrays import pick
from kilter._engine.training_spec import TrainingSpec
from kilter._records import Finding
from kilter._treatment.subject import Subject

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 6)).astype("float32")
LABELS = (X[:, 0] > 0).astype("int32")
THREE = (np.argsort(X[:, 0]).argsort() % 3).astype("int32")
IMAGES = RNG.integers(0, 255, size=(64, 8, 8, 3)).astype("float32")


def finding(*where: str) -> Finding:
    return Finding("code", "severe", where or ("training",), (), "", (), "")


def subject(
    model: keras.Model,
    x: Any = X,
    y: Any = LABELS,
    *,
    loss: Any = "binary_crossentropy",
    optimizer: Any = "sgd",
    metrics: Any = ("accuracy",),
    **options: Any,
) -> Subject:
    model.compile(optimizer, loss, metrics=list(metrics))
    held = pick((x, y), slice(32))
    given = {"epochs": 2, "batch_size": 16, "validation_data": held, **options}
    return Subject(model, x, y, TrainingSpec(**given))


def dense(
    hidden: int = 3,
    *,
    activation: str = "tanh",
    initializer: Any = "glorot_uniform",
    units: int = 1,
    output: str | None = "sigmoid",
    between: tuple[Any, ...] = (),
    functional: bool = False,
) -> keras.Model:
    """A stack of dense layers of 6 units; ``between`` are factories of what follows each hidden layer."""
    keras.utils.set_random_seed(1)
    stack: list[Any] = []
    for number in range(hidden):
        stack.append(layers.Dense(6, activation, kernel_initializer=initializer, name=f"hidden_{number}"))
        stack.extend(make() for make in between)
    stack.append(layers.Dense(units, output, name="output"))
    if not functional:
        return keras.Sequential([keras.Input((6,)), *stack])
    value = inputs = keras.Input((6,))
    for layer in stack:
        value = layer(value)
    return keras.Model(inputs, value)


def nested() -> keras.Model:
    """A dense stack within a functional model within a functional model, with a branch."""
    keras.utils.set_random_seed(1)
    inner = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(6, "sigmoid", name="first"),
            layers.Dense(6, "sigmoid", name="second"),
        ],
        name="inner",
    )
    inputs = keras.Input((6,))
    value = layers.Add()([inner(inputs), layers.Dense(6, "tanh", name="beside")(inputs)])
    return keras.Model(inputs, layers.Dense(1, "sigmoid", name="output")(value))


def convolutional(**norm: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    stack: list[Any] = [layers.Conv2D(4, 3, activation=None if norm else "relu", name="conv")]
    if norm:
        stack += [layers.BatchNormalization(**norm, name="norm"), layers.Activation("relu")]
    stack += [layers.GlobalAveragePooling2D(), layers.Dense(8, "relu", name="hidden")]
    return keras.Sequential([keras.Input((8, 8, 3)), *stack, layers.Dense(1, "sigmoid", name="output")])


@keras.saving.register_keras_serializable(package="tests")
class Written(keras.Model):
    """A model with a ``call`` of its own, which cannot be cut."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.hidden = layers.Dense(6, "sigmoid", kernel_initializer="zeros", name="hidden")
        self.head = layers.Dense(1, "softmax", name="output")

    def call(self, inputs: Any) -> Any:
        return self.head(self.hidden(inputs))

    def build(self, shape: Any) -> None:
        self.hidden.build(shape)
        self.head.build((*shape[:-1], 6))
        self.built = True


def runs_as_written(snippet: str, given: Subject) -> None:
    """A snippet is code, not an outline of it."""
    assert snippet
    assert "..." not in snippet
    exec(snippet, {"keras": keras, "kilter": kilter, "np": np, "model": given.copy(),
                   "x_train": given.x, "y_train": given.y})  # fmt: skip
