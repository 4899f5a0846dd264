"""Layers inside TimeDistributed and Bidirectional: read as one call that is connected, cut where they are."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kilter._models.editing import cut, replaceable_layers
from kilter._models.reading import read_model

layers = keras.layers
X = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")


def model(*members: Any, features: Any = (6, 3)) -> keras.Sequential:
    made = keras.Sequential([keras.Input(features), *members])
    made.compile("adam", "mse")
    return made


def each(*members: Any) -> Any:
    inner = members[0] if len(members) == 1 else keras.Sequential(members)
    return layers.TimeDistributed(inner)


# The layers, and of each call its kind, activation, shape without rows, and the kinds that it comes from.
READ: dict[str, tuple[Any, list[tuple[str, str | None, tuple[int, ...], tuple[str, ...]]]]] = {
    "one layer in each step": (
        lambda: [each(layers.Dense(5, "tanh"))],
        [("Dense", "tanh", (6, 5), ())],
    ),
    "an activation after it": (
        lambda: [each(layers.Dense(5)), layers.ReLU()],
        [("Dense", "relu", (6, 5), ()), ("ReLU", "relu", (6, 5), ("Dense",))],
    ),
    "a network in each step": (
        lambda: [each(layers.Dense(5, "elu"), layers.Dense(2)), layers.Flatten()],
        [
            ("Dense", "elu", (5,), ()),
            ("Dense", "linear", (6, 2), ("Dense",)),
            ("Flatten", None, (12,), ("Dense",)),
        ],
    ),
    "both directions": (
        lambda: [layers.Bidirectional(layers.GRU(2)), layers.Dense(1)],
        [("GRU", "tanh", (2,), ()), ("GRU", "tanh", (2,), ()), ("Dense", "linear", (1,), ("GRU", "GRU"))],
    ),
}


@pytest.mark.parametrize(("members", "wanted"), READ.values(), ids=READ)
def test_calls_inside_wrappers_are_connected(members, wanted):
    found, _ = read_model(model(*members()), X, [None])
    kinds = [one.kind for one in found]
    read = [
        (one.kind, one.activation, one.shape[1:], tuple(kinds[at] for at in one.sources)) for one in found
    ]
    assert read == wanted
    assert found[0].takes_input


def test_the_output_of_a_layer_in_each_step_is_known():
    _, (output,) = read_model(model(each(layers.Dense(3, "tanh"))), X, [None])
    assert (output.activation, output.units) == ("tanh", 3)


CUTS: dict[str, tuple[Any, list[str]]] = {
    "changed": (lambda config: {**config, "activation": "relu"}, ["TimeDistributed", "Dense"]),
    "followed": (lambda config: [config, layers.Rescaling(2.0)], ["TimeDistributed", "Rescaling", "Dense"]),
    "replaced": (lambda config: layers.LayerNormalization(), ["TimeDistributed", "Dense"]),
    "removed": (lambda config: None, ["Dense"]),
}


@pytest.mark.parametrize(("change", "wanted"), CUTS.values(), ids=CUTS)
def test_the_layer_in_each_step_is_cut(change, wanted):
    given = model(each(layers.Dense(3, "tanh")), layers.Dense(1))
    inner = given.layers[0].layer
    assert any(one is inner for one in replaceable_layers(given))
    copied = cut(given, {inner: change})
    assert [type(one).__name__ for one in copied.model.layers] == wanted
    if wanted[0] == "TimeDistributed" and isinstance(copied.twin(inner), layers.Dense):
        assert np.array_equal(copied.twin(inner).kernel, inner.kernel)
    assert copied.model(X).shape == (4, 6, 1)
