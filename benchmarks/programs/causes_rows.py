"""Settings of the causes: tables, tokens, series, images, masks, pairs and two answers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from programs import reported_data as data
from programs.causes import Draft, Words, one_hot

Dense, Conv = layers.Dense, layers.Conv2D
SPARSE = "sparse_categorical_crossentropy"


def _given(words: Words, key: str, sound: Any) -> Any:
    return words.get(key, sound)


def _changed(words: Words, x: Any, x_val: Any) -> tuple[Any, Any]:
    """Inputs after ``x`` (both sides) and ``held`` (validation only)."""
    change, held = words.get("x"), words.get("held")
    if change is not None:
        x, x_val = change(x), change(x_val)
    return x, (x_val if held is None else held(x_val))


def table(words: Words) -> Draft:
    """Customers of four classes, in 25 columns."""
    x, y, x_val, y_val = data.customers()
    truth = y_val
    x, x_val = _changed(words, x, x_val)
    if "y" in words:
        y, y_val = words["y"](y), words["y"](y_val)
    if "y_held" in words:
        y_val = words["y_held"](y_val)
    kept = words.get("rows")
    if kept is not None:
        x, y = x[kept(y)], y[kept(y)]
    front = words.get("front", tuple)()
    penalty = words.get("penalty", {})
    hidden = [Dense(48, "relu", **penalty), Dense(48, "relu", **penalty)]
    last = words.get("last", lambda: [Dense(4, "softmax")])()
    model = keras.Sequential([keras.Input(x.shape[1:]), *front, *hidden, *last])
    for place in words.get("frozen", ()):
        model.layers[place].trainable = False
    loss = _given(words, "loss", SPARSE)
    return Draft(model, x, y, x_val, y_val, loss, _given(words, "optimizer", "adam"), epochs=15, truth=truth)


def amounts(words: Words) -> Draft:
    """Circuits' impedance from four columns."""
    x, y, x_val, y_val = data.circuits()
    x, x_val = _changed(words, x, x_val)
    truth = y_val
    if "y_held" in words:
        y_val = words["y_held"](y_val)
    model = keras.Sequential([keras.Input((4,)), Dense(32, "relu"), Dense(32, "relu"), Dense(1)])
    shape = words.get("column", True)
    y, y_val = (one[:, None] if shape else one for one in (y, y_val))
    loss = _given(words, "loss", "mse")
    return Draft(model, x, y, x_val, y_val, loss, _given(words, "optimizer", "adam"), epochs=40, truth=truth)


def tokens(words: Words) -> Draft:
    """25 tokens of 120, of four topics; padded to 40 if asked."""
    x, y, x_val, y_val = data.topics()
    side = words.get("padded", "")
    if side:
        x, x_val = (_padded(one, 40, side) for one in (x, x_val))
    x, x_val = _changed(words, x, x_val)
    size, width = words.get("size", 122), 16
    middle = words.get("middle", "conv")
    inputs = keras.Input(x.shape[1:], dtype="int32" if x.dtype.kind == "i" else "float32")
    value = layers.Embedding(size, width, mask_zero=words.get("mask", False))(inputs)
    if middle == "conv":
        value = layers.GlobalMaxPooling1D()(layers.Conv1D(24, 4, activation="relu")(value))
    elif middle == "average":
        value = layers.GlobalAveragePooling1D()(value)
    else:
        value = {"lstm": layers.LSTM, "gru": layers.GRU}[middle](24)(value)
    model = keras.Model(inputs, Dense(4, "softmax")(value))
    return Draft(model, x, y, x_val, y_val, SPARSE, epochs=words.get("epochs", 15))


def _padded(x: np.ndarray, length: int, side: str) -> np.ndarray:
    """Ids from 1 with zeros at one side; each row keeps 8 to 24 of its tokens."""
    kept = np.random.default_rng(len(x)).integers(8, 25, len(x))
    found = np.zeros((len(x), length), dtype=x.dtype)
    for row, (own, count) in enumerate(zip(x, kept, strict=True)):
        place = slice(0, count) if side == "after" else slice(length - count, length)
        found[row, place] = own[:count] + 1
    return found


def numbers_as_ids(words: Words) -> Draft:
    """25 readings, of one of three wave lengths: for a dense network, or for an Embedding of 40 rows."""
    rng = np.random.default_rng(50)
    y, time = rng.integers(3, size=1200), np.arange(25)
    x = np.sin(time * (0.3 + 0.25 * y[:, None]) + rng.uniform(0, 1, (1200, 1))) + rng.normal(
        0, 0.2, (1200, 25)
    )
    x = (words.get("scale", 1.0) * x).astype("float32")
    front = [layers.Embedding(40, 8)] if words.get("lookup") else [layers.Reshape((25, 1)), Dense(8)]
    model = keras.Sequential(
        [keras.Input((25,)), *front, layers.Flatten(), Dense(24, "relu"), Dense(3, "softmax")]
    )
    return Draft(model, x[:-300], y[:-300], x[-300:], y[-300:], SPARSE, epochs=20)


def series(words: Words) -> Draft:
    """Two sensors of differing length; three gestures."""
    x, y, x_val, y_val = data.gestures()
    if words.get("padded", True):
        x, x_val = (_cut(one, words.get("pad", 0.0)) for one in (x, x_val))
    x, x_val = _changed(words, x, x_val)
    front = [layers.Masking(words.get("pad", 0.0))] if words.get("mask", True) else []
    cell = layers.LSTM(20) if words.get("cell", "lstm") == "lstm" else layers.GRU(20)
    model = keras.Sequential([keras.Input(x.shape[1:]), *front, cell, Dense(3, "softmax")])
    return Draft(model, x, y, x_val, y_val, SPARSE, epochs=25, optimizer=lambda: keras.optimizers.Adam(4e-3))


def _cut(x: np.ndarray, pad: float) -> np.ndarray:
    """Sequences of 15 to 29 steps in 60: the rest is padding."""
    lengths = np.random.default_rng(len(x)).integers(15, 30, len(x))
    found = np.full((len(x), 60, x.shape[2]), pad, dtype="float32")
    for row, (own, length) in enumerate(zip(x, lengths, strict=True)):
        found[row, :length] = own[:length]
    return found


def images(words: Words) -> Draft:
    """Shapes in 16 x 16 pixels (colour: textures in 20 x 20)."""
    colour = words.get("colour", False)
    x, y, x_val, y_val = data.textures() if colour else data.shapes()
    x, x_val = _changed(words, x, x_val)
    norm = words.get("norm", False)
    value = inputs = keras.Input(x.shape[1:])
    for layer in words.get("front", tuple)():
        value = layer(value)
    for filters in words.get("filters", (12, 24)):
        value = Conv(filters, 3, padding="same")(value)
        value = layers.BatchNormalization(momentum=0.9)(value) if norm else value
        value = layers.ReLU()(value)
        value = layers.MaxPooling2D()(value) if min(value.shape[1:3]) > 1 else value
    value = layers.Flatten()(value) if not colour else layers.GlobalAveragePooling2D()(value)
    value = Dense(32, "relu")(value)
    model = keras.Model(inputs, Dense(5 if colour else 4, "softmax")(value))
    if words.get("y_held"):
        y_val = words["y_held"](y_val)
    draft = Draft(model, x, y, x_val, y_val, SPARSE, batch=words.get("batch", 32))
    draft.epochs = words.get("epochs", 20 if colour else 10)
    return draft


def segmentation(words: Words) -> Draft:
    """Masks of shapes in 16 x 16 pixels; ``classes``: as class numbers of two classes."""
    x, y, x_val, y_val = data.masks()
    truth = y_val
    if words.get("rare"):
        y, y_val = _rare(y), _rare(y_val)
        x, x_val = (
            0.8 * m + n * 0.4 for m, n in ((y, x - 0.6 * data.masks()[1]), (y_val, x_val - 0.6 * truth))
        )
        truth = y_val
    if "y" in words:
        y, y_val = words["y"](y), words["y"](y_val)
    x, x_val = _changed(words, x, x_val)
    inputs = keras.Input((16, 16, 1))
    norm = words.get("norm", False)

    def block(value: Any, filters: int) -> Any:
        value = Conv(filters, words.get("kernel", 3), padding="same")(value)
        return layers.ReLU()(layers.BatchNormalization()(value) if norm else value)

    first = block(inputs, 8)
    if words.get("flat"):
        value = block(first, 8)
    else:
        below = block(layers.MaxPooling2D()(first), 16)
        value = block(layers.Concatenate()([first, layers.UpSampling2D()(below)]), 8)
    last = words.get("last", lambda: [Conv(1, 1, activation="sigmoid")])()
    for layer in last:
        value = layer(value)
    draft = Draft(
        keras.Model(inputs, value), x, y, x_val, y_val, _given(words, "loss", "binary_crossentropy")
    )
    draft.batch, draft.epochs, draft.truth = words.get("batch", 32), words.get("epochs", 10), truth
    return draft


def _rare(y: np.ndarray) -> np.ndarray:
    """Of each shape its first pixel and that below."""
    found = np.zeros_like(y)
    for own, mask in zip(found, y, strict=True):
        places = np.argwhere(mask[..., 0] > 0)[:2]
        own[tuple(places.T)] = 1.0
    return found


def autoencoder(words: Words) -> Draft:
    """Shapes through a narrow layer, and back."""
    x, _, x_val, _ = data.shapes()
    x, x_val = _changed(words, x, x_val)
    width = words.get("width", 24)
    value = inputs = keras.Input((16, 16, 1))
    value = Dense(64, "relu")(layers.Flatten()(value))
    value = Dense(64, "relu")(Dense(width, "relu")(value))
    if width >= 256:
        value = Dense(width, "relu")(Dense(width, "relu")(layers.Flatten()(inputs)))
    value = layers.Reshape((16, 16, 1))(Dense(256, words.get("out", "sigmoid"))(value))
    return Draft(keras.Model(inputs, value), x, x, x_val, x_val, "mse", epochs=25)


def two_heads(words: Words) -> Draft:
    """A class and a price."""
    x, y, x_val, y_val = data.two_answers()
    factor = words.get("price", 1.0)
    parts = [{"kind": one["kind"], "price": one["price"] * factor} for one in (y, y_val)]
    inputs = keras.Input((10,))
    value = Dense(48, "relu")(Dense(48, "relu")(inputs))
    outputs = {"kind": Dense(3, "softmax", name="kind")(value), "price": Dense(1, name="price")(value)}
    losses = {"kind": SPARSE, "price": "mse"}
    draft = Draft(keras.Model(inputs, outputs), x, parts[0], x_val, parts[1], losses, epochs=25)
    draft.weights = words.get("weights")
    return draft


def labels(words: Words) -> Draft:
    """Five labels that a row may have or not."""
    x, y, x_val, y_val = data.labels_of()
    last = words.get("out", "sigmoid")
    model = keras.Sequential([keras.Input((15,)), Dense(48, "relu"), Dense(5, last)])
    return Draft(model, x, y, x_val, y_val, _given(words, "loss", "binary_crossentropy"), epochs=25)


def ratings(words: Words) -> Draft:
    """Users and things by number; ids from ``first`` on, tables of their exact size."""
    (users, things), y, (users_val, things_val), y_val = data.ratings()
    first = words.get("first", 0)
    left, right = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    pair = [layers.Embedding(40, 8)(left), layers.Embedding(30, 8)(right)]
    value = Dense(16, "relu")(layers.Concatenate()([*pair, layers.Multiply()(pair)]))
    model = keras.Model([left, right], Dense(1)(value))
    x, x_val = ([one + first for one in part] for part in ((users, things), (users_val, things_val)))
    return Draft(model, x, y, x_val, y_val, "mse", lambda: keras.optimizers.Adam(5e-3), epochs=40)


def windows(words: Words) -> Draft:
    """Windows of a series, to tell the next value: split in time, or cut before the split."""
    rng = np.random.default_rng(51)
    time = np.arange(1400)
    whole = np.sin(time / 7) + 0.5 * np.sin(time / 3.1) + rng.normal(0, 0.15, 1400)
    cut = np.lib.stride_tricks.sliding_window_view(whole.astype("float32"), 21)
    order = rng.permutation(len(cut)) if words.get("shuffled") else np.r_[:1000, 1040 : len(cut)]
    mine, held = cut[order[:1000]], cut[order[1000:]]
    model = keras.Sequential([keras.Input((20, 1)), layers.GRU(16), Dense(1)])
    return Draft(model, mine[:, :20, None], mine[:, 20:], held[:, :20, None], held[:, 20:], "mse", epochs=15)


__all__ = ["one_hot"]
