"""Callbacks that act on batches train, evaluate and predict as in Keras."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kilter
from kilter._engine.loop import Runner
from kilter._text import warn_once

from .cases import BATCH, classifier, difference, rows

Callback = keras.callbacks.Callback
HOW = {"batch_size": BATCH, "shuffle": False, "verbose": 0, "epochs": 2}


def model(**compiled: Any) -> keras.Model:
    made = classifier(keras.optimizers.Adam(0.01))
    made.compile(made.optimizer, made.loss, metrics=["accuracy"], **compiled)
    return made


class Finder(Callback):
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = 0.001 * 2**batch


class WarmUp(Callback):
    taken = 0

    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        self.taken += 1
        self.model.optimizer.learning_rate.assign(0.01 * self.taken)


class Clipped(Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        kernel = self.model.trainable_variables[0]
        kernel.assign(keras.ops.clip(kernel, -0.2, 0.2))


class Stopping(Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.stop_training = batch == 1


class InTests(Callback):
    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = 0.5

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        kernel = self.model.trainable_variables[0]
        kernel.assign(kernel * 0.5)


def function() -> Callback:
    made = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: made.model.optimizer.learning_rate.assign(0.01 * (batch + 1))
    )
    return made


ACTING: dict[str, tuple[Callable[[], Callback], ...]] = {
    "several": (Finder, Clipped, InTests),
    "WarmUp": (WarmUp,),
    "Stopping": (Stopping,),
    "function": (function,),
}


@pytest.mark.parametrize(
    ("name", "every"), [*((name, 1) for name in ACTING), ("several", 3), ("Stopping", 3)]
)
def test_callbacks_act_on_batches_as_in_keras(name: str, every: int):
    x, y = rows()
    ours, theirs = model(steps_per_execution=every), model(steps_per_execution=every)
    how = {**HOW, "validation_data": rows(23, seed=1)}
    got = kilter.fit(ours, x, y, callbacks=[make() for make in ACTING[name]], **how)
    expected = theirs.fit(x, y, callbacks=[make() for make in ACTING[name]], **how)
    assert difference(ours, theirs) < 1e-4
    assert got.epoch == expected.epoch
    for key, values in expected.history.items():
        np.testing.assert_allclose(got.history[key], values, rtol=1e-4, atol=1e-5)


class Told(Callback):
    """Notes every hook with its number and its logs."""

    def __init__(self, stop: tuple[str, int, str] | None = None) -> None:
        super().__init__()
        self.calls: list[Any] = []
        self.stop = stop


def _noting(name: str) -> Any:
    def told(self: Told, *arguments: Any, **options: Any) -> None:
        *place, logs = (*arguments, *options.values())
        found = {key: np.round(np.asarray(value, float), 4).tolist() for key, value in (logs or {}).items()}
        self.calls.append((name, *place, found))
        if self.stop is not None and self.stop[:2] == (name, *place):
            setattr(self.model, self.stop[2], True)

    return told


for _mode in ("train", "test", "predict"):
    for _moment in ("begin", "end"):
        setattr(Told, f"on_{_mode}_{_moment}", _noting(f"on_{_mode}_{_moment}"))
        setattr(Told, f"on_{_mode}_batch_{_moment}", _noting(f"on_{_mode}_batch_{_moment}"))


def _alike(found: list[Any], expected: list[Any]) -> None:
    assert [call[:-1] for call in found] == [call[:-1] for call in expected]
    for one, other in zip(found, expected, strict=True):
        assert list(one[-1]) == list(other[-1])
        for key, value in other[-1].items():
            np.testing.assert_allclose(one[-1][key], value, rtol=1e-3, atol=2e-4)


STOPS = [
    None,
    ("on_train_batch_end", 1, "stop_training"),
    ("on_test_batch_end", 0, "stop_evaluating"),
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("every", [1, 2, 3])
def test_hooks_are_told_what_keras_tells_them(stop: Any, every: int):
    x, y = rows(55)
    how = {**HOW, "validation_data": rows(37, seed=1)}
    mine, other = Told(stop), Told(stop)
    kilter.fit(model(steps_per_execution=every), x, y, callbacks=[mine], **how)
    model(steps_per_execution=every).fit(x, y, callbacks=[other], **how)
    if every > 1 and stop is not None:
        assert len(mine.calls) == len(other.calls)
    _alike(mine.calls, other.calls)


@pytest.mark.parametrize("stop", [None, ("on_predict_batch_end", 1, "stop_predicting")])
@pytest.mark.parametrize("every", [1, 2])
def test_predict_calls_hooks_with_the_outputs(stop: Any, every: int):
    x, _ = rows(55)
    given, mine, other = model(steps_per_execution=every), Told(stop), Told(stop)
    found = kilter.predict(given, x, batch_size=BATCH, callbacks=[mine], verbose=0)
    expected = given.predict(x, batch_size=BATCH, callbacks=[other], verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    _alike(mine.calls, other.calls)


@pytest.mark.parametrize("stop", [None, ("on_test_batch_end", 1, "stop_evaluating")])
def test_evaluate_calls_hooks(stop: Any):
    x, y = rows(55)
    given, mine, other = model(), Told(stop), Told(stop)
    found = kilter.evaluate(given, x, y, batch_size=BATCH, callbacks=mine, verbose=0)
    expected = given.evaluate(x, y, batch_size=BATCH, callbacks=[other], verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    _alike(mine.calls, other.calls)


def test_evaluate_returns_what_keras_returns():
    inputs = keras.Input((12,))
    two = keras.Model(inputs, {name: keras.layers.Dense(3, name=name)(inputs) for name in ("q", "p")})
    per_class = keras.metrics.F1Score(average=None)
    two.compile("sgd", "mse", metrics={"p": ["mae", per_class], "q": ["mse"]})
    x, y = rows()
    targets = dict.fromkeys(("p", "q"), np.eye(3, dtype="float32")[y])
    for as_dict in (True, False):
        found = kilter.evaluate(two, x, targets, verbose=0, return_dict=as_dict)
        expected = two.evaluate(x, targets, verbose=0, return_dict=as_dict)
        assert list(found) == list(expected) if as_dict else len(found) == len(expected)
        pairs = (
            zip(found.values(), expected.values(), strict=True)
            if as_dict
            else zip(found, expected, strict=True)
        )
        for one, other in pairs:
            assert type(one) is type(other)
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_change_of_layer_state_in_a_test_hook_stays():
    class Marks(Callback):
        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.layers[1].moving_mean.assign(np.full(8, batch + 1.0))

    def normalised() -> keras.Model:
        keras.utils.set_random_seed(0)
        made = keras.Sequential(
            [keras.layers.Dense(8, use_bias=False), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
        )
        made.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return made

    x, y = rows()
    ours, theirs = normalised(), normalised()
    how = {**HOW, "validation_data": (x, y)}
    kilter.fit(ours, x, y, callbacks=[Marks()], **how)
    theirs.fit(x, y, callbacks=[Marks()], **how)
    assert difference(ours, theirs) < 1e-4


@pytest.mark.parametrize("kind", ["ModelCheckpoint", "BackupAndRestore"])
def test_keras_callbacks_with_a_period_in_batches(kind: str, tmp_path: Path):
    class Broken(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 3:
                raise RuntimeError("killed")

    def run(name: str, train: Callable[..., Any]) -> tuple[list[str], int]:
        x, y = rows()
        path = tmp_path / name
        made = (
            keras.callbacks.ModelCheckpoint(
                str(path / "{epoch}-{batch}.weights.h5"), save_freq=2, save_weights_only=True
            )
            if kind == "ModelCheckpoint"
            else keras.callbacks.BackupAndRestore(str(path), save_freq=2)
        )
        trained = model()
        with pytest.raises(RuntimeError, match="killed"):
            train(trained, x, y, callbacks=[made, Broken()], **HOW)
        trained.get_weights()  # the model stays readable
        return sorted(one.name for one in path.iterdir()), int(trained.optimizer.iterations)

    assert run("ours", kilter.fit) == run("theirs", keras.Model.fit)


def test_training_ends_at_the_batch_that_is_not_a_number():
    def run(train: Callable[..., Any]) -> tuple[int, int]:
        x, y = rows()
        made = classifier(keras.optimizers.SGD(1e30), loss="mse")
        found = train(made, x * 1e30, np.eye(3)[y], callbacks=[keras.callbacks.TerminateOnNaN()], **HOW)
        return len(found.epoch), int(made.optimizer.iterations)

    assert run(kilter.fit) == run(keras.Model.fit)


class Reading(WarmUp):
    kilter_chunked = True


HARMLESS = {
    "reading": Reading,
    "checkpoint": lambda: keras.callbacks.ModelCheckpoint("unused.keras", save_freq="epoch"),
    "backup": lambda: keras.callbacks.BackupAndRestore("unused"),
    "progress": keras.callbacks.ProgbarLogger,
    "early stopping": lambda: keras.callbacks.EarlyStopping("loss"),
}


@pytest.mark.parametrize("name", [*HARMLESS, "fast"])
def test_a_callback_that_only_reads_costs_no_calls(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    calls, as_ever = [], Runner.call

    def counted(self: Any, state: Any, block: Any, start: int, stop: int) -> Any:
        calls.append(stop - start)
        return as_ever(self, state, block, start, stop)

    monkeypatch.setattr(Runner, "call", counted)
    x, y = rows(64)
    callback = WarmUp() if name == "fast" else HARMLESS[name]()
    chunk = "fast" if name == "fast" else "exact"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        kilter.fit(model(), x, y, callbacks=[callback], chunk=chunk, **{**HOW, "epochs": 1})
    assert calls == [64 // BATCH]


def test_the_price_is_said_once():
    warn_once.cache_clear()
    x, y = rows()
    with pytest.warns(UserWarning, match='WarmUp acts on batches.*schedule=.*chunk="fast"'):
        kilter.fit(model(), x, y, callbacks=[Finder(), WarmUp()], **HOW)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        kilter.fit(model(), x, y, callbacks=[Finder()], **HOW)


def test_what_a_callback_does_to_a_model_it_holds_itself_stays():
    x, y = rows()
    made, source = model(), model()

    class Holding(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            made.optimizer.learning_rate.assign(0.0)
            made.layers[0].kernel.assign(source.layers[0].kernel.value)

    kilter.fit(made, x, y, callbacks=[Holding()], **HOW)
    np.testing.assert_array_equal(made.get_weights()[0], source.get_weights()[0])
    assert float(made.optimizer.learning_rate) == 0.0


def test_an_unknown_chunk_is_refused():
    with pytest.raises(kilter.errors.OptionError, match="chunk"):
        kilter.fit(model(), *rows(), chunk="slow")  # type: ignore[arg-type]
