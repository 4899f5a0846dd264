"""``stable_loss=False``: Keras's very numbers, also where Keras clips the probabilities."""

import copy

import keras
import numpy as np
import pytest

import kilter

CLASSES = np.arange(48) % 3
X = (np.eye(3)[CLASSES] * 40 + np.random.default_rng(0).normal(size=(48, 3))).astype("float32")
WRONG = np.where(np.arange(48) % 8 == 0, (CLASSES + 1) % 3, CLASSES)  # confident and wrong: clipped
WEIGHTS = np.linspace(0.1, 2, 48).astype("float32")

CASES = {
    "sparse": ("softmax", 3, "sparse_categorical_crossentropy", WRONG, {}),
    "categorical": ("softmax", 3, "categorical_crossentropy", np.eye(3)[WRONG], {"sample_weight": WEIGHTS}),
    "binary": ("sigmoid", 1, "binary_crossentropy", WRONG[:, None] % 2, {"class_weight": {0: 1.0, 1: 3.0}}),
}


def network(activation: str, units: int, loss: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    output = keras.layers.Dense(units, activation=activation, kernel_initializer="ones")
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(3), output]
    )
    model.layers[1].set_weights([40 * np.ones((8, 3)) * [1, -1, 2], np.zeros(3)])
    model.compile(keras.optimizers.SGD(0.01), loss)
    return model


def distance(one: keras.Model, other: keras.Model) -> float:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


@pytest.mark.parametrize("name", CASES)
def test_fit_and_evaluate_are_keras_own(name):
    activation, units, loss, y, options = CASES[name]
    plain, clipped, stable = (network(activation, units, loss) for _ in range(3))
    expected = plain.fit(X, y, epochs=3, batch_size=16, shuffle=False, verbose=0, **options)
    common = {"epochs": 3, "batch_size": 16, "shuffle": False, "verbose": 0, **options}
    found = kilter.fit(clipped, X, y, stable_loss=False, **common)
    other = kilter.fit(stable, X, y, **common)
    np.testing.assert_allclose(found.history["loss"], expected.history["loss"], rtol=1e-6)
    assert distance(clipped, plain) < 1e-6 < 1e-4 < distance(stable, plain)
    assert (found.stable_loss, other.stable_loss) == (False, True)
    own = plain.evaluate(X, y, verbose=0)
    evaluated = [
        kilter.evaluate(plain, X, y, stable_loss=switch, verbose=0)["loss"] for switch in (True, False)
    ]
    assert evaluated[1] == pytest.approx(own, rel=1e-6) != evaluated[0]


def test_the_switch_compiles_programs_of_its_own_and_accelerated_models_have_it():
    activation, units, loss, y, _ = CASES["sparse"]
    plain, model = (network(activation, units, loss) for _ in range(2))
    switches = [True, False, True]
    said = [kilter.fit(model, X, y, stable_loss=switch, verbose=0).stable_loss for switch in switches]
    assert said == switches
    model = kilter.accelerate(network(activation, units, loss), stable_loss=False)
    plain.fit(X, y, epochs=2, shuffle=False, verbose=0)
    history = model.fit(X, y, epochs=2, shuffle=False, verbose=0)
    assert distance(model, plain) < 1e-6
    assert not copy.deepcopy(history).stable_loss
    within = network(activation, units, loss)
    with kilter.engine(stable_loss=False):
        within.fit(X, y, epochs=2, shuffle=False, verbose=0)
    assert distance(within, plain) < 1e-6


def test_nothing_acts_where_keras_has_the_logits():
    model = network("linear", 3, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert not kilter.fit(model, X, WRONG, verbose=0).stable_loss
