"""Every way Keras lets a person write a model trains as it does in ``model.fit``."""

from typing import Any

import keras
import numpy as np
import pytest

from kilter._engine.fit import fit
from kilter._engine.inference import evaluate, predict
from kilter.errors import DataError

from .cases import BATCH, CLASSES, FEATURES, TOLERANCE, agree, assert_parity, classifier, difference, rows

ops, layers = keras.ops, keras.layers
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def two_headed(named: bool) -> keras.Model:
    keras.utils.set_random_seed(3)
    left, right = keras.Input((FEATURES,), name="left"), keras.Input((4,), name="right")
    joined = layers.Concatenate()([layers.Dense(6, activation="relu")(left), layers.Dense(3)(right)])
    label = layers.Dense(CLASSES, name="label")(joined)
    size = layers.Dense(1, name="size")(joined)
    inputs, outputs = [left, right], [label, size]
    if named:
        inputs, outputs = {"left": left, "right": right}, {"label": label, "size": size}
    model = keras.Model(inputs, outputs)
    losses, weights, metrics = [LOGITS, "mse"], [1.0, 0.3], [["accuracy"], ["mae"]]
    if named:
        losses, weights = {"label": LOGITS, "size": "mse"}, {"label": 1.0, "size": 0.3}
        metrics = {"label": ["accuracy"], "size": ["mae"]}
    model.compile("adam", loss=losses, loss_weights=weights, metrics=metrics)
    return model


def two_headed_rows(named: bool) -> tuple[Any, Any]:
    x, y = rows()
    sides, sizes = x[:, :4] * 2.0, x.sum(axis=1, keepdims=True)
    return ({"left": x, "right": sides}, {"label": y, "size": sizes}) if named else ([x, sides], [y, sizes])


@pytest.mark.parametrize("named", [True, False])
def test_several_inputs_and_outputs(named: bool):
    x, y = two_headed_rows(named)
    assert_parity(lambda: two_headed(named), x, y)


def test_several_outputs_with_a_weight_a_row_each():
    x, y = two_headed_rows(named=True)
    weights = {"label": np.linspace(0, 1, len(x["left"])), "size": np.linspace(2, 0, len(x["left"]))}
    assert_parity(lambda: two_headed(named=True), x, y, sample_weight=weights)


class Residual(keras.Model):
    """A subclassed model that builds on the first batch and adds a loss of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = layers.Dense(FEATURES, activation="tanh")
        self.last = layers.Dense(CLASSES)

    def call(self, x: Any, training: bool = False) -> Any:
        hidden = x + self.first(x)
        if training:
            self.add_loss(0.01 * ops.mean(ops.square(hidden)))
        return self.last(hidden)


def test_a_subclassed_model_with_add_loss():
    x, y = rows()

    def make() -> keras.Model:
        keras.utils.set_random_seed(4)
        model = Residual()
        model(np.zeros((1, FEATURES)))
        model.compile("sgd", loss=LOGITS, metrics=["accuracy"])
        return model

    assert_parity(make, x, y)


def test_an_unbuilt_model_is_built_from_the_data():
    x, y = rows()
    keras.utils.set_random_seed(4)
    model = Residual()
    model.compile("sgd", loss=LOGITS)
    fit(model, x, y, verbose=0)
    assert model.first.kernel.shape == (FEATURES, FEATURES)


class Doubled(keras.Sequential):
    """An overridden train_step that returns logs of its own."""

    def train_step(self, state: Any, data: Any) -> Any:
        logs, state = super().train_step(state, data)
        return logs | {"doubled": logs["loss"] * 2.0}, state


def test_an_overridden_train_step_and_its_logs():
    x, y = rows()

    def make() -> keras.Model:
        keras.utils.set_random_seed(5)
        model = Doubled([keras.Input((FEATURES,)), layers.Dense(CLASSES)])
        model.compile("adam", loss=LOGITS)
        return model

    ours, _ = assert_parity(make, x, y)
    logs = fit(ours, x, y, verbose=0).history
    assert logs["doubled"] == pytest.approx([2 * logs["loss"][0]])


def _focal(y_true: Any, y_pred: Any) -> Any:
    chosen = ops.take_along_axis(ops.softmax(y_pred), ops.cast(y_true, "int32")[:, None], axis=1)
    return ops.mean(-((1.0 - chosen) ** 2) * ops.log(chosen), axis=-1)


class Largest(keras.metrics.Metric):
    """A metric with a state that is no mean: the largest logit seen."""

    def __init__(self) -> None:
        super().__init__(name="largest")
        self.value = self.add_variable((), "zeros", name="value")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.value.assign(ops.maximum(self.value, ops.max(y_pred)))

    def result(self) -> Any:
        return self.value.value


def test_a_custom_loss_and_custom_metrics():
    x, y = rows()

    def confident(y_true: Any, y_pred: Any) -> Any:
        return ops.cast(ops.max(ops.softmax(y_pred), axis=-1) > 0.5, "float32")

    assert_parity(lambda: classifier("adam", loss=_focal, metrics=[Largest(), confident, "accuracy"]), x, y)


def test_weighted_metrics():
    x, y = rows()

    onehot = np.eye(CLASSES, dtype="float32")[y]
    weights = np.linspace(0.0, 1.0, len(x))

    def make() -> keras.Model:
        model = classifier("adam")
        scores = keras.metrics.F1Score(average="macro")
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss=loss, weighted_metrics=["accuracy", scores])
        return model

    assert_parity(make, x, onehot, sample_weight=weights)


def _recurrent() -> list[Any]:
    return [
        keras.Input((6, 2)),
        layers.LSTM(5, return_sequences=True),
        layers.GRU(4),
        layers.Dense(CLASSES),
    ]


def _convolutional() -> list[Any]:
    return [
        keras.Input((4, 3, 1)),
        layers.Rescaling(1 / 255.0),
        layers.Conv2D(4, 2, padding="same", activation="relu"),
        layers.BatchNormalization(momentum=0.7),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(CLASSES),
    ]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("stack", [_recurrent, _convolutional], ids=["recurrent", "convolutional"])
def test_recurrent_and_convolutional_networks(stack: Any):
    x, y = rows()
    model_input = stack()[0].shape[1:]
    if stack is _convolutional:  # images stay uint8 on the device
        x = np.random.default_rng(0).integers(0, 256, x.shape).astype("uint8")

    def make() -> keras.Model:
        keras.utils.set_random_seed(6)
        model = keras.Sequential(stack())
        model.compile("adam", loss=LOGITS, metrics=["accuracy"])
        return model

    assert_parity(make, x.reshape(-1, *model_input), y)


def test_frozen_layers_stay_as_they_are():
    x, y = rows()

    def make() -> keras.Model:
        model = classifier("adam", hidden=lambda: [layers.BatchNormalization()])
        for layer in model.layers[:2]:
            layer.trainable = False
        model.compile("adam", loss=LOGITS)
        return model

    ours, _ = assert_parity(make, x, y)
    before = make()
    for layer in (0, 1):
        for kept, first in zip(ours.layers[layer].weights, before.layers[layer].weights, strict=True):
            np.testing.assert_array_equal(np.asarray(kept.value), np.asarray(first.value))


def test_freezing_after_a_fit_takes_effect_with_the_next_compile():
    x, y = rows()
    ours, theirs = classifier("sgd"), classifier("sgd")
    how = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    for model, train in ((ours, lambda *a, **k: fit(ours, *a, **k)), (theirs, theirs.fit)):
        train(x, y, **how)
        model.layers[0].trainable = False
        model.compile("sgd", loss=LOGITS)
        frozen = np.asarray(model.layers[0].kernel.value)
        history = train(x, y, **how)
        np.testing.assert_array_equal(np.asarray(model.layers[0].kernel.value), frozen)
        assert history.history["loss"]
    assert difference(ours, theirs) < 1e-4


@pytest.mark.long
def test_a_regression_on_a_vector_of_targets():
    x, _ = rows()
    y = x @ np.ones((FEATURES,), "float32")

    def make() -> keras.Model:
        keras.utils.set_random_seed(7)
        model = keras.Sequential([keras.Input((FEATURES,)), layers.Dense(4, "gelu"), layers.Dense(1)])
        model.compile("adam", loss="huber", metrics=["mae", keras.metrics.R2Score()])
        return model

    assert_parity(make, x, y)


def test_a_model_without_targets_learns_from_add_loss_alone():
    x, _ = rows()

    class Narrow(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.code, self.out = layers.Dense(2), layers.Dense(FEATURES)

        def call(self, x: Any) -> Any:
            back = self.out(self.code(x))
            self.add_loss(ops.mean(ops.square(back - x)))
            return back

    def make() -> keras.Model:
        keras.utils.set_random_seed(8)
        model = Narrow()
        model(np.zeros((1, FEATURES)))
        model.compile("sgd")
        return model

    ours, theirs = make(), make()
    how = {"batch_size": BATCH, "epochs": 2, "shuffle": False, "verbose": 0}
    agree(fit(ours, x, **how).history, theirs.fit(x, **how).history)
    assert difference(ours, theirs) < 1e-4


def joined() -> keras.Model:
    """A model of two inputs, listed, and named unlike their order."""
    wide, deep = keras.Input((4,), name="wide"), keras.Input((8,), name="deep")
    output = keras.layers.Dense(1)(keras.layers.Concatenate()([wide, deep]))
    model = keras.Model([wide, deep], output)
    model.compile("sgd", "mse")
    return model


def test_listed_inputs_are_taken_by_name_from_a_dict_as_keras_takes_them():
    x, _ = rows()
    parts, y = {"wide": x[:, :4], "deep": x[:, 4:], "unused": x}, x[:, :1]
    ours, theirs = joined(), joined()
    theirs.set_weights(ours.get_weights())
    fit(ours, parts, y, shuffle=False, batch_size=BATCH, verbose=0)
    theirs.fit(parts, y, shuffle=False, batch_size=BATCH, verbose=0)
    assert difference(ours, theirs) < TOLERANCE
    assert evaluate(ours, parts, y)["loss"] == pytest.approx(theirs.evaluate(parts, y, verbose=0), rel=1e-5)
    np.testing.assert_allclose(predict(ours, parts), theirs.predict(parts, verbose=0), rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="without deep"):
        fit(ours, {"wide": x[:, :4], "dep": x[:, 4:]}, y, verbose=0)


def test_a_last_axis_of_one_is_dropped_as_keras_drops_it():
    x, y = rows()
    ours, theirs = classifier(), classifier()
    fit(ours, x[..., None], y, shuffle=False, batch_size=BATCH, verbose=0)
    theirs.fit(x[..., None], y, shuffle=False, batch_size=BATCH, verbose=0)
    assert difference(ours, theirs) < TOLERANCE
