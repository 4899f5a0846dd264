"""The last partial batch: Keras's numbers, whether it is padded or has a program of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
import pytest
from keras import layers, losses, metrics

from kilter._engine import padding
from kilter._engine.arrays import collect
from kilter._engine.feed import Order, ResidentFeed
from kilter._engine.fit import fit
from kilter._engine.inference import evaluate
from kilter._engine.padding import padded, works_by_row
from kilter._engine.program_cache import shelf
from kilter._models.variables import build

from .cases import TOLERANCE, difference

SIZE, COUNT = 8, 69  # eight whole batches and one of five rows
QUIET: dict[str, Any] = {"verbose": 0, "batch_size": SIZE}


def dense(*hidden: Any, units: int = 3, activation: str = "softmax") -> Any:
    return lambda: [
        keras.Input((6,)),
        layers.Dense(8, "elu"),
        *[make() for make in hidden],
        layers.Dense(units, activation),
    ]


def images(*hidden: Any) -> Any:
    return lambda: [
        keras.Input((8, 8, 2)),
        *[make() for make in hidden],
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, "softmax"),
    ]


def conv() -> Any:
    return layers.Conv2D(4, 3, strides=2, use_bias=False)


def frozen() -> Any:
    return layers.BatchNormalization(trainable=False)


def sequences(*hidden: Any) -> Any:
    return lambda: [keras.Input((5, 4)), *[make() for make in hidden], layers.Dense(3, "softmax")]


def attention() -> keras.Model:
    flow = inputs = keras.Input((5, 4))
    flow = flow + layers.MultiHeadAttention(2, 3, dropout=0.2, use_bias=False)(flow, flow)
    flow = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(flow))
    return keras.Model(inputs, layers.Dense(3, "softmax")(flow))


def with_centred_rows() -> keras.Model:
    inputs = keras.Input((6,))
    centred = inputs - keras.ops.mean(inputs, axis=0, keepdims=True)
    return keras.Model(inputs, layers.Dense(3, "softmax")(centred))


PADDED: dict[str, Any] = {
    "dense": dense(),
    "dropout": dense(lambda: layers.Dropout(0.4)),
    "noise": dense(lambda: layers.GaussianNoise(0.2), lambda: layers.GaussianDropout(0.2)),
    "convolutions": images(conv, lambda: layers.SpatialDropout2D(0.3)),
    "frozen statistics": images(conv, frozen),
    "recurrent": sequences(lambda: layers.LSTM(4)),
    "attention": attention,
}
NOT_PADDED: dict[str, Any] = {
    "batch normalisation": images(conv, layers.BatchNormalization, layers.ReLU),
    "a penalty on activations": dense(lambda: layers.Dense(4, activity_regularizer="l2")),
    "the mean of the batch": with_centred_rows,
    "a function": dense(lambda: layers.Lambda(lambda x: x - keras.ops.mean(x, axis=0))),
    "dropout in a cell": sequences(lambda: layers.GRU(4, recurrent_dropout=0.2)),
}


def network(make: Any, loss: Any = "sparse_categorical_crossentropy", **compiled: Any) -> keras.Model:
    keras.utils.set_random_seed(3)
    made = make()
    model = keras.Sequential(made) if isinstance(made, list) else made
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, **{"metrics": ["accuracy"], **compiled})
    return model


def built(make: Any, loss: Any = "sparse_categorical_crossentropy") -> keras.Model:
    model = network(make, loss)
    x, y = rows(model)
    build(model, (x[:SIZE], y[:SIZE], None))
    return model


def rows(model: keras.Model, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(seed)
    x = drawn.standard_normal((COUNT, *model.input_shape[1:])).astype("float32")
    return x, drawn.integers(0, 3, COUNT)


def first(table: dict[str, Any], count: int) -> list[Any]:
    """The names in a table; all but the first ones are long tests."""
    long = [pytest.param(name, marks=pytest.mark.long) for name in list(table)[count:]]
    return [*list(table)[:count], *long]


def same(make: Any, y: Any = None, *, padded: bool, options: Any = None, **compiled: Any) -> None:
    ours, theirs = network(make, **compiled), network(make, **compiled)
    x, classes = rows(ours)
    y, options = classes if y is None else y(classes), options or {}
    found = fit(ours, x, y, shuffle=False, epochs=2, **QUIET, **options)
    wanted = theirs.fit(x, y, shuffle=False, epochs=2, **QUIET, **options)
    assert difference(ours, theirs) < TOLERANCE
    for name, values in wanted.history.items():
        np.testing.assert_allclose(found.history[name], values, rtol=TOLERANCE, err_msg=name)
    assert len(shelf(ours).programs) == (1 if padded else 2)
    measured = evaluate(ours, x, y, **QUIET)
    for name, value in theirs.evaluate(x, y, return_dict=True, **QUIET).items():
        np.testing.assert_allclose(measured[name], value, rtol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("kind", first(PADDED, 4))
def test_a_padded_batch_gives_keras_numbers(kind):
    same(PADDED[kind], padded=True)


@pytest.mark.parametrize("kind", NOT_PADDED)
def test_what_mixes_rows_is_not_padded(kind):
    assert not works_by_row(built(NOT_PADDED[kind]), "train")


@pytest.mark.long
@pytest.mark.parametrize("kind", NOT_PADDED)
def test_a_second_program_gives_keras_numbers(kind):
    same(NOT_PADDED[kind], padded=False)


@pytest.mark.parametrize("source", ["resident", "file", "batches"])
def test_a_second_program_is_as_traced_and_has_no_loop(source: str, tmp_path: Path):
    model = built(dense(layers.BatchNormalization))
    x, y = np.zeros((COUNT, 6), "float32"), np.zeros(COUNT, int)
    if source == "file":
        np.save(tmp_path / "x.npy", x)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    batches = [(x[start : start + SIZE], y[start : start + SIZE]) for start in range(0, COUNT, SIZE)]
    fit(model, *([batches] if source == "batches" else [x, y]), epochs=2, **QUIET)
    loops = {
        key.rewritten: "while" in program.run.compiled.as_text()
        for key, (program, _) in shelf(model).programs.items()
    }
    assert loops == {True: True, False: False}


WEIGHTS = np.linspace(0, 2, COUNT).astype("float32")
LOSSES: dict[str, Any] = {
    "a sum": {"loss": losses.SparseCategoricalCrossentropy(reduction="sum")},
    "weighted rows": {"options": {"sample_weight": WEIGHTS}, "weighted_metrics": ["accuracy"]},
    "a weighted mean": {
        "loss": losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight"),
        "options": {"sample_weight": WEIGHTS},
    },
    "an unweighted mean": {"loss": losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight")},
    "weighted classes": {"options": {"class_weight": {0: 0.5, 1: 1.0, 2: 3.0}}},
    "other metrics": {"metrics": ["accuracy", metrics.SparseTopKCategoricalAccuracy(2)]},
    "one-hot rows": {
        "loss": "categorical_crossentropy",
        "y": lambda y: np.eye(3, dtype="float32")[y],
        "metrics": ["accuracy", "mse", metrics.RootMeanSquaredError()],
    },
}


@pytest.mark.parametrize("kind", first(LOSSES, 2))
def test_losses_and_metrics_leave_padding_out(kind):
    same(dense(), padded=True, **LOSSES[kind])


def test_one_number_or_many_a_row():
    one = dense(units=1, activation="linear")
    same(one, lambda y: y.astype("float32"), padded=True, loss="huber", metrics=["mae"])
    many = sequences(lambda: layers.Dense(3))

    def series(y: np.ndarray) -> np.ndarray:
        return np.repeat(y[:, None, None], 5, axis=1) == np.arange(3)

    same(many, series, padded=True, loss="mse", metrics=["mae"])


def test_two_outputs_are_counted_one_by_one():
    def branched() -> keras.Model:
        inputs = keras.Input((6,))
        heads = [layers.Dense(3, "softmax", name="a")(inputs), layers.Dense(1, name="b")(inputs)]
        return keras.Model(inputs, heads)

    options = {"loss": ["sparse_categorical_crossentropy", "mse"], "metrics": [["accuracy"], ["mae"]]}
    same(branched, lambda y: [y, y.astype("float32")], padded=True, **options)


def _of_no_module():
    def loss(y, p):
        return (p - y) ** 2

    loss.__module__ = None  # as after exec() with a dict of its own
    return loss


def test_losses_that_compare_rows_are_not_padded():
    for loss in (losses.Dice(), losses.Circle(), lambda y, p: keras.ops.mean(p), _of_no_module()):
        assert not works_by_row(built(dense(units=1), loss), "train")


def test_padding_needs_random_numbers_by_place():
    model = built(PADDED["dropout"])
    assert works_by_row(model, "train")
    with jax.threefry_partitionable(False):
        assert not works_by_row(model, "train")
        assert works_by_row(model, "test")


@pytest.mark.parametrize(("few", "expected"), [(0, [False, False, True]), (10**6, [False, True, True])])
def test_much_padding_costs_more_than_a_program_unless_the_rows_are_small(few, expected, monkeypatch):
    monkeypatch.setattr(padding, "_FEW_MULTIPLICATIONS", few)
    model = built(dense())
    x, y = rows(model)
    counts = (3, 33, COUNT)  # seven rows on 33; three are one program in any case
    feeds = [ResidentFeed(collect(x[:count], y[:count]), Order(SIZE, True, 0)) for count in counts]
    assert [padded(model, feed, "train").padded for feed in feeds] == expected


def test_multiplications_are_counted_at_each_place_and_use():
    pixels = keras.Input((8, 8, 2))
    layer = keras.layers.Conv2D(2, 1)  # six parameters
    inner = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Dense(3)])  # nine
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(inner(layer(layer(pixels)))))
    assert padding._multiplications(keras.Model(pixels, outputs)) == 64 * (2 * 6 + 9) + 64 * 3 + 1
