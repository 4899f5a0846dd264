"""The code of a treatment is the model that was proven: it is run, trained, and compared with that model."""

import numpy as np
import pytest

import kilter
from kilter import _backend  # noqa: F401

# isort: split
import keras
from keras import layers

from kilter._engine.arrays import pick
from kilter._engine.training_spec import TrainingSpec
from kilter._records import Finding
from kilter._treatment.program import program
from kilter._treatment.remedies import REMEDIES
from kilter._treatment.sound_sibling import sound_sibling
from kilter._treatment.subject import Subject

FINDING = Finding("unscaled-targets", "severe", ("targets",), (), "", (), "")
RNG = np.random.default_rng(8)
HOUSES = np.c_[RNG.uniform(30, 250, 400), RNG.integers(1, 8, 400), RNG.integers(1900, 2023, 400)]
PRICES = 2500 * HOUSES[:, 0] + 9000 * HOUSES[:, 1] + 700 * (HOUSES[:, 2] - 1900)
WEEKS = RNG.uniform(20_000, 40_000, (400, 6, 1))


def functional():
    given = keras.Input((3,))
    hidden = layers.Dense(16, "relu")(given)
    return keras.Model(given, layers.Dense(1)(layers.Concatenate()([hidden, given])))


def two_inputs():
    given = {"a": keras.Input((1,), name="a"), "b": keras.Input((2,), name="b")}
    joined = layers.Concatenate()([layers.Dense(8, "relu")(one) for one in given.values()])
    return keras.Model(given, layers.Dense(1)(joined))


class Squash(layers.Layer):
    """A layer of the user's own."""

    def call(self, inputs):
        return keras.ops.tanh(inputs)


def own_layer():
    return keras.Sequential([layers.Input((3,)), layers.Dense(16), Squash(name="squash"), layers.Dense(1)])


def shared():
    left, right = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    tower = layers.Dense(16, "relu")
    return keras.Model([left, right], layers.Dense(1)(layers.Concatenate()([tower(left), tower(right)])))


def frozen():
    base = layers.Dense(16, "relu", name="base")
    model = keras.Sequential([layers.Input((3,)), base, layers.Dense(16, "relu"), layers.Dense(1)])
    base.set_weights([np.eye(3, 16) + 0.5, np.full(16, 0.1)])
    base.trainable = False
    return model


MODELS = {
    "with an input": (
        lambda: keras.Sequential([layers.Input((3,)), layers.Dense(16, "relu"), layers.Dense(1)]),
        HOUSES, PRICES,
    ),
    "without an input": (
        lambda: keras.Sequential([layers.Dense(16, "relu"), layers.Dense(1)]), HOUSES, PRICES,
    ),
    "functional": (functional, HOUSES, PRICES),
    "two inputs": (two_inputs, {"a": HOUSES[:, :1], "b": HOUSES[:, 1:]}, PRICES),
    "a layer of the user's own": (own_layer, HOUSES, PRICES),
    "a shared layer": (shared, [HOUSES, HOUSES[::-1].copy()], PRICES),
    "a frozen layer": (frozen, HOUSES, PRICES),
    "recurrent": (
        lambda: keras.Sequential([layers.LSTM(8), layers.Dense(1)]), WEEKS, WEEKS.mean(axis=(1, 2)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_the_code_of_a_treatment_is_the_model_that_was_proven(name: str):
    make, x, y = MODELS[name]
    model = make()
    model(keras.tree.map_structure(lambda one: one[:2], x))
    model.compile("adam", "mse", metrics=["mae"])
    spec = TrainingSpec(epochs=2, batch_size=32, validation_data=pick((x, y), slice(64)))
    original = Subject(model, x, y, spec)
    treated = sound_sibling(original)
    assert treated is not None
    assert {"standardize-inputs", "rescale-outputs"} <= set(treated.remedies)
    code = program(original, treated)
    assert code.count("model.compile(") == 1
    assert "training=" not in code
    assert code.startswith("# Needs import keras")
    assert "your own " in code.splitlines()[0]
    assert ("model" in code.splitlines()[0]) == ("given = model" in code)
    names = {"keras": keras, "kilter": kilter, "np": np, "model": model, "x_train": x, "y_train": y}
    exec(code, names)
    made = names["model"]
    made.predict(x, verbose=0)  # builds a model without an input
    given, wanted = made._compile_config.config, treated.model._compile_config.config
    assert given["loss_weights"] == pytest.approx(wanted["loss_weights"], rel=0.01)
    assert (given["loss"], given["metrics"]) == (wanted["loss"], wanted["metrics"])
    optimizers = (one.optimizer.get_config() | {"name": ""} for one in (made, treated.model))
    assert next(optimizers) == next(optimizers)
    # A scaling of given numbers is a Rescaling: it has no weights.
    assert len(made.trainable_weights) == len(treated.model.trainable_weights)
    for own, theirs in zip(made.trainable_weights, treated.model.trainable_weights, strict=True):
        own.assign(np.array(theirs))
    expected = treated.model.predict(x, verbose=0)
    assert np.abs(made.predict(x, verbose=0) - expected).max() < 0.01 * PRICES.std()
    history = made.fit(x, y, epochs=12, verbose=0).history
    assert history["mae"][-1] < 0.75 * np.abs(y - y.mean()).mean()


def test_the_layers_of_a_trained_model_keep_their_weights():
    model = keras.Sequential([layers.Input((3,)), layers.Dense(8, "elu", name="kept"), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(HOUSES, PRICES, epochs=1, verbose=0)
    original = Subject(model, HOUSES, PRICES, TrainingSpec(epochs=2, batch_size=32), trained=True)
    treated = REMEDIES["rescale-outputs"].apply(original, FINDING)
    assert treated is not None
    code = program(original, treated)
    assert 'given.get_layer("kept")' in code
    assert "loss weight " in code  # why it is there
    names = {"keras": keras, "kilter": kilter, "model": model, "x_train": HOUSES, "y_train": PRICES}
    exec(code, names)
    assert names["model"].get_layer("kept") is model.get_layer("kept")
