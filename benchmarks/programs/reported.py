"""Programs like those that people report: of every kind of network, sound, faulty in one way, or on noise.

Written after public questions and issues, among them: an LSTM of one unit with a softmax over one unit and
AdaGrad (Stack Overflow 46620813); stacked LSTMs with ReLU and weights of 0.05; an autoencoder with Adadelta
at Keras's default rate (tensorflow/tensorflow 39432); a U-Net with a narrow ReLU before its output; masks
that are not 0 and 1; a segmentation that says one class everywhere; SGD at 1e-5; attention that stays at
chance (image classification by multi-head attention). Data, widths, depths and optimisers are others than
those of the corpus.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar

import keras
import numpy as np

from programs import reported_data as data
from programs.sketch import Program

layers = keras.layers
Words = Mapping[str, Any]
Kind = Literal["sound", "faulty", "noise"]

SOFTMAX: Final = ("softmax", "sparse_categorical_crossentropy")
SIGMOID: Final = ("sigmoid", "binary_crossentropy")
LINEAR: Final = ("linear", "mse")


@dataclass(frozen=True, eq=False)
class Network:
    """A kind of network on its data: ``build`` makes it from words, ``words`` are those of a sound one."""

    rows: Callable[[], data.Data]
    build: Callable[[Words], keras.Model]
    out: tuple[str, Any]
    units: int
    words: Words = field(default_factory=dict)
    dense: bool = False


Origin = TypeVar("Origin")


@dataclass(frozen=True, eq=False)
class Variant(Generic[Origin]):
    """One program: what it is made from, the words that differ from sound ones, and what names the fault."""

    name: str
    kind: Kind
    origin: Origin
    words: Words
    causes: frozenset[str] = frozenset()

    def program(self, seed: int = 0, *, reference: bool = False) -> Program:
        """The program with weights drawn from ``seed``; ``reference``: as it should have been."""
        return self._made({} if reference else self.words, seed)

    def _made(self, words: Words, seed: int) -> Program:
        raise NotImplementedError


class Reported(Variant[Network]):
    """A variant of a network."""

    def _made(self, words: Words, seed: int) -> Program:
        network = self.origin
        return _program(network, {**_SOUND, **network.words, **words}, self.name, seed, self.kind)


_SOUND: Final[Words] = {
    "act": "relu", "init": "glorot_uniform", "bias": 0.0, "norm": False, "drop": 0.0, "l2": 0.0, "width": 1.0,
    "depth": 2, "opt": "adam", "rate": None, "momentum": 0.0, "clip": None, "epochs": 12, "batch": 32,
    "units": None, "out": None, "loss": None, "logits": False, "scale": 1.0, "shift": 0.0, "target": None,
    "frozen": False, "shuffle": True, "schedule": None, "cell": "lstm", "cell_act": "tanh",
}  # fmt: skip


def _wide(words: Words, units: int) -> int:
    return max(1, round(units * words["width"]))


def _kernel(words: Words) -> dict[str, Any]:
    return {
        "activation": words["act"],
        "kernel_initializer": keras.initializers.get(words["init"]),
        "bias_initializer": keras.initializers.Constant(words["bias"]),
        "kernel_regularizer": keras.regularizers.L2(words["l2"]) if words["l2"] else None,
    }


def _after(words: Words, value: Any) -> Any:
    value = layers.BatchNormalization()(value) if words["norm"] else value
    return layers.Dropout(words["drop"])(value) if words["drop"] else value


def _head(words: Words, value: Any, name: str | None = None) -> Any:
    return layers.Dense(words["units"], activation=words["out"], name=name)(value)


def mlp(size: int, units: int) -> Callable[[Words], keras.Model]:
    """A plain stack of ``depth`` layers."""

    def build(words: Words) -> keras.Model:
        value = inputs = keras.Input((size,))
        for _ in range(words["depth"]):
            value = _after(words, layers.Dense(_wide(words, units), **_kernel(words))(value))
        return keras.Model(inputs, _head(words, value))

    return build


def convnet(shape: tuple[int, ...], filters: int, ending: str = "flatten") -> Callable[[Words], keras.Model]:
    """``depth`` convolutions with pooling after every second (or each of the first two)."""

    def build(words: Words) -> keras.Model:
        value = inputs = keras.Input(shape)
        for number in range(words["depth"]):
            options = {"strides": 2} if ending == "strides" else {"padding": "same"}
            value = layers.Conv2D(_wide(words, filters * (1 + number // 2)), 3, **options, **_kernel(words))(
                value
            )
            value = _after(words, value)
            if ending != "strides" and (number < 2 or number % 2) and min(value.shape[1:3]) >= 4:
                value = layers.MaxPooling2D()(value)
        value = layers.GlobalAveragePooling2D()(value) if ending == "global" else layers.Flatten()(value)
        if ending != "global":
            value = layers.Dense(_wide(words, 32), **_kernel(words))(value)
        return keras.Model(inputs, _head(words, value))

    return build


def residual(words: Words) -> keras.Model:
    """A small ResNet."""
    inputs = keras.Input((20, 20, 3))
    value = layers.Conv2D(12, 3, padding="same", **_kernel(words))(inputs)
    for _ in range(words["depth"]):
        kept = value
        value = layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same", **_kernel(words))(value))
        value = layers.Conv2D(12, 3, padding="same", use_bias=False, kernel_initializer=words["init"])(value)
        value = layers.Activation(words["act"])(layers.Add()([kept, value]))
        value = layers.MaxPooling2D()(value)
    return keras.Model(inputs, _head(words, layers.GlobalAveragePooling2D()(value)))


def _cell(words: Words, units: int, **options: Any) -> Any:
    kind = {"lstm": layers.LSTM, "gru": layers.GRU, "rnn": layers.SimpleRNN}[words["cell"]]
    return kind(
        _wide(words, units), activation=words["cell_act"],
        kernel_initializer=keras.initializers.get(words["init"]),
        dropout=words["drop"], **options,
    )  # fmt: skip


def recurrent(shape: tuple[int, ...], units: int, *, both: bool = False) -> Callable[[Words], keras.Model]:
    """``depth`` recurrent layers on a series."""

    def build(words: Words) -> keras.Model:
        value = inputs = keras.Input(shape)
        for number in range(words["depth"]):
            cell = _cell(words, units, return_sequences=number + 1 < words["depth"])
            value = (layers.Bidirectional(cell) if both else cell)(value)
        return keras.Model(inputs, _head(words, value))

    return build


def texts(vocabulary: int, steps: int, middle: str) -> Callable[[Words], keras.Model]:
    """An embedding, then an average, a recurrent layer, a convolution or attention."""

    def build(words: Words) -> keras.Model:
        inputs = keras.Input((steps,), dtype="int32")
        size = _wide(words, 16)
        value = layers.Embedding(vocabulary, size)(inputs)
        if middle == "average":
            value = layers.Dense(16, **_kernel(words))(layers.GlobalAveragePooling1D()(value))
        elif middle == "cell":
            value = _cell(words, 16)(value)
        elif middle == "tags":
            value = layers.Bidirectional(_cell(words, 16, return_sequences=True))(value)
        elif middle == "convolution":
            value = layers.Conv1D(24, 4, **_kernel(words))(value)
            value = layers.GlobalMaxPooling1D()(_after(words, value))
        else:
            places = layers.Embedding(steps, size)(keras.ops.arange(steps))
            value = value + places
            for _ in range(words["depth"]):
                seen = layers.MultiHeadAttention(2, max(1, size // 2), dropout=words["drop"])(value, value)
                value = layers.LayerNormalization()(value + seen) if middle == "attention" else value + seen
                inner = layers.Dense(size)(layers.Dense(32, **_kernel(words))(value))
                value = layers.LayerNormalization()(value + inner) if middle == "attention" else value + inner
            value = layers.GlobalAveragePooling1D()(value)
        return keras.Model(inputs, _head(words, value))

    return build


def series_convolutions(words: Words) -> keras.Model:
    """Convolutions along time."""
    value = inputs = keras.Input((30, 2))
    for _ in range(words["depth"]):
        value = _after(words, layers.Conv1D(_wide(words, 20), 5, padding="same", **_kernel(words))(value))
    return keras.Model(inputs, _head(words, layers.GlobalAveragePooling1D()(value)))


def autoencoder(words: Words) -> keras.Model:
    """Dense layers around a narrow one, for flattened images."""
    value = inputs = keras.Input((256,))
    for units in (64, _wide(words, 24), 64):
        value = layers.Dense(units, **_kernel(words))(value)
    return keras.Model(inputs, _head(words, value))


def image_autoencoder(words: Words) -> keras.Model:
    """Strided convolutions down, transposed ones up."""
    value = inputs = keras.Input((16, 16, 1))
    for units in (8, _wide(words, 12)):
        value = layers.Conv2D(units, 3, strides=2, padding="same", **_kernel(words))(value)
    for units in (12, 8):
        value = layers.Conv2DTranspose(units, 3, strides=2, padding="same", **_kernel(words))(value)
    return keras.Model(inputs, layers.Conv2D(1, 3, padding="same", activation=words["out"])(value))


def unet(words: Words) -> keras.Model:
    """A U-Net of one level; ``narrow`` puts two units of ReLU before the output."""
    inputs = keras.Input((16, 16, 1))
    first = _after(words, layers.Conv2D(_wide(words, 8), 3, padding="same", **_kernel(words))(inputs))
    below = layers.Conv2D(_wide(words, 16), 3, padding="same", **_kernel(words))(layers.MaxPooling2D()(first))
    value = layers.Concatenate()([first, layers.UpSampling2D()(below)])
    value = layers.Conv2D(_wide(words, 8), 3, padding="same", **_kernel(words))(value)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation=words["out"])(value))


def siamese(words: Words) -> keras.Model:
    """One encoder for both, and how far apart they are."""
    inputs = [keras.Input((12,)), keras.Input((12,))]
    encoder = keras.Sequential([layers.Dense(24, **_kernel(words)), layers.Dense(12, **_kernel(words))])
    left, right = encoder(inputs[0]), encoder(inputs[1])
    return keras.Model(inputs, _head(words, keras.ops.abs(left - right)))


def factors(words: Words) -> keras.Model:
    """Embeddings of users and things, their product, and a dense part."""
    users, things = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    left = layers.Embedding(40, _wide(words, 8))(users)
    right = layers.Embedding(30, _wide(words, 8))(things)
    value = layers.Concatenate()([left, right, layers.Multiply()([left, right])])
    return keras.Model([users, things], _head(words, layers.Dense(16, **_kernel(words))(value)))


def two_heads(words: Words) -> keras.Model:
    """A class and a number."""
    value = inputs = keras.Input((10,))
    for _ in range(words["depth"]):
        value = layers.Dense(_wide(words, 32), **_kernel(words))(value)
    outputs = {
        "kind": layers.Dense(3, activation=words["out"], name="kind")(value),
        "price": layers.Dense(1, name="price")(value),
    }
    return keras.Model(inputs, outputs)


def flat(rows: Callable[[], data.Data]) -> Callable[[], data.Data]:
    """The inputs as targets, flattened or as they are."""

    def found() -> data.Data:
        x, _, x_val, _ = rows()
        x, x_val = x.reshape(len(x), -1), x_val.reshape(len(x_val), -1)
        return x, x, x_val, x_val

    return found


def itself(rows: Callable[[], data.Data]) -> Callable[[], data.Data]:
    """The inputs as targets."""
    return lambda: (rows()[0], rows()[0], rows()[2], rows()[2])


NETWORKS: Final[dict[str, Network]] = {
    "shapes-cnn": Network(data.shapes, convnet((16, 16, 1), 12), SOFTMAX, 4),
    "shapes-strided": Network(data.shapes, convnet((16, 16, 1), 16, "strides"), SOFTMAX, 4, {"epochs": 25}),
    "textures-deep": Network(
        data.textures,
        convnet((20, 20, 3), 10, "global"),
        SOFTMAX,
        5,
        {"depth": 5, "norm": True, "epochs": 10},
    ),
    "textures-resnet": Network(data.textures, residual, SOFTMAX, 5, {"depth": 3, "epochs": 20}),
    "waves-lstm": Network(data.waves, recurrent((24, 1), 24), LINEAR, 1, {"depth": 1}),
    "waves-gru": Network(data.waves, recurrent((24, 1), 16), LINEAR, 1, {"cell": "gru", "epochs": 10}),
    "gestures-lstm": Network(data.gestures, recurrent((30, 2), 20, both=True), SOFTMAX, 3, {"depth": 1}),
    "gestures-cnn": Network(data.gestures, series_convolutions, SOFTMAX, 3),
    "words-lstm": Network(data.words, texts(200, 20, "cell"), SIGMOID, 1, {"epochs": 15}),
    "words-average": Network(data.words, texts(200, 20, "average"), SIGMOID, 1, {"epochs": 25}),
    "topics-cnn": Network(data.topics, texts(120, 25, "convolution"), SOFTMAX, 4, {"epochs": 15}),
    "topics-attention": Network(
        data.topics, texts(120, 25, "attention"), SOFTMAX, 4, {"depth": 1, "epochs": 12}
    ),
    "words-attention": Network(data.words, texts(200, 20, "attention"), SIGMOID, 1, {"epochs": 15}),
    "tags-lstm": Network(data.tags, texts(30, 12, "tags"), SOFTMAX, 4, {"epochs": 15}),
    "autoencoder": Network(
        flat(data.shapes), autoencoder, ("sigmoid", "mse"), 256, {"epochs": 25}, dense=True
    ),
    "image-autoencoder": Network(
        itself(data.shapes), image_autoencoder, ("sigmoid", "mse"), 1, {"epochs": 40}
    ),
    "unet": Network(data.masks, unet, SIGMOID, 1, {"epochs": 8}),
    "siamese": Network(data.pairs, siamese, SIGMOID, 1, {"epochs": 25}),
    "ratings": Network(data.ratings, factors, LINEAR, 1, {"epochs": 40, "rate": 5e-3}),
    "two-heads": Network(data.two_answers, two_heads, SOFTMAX, 3, {"epochs": 25}),
    "labels": Network(data.labels_of, mlp(15, 48), SIGMOID, 5, {"epochs": 25}, dense=True),
    "wine": Network(data.wine, mlp(13, 16), SOFTMAX, 3, {"depth": 1, "epochs": 40, "batch": 16}, dense=True),
    "tumours": Network(data.tumours, mlp(30, 24), SIGMOID, 1, {"epochs": 20}, dense=True),
    "patients": Network(data.patients, mlp(10, 24), LINEAR, 1, {"epochs": 40}, dense=True),
    "moons": Network(data.moons, mlp(2, 24), SIGMOID, 1, {"epochs": 40}, dense=True),
    "spirals": Network(data.spirals, mlp(2, 40), SOFTMAX, 3, {"depth": 3, "epochs": 50}, dense=True),
    "customers": Network(data.customers, mlp(25, 48), SOFTMAX, 4, {"epochs": 20}, dense=True),
    "circuits": Network(data.circuits, mlp(4, 32), LINEAR, 1, {"epochs": 40}, dense=True),
}


def _program(network: Network, words: Words, name: str, seed: int, kind: str) -> Program:
    activation, loss = network.out
    words = {**words, "units": words["units"] or network.units, "out": words["out"] or activation}
    rows = data.noise_of(network.rows) if kind == "noise" else network.rows
    x, y, x_val, y_val = rows()
    keras.utils.set_random_seed(zlib.crc32(name.encode()) % 100_003 + seed)
    model = network.build(words)
    model.trainable = not words["frozen"]
    model.compile(
        _optimizer(words), _loss(words, loss, y), metrics=None if isinstance(y, dict) else _metric(y)
    )
    x, x_val = (_scaled(one, words) for one in (x, x_val))
    truth = y_val if not isinstance(y_val, dict) else y_val["kind"]
    if words["target"] is not None:
        y, y_val = (words["target"](one) for one in (y, y_val))
        truth = truth if words.get("same_truth", True) else y_val
    if not words["shuffle"]:
        order = np.argsort(y, kind="stable")
        x, y = x[order], y[order]
    options = {"batch_size": words["batch"], "epochs": words["epochs"], "shuffle": words["shuffle"]}
    return Program(model, x, y, (x_val, y_val), truth, options)


def _scaled(x: Any, words: Words) -> Any:
    if isinstance(x, tuple) or x.dtype.kind != "f":
        return x
    return (x * np.float32(words["scale"]) + np.float32(words["shift"])).astype("float32")


def _metric(y: Any) -> list[str] | None:
    return ["accuracy"] if y.dtype.kind == "i" else None


def _loss(words: Words, loss: Any, y: Any) -> Any:
    loss = words["loss"] or loss
    if words["logits"]:
        kinds = {"sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
                 "binary_crossentropy": keras.losses.BinaryCrossentropy}  # fmt: skip
        loss = kinds[loss](from_logits=True)
    return {"kind": loss, "price": "mse"} if isinstance(y, dict) else loss


def _optimizer(words: Words) -> keras.optimizers.Optimizer:
    names = ("SGD", "Adam", "Nadam", "RMSprop", "Adagrad", "Adadelta", "Adamax", "AdamW")
    kind = {one.lower(): getattr(keras.optimizers, one) for one in names}[words["opt"]]
    given: dict[str, Any] = {"clipnorm": words["clip"]}
    if words["rate"] is not None:
        given["learning_rate"] = words["rate"]
    if words["schedule"] is not None:
        given["learning_rate"] = words["schedule"]()
    if words["momentum"]:
        given["momentum"] = words["momentum"]
    return kind(**given)
