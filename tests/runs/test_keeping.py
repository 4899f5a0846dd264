"""``kilter.fit(run=...)``: a run directory of a training that has no recipe."""

import warnings
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np
import optax
import pytest

import kilter
from kilter._engine import fit as engine
from kilter.data.augmentation import Mixup
from kilter.errors import DataError, RunError
from kilter.runs.keeping import fingerprint
from kilter.runs.reading import open_run

X = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")


def model():
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


@pytest.mark.parametrize(
    ("callbacks", "reason"),
    [(None, "epochs"), ([keras.callbacks.EarlyStopping("loss", patience=0, min_delta=9.0)], "a callback")],
)
def test_the_result_says_why_the_training_ended(callbacks, reason, tmp_path):
    kilter.fit(model(), X, X[:, :1], epochs=4, run=tmp_path, callbacks=callbacks, verbose=0)
    (path,) = tmp_path.iterdir()
    assert open_run(path).result.reason == reason


@pytest.mark.parametrize(
    "bad", [{"x": X * np.nan, "check": "strict"}, {"y": X[:5]}, {"x": 3.0}, {"x": [[1.0, 2.0, 3.0]]}]
)
def test_what_is_refused_leaves_no_directory(bad, tmp_path):
    given = {"x": X, "y": X[:, :1]} | bad
    with pytest.raises(DataError):
        kilter.fit(model(), **given, run=tmp_path, verbose=0)
    assert list(tmp_path.iterdir()) == []


def test_the_findings_keep_no_hold_of_the_rows():
    """Two rows are copied: a view would keep all of them."""
    x = X.copy()
    history = kilter.fit(model(), x, X[:, :1], verbose=0)
    cells = [cell.cell_contents for cell in history.examine.__closure__]
    (rows,) = [one for one in cells if isinstance(one, np.ndarray)]
    assert rows.shape == (2, 3)
    assert not np.may_share_memory(rows, x)


def test_each_of_several_calls_has_orders_of_its_own(monkeypatch):
    """As in Keras; but the first has those of its seed, and so has one that goes on at an epoch."""
    seeds, given = [], engine.fit

    def noted(*rows, **how):
        seeds.append(how["seed"])
        return given(*rows, **how)

    monkeypatch.setattr(engine, "fit", noted)
    for _ in range(2):
        made = model()
        for initial_epoch in (0, 0, 2):
            options = {"initial_epoch": initial_epoch, "epochs": initial_epoch + 1, "seed": 5}
            kilter.fit(made, X, X[:, :1], verbose=0, **options)
    assert seeds[:3] == seeds[3:]
    assert seeds[0] == seeds[2] == 5 != seeds[1]


def test_every_object_of_an_array_counts():
    rows = np.array(["a"] * 3000, object)
    other = rows.copy()
    other[1500] = "b"
    assert fingerprint(rows) != fingerprint(other)


@pytest.mark.parametrize(
    ("loss", "again"),
    [
        ("mse", "mean_squared_error"),
        ("mse", keras.losses.MeanSquaredError()),
        (keras.losses.KLDivergence(), "kl_divergence"),
    ],
)
def test_a_loss_may_be_named_in_another_way(loss, again, tmp_path):
    x = np.ones((8, 2), "float32")
    for epochs, given in ((1, loss), (2, again)):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="one")
        model.compile("sgd", given)
        history = kilter.fit(model, x, x[:, :1], epochs=epochs, run=tmp_path, resume=True, verbose=0)
    assert history.epoch == [0, 1]


def small(activation="relu", rate=0.5, clip=None, momentum=0.9, frozen=False):
    parts = [keras.Input((2,)), keras.layers.Dense(2, activation), keras.layers.Dropout(rate)]
    made = keras.Sequential([*parts, keras.layers.Dense(1, trainable=not frozen)], name="one")
    made.compile(keras.optimizers.SGD(0.1, momentum=momentum, clipnorm=clip), "mse")
    return made


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"activation": "tanh"}, "layers"),
        ({"rate": 0.25}, "layers"),
        ({"frozen": True}, "layers"),
        ({"momentum": 0.8}, "optimizer"),
        ({"clip": 1.0}, "optimizer"),
        ({}, None),
        ({"rate": np.float32(0.5), "momentum": np.float64(0.9)}, None),
    ],
)
def test_settings_that_the_weights_do_not_tell_must_be_the_same(changed, what, tmp_path):
    x = np.ones((8, 2), "float32")
    how = {"run": tmp_path, "resume": True, "verbose": 0}
    kilter.fit(small(), x, x[:, :1], epochs=1, **how)
    if what is None:
        assert kilter.fit(small(**changed), x, x[:, :1], epochs=2, **how).epoch == [0, 1]
        return
    with pytest.raises(RunError, match=rf"the settings of {what} that the run"):
        kilter.fit(small(**changed), x, x[:, :1], epochs=2, **how)


def smoothing(share):
    made = small()
    made.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=share))
    return made


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("augment", [Mixup(0.2)], [Mixup(0.4)]),
        ("validation_freq", 1, 2),
        ("evaluate_training", False, True),
        ("loss", 0.1, 0.2),
    ],
)
def test_what_else_decides_the_numbers_must_be_the_same(name, first, second, tmp_path):
    x = np.ones((8, 2), "float32")
    for epochs, value in ((1, first), (2, first), (3, second)):
        made, given = (smoothing(value), {}) if name == "loss" else (small(), {name: value})
        how = {"validation_data": (x, x[:, :1]), "run": tmp_path, "resume": True, "verbose": 0}
        with pytest.raises(RunError, match=f"settings of {name} that") if epochs == 3 else nullcontext():
            kilter.fit(made, x, x[:, :1], epochs=epochs, **given, **how)


def scaled(factor):
    def loss(true, predicted):
        return factor * keras.ops.mean((true - predicted) ** 2)

    return loss


def doubled(factor):
    def loss(true, predicted):
        return keras.ops.mean((true - predicted) ** 2) * factor

    return loss


def layered(factor):
    class Scaled(keras.layers.Layer):
        def call(self, inputs):
            return factor * inputs

    return Scaled()


def coded(loss="mse", layer=keras.layers.Identity):
    made = keras.Sequential([keras.Input((2,)), layer(), keras.layers.Dense(1)], name="one")
    made.compile("sgd", loss)
    return made


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: {"model": coded(scaled(1))}, lambda: {"model": coded(scaled(2))}),
        (lambda: {"model": coded(scaled(1))}, lambda: {"model": coded(doubled(1))}),
        (
            lambda: {"model": coded(layer=lambda: layered(1))},
            lambda: {"model": coded(layer=lambda: layered(2))},
        ),
        (lambda: {"model": small()}, lambda: {"model": small(), "schedule": lambda step: 0.01}),
    ],
    ids=["a value in a loss", "a loss", "a layer", "a schedule"],
)
def test_other_code_and_another_schedule_are_told(first, second, tmp_path):
    x = np.ones((8, 2), "float32")
    how = {"x": x, "y": x[:, :1], "run": tmp_path, "resume": True, "verbose": 0}
    for epochs, given in enumerate((first, first, second), start=1):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            kilter.fit(**given(), epochs=epochs, **how)
        assert sum("is resumed with another" in str(one.message) for one in told) == (given is second)


def test_another_version_of_keras_may_describe_the_same_layers_in_another_way(tmp_path, monkeypatch):
    x = np.ones((8, 2), "float32")
    how = {"run": tmp_path, "resume": True, "verbose": 0}
    kilter.fit(small(), x, x[:, :1], epochs=1, **how)
    own = keras.layers.Dense.get_config
    monkeypatch.setattr(keras.layers.Dense, "get_config", lambda layer: own(layer) | {"new": None})
    with pytest.raises(RunError, match="the settings of layers"):
        kilter.fit(small(), x, x[:, :1], epochs=2, **how)
    monkeypatch.setattr(keras, "__version__", "99.0")
    assert kilter.fit(small(), x, x[:, :1], epochs=2, **how).epoch == [0, 1]


def test_optax_optimizers_are_resumed(tmp_path):
    x = np.ones((8, 2), "float32")
    for epochs in (1, 2):
        model = small()
        model.compile(kilter.OptaxOptimizer(optax.adam(0.1)), "mse")
        history = kilter.fit(model, x, x[:, :1], epochs=epochs, run=tmp_path, resume=True, verbose=0)
    assert history.epoch == [0, 1]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{}\n"), Path.touch])
def test_history_that_is_removed_while_it_trains_is_whole_at_the_end(damage, tmp_path):
    x = np.ones((8, 2), "float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="one")
    model.compile("sgd", "mse")

    def begin(epoch, logs):
        if epoch == 2:
            (path,) = tmp_path.glob("*/history.jsonl")
            damage(path)

    remover = keras.callbacks.LambdaCallback(on_epoch_begin=begin)
    history = kilter.fit(model, x, x[:, :1], epochs=4, run=tmp_path, callbacks=[remover], verbose=0)
    (path,) = tmp_path.iterdir()
    records = open_run(path)
    assert [line.logs["loss"] for line in records.history] == history.history["loss"]
    assert records.result.epochs == 4
    assert any("changed during training" in line for line in records.journal) == (damage is not Path.touch)


class StopAfter(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 1


def test_what_a_callback_has_stopped_stays_so_when_killed_before_the_result(tmp_path):
    how = {"run": tmp_path, "resume": True, "verbose": 0}
    for _ in range(2):
        history = kilter.fit(model(), X, X[:, :1], epochs=4, callbacks=[StopAfter()], **how)
        (path,) = tmp_path.iterdir()
        (path / "result.json").unlink()
        assert history.epoch == [0, 1]
    assert kilter.fit(model(), X, X[:, :1], epochs=5, **how).epoch == list(range(5))
