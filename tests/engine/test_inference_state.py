"""State that inference itself changes goes on from batch to batch and from call to call, as in Keras."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kilter
from kilter._engine.fit import fit
from kilter._engine.inference import evaluate, predict, predict_unchanged

from .cases import same_bits

layers, ops = keras.layers, keras.ops
X = np.random.default_rng(0).normal(size=(20, 4, 3)).astype("float32")
Y = X[:, 0, :1]


class Noise(layers.Layer):
    """Adds random numbers in inference too."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = keras.random.SeedGenerator(1)

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(ops.shape(x), seed=self.generator)


class Counting(layers.Layer):
    """Adds the number of calls so far, which it keeps as a weight."""

    def build(self, shape: Any) -> None:
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x: Any) -> Any:
        self.calls.assign_add(1.0)
        return x + self.calls


def _model(layer: keras.layers.Layer, batch: int | None) -> keras.Model:
    inputs = keras.Input(X.shape[1:], batch_size=batch)
    model = keras.Model(inputs, layers.Dense(1, kernel_initializer="ones")(layers.Flatten()(layer(inputs))))
    model.compile("sgd", "mse")
    return model


class Reversed(keras.Sequential):
    """A subclass whose own call draws random numbers."""

    def __init__(self) -> None:
        super().__init__([keras.Input(X.shape[1:]), layers.Flatten(), layers.Dense(1)])
        self.generator = keras.random.SeedGenerator(2)

    def call(self, x: Any, training: bool | None = None, mask: Any = None) -> Any:
        return super().call(x * keras.random.uniform((), seed=self.generator), training)


def _subclass() -> keras.Model:
    keras.utils.set_random_seed(3)
    model = Reversed()
    model.compile("sgd", "mse")
    return model


STATEFUL: dict[str, tuple[Callable[[], keras.Model], int]] = {
    "random numbers": (lambda: _model(Noise(), None), 8),
    "a weight that inference changes": (lambda: _model(Counting(), None), 8),
    "a stateful recurrent layer": (lambda: _model(_recurrent(), 5), 5),
    "random numbers in a model's own call": (_subclass, 8),
}


def _recurrent() -> keras.layers.Layer:
    return layers.SimpleRNN(3, stateful=True, kernel_initializer="ones", recurrent_initializer="ones")


@pytest.mark.parametrize("name", STATEFUL)
def test_predict_and_evaluate_go_on_as_keras_does(name: str):
    make, size = STATEFUL[name]
    ours, theirs = make(), make()
    for _ in range(2):  # the second call goes on where the first ended
        expected = theirs.predict(X, batch_size=size, verbose=0)
        np.testing.assert_allclose(predict(ours, X, batch_size=size), expected, rtol=1e-5, atol=1e-6)
        measured = theirs.evaluate(X, Y, batch_size=size, verbose=0, return_dict=True)
        assert evaluate(ours, X, Y, batch_size=size) == pytest.approx(measured, rel=1e-5)
    batches = [(X[:size], Y[:size]), (X[size : 2 * size], Y[size : 2 * size])]
    expected = theirs.predict(X[: 2 * size], batch_size=size, verbose=0)
    np.testing.assert_allclose(predict(ours, batches), expected, rtol=1e-5, atol=1e-6)


def test_pieces_of_a_prediction_go_on_too(monkeypatch: pytest.MonkeyPatch):
    whole = predict(_model(Noise(), None), X, batch_size=4)
    monkeypatch.setattr("kilter._engine.inference._OUTPUT_BYTES", 1)
    np.testing.assert_array_equal(predict(_model(Noise(), None), X, batch_size=4), whole)
    assert len(np.unique(whole)) == len(X)


UNTOUCHED: dict[str, Callable[[keras.Model], Any]] = {
    "predict_unchanged": lambda model: predict_unchanged(model, X),
    "diagnose": lambda model: kilter.diagnose(model, X, Y),
    "predict_mc": lambda model: kilter.predict_mc(model, X, samples=2, outputs="numbers"),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_promises_to_leave_the_model_alone_keeps_its_seeds(name: str):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(X.shape[1:])
    model = keras.Model(inputs, layers.Dense(1)(layers.Dropout(0.5)(Noise()(layers.Flatten()(inputs)))))
    model.compile("sgd", "mse")
    before = [np.array(variable.value) for variable in model.variables]
    UNTOUCHED[name](model)
    assert all(map(np.array_equal, [np.asarray(variable.value) for variable in model.variables], before))


def test_validation_puts_the_state_back():
    ours, plain = _model(Noise(), None), _model(Noise(), None)
    fit(ours, X, Y, epochs=2, validation_data=(X, Y), verbose=0)
    fit(plain, X, Y, epochs=2, verbose=0)
    assert same_bits(ours, plain)
