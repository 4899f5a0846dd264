"""``kilter.accelerate`` and ``kilter.engine``: existing code runs on the engine, with Keras's results."""

import inspect
import os
import signal
import warnings

import keras
import numpy as np
import pytest
from sklearn.model_selection import cross_val_score

import kilter
from kilter._engine.history import History
from kilter.errors import BackendError, ModelError

METHODS = ("fit", "evaluate", "predict")
x = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int32")


def net(cls=keras.Model, loss="sparse_categorical_crossentropy"):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    model = cls(inputs, keras.layers.Dense(2, activation="softmax")(keras.layers.Dense(5)(inputs)))
    model.compile("adam", loss, metrics=["accuracy"])
    return model


class Renamed(keras.Model):
    """A fit of its own, which calls Keras's."""

    def fit(self, *args, **options):
        history = super().fit(*args, **options)
        history.renamed = True
        return history


class OwnLoop(keras.Model):
    def make_train_function(self, force=False):
        return super().make_train_function(force)


def stock():
    return [getattr(keras.Model, name) for name in METHODS]


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("cls", [keras.Model, Renamed])
def test_an_accelerated_model_gives_what_keras_gives(cls):
    options = {"epochs": 2, "batch_size": 16, "shuffle": False, "validation_split": 0.2, "verbose": 0}
    plain, fast = net(cls), kilter.accelerate(net(cls))
    expected, history = plain.fit(x, y, **options), fast.fit(x, y, **options)
    assert isinstance(history, History)
    assert getattr(history, "renamed", False) == (cls is Renamed)
    assert history is fast.history
    assert list(history.history) == list(expected.history)
    same(fast.get_weights(), plain.get_weights())
    same(fast.evaluate(x, y, verbose=0), plain.evaluate(x, y, verbose=0))
    named = [list(model.evaluate(x, y, verbose=0, return_dict=True)) for model in (plain, fast)]
    assert sorted(named[0]) == sorted(named[1])
    same(fast.predict(x, verbose=0), plain.predict(x, verbose=0))


def test_positional_arguments_and_keras_defaults():
    plain, fast = net(), kilter.accelerate(net())
    histories = [model.fit(x, y, 25, 3, 0, shuffle=False) for model in (plain, fast)]
    same(fast.get_weights(), plain.get_weights())
    assert [history.epoch for history in histories] == [[0, 1, 2]] * 2
    for name in METHODS:
        assert inspect.signature(getattr(fast, name)) == inspect.signature(getattr(plain, name))


def test_the_global_seed_decides_the_order_of_rows():
    def weights(seed):
        model = kilter.accelerate(net())
        np.random.seed(seed)
        model.fit(x, y, batch_size=10, verbose=0)
        return model.get_weights()[0]

    assert np.array_equal(weights(3), weights(3))
    assert not np.array_equal(weights(3), weights(4))


def test_restore_leaves_the_model_as_it_was():
    model = net()
    before = dict(vars(model))
    assert kilter.restore(kilter.accelerate(kilter.accelerate(model))) is model
    assert vars(model) == before
    assert kilter.restore(model) is model
    assert not isinstance(model.fit(x, y, verbose=0), History)


def test_an_accelerated_model_is_saved_and_cloned_as_any_other(tmp_path):
    model = kilter.accelerate(net())
    model.save(tmp_path / "model.keras")
    for other in (keras.models.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)):
        assert not set(METHODS) & set(vars(other))
    assert isinstance(kilter.fit(model, x, y, verbose=0), History)


def test_what_the_engine_refuses_runs_on_keras_with_a_warning():
    model = kilter.accelerate(net(OwnLoop))
    with pytest.warns(UserWarning, match=r"runs on Keras's own loop.*make_train_function"):
        history = model.fit(x, y, validation_data=(x, y), verbose=0)
    assert not isinstance(history, History)
    assert "val_loss" in history.history


class OwnEvaluate(keras.Model):
    def evaluate(self, *args, **options):
        results = super().evaluate(*args, **options | {"return_dict": True})
        return {f"own_{name}": value for name, value in results.items()}


def test_validation_calls_the_models_own_evaluate_as_in_keras():
    model, options = kilter.accelerate(net(OwnEvaluate)), {"validation_data": (x, y), "verbose": 0}
    with pytest.warns(UserWarning, match=r"runs on Keras's own loop.*evaluate"):
        assert list(model.fit(x, y, **options).history) == list(net(OwnEvaluate).fit(x, y, **options).history)
    assert isinstance(model.fit(x, y, verbose=0), History)
    assert "own_loss" in model.evaluate(x, y, verbose=0)


@pytest.mark.filterwarnings("ignore:model.fit runs on Keras's own loop")
def test_a_model_keeps_its_weights_if_keras_cannot_train_it_either():
    model = kilter.accelerate(net(loss="categorical_crossentropy"))
    before = model.get_weights()
    with pytest.raises(ValueError, match="shape"):
        model.fit(x, y, verbose=0)
    same(model.get_weights(), before)


def test_an_error_of_training_is_not_tried_again():
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ModelError(expected="a", received="b", remedy="c")

    with pytest.raises(ModelError):
        kilter.accelerate(net()).fit(x, y, callbacks=[Fails()], verbose=0)


def test_within_engine_every_model_is_accelerated_and_after_it_none():
    before, model = stock(), net(Renamed)
    with kilter.engine(), kilter.engine():
        history = model.fit(x, y, verbose=0)
        assert isinstance(history, History)
        assert history.renamed
    assert stock() == before
    with pytest.raises(RuntimeError), kilter.engine():
        raise RuntimeError
    assert stock() == before


def test_keras_wrappers_for_scikit_learn_gain_without_a_rewrite():
    def build(X, y):
        return net(loss="categorical_crossentropy")

    wrapped = keras.wrappers.SKLearnClassifier(build, fit_kwargs={"epochs": 2, "verbose": 0})
    with kilter.engine(), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        scores = cross_val_score(wrapped, x, y, cv=2)
    assert scores.shape == (2,)


CALLS = {
    "kilter.fit": lambda model: kilter.fit(model, x, y, verbose=0),
    "kilter.predict": lambda model: kilter.predict(model, x),
    "model.fit": lambda model: model.fit(x, y, verbose=0),
    "model.evaluate": lambda model: model.evaluate(x, y, verbose=0),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.parametrize("name", CALLS)
def test_a_forked_process_raises_where_jax_would_hang(name):
    model = kilter.accelerate(net())
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        signal.alarm(20)  # ends a child that hangs
        try:
            CALLS[name](model)
        except BackendError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as said:
        assert "spawn" in said.read()
    CALLS[name](model)  # the parent goes on


@pytest.mark.parametrize("function", [kilter.accelerate, kilter.restore])
def test_only_models_are_accelerated(function):
    with pytest.raises(ModelError, match="a Keras model"):
        function(keras.layers.Dense(2))


def test_an_accelerated_fit_takes_kilters_own_options():
    model = kilter.accelerate(keras.Sequential([keras.layers.Dense(1)]))
    model.compile("sgd", "mse")
    cosine = kilter.schedules.cosine(0.1, length=4)
    history = model.fit(np.ones((8, 2)), np.ones((8, 1)), epochs=2, verbose=0, schedule=cosine)
    assert "learning_rate" in history.history
