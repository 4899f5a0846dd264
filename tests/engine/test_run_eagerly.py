"""``run_eagerly=True``: each step runs as Python, so that print and breakpoints see numbers; as in Keras."""

import keras
import numpy as np
import pytest

import kilter

X = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
Y = X.sum(1, keepdims=True)


class Seen(keras.Model):
    """Notes what its steps and its call can see."""

    def __init__(self, **options):
        super().__init__(**options)
        self.hidden = keras.layers.Dense(4, "relu")
        self.dropout = keras.layers.Dropout(0.3)
        self.last = keras.layers.Dense(1)
        self.sums = []

    def call(self, x, training=False):
        return self.last(self.dropout(self.hidden(x), training=training))

    def _note(self, x):
        self.sums.append(float(keras.ops.sum(x)))  # fails in a trace

    def train_step(self, state, data):
        self._note(data[0])
        return super().train_step(state, data)

    def test_step(self, state, data):
        self._note(data[0])
        return super().test_step(state, data)

    def predict_step(self, state, data):
        self._note(data[0])
        return super().predict_step(state, data)


def eager() -> Seen:
    keras.utils.set_random_seed(0)
    model = Seen()
    model(X[:1])
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
    model.sums.clear()
    return model


def test_steps_see_numbers_and_train_as_in_keras():
    ours, plain = eager(), eager()
    history = kilter.fit(ours, X, Y, epochs=2, batch_size=8, shuffle=False, validation_data=(X, Y), verbose=0)
    expected = plain.fit(X, Y, epochs=2, batch_size=8, shuffle=False, validation_data=(X, Y), verbose=0)
    batches = [X[:8].sum(), X[8:16].sum(), X[16:].sum()]
    assert ours.sums == pytest.approx(batches * 4, rel=1e-5)
    for name, values in expected.history.items():
        assert history.history[name] == pytest.approx(values, rel=1e-5), name
    for one, other in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_evaluate_and_predict_run_as_python_too():
    model = eager()
    found = kilter.evaluate(model, X, Y, batch_size=8, verbose=0)
    assert found["loss"] == pytest.approx(model.evaluate(X, Y, batch_size=8, verbose=0)[0], rel=1e-5)
    outputs = kilter.predict(model, X, batch_size=8, verbose=0)
    np.testing.assert_allclose(outputs, model.predict(X, batch_size=8, verbose=0), rtol=1e-5, atol=1e-6)
    assert len(model.sums) == 12


def test_the_history_says_that_a_loss_came_from_the_logits():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    assert kilter.fit(model, X, np.arange(20) % 2, verbose=0).stable_loss


def test_an_error_in_a_step_is_the_persons_own():
    model = eager()
    model._note = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        kilter.fit(model, X, Y, verbose=0)
