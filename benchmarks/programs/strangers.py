"""Programs after public reports, each as people wrote it and as it should have been.

Among the reports: y = x^4 (Stack Overflow 52800582), a stacked LSTM with ReLU on unscaled prices, a loss that
takes (y_pred, y_true) (keras-team/keras 5733), and masks of another folder. They were written before the
checks were read; see benchmarks/results/2026-11-30-strangers.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits, make_classification

from programs.causes import Cause, Draft, Setting, Words, numbered, one_hot

Dense: Final = layers.Dense
ops: Any = keras.ops  # Keras's types allow None
SPARSE: Final = "sparse_categorical_crossentropy"
BINARY: Final = "binary_crossentropy"
WRONG: Final = {"wrong": True}


def _adam(rate: float) -> Callable[[], Any]:
    return lambda: keras.optimizers.Adam(rate)


def _draft(model: Any, x: Any, y: Any, loss: Any, rate: float, epochs: int, held: int = 200) -> Draft:
    def part(value: Any, rows: slice) -> Any:
        return keras.tree.map_structure(lambda one: one[rows], value)

    (a, b), (c, d) = ([part(value, rows) for value in (x, y)] for rows in (slice(held, None), slice(held)))
    return Draft(model, a, b, c, d, loss, _adam(rate), epochs=epochs)


def _stack(shape: tuple[int, ...], *members: Any) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *members])


def _digits() -> tuple[np.ndarray, np.ndarray]:
    rows: Any = load_digits(return_X_y=True)
    x, y = rows
    order = np.random.default_rng(3).permutation(len(x))
    return (x[order] / 16).astype("float32"), y[order]


def _amounts(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(1200, 8)).astype("float32")
    y = 2 * np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * x[:, 3] + 0.1 * random.normal(size=1200)
    return x, y.astype("float32")


def _orders(words: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sentences with the words 1 and 2, and whether 1 comes first."""
    random = np.random.default_rng(seed)
    x, y = random.integers(3, words, (1200, 16)), random.integers(0, 2, 1200)
    for row, label in zip(x, y, strict=True):
        places = np.sort(random.choice(16, 2, replace=False))
        row[places] = (1, 2) if label else (2, 1)
    return x, y


def _blobs(seed: int, radius: float = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(24), np.arange(24), indexing="ij"), -1)
    centre = random.uniform(radius, 24 - radius, (300, 1, 1, 2))
    masks = (np.linalg.norm(grid - centre, axis=-1) < radius).astype("float32")[..., None]
    return (masks + 0.4 * random.normal(size=masks.shape)).astype("float32"), masks


def _unet(activation: str = "sigmoid") -> keras.Model:
    inputs = keras.Input((24, 24, 1))
    fine = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    coarse = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(fine))
    both = layers.Concatenate()([fine, layers.UpSampling2D()(coarse)])
    both = layers.Conv2D(8, 3, padding="same", activation="relu")(both)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation=activation)(both))


def several_labels(words: Words) -> Draft:
    """Six labels a row, under a softmax."""
    random = np.random.default_rng(5)
    x = random.normal(size=(1000, 10)).astype("float32")
    y = (x @ random.normal(size=(10, 6)) + 0.3 > 0).astype("float32")
    ending, loss = ("softmax", "categorical_crossentropy") if words.get("wrong") else ("sigmoid", BINARY)
    return _draft(_stack((10,), Dense(32, "relu"), Dense(6, ending)), x, y, loss, 0.005, 15)


def dropped_answers(words: Words) -> Draft:
    """Dropout on the prediction instead of the hidden layer."""
    x, y = _amounts(12)
    last = [Dense(1), layers.Dropout(0.5)] if words.get("wrong") else [layers.Dropout(0.1), Dense(1)]
    return _draft(_stack((8,), Dense(64, "relu"), *last), x, y + 5, "mse", 0.005, 20)


def exchanged(words: Words) -> Draft:
    """A loss that takes the prediction first."""

    def loss(truth: Any, answer: Any) -> Any:
        truth, answer = (answer, truth) if words.get("wrong") else (truth, answer)
        return -ops.mean(truth * ops.log(answer + 1e-7), axis=-1)

    x, y = _digits()
    return _draft(_stack((64,), Dense(32, "relu"), Dense(10, "softmax")), x, one_hot(y), loss, 1e-3, 10, 300)


def first_step(words: Words) -> Draft:
    """What decides comes 120 steps before the answer of a simple cell; read backwards it comes last."""
    random = np.random.default_rng(3)
    x, y = random.normal(size=(700, 120, 2)).astype("float32"), random.integers(0, 2, 700)
    x[:, :, 0] = 0
    x[:, 0, 0] = 3 * (2 * y - 1)
    cell = layers.SimpleRNN(16, go_backwards=not words.get("wrong"))
    return _draft(_stack((120, 2), cell, Dense(1, "sigmoid")), x, y, BINARY, 1e-3, 6, 150)


def one_unit(words: Words) -> Draft:
    """Ten classes through a layer of one unit."""
    x, y = _digits()
    width = 1 if words.get("wrong") else 32
    members = Dense(64, "relu"), Dense(width, "relu"), Dense(64, "relu"), Dense(10, "softmax")
    return _draft(_stack((64,), *members), x, y, SPARSE, 1e-3, 15, 300)


def long_padding(words: Words) -> Draft:
    """Sentences of 12 words, padded to 102 steps."""
    random = np.random.default_rng(6)
    x, y = random.integers(20, 60, (1200, 12)), random.integers(0, 2, 1200)
    for row, label in zip(x, y, strict=True):
        row[random.choice(12, 3, replace=False)] = random.integers(1, 8, 3) + 7 * (1 - label)
    table = layers.Embedding(60, 8, mask_zero=not words.get("wrong"))
    model = _stack((102,), table, layers.GRU(16), Dense(1, "sigmoid"))
    return _draft(model, np.pad(x, ((0, 0), (0, 90))), y, BINARY, 3e-3, 6, 250)


def averaged_order(words: Words) -> Draft:
    """The order of two words, from an average of their embeddings."""
    x, y = _orders(20, 5)
    reader = layers.GlobalAveragePooling1D() if words.get("wrong") else layers.LSTM(16)
    model = _stack((16,), layers.Embedding(20, 16), reader, Dense(32, "relu"), Dense(1, "sigmoid"))
    return _draft(model, x, y, BINARY, 0.01, 12, 250)


def small_table(words: Words) -> Draft:
    """Words up to 60 in an embedding of 20 rows."""
    x, y = _orders(60, 9)
    table = layers.Embedding(20 if words.get("wrong") else 60, 16)
    model = _stack((16,), table, layers.LSTM(16), Dense(1, "sigmoid"))
    return _draft(model, x + 25 * (x < 3), y, BINARY, 0.01, 12, 250)


def fourth_power(words: Words) -> Draft:
    """y = x^4 for x up to 100, as it is."""
    x = np.random.default_rng(1).uniform(-100, 100, (1000, 1)).astype("float32")
    y, width = x**4, 1.0
    if not words.get("wrong"):
        y, width = (y - y.mean()) / y.std(), 50.0
    return _draft(
        _stack((1,), Dense(50, "sigmoid"), Dense(50, "elu"), Dense(1)), x / width, y, "mse", 0.01, 20
    )


def prices(words: Words) -> Draft:
    """An LSTM with ReLU on prices around 30,000."""
    random = np.random.default_rng(2)
    series = 30_000 + np.cumsum(random.normal(size=890) * 50) + 800 * np.sin(np.arange(890) / 12)
    if not words.get("wrong"):
        series = (series - series.mean()) / series.std()
    x = np.stack([series[at : at + 20] for at in range(870)])[::-1, :, None].astype("float32")
    cell = layers.LSTM(32, activation="relu" if words.get("wrong") else "tanh")
    return _draft(
        _stack((20, 1), cell, Dense(1)), x[::-1], series[20:][::-1].astype("float32"), "mse", 3e-3, 8
    )


def own_scaler(words: Words) -> Draft:
    """Validation rows scaled by their own lowest and highest values."""
    x = np.random.default_rng(6).normal(size=(1200, 6)).astype("float32")
    y = (x[:, 0] + 0.5 * x[:, 1] > 0.3).astype(int)
    made = _draft(_stack((6,), Dense(32, "relu"), Dense(1, "sigmoid")), x, y, BINARY, 0.01, 10)
    if words.get("wrong"):
        low, high = made.x_val.min(0), made.x_val.max(0)
        made.x_val = (made.x_val - low) / (high - low)
    return made


def overlap(words: Words) -> Draft:
    """Dice: its coefficient instead of its loss, or of rounded predictions."""

    def dice(truth: Any, answer: Any) -> Any:
        answer = ops.round(answer) if words.get("rounded") else answer
        found = (2 * ops.sum(truth * answer) + 1) / (ops.sum(truth) + ops.sum(answer) + 1)
        return found if words.get("wrong") else 1 - found

    return _draft(_unet(), *_blobs(25), dice, 3e-3, 12, 60)


def other_masks(words: Words) -> Draft:
    """Masks of other pictures: two folders listed in different order."""
    made = _draft(_unet(), *_blobs(23), BINARY, 3e-3, 10, 60)
    if words.get("wrong"):
        made.y = made.y[np.random.default_rng(2).permutation(len(made.y))]
    return made


def turned(words: Words) -> Draft:
    """Upright and level bars under rotations by up to half a turn."""
    random = np.random.default_rng(32)
    y, x = random.integers(0, 2, 480), 0.3 * random.normal(size=(480, 16, 16, 1))
    for row, label in zip(x, y, strict=True):
        a, b = random.integers(4, 12, 2)
        part = row[a - 4 : a + 4, b] if label else row[a, b - 4 : b + 4]
        part += 1.5
    start = [layers.RandomRotation(0.5)] if words.get("wrong") else []
    members = layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten()
    model = _stack((16, 16, 1), *start, *members, Dense(32, "relu"), Dense(2, "softmax"))
    return _draft(model, x.astype("float32"), y, SPARSE, 1e-3, 20, 80)


def drowned_class(words: Words) -> Draft:
    """Two outputs, of which one is a price in ten thousands."""
    rows: Any = make_classification(1200, 12, n_informative=6, n_redundant=2, class_sep=1.2, random_state=51)
    x, y = rows
    x = x.astype("float32")
    price = x[:, 0] + 0.5 * x[:, 1] * (x[:, 2] > 0)
    price = (30_000 + 8_000 * price if words.get("wrong") else price).astype("float32")
    inputs = keras.Input((12,))
    value = Dense(32, "relu")(Dense(32, "relu")(inputs))
    outputs = {"kind": Dense(1, "sigmoid", name="kind")(value), "price": Dense(1, name="price")(value)}
    model = keras.Model(inputs, outputs)
    return _draft(model, x, {"kind": y, "price": price}, {"kind": BINARY, "price": "mse"}, 3e-3, 15, 250)


DROWNED: Final = ("drowned-output", "unscaled-targets")
ROWS: Final[tuple[tuple[str, Setting, Words, tuple[str, ...]], ...]] = (
    ("several-labels", several_labels, WRONG, ("softmax-many-labels",)),
    ("dropped-answers", dropped_answers, WRONG, ("dropout-at-output",)),
    ("exchanged", exchanged, WRONG, ("loss-arguments",)),
    ("first-step", first_step, WRONG, ("vanishing-through-time",)),
    ("one-unit", one_unit, WRONG, ("narrow-layer",)),
    ("long-padding", long_padding, WRONG, ("padding-unmasked",)),
    ("averaged-order", averaged_order, WRONG, ("missing-positions",)),
    ("small-table", small_table, WRONG, ("ids-outside-table",)),
    ("fourth-power", fourth_power, WRONG, ("unscaled-targets", "unscaled-inputs")),
    ("prices", prices, WRONG, ("unscaled-targets", "unscaled-inputs")),
    ("own-scaler", own_scaler, WRONG, ("validation-scale",)),
    ("overlap", overlap, WRONG, ("loss-sign",)),
    ("overlap", overlap, {"rounded": True}, ("loss-not-differentiable",)),
    ("other-masks", other_masks, WRONG, ("shuffled-labels", "masks-misplaced")),
    ("turned", turned, WRONG, ("augmentation-harms",)),
    ("drowned-class", drowned_class, WRONG, DROWNED),
)


def strangers() -> list[Cause]:
    """The programs, faulty and sound."""
    sound = {name: (name, "sound", setting, {}, ()) for name, setting, _, _ in ROWS}
    faulty = [(name, "faulty", *rest) for name, *rest in ROWS]
    return numbered([*faulty, *sound.values()])  # type: ignore[list-item]
