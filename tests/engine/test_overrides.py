"""What a model overrides of Keras counts as it does in Keras, or is refused before anything is trained."""

import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import kilter
from kilter._engine.fit import fit
from kilter._engine.inference import evaluate, predict
from kilter.errors import ModelError, OptionError

from .cases import agree

layers, ops = keras.layers, keras.ops
X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = X[:, :2]
HOW = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}


class Classes(keras.Model):
    def predict_step(self, state: Any, data: Any) -> Any:
        outputs, state = super().predict_step(state, data)
        return {"class": ops.argmax(outputs, axis=-1), "both": outputs}, state


class Extra(keras.Model):
    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return super().compute_metrics(x, y, y_pred, sample_weight) | {"extra": ops.mean(y_pred)}


class Results(keras.Model):
    def get_metrics_result(self) -> Any:
        return {name: value * 2 for name, value in super().get_metrics_result().items()}


class Renamed(keras.Model):
    def test_step(self, state: Any, data: Any) -> Any:
        logs, state = super().test_step(state, data)
        return {"nested": {"error": logs["loss"] * 3}}, state


class Nothing(keras.Model):
    def train_step(self, state: Any, data: Any) -> Any:
        return {}, super().train_step(state, data)[1]


class Halved(keras.Model):
    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **named: Any) -> Any:
        return super().compute_loss(x, y, y_pred, *rest, **named) / 2


class Tracked(keras.Model):
    """A tracker of its own, updated in compute_loss, and the only one in ``metrics``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.largest = keras.metrics.Mean(name="largest")

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *rest: Any, **named: Any) -> Any:
        self.largest.update_state(ops.max(y_pred))
        return super().compute_loss(x, y, y_pred, *rest, **named)

    @property
    def metrics(self) -> Any:
        return [self._loss_tracker, self.largest]


class Stateless(keras.Model):
    def stateless_compute_loss(self, *arguments: Any, **named: Any) -> Any:
        loss, variables = super().stateless_compute_loss(*arguments, **named)
        return loss + 1.0, variables


def _build(kind: type[keras.Model]) -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    model = kind(inputs, layers.Dense(2)(inputs))
    model.compile("sgd", "mse", metrics=["mae"])
    return model


HONOURED: dict[str, Callable[[], Any]] = {
    kind.__name__: lambda kind=kind: _build(kind)
    for kind in (Classes, Extra, Results, Renamed, Nothing, Halved, Tracked, Stateless)
}


def _same(got: Any, expected: Any) -> None:
    assert type(got) is type(expected)
    for one, other in zip(keras.tree.flatten(got), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", HONOURED)
def test_an_override_counts_as_in_keras(name: str):
    ours, theirs = HONOURED[name](), HONOURED[name]()
    expected = theirs.fit(X, Y, validation_data=(X, Y), **HOW).history
    agree(fit(ours, X, Y, validation_data=(X, Y), **HOW).history, expected)
    measured = theirs.evaluate(X, Y, batch_size=8, verbose=0, return_dict=True)
    assert evaluate(ours, X, Y, batch_size=8) == pytest.approx(measured, rel=1e-4)
    _same(predict(ours, X, batch_size=8), theirs.predict(X, batch_size=8, verbose=0))


def _instance_predict() -> Any:
    model = _build(keras.Model)
    stock = model.predict_step
    model.predict_step = lambda state, data: (stock(state, data)[0] * 2, state[1])
    return model


def _instance_metrics() -> Any:
    model = _build(keras.Model)
    stock = model.compute_metrics
    model.compute_metrics = lambda x, y, y_pred, sample_weight=None: (
        stock(x, y, y_pred, sample_weight) | {"extra": ops.max(x)}
    )
    return model


@pytest.mark.parametrize("make", [_instance_predict, _instance_metrics])
def test_an_override_of_the_instance_counts_too(make: Callable[[], Any]):
    ours, theirs = make(), make()
    agree(fit(ours, X, Y, **HOW).history, theirs.fit(X, Y, **HOW).history)
    _same(predict(ours, X, batch_size=8), theirs.predict(X, batch_size=8, verbose=0))


def test_a_predict_step_gets_whole_batches():
    model = _build(keras.Model)
    model.predict_step = lambda state, data: (data[1], state[1])
    np.testing.assert_array_equal(predict(model, [(X[:8], Y[:8]), (X[8:], Y[8:])]), Y)


class Watching(layers.Layer):
    """Two metrics that its call updates: of every pass, and only while training."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = keras.metrics.Mean(name="seen")
        self.trained = keras.metrics.Sum(name="trained")

    def call(self, x: Any, training: bool = False) -> Any:
        self.seen.update_state(x)
        if training:
            self.trained.update_state(1.0)
        return x


class WatchingModel(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.seen, self.trained = keras.metrics.Mean(name="seen"), keras.metrics.Sum(name="trained")
        self.dense = layers.Dense(2)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.dense(Watching.call(self, x, training))  # type: ignore[arg-type]


def _watching() -> Any:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((3,)), Watching(), layers.Dropout(0.1), layers.Dense(2)])


@pytest.mark.parametrize("make", [_watching, WatchingModel], ids=["in a layer", "in a model"])
def test_metrics_updated_in_call_are_reported(make: Callable[[], Any]):
    model = make()
    model.compile("sgd", "mse", metrics=["mae"])
    history = fit(model, X, Y, validation_data=(X[:4], Y[:4]), **HOW).history
    assert history["seen"] == pytest.approx([X.mean()] * 2, rel=1e-4)
    assert history["trained"] == [2.0, 2.0]
    assert history["val_seen"] == pytest.approx([X[:4].mean()] * 2, rel=1e-4)
    found = evaluate(model, X[:8], Y[:8])
    assert (found["seen"], found["trained"]) == (pytest.approx(X[:8].mean(), rel=1e-4), 0.0)


def test_a_metric_in_call_that_a_custom_step_loses_is_warned_of():
    class Lost(WatchingModel):
        def train_step(self, state: Any, data: Any) -> Any:
            self.stateless_call(state[0], state[1], data[0], training=True)
            return {"loss": ops.zeros(())}, state

    model = Lost()
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="updates of the metric are lost, as in Keras"):
        assert fit(model, X, Y, verbose=0).history["loss"] == [0.0]


CALLS: dict[str, Callable[[Any], Any]] = {
    "fit": lambda model: kilter.fit(model, X, Y, verbose=0),
    "evaluate": lambda model: kilter.evaluate(model, X, Y),
    "predict": lambda model: kilter.predict(model, X),
}
REFUSED = {
    "fit": ["fit"],
    "make_train_function": ["fit"],
    "evaluate": ["evaluate"],
    "make_test_function": ["evaluate"],
    "predict": ["predict"],
    "make_predict_function": ["predict"],
    "_make_function": ["fit", "evaluate", "predict"],
}


@pytest.mark.parametrize("on_instance", [False, True], ids=["class", "instance"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_loop_of_its_own_is_refused_before_training(name: str, on_instance: bool):
    def own(self: Any, *arguments: Any, **named: Any) -> Any:
        return getattr(keras.Model, name)(self, *arguments, **named)

    model = _build(keras.Model if on_instance else type("Own", (keras.Model,), {name: own}))
    if on_instance:
        model.__dict__[name] = types.MethodType(own, model)
    before = model.get_weights()
    for call in REFUSED[name]:
        with pytest.raises(ModelError, match=name):
            CALLS[call](model)
    assert all(map(np.array_equal, model.get_weights(), before))


class Setter(keras.callbacks.Callback):
    """Sets the learning rate at one moment of the training."""

    def __init__(self, moment: str) -> None:
        super().__init__()
        setattr(self, moment, self.act)

    def act(self, *arguments: Any, **named: Any) -> None:
        self.model.optimizer.learning_rate = 0.5  # type: ignore[union-attr]


RATE_SETTERS: dict[str, Callable[[], Any]] = {
    "LearningRateScheduler": lambda: keras.callbacks.LearningRateScheduler(lambda epoch: 0.1),
    "ReduceLROnPlateau": lambda: keras.callbacks.ReduceLROnPlateau("loss"),
    **{
        f"Setter, {moment}": lambda moment=moment: Setter(moment)
        for moment in ("on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end")
    },
}


@pytest.mark.parametrize("name", RATE_SETTERS)
def test_a_callback_that_sets_the_rate_beside_a_schedule_is_refused(name: str):
    schedule = kilter.schedules.exponential(0.1, period=100)
    with pytest.raises(OptionError, match=f"schedule=.*{name.partition(',')[0]}"):
        fit(
            _build(keras.Model),
            X,
            Y,
            epochs=2,
            verbose=0,
            schedule=schedule,
            callbacks=[RATE_SETTERS[name]()],
        )


def test_callbacks_that_leave_the_rate_alone_go_with_a_schedule():
    schedule = kilter.schedules.exponential(0.1, period=100)
    told = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    quiet = [keras.callbacks.EarlyStopping("loss"), told]
    fit(_build(keras.Model), X, Y, epochs=2, verbose=0, schedule=schedule, callbacks=quiet)
    alone = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    history = fit(_build(keras.Model), X, Y, epochs=2, verbose=0, callbacks=[alone]).history
    assert history["learning_rate"] == pytest.approx([0.1, 0.05])
