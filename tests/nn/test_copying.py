"""Copies of models: the same numbers, none of the same memory."""

import keras
import numpy as np
import pytest
from tests.nn.every_layer import COMPOSITE, KINDS, LEFT_OUT, every_layer, model_of

from kilter._models.copying import copy_model, copy_written
from kilter.errors import ModelError

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
    with pytest.raises(ModelError, match="overrides call"):
        copy_model(Doubling([keras.Input((4,)), layers.Dense(2)]))
    with pytest.raises(ModelError, match="not built"):
        copy_model(keras.Sequential([layers.Dense(2)]))
    x = keras.Input((4,))
    with pytest.raises(ModelError, match=r"NoConfig: .*no configuration"):
        copy_model(
            keras.Model(x, NoConfig(3)(x)), lambda layer: lambda config: {**config, "trainable": False}
        )


@pytest.mark.parametrize("name", every_layer(*COMPOSITE))
def test_every_layer_is_copied_with_the_layers_inside_it(name):
    model, x, _ = model_of(name)
    for variable in model.trainable_variables:  # as after training
        variable.assign(np.asarray(variable) + 0.01)
    copied = copy_model(model)
    np.testing.assert_array_equal(copied.model.predict(x, verbose=0), model.predict(x, verbose=0))
    assert [one.path for one in copied.model.variables] == [one.path for one in model.variables]
    assert not {id(one) for one in copied.model.variables} & {id(one) for one in model.variables}
    held = [one for one in model._flatten_layers() if not isinstance(one, keras.Model | layers.InputLayer)]
    for one in held:
        twin = copied.twin(one)
        assert type(twin) is type(one)
        assert twin is not one
        assert twin in copied.model._flatten_layers()


def test_the_table_of_layers_is_whole():
    assert set(COMPOSITE) <= set(KINDS)
    assert {getattr(layers, name) for name in LEFT_OUT} & set(KINDS.values()) == set()


SLOPE = 3.0


class Holding(layers.Layer):
    """Layers in a list, a dict, a closure and a bound method, a seed, a metric, and no get_config."""

    def __init__(self, units):
        super().__init__()
        self.listed, self.named = [layers.Dense(units)], {"out": layers.Dense(4)}
        self.seed, self.seen = keras.random.SeedGenerator(1), keras.metrics.Mean()
        first = self.listed[0]
        self.closure, self.method = (lambda x: first(x)), self.named["out"].__call__

    def call(self, x):
        return self.method(self.closure(x)) * SLOPE


def written_models():
    class Plain(keras.Model):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def call(self, x):
            return self.inner(x)

    x = keras.Input((4,))
    graph = keras.Model(x, layers.Dense(4, activation=lambda value: abs(value) * SLOPE)(x))
    for inner in (Holding(3), graph, keras.Sequential([layers.Dense(3)])):
        model = Plain(inner)
        model(X)
        yield model, copy_written
    yield keras.Model(x, Holding(3)(x)), copy_model
    yield keras.Model(x, layers.Lambda(lambda value: ops.abs(value) * SLOPE)(x)), copy_model


def test_layers_without_a_configuration_are_copied_and_share_no_variable():
    for model, copy in written_models():
        before, found = np.asarray(model(X)), copy(model).model
        np.testing.assert_array_equal(found(X), before)
        for variable in found.variables:
            variable.assign(np.asarray(variable) * 0 + 1)
        np.testing.assert_array_equal(model(X), before)
        if model.variables:
            assert not np.array_equal(found(X), before)


class Stepping(keras.Model):
    """A functional model with a constructor and a training step of its own."""

    def __init__(self, units):
        inputs = keras.Input((4,))
        super().__init__(inputs, layers.Dense(units)(inputs))
        self.units, self.seen = units, keras.metrics.Mean(name="seen")

    def train_step(self, state, data):
        return {"loss": 0.0}, state


def test_a_model_that_trains_itself_stays_of_its_class_with_what_it_holds():
    model = Stepping(3)
    copied = copy_model(model).model
    assert type(copied) is Stepping
    assert copied.units == 3
    assert copied.seen is not model.seen
    np.testing.assert_array_equal(copied(X), model(X))


def test_functions_that_a_configuration_only_names_are_shared_by_a_changed_layer():
    def own(value):
        return abs(value) * SLOPE

    x = keras.Input((4,))
    model = keras.Model(x, layers.Lambda(own)(layers.Dense(3, activation=own)(x)))
    copied = copy_model(model, lambda layer: lambda config: {**config, "trainable": False}).model
    assert [layer.trainable for layer in copied.layers[1:]] == [False, False]
    assert copied.layers[1].activation is own
    np.testing.assert_array_equal(copied(X), model(X))
