"""Networks of the programs about sequences: recurrent ones and transformers, built from words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import keras
import numpy as np
from keras import ops

layers = keras.layers
Words = Mapping[str, Any]
NORMAL: Final = keras.initializers.RandomNormal

WORDS: Final[Words] = {
    # recurrent
    "cell": "lstm", "size": 20, "depth": 1, "act": "tanh", "gate": "sigmoid", "turn": "orthogonal",
    "enter": "glorot_uniform", "bias": "zeros", "forget": True, "both": False, "stateful": False,
    "read": "last", "mask": None, "score": "right",
    # attention
    "width": 16, "heads": 2, "key": 8, "blocks": 1, "places": "trained", "norm": "post", "residual": True,
    "attend": "glorot_uniform", "kind": "layer", "axis": -1, "loud": 1.0, "causal": False, "pool": "mean",
    "drop": 0.0, "inner": "relu",
    # both
    "opt": "adam", "rate": 2e-3, "schedule": None, "clip": None, "epochs": 12, "batch": 32, "shuffle": True,
    "units": None, "out": None, "loss": None, "target": None, "scale": 1.0,
}  # fmt: skip


def cell(words: Words, sequences: bool) -> Any:
    """A recurrent layer of these words."""
    kind: Any = {"lstm": layers.LSTM, "gru": layers.GRU, "rnn": layers.SimpleRNN}[words["cell"]]
    given: dict[str, Any] = {
        "activation": words["act"],
        "recurrent_initializer": keras.initializers.get(words["turn"]),
        "kernel_initializer": keras.initializers.get(words["enter"]),
        "bias_initializer": keras.initializers.get(words["bias"]),
        "return_sequences": sequences,
        "stateful": words["stateful"],
        "dropout": words["drop"],
    }
    if words["cell"] != "rnn":
        given["recurrent_activation"] = words["gate"]
    if words["cell"] == "lstm":
        given["unit_forget_bias"] = words["forget"]
    made = kind(words["size"], **given)
    return layers.Bidirectional(made) if words["both"] else made


def _entered(words: Words, shape: tuple[int, ...], vocabulary: int) -> tuple[Any, Any]:
    """The input, and its steps as vectors."""
    batch = words["batch"] if words["stateful"] else None
    if vocabulary:
        inputs = keras.Input(shape, batch_size=batch, dtype="int32")
        return inputs, layers.Embedding(vocabulary, words["width"], mask_zero=words["mask"] == "zero")(inputs)
    inputs = keras.Input(shape, batch_size=batch)
    return inputs, inputs


def _read(words: Words, value: Any) -> Any:
    """One vector out of a vector for each step."""
    if words["read"] == "first":
        return value[:, 0]
    if words["read"] == "scores":
        scores = layers.Dense(1)(layers.Dense(8, "tanh")(value))
        axis = {"right": 1, "single": -1, "rows": 0}[words["score"]]
        return ops.sum(value * ops.softmax(scores, axis=axis), axis=1)
    if words["read"] == "dense":
        return ops.sum(value * layers.Dense(1, "softmax")(value), axis=1)
    return layers.GlobalAveragePooling1D()(value)


def recurrent(shape: tuple[int, ...], vocabulary: int = 0) -> Callable[[Words], keras.Model]:
    """Recurrent layers on a series or on ids; ``read``: last step, first step, all, or weighted steps."""

    def build(words: Words) -> keras.Model:
        inputs, value = _entered(words, shape, vocabulary)
        options: dict[str, Any] = {}
        if words["mask"] in ("right", "inverted"):
            compare = ops.not_equal if words["mask"] == "right" else ops.equal
            options = {"mask": compare(inputs, 0)}
        for number in range(words["depth"]):
            last = number + 1 == words["depth"]
            value = cell(words, not last or words["read"] != "last")(
                value, **(options if number == 0 else {})
            )
        if words["read"] not in ("last", "all"):
            value = _read(words, value)
        return keras.Model(inputs, layers.Dense(words["units"], activation=words["out"])(value))

    return build


class _Heads(layers.Layer):
    """Attention in heads, as people write it: four dense layers and a softmax."""

    def __init__(self, width: int, heads: int, axis: int, init: Any, **options: Any) -> None:
        super().__init__(**options)
        self.heads, self.axis, self.width = heads, axis, width
        self.parts = [layers.Dense(width, kernel_initializer=init) for _ in range(4)]

    def _split(self, value: Any) -> Any:
        value = ops.reshape(value, (-1, value.shape[1], self.heads, self.width // self.heads))
        return ops.transpose(value, (0, 2, 1, 3))

    def call(self, inputs: Any) -> Any:
        """Scaled products of queries and keys, a softmax, and the weighted values."""
        query, key, value = (self._split(part(inputs)) for part in self.parts[:3])
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / (self.width // self.heads) ** 0.5
        seen = ops.transpose(ops.matmul(ops.softmax(scores, axis=self.axis), value), (0, 2, 1, 3))
        return self.parts[3](ops.reshape(seen, (-1, inputs.shape[1], self.width)))


def _attended(words: Words, value: Any, inputs: Any) -> Any:
    init = keras.initializers.get(words["attend"])
    if words["kind"] == "own":
        return _Heads(words["width"], words["heads"], words["axis"], init)(value)
    layer = layers.MultiHeadAttention(
        words["heads"], words["key"], dropout=words["drop"], kernel_initializer=init
    )
    options: dict[str, Any] = {"use_causal_mask": words["causal"]}
    if words["mask"] in ("right", "inverted"):
        compare = ops.not_equal if words["mask"] == "right" else ops.equal
        options["attention_mask"] = compare(inputs, 0)[:, None, :]
    return layer(value, value, **options)


def _placed(words: Words, value: Any) -> Any:
    steps, width = value.shape[1], words["width"]
    if words["places"] == "trained":
        return value + layers.Embedding(steps, width)(ops.arange(steps))
    if words["places"] == "waves":
        angles = np.arange(steps)[:, None] / 10_000 ** (np.arange(width) // 2 * 2 / width)
        return value + words["loud"] * np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles)).astype(
            "float32"
        )
    return value


def transformer(shape: tuple[int, ...], vocabulary: int = 0) -> Callable[[Words], keras.Model]:
    """Blocks of attention and two dense layers, with sums and normalisation before or after."""

    def build(words: Words) -> keras.Model:
        inputs, value = _entered(words, shape, vocabulary)
        if not vocabulary:
            value = layers.Dense(words["width"])(value)
        value, width = _placed(words, value), words["width"]
        for _ in range(words["blocks"]):
            if not words["residual"]:
                value = layers.Dense(width)(layers.Dense(32, words["inner"])(_attended(words, value, inputs)))
            elif words["norm"] == "pre":
                value = value + _attended(words, layers.LayerNormalization()(value), inputs)
                value = value + layers.Dense(width)(
                    layers.Dense(32, words["inner"])(layers.LayerNormalization()(value))
                )
            else:
                value = layers.LayerNormalization()(value + _attended(words, value, inputs))
                value = layers.LayerNormalization()(
                    value + layers.Dense(width)(layers.Dense(32, words["inner"])(value))
                )
        if words["pool"] == "mean":
            value = layers.GlobalAveragePooling1D()(value)
        elif words["pool"] == "flat":
            value = layers.Flatten()(value)
        return keras.Model(inputs, layers.Dense(words["units"], activation=words["out"])(value))

    return build
