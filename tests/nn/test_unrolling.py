"""Classes with a call of their own, as graphs of the same layers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from kilter._models.editing import as_graph

layers = keras.layers
X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


class Skips(keras.Model):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.first, self.second = layers.Dense(units, "relu"), layers.Dense(units)
        self.drop, self.head = layers.Dropout(0.5), layers.Dense(1)

    def call(self, inputs: Any, training: bool = False) -> Any:
        value = self.first(inputs)
        return self.head(self.drop(keras.ops.tanh(self.second(value) + value), training=training))


class Scales(keras.Model):
    """It has a weight of its own."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],))
        self.built = True

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale


class Looks(keras.Model):
    """What it computes depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.head = layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.head(inputs) if float(inputs[0, 0]) > 1e9 else -self.head(inputs)


def test_a_class_becomes_a_graph_of_its_own_layers():
    model = Skips(6)
    answers = np.asarray(model(X))
    graph = as_graph(model, X)
    assert graph is not None
    assert {*map(id, graph.weights)} == {*map(id, model.weights)}
    np.testing.assert_array_equal(np.asarray(graph(X)), answers)
    np.testing.assert_array_equal(np.asarray(model(X)), answers)


def test_a_graph_is_given_back():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    assert as_graph(model, X) is model


@pytest.mark.parametrize("kind", [Scales, Looks])
def test_what_cannot_be_followed_is_none(kind: type[keras.Model]):
    model = kind()
    model(X)
    assert as_graph(model, X) is None
