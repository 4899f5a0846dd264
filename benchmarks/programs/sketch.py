"""A program in a few words: rows, network, compilation; what is not said is as it should be.

A faulty program is a sound one with a word or two changed, and its reference is the sound one.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import keras
import numpy as np

from programs.rows import Rows, rows

layers = keras.layers

_PAIRED: Final = {
    **dict.fromkeys(("relu", "elu", "leaky_relu", "silu", "gelu", "softplus"), "he_normal"),
    "selu": "lecun_normal",
}
# Usual rates of small networks.
_RATES: Final = {"sgd": 0.05, "momentum": 0.01, "adam": 1e-3, "nadam": 1e-3, "rmsprop": 1e-3, "adagrad": 0.05}
OPTIMIZERS: Final = ("sgd", "momentum", "adam", "nadam", "rmsprop")


@dataclass(frozen=True)
class Sketch:
    """A program in words.

    Attributes:
        rows: the name of a set; inputs, targets: what is done to them (see :func:`prepared`).
        depth, units: of the hidden layers, all alike; activation: of them, a name or a LeakyReLU's slope.
        convolutions: how many 3×3 convolutions with pooling come before; the rows are images then.
        initializer: of hidden kernels, a name or Keras's configuration; "" for the paired one.
        bias: what the hidden biases begin with.
        norm: options of batch normalisation before each activation; None for none.
        dropout: rate after each hidden layer; alpha: whether it is AlphaDropout.
        penalty: L2 on hidden kernels.
        skips: whether every two hidden layers are skipped around.
        output, units_out, loss, from_logits: of the last layer; "" and 0 for what fits the rows.
        optimizer, rate, momentum: rate 0 for the usual one.
        frozen: "all", or "stale" for layers that are frozen after compile and building the optimiser.
        shuffle, batch_size, epochs: of the training.
    """

    rows: str
    inputs: str = "scaled"
    targets: str = "plain"
    depth: int = 2
    units: int = 32
    activation: str | float = "relu"
    convolutions: int = 0
    initializer: str | Mapping[str, Any] = ""
    bias: float = 0.0
    norm: Mapping[str, Any] | None = None
    dropout: float = 0.0
    alpha: bool = False
    penalty: float = 0.0
    skips: bool = False
    output: str = ""
    units_out: int = 0
    loss: str = ""
    from_logits: bool = False
    optimizer: str = "adam"
    rate: float = 0.0
    momentum: float = 0.9
    frozen: str = ""
    shuffle: bool = True
    batch_size: int = 32
    epochs: int = 20

    def set_name(self) -> str:
        """The rows' name, of images where there are convolutions."""
        return f"{self.rows}-images" if self.convolutions else self.rows


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled model, its data and how it is trained; ``truth`` are the validation rows' clean targets."""

    model: keras.Model
    x: Any
    y: Any
    validation: tuple[Any, Any] | None
    truth: np.ndarray | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def program(sketch: Sketch, seed: int = 0) -> Program:
    """The program with weights drawn from ``seed``."""
    known = rows(sketch.set_name())
    keras.utils.set_random_seed(zlib.crc32(repr(sketch).encode()) % 100_003 + seed)
    model = network(sketch, known)
    compile_as(sketch, model, known)
    x, y = prepared(sketch, known.x, known.y, known.raw, training=True)
    held = prepared(sketch, known.x_val, known.y_val, known.raw_val, training=False)
    if not sketch.shuffle:
        order = np.argsort(known.y, kind="stable")
        x, y = x[order], y[order]
    options = {"batch_size": sketch.batch_size, "epochs": sketch.epochs, "shuffle": sketch.shuffle}
    return Program(model, x, y, held, _truth(sketch, known), options)


def sound(sketch: Sketch) -> Sketch:
    """The reference: a network of like depth, width and budget as a competent person would write it."""
    deep = sketch.depth >= 5
    return Sketch(
        rows=sketch.rows,
        depth=max(sketch.depth, 1),
        units=sketch.units,
        activation="elu",
        convolutions=sketch.convolutions,
        norm={"momentum": 0.9} if deep else None,
        optimizer="nadam",
        rate=3e-3 if deep else 2e-3,
        batch_size=max(sketch.batch_size, 16),
        epochs=sketch.epochs,
    )


def prepared(
    sketch: Sketch, x: np.ndarray, y: np.ndarray, raw: np.ndarray, *, training: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets as the program has them."""
    return _inputs(sketch.inputs, x, raw, training), _targets(sketch.targets, y, training)


def _inputs(kind: str, x: np.ndarray, raw: np.ndarray, training: bool) -> np.ndarray:
    random = np.random.default_rng(3)
    if kind == "raw":
        return raw
    if kind == "bytes":
        return raw.astype("uint8")
    if kind == "tiny":
        return x * np.float32(1e-5)
    if kind == "shifted":
        return x * np.float32(100) + np.float32(1000)
    if kind == "wild":
        return x * np.logspace(-3, 5, x.shape[-1], dtype="float32")
    if kind in ("nan", "infinite") and training:
        x = x.copy()
        rows_hit = random.choice(len(x), max(3, len(x) // 50), replace=False)
        x.reshape(len(x), -1)[rows_hit, 0] = np.nan if kind == "nan" else np.inf
    return x


def _targets(kind: str, y: np.ndarray, training: bool) -> np.ndarray:
    random = np.random.default_rng(5)
    if kind == "one-hot":
        return np.eye(int(y.max()) + 1, dtype="float32")[y]
    if kind == "signed":
        return 2 * y - 1
    if kind == "from-one":
        return y + 1
    if kind == "column":
        return y.reshape(-1, 1)
    if kind == "floats":
        return y.astype("float32")
    if kind == "large":
        return (y * 50_000 + 200_000).astype("float32")
    if kind == "shuffled" and training:
        return random.permutation(y)
    if kind == "one-class":
        return np.ones_like(y)
    return y


def _truth(sketch: Sketch, known: Rows) -> np.ndarray:
    """What a right answer is: in the program's own units and numbers, of the validation rows."""
    kept = sketch.targets in ("large", "from-one")
    return _targets(sketch.targets, known.y_val, training=False) if kept else known.y_val


def network(sketch: Sketch, known: Rows) -> keras.Model:
    """The uncompiled model."""
    value = inputs = keras.Input(known.x.shape[1:])
    for number in range(sketch.convolutions):
        value = layers.Conv2D(16 * (number + 1), 3, padding="same", **_kernel(sketch))(value)
        value = layers.MaxPooling2D()(_activated(sketch, value))
    if sketch.convolutions:
        value = layers.Flatten()(value)
    kept = None
    for number in range(sketch.depth):
        if sketch.skips and number and number % 2 == 1:
            kept = value
        value = _activated(sketch, layers.Dense(sketch.units, **_kernel(sketch))(value))
        if kept is not None and number % 2 == 0:
            value, kept = layers.Add()([kept, value]), None
    units, activation, _ = _ending(sketch, known)
    return keras.Model(inputs, layers.Dense(units, activation=activation)(value))


def _kernel(sketch: Sketch) -> dict[str, Any]:
    own = sketch.initializer or _PAIRED.get(str(sketch.activation), "glorot_uniform")
    known = keras.initializers.get(own if isinstance(own, str) else dict(own))
    activation = sketch.activation if sketch.norm is None and isinstance(sketch.activation, str) else None
    return {
        "activation": activation,
        "kernel_initializer": known,
        "bias_initializer": keras.initializers.Constant(sketch.bias),
        "kernel_regularizer": keras.regularizers.L2(sketch.penalty) if sketch.penalty else None,
    }


def _activated(sketch: Sketch, value: Any) -> Any:
    """What follows a hidden kernel: normalisation, an activation that is not in the layer, dropout."""
    if sketch.norm is not None:
        axis = sketch.norm.get("axis", -1)
        axis = axis if len(value.shape) > 2 else -1
        value = layers.BatchNormalization(**{**sketch.norm, "axis": axis})(value)
    if not isinstance(sketch.activation, str):
        value = layers.LeakyReLU(negative_slope=sketch.activation)(value)
    elif sketch.norm is not None:
        value = layers.Activation(sketch.activation)(value)
    if sketch.dropout:
        value = (layers.AlphaDropout if sketch.alpha else layers.Dropout)(sketch.dropout)(value)
    return value


def _ending(sketch: Sketch, known: Rows) -> tuple[int, str | None, Any]:
    """Units, activation and loss of the output."""
    one_hot = sketch.targets == "one-hot"
    if known.classes == 0:
        usual: tuple[int, str | None, str] = (1, None, "mse")
    elif known.classes == 2 and not one_hot:
        usual = (1, "sigmoid", "binary_crossentropy")
    else:
        loss = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
        usual = (known.classes, "softmax", loss)
    units, activation = sketch.units_out or usual[0], sketch.output or usual[1]
    loss: Any = sketch.loss or usual[2]
    if sketch.from_logits:
        kinds = {
            "binary_crossentropy": keras.losses.BinaryCrossentropy,
            "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
            "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
        }
        loss = kinds[loss](from_logits=True)
    return units, activation, loss


def compile_as(sketch: Sketch, model: keras.Model, known: Rows) -> None:
    """Compile, and freeze what is to be frozen."""
    if sketch.frozen == "all":
        model.trainable = False
    metrics = ["accuracy"] if known.classes else ["mae"]
    model.compile(optimizer=optimizer(sketch), loss=_ending(sketch, known)[2], metrics=metrics)
    if sketch.frozen == "stale":
        model.optimizer.build(model.trainable_variables)
        for layer in model.layers[:-1]:
            layer.trainable = False


def optimizer(sketch: Sketch) -> keras.optimizers.Optimizer:
    """A new optimiser."""
    rate = sketch.rate or _RATES[sketch.optimizer]
    made = {
        "sgd": keras.optimizers.SGD,
        "momentum": keras.optimizers.SGD,
        "adam": keras.optimizers.Adam,
        "nadam": keras.optimizers.Nadam,
        "rmsprop": keras.optimizers.RMSprop,
        "adagrad": keras.optimizers.Adagrad,
    }[sketch.optimizer]
    momentum = {"momentum": sketch.momentum} if sketch.optimizer == "momentum" else {}
    return made(learning_rate=rate, **momentum)
