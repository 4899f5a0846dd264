"""Copies of models: the same numbers, none of the same memory."""

import keras
import numpy as np
import pytest

from kilter.errors import ModelError
from kilter.nn.copying import copy_model

layers, ops = keras.layers, keras.ops
X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")


@keras.saving.register_keras_serializable()
class Own(keras.Model):
    """A Functional model by its arguments, with a method of its own."""

    def greet(self):
        return "hello"


class Stack(keras.Sequential):
    """A Sequential model that makes its own layers."""

    def __init__(self):
        super().__init__([keras.Input((4,)), layers.Dense(3)])


class Doubling(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training, mask=mask)


class NoConfig(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.dense = layers.Dense(units)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        raise NotImplementedError("no configuration")


def functional():
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    shared = layers.Dense(4, name="shared")
    block = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.BatchNormalization()], name="block")
    joined = layers.Add()([block(shared(left)), shared(right)])
    scaled = layers.Lambda(lambda x: x * 3.0)(joined) + ops.tanh(left)
    return keras.Model({"left": left, "right": right}, {"a": layers.Dropout(0.5)(scaled), "b": block(left)})


def rows():
    return {"left": X, "right": X[::-1]}


def test_a_copy_gives_the_same_bits_and_shares_what_was_shared():
    model = functional()
    copied = copy_model(model)
    assert [v.path for v in copied.model.weights] == [v.path for v in model.weights]
    for _ in range(2):  # the first call of Keras gives memory away: the other model must not have lost its
        for one, other in ((copied.model, model), (model, copied.model)):
            ours, theirs = one.predict(rows(), verbose=0), other.predict(rows(), verbose=0)
            assert all(np.array_equal(ours[name], theirs[name]) for name in ("a", "b"))
    for ours, theirs in zip(copied.model.variables, model.variables, strict=True):
        assert ours is not theirs
        np.testing.assert_array_equal(ours, theirs)
    assert copied.twin(model.get_layer("shared")) is copied.model.get_layer("shared")


def test_a_copy_trains_without_the_original():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dropout(0.5)])
    before = [np.array(v) for v in model.variables]
    copy = copy_model(model).model
    assert not copy.compiled
    copy.compile("sgd", loss="mse")
    copy.fit(X, X[:, :3], verbose=0)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_layers_changed_and_left_out():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.ReLU(), layers.Dense(2)])

    def change(layer):
        if isinstance(layer, layers.ReLU):
            return lambda config: None
        return lambda config: {**config, "use_bias": layer is model.layers[0]}

    copy = copy_model(model, change).model
    assert [type(layer).__name__ for layer in copy.layers] == ["Dense", "Dense"]
    np.testing.assert_array_equal(copy.layers[0].kernel, model.layers[0].kernel)
    assert copy.layers[1].bias is None
    empty = copy_model(model, lambda layer: lambda config: None).model
    np.testing.assert_array_equal(empty.predict(X, verbose=0), X)


def test_classes_are_kept_where_they_can_be():
    x = keras.Input((4,))
    own = Own(x, layers.Dense(2)(x))
    assert copy_model(own).model.greet() == "hello"
    stack = Stack()
    copy = copy_model(stack).model
    np.testing.assert_array_equal(copy.predict(X, verbose=0), stack.predict(X, verbose=0))


def test_a_frozen_model_stays_frozen():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    model.trainable = False
    assert copy_model(model).model.trainable_variables == []


def test_what_cannot_be_copied():
    with pytest.raises(ModelError, match="call of its own"):
        copy_model(Doubling([keras.Input((4,)), layers.Dense(2)]))
    with pytest.raises(ModelError, match="not built"):
        copy_model(keras.Sequential([layers.Dense(2)]))
    x = keras.Input((4,))
    with pytest.raises(ModelError, match="NoConfig: no configuration"):
        copy_model(
            keras.Model(x, NoConfig(3)(x)), lambda layer: lambda config: {**config, "trainable": False}
        )
