"""The callback finds what kilter.diagnose finds, and leaves the training as it is."""

import itertools
from types import SimpleNamespace

import jax
import jax._src.monitoring
import keras
import numpy as np
import pytest

import kilter


def trained(callbacks, initializer):
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(96, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    layers = keras.layers
    hidden = [layers.Dense(8, activation="relu", kernel_initializer=initializer) for _ in range(2)]
    model = keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=2, verbose=0, callbacks=callbacks(x, y))
    return model


def test_the_doctor_names_the_fault_and_says_it_once(capsys):
    seen = []

    def callbacks(x, y):
        seen.append(kilter.Doctor(x, y))
        return seen

    trained(callbacks, "zeros")
    assert "constant-initializer" in seen[0].diagnosis.codes("severe")
    assert capsys.readouterr().out.count("constant-initializer") == 1


class Raises(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise RuntimeError("stop")


class CompilesAgain(keras.callbacks.Callback):
    def on_train_end(self, logs=None):
        self.model.compile("sgd", "mae")


def test_the_doctor_leaves_the_train_function_as_it_was():
    listeners = len(jax._src.monitoring.get_event_duration_listeners())
    x = np.ones((8, 2), np.float32)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, x[:, 0], verbose=0)
    own, doctor = model.train_function, kilter.Doctor(x, x[:, 0], verbose=False)
    with pytest.raises(RuntimeError):
        model.fit(x, x[:, 0], verbose=0, callbacks=[doctor, Raises()])
    model.fit(x, x[:, 0], verbose=0, callbacks=[doctor])
    assert model.train_function is own
    model.fit(x, x[:, 0], verbose=0, callbacks=[doctor, kilter.Doctor(x, x[:, 0], verbose=False)])
    assert model.train_function is own
    model.fit(x, x[:, 0], verbose=0, callbacks=[CompilesAgain(), doctor])
    assert model.train_function is None
    assert len(jax._src.monitoring.get_event_duration_listeners()) == listeners


def test_the_doctor_changes_no_bit_of_the_training():
    with_doctor = trained(lambda x, y: [kilter.Doctor(x, y, steps=8)], "he_normal")
    without = trained(lambda x, y: [], "he_normal")
    for one, other in zip(with_doctor.weights, without.weights, strict=True):
        np.testing.assert_array_equal(one, other)


# Seconds to load a batch, seconds that JAX compiles in each epoch, and what makes such a training slow.
SPEEDS: dict[str, tuple[float, float, set[str]]] = {
    "slow loading": (1.0, 0.0, {"input-bound"}),
    "compiling in each epoch": (0.0, 5.0, {"recompiling"}),
    "neither": (0.0, 0.0, set()),
}
COMPILING = "/jax/core/compile/backend_compile_duration"


@pytest.mark.parametrize("name", SPEEDS)
def test_the_doctor_says_what_makes_model_fit_slow(name: str, monkeypatch: pytest.MonkeyPatch):
    loading, compiling, expected = SPEEDS[name]
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    now = itertools.count()
    loaded = [0.0]
    # A clock that goes on by 0.1 when it is read, and by what is loaded: not by a busy machine.
    clock = SimpleNamespace(perf_counter=lambda: 0.1 * next(now) + loaded[0])
    monkeypatch.setattr("kilter._diagnosis.watch.time", clock)

    def batches():
        for _ in range(4 * 8):
            loaded[0] += loading
            yield x[:8], x[:8, 0]

    def compile_first(batch: int, logs: object) -> None:
        if compiling and batch == 0:
            loaded[0] += compiling
            jax.monitoring.record_event_duration_secs(COMPILING, compiling)

    first = keras.callbacks.LambdaCallback(on_train_batch_begin=compile_first)
    limits = kilter.Thresholds(slow_seconds=0.0, waiting=0.6)
    doctor = kilter.Doctor(x, x[:, 0], batch_size=8, every=0, thresholds=limits, verbose=False)
    model.fit(batches(), steps_per_epoch=8, epochs=4, verbose=0, callbacks=[first, doctor])
    assert {"input-bound", "recompiling"} & set(doctor.diagnosis.codes()) == expected
