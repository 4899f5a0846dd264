"""A .keras file is read as Keras reads it, without drawing the weights that the file replaces."""

import jax
import keras
import numpy as np
import pytest
from keras import layers

from kilter._models.saved import load_model


def dense():
    parts = [layers.Dense(3), layers.BatchNormalization(), layers.Dropout(0.5, seed=1)]
    return keras.Sequential([keras.Input((4,)), *parts])


def shared():
    first, second, one = keras.Input((4,)), keras.Input((4,)), layers.Dense(4, kernel_constraint="max_norm")
    return keras.Model([first, second], layers.Add()([one(first), one(one(second))]))


def nested():
    return keras.Sequential([keras.Input((4,)), dense(), layers.Dense(2, kernel_initializer="orthogonal")])


def recurrent():
    both = layers.Bidirectional(layers.LSTM(4, seed=1))
    return keras.Sequential([keras.Input((5, 3)), both, layers.Dense(1)])


def attention():
    x = keras.Input((5, 4))
    return keras.Model(x, layers.MultiHeadAttention(2, 3)(x, x))


def normalized():
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(2, 3, (50, 4)))
    return keras.Sequential([keras.Input((4,)), layer, layers.Dense(2)])


def mixed_precision():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, dtype="mixed_bfloat16")])


def unbuilt():
    return keras.Sequential([layers.Dense(3)])


@keras.saving.register_keras_serializable("test")
class Given(layers.Layer):
    """A variable made of an array, and one whose values its build reads and assigns."""

    def build(self, shape):
        self.table = keras.Variable(np.arange(shape[-1], dtype="float32"), trainable=False)
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")
        self.scale.assign(self.scale * 2)
        self.factor = float(np.asarray(self.scale.value).sum())

    def call(self, x):
        return x * self.scale * self.factor + self.table


@keras.saving.register_keras_serializable("test")
class Unsaved(layers.Layer):
    """A fixed table that is not in the file."""

    def build(self, shape):
        self.table = self.add_weight(shape=(shape[-1],), initializer="zeros", trainable=False)
        self.table.assign(np.arange(shape[-1]))

    def save_own_variables(self, store):
        """Nothing is saved."""

    def load_own_variables(self, store):
        """Nothing is loaded."""

    def call(self, x):
        return x * self.table


def custom():
    return keras.Sequential([keras.Input((4,)), Given(), layers.Dense(3), Unsaved()])


KINDS = (custom, dense, shared, nested, recurrent, attention, normalized, mixed_precision, unbuilt)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_read_as_keras_reads_it(kind, compiled, tmp_path):
    model = kind()
    model.compile(keras.optimizers.Adam(0.01, use_ema=True), "mse", metrics=["mae"])
    if model.built and model.trainable_variables:
        model.optimizer.build(model.trainable_variables)
        for number, variable in enumerate(model.optimizer.variables):
            variable.assign(np.full(variable.shape, number + 1))
    model.save(path := tmp_path / "model.keras")
    ours = load_model(path, compiled=compiled)
    theirs = keras.saving.load_model(path, compile=compiled)
    assert ours.get_config() == theirs.get_config()
    assert ours.compiled == theirs.compiled == compiled
    found = (ours.variables, ours.optimizer.variables if compiled else [])
    wanted = (theirs.variables, theirs.optimizer.variables if compiled else [])
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    keras.Sequential(
        [keras.Input((2,)), layers.Dense(1)]
    )  # leaves no variable for the next model to initialise


def test_no_weights_are_drawn_that_the_file_replaces(tmp_path, monkeypatch):
    model = nested()
    model.save(path := tmp_path / "model.keras")
    drawn = []
    draw = keras.initializers.GlorotUniform.__call__

    def counted(self, shape, dtype=None):
        values = draw(self, shape, dtype)
        if not isinstance(values, jax.core.Tracer):
            drawn.append(shape)
        return values

    monkeypatch.setattr(keras.initializers.GlorotUniform, "__call__", counted)
    load_model(path)
    assert drawn == []
