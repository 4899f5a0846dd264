"""[regularize] and the averages of [train] in a run: what is kept and told, and that a resume is exact."""

import os
import signal

import keras
import numpy as np
import pytest

from kilter._engine.averaging import ExponentialMovingAverage, StochasticWeightAverage
from kilter._engine.batch_statistics import refresh_batch_norm
from kilter._engine.fit import fit as engine_fit
from kilter._engine.objective_for import objective_for
from kilter._fit import fit
from kilter.data import Dataset, load, split
from kilter.errors import OptionError, RecipeError
from kilter.nn import SmoothedSparseCategoricalCrossentropy
from kilter.recipe import with_overrides
from kilter.report.page import render
from kilter.runs import Interrupted, checkpoints, open_run, resume, train
from kilter.runs.build import make_optimizer, prepare
from kilter.runs.events import scalars
from kilter.runs.reading import read_history

AVERAGES = {
    "ema": ["train.ema=0.9"],
    "swa": ["train.swa.start=1"],
    "ema, written back": [
        "optimizer.options={use_ema = true, ema_momentum = 0.9, ema_overwrite_frequency = 7}"
    ],
}
EACH = pytest.mark.parametrize("kind", AVERAGES)
TWO = pytest.mark.parametrize("kind", ["ema", "swa"])


class InterruptIn(keras.callbacks.Callback):
    """Presses Ctrl-C when an epoch begins."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def averaged(recipe, tmp_path_factory):
    """A run of each average, by name."""
    folder = tmp_path_factory.mktemp("averaged")
    return {
        kind: train(with_overrides(recipe, [*keys, f"name=average-{number}"]), parent=folder, verbose=0)
        for number, (kind, keys) in enumerate(AVERAGES.items())
    }


@pytest.fixture
def saving_every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoints.Throttle, "due", lambda self: True)


def weights(path):
    return keras.saving.load_model(path / "model.keras", compile=False).get_weights()


def same_bits(left, right):
    return len(left) == len(right) and all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def state(path):
    found = checkpoints.latest(path)
    assert found is not None
    return {name: [np.asarray(value) for value in group] for name, group in found.tree.items()}


@pytest.mark.long
@EACH
def test_the_kept_model_is_the_average_of_the_best_epoch(averaged, kind):
    result = averaged[kind]
    losses = [line.logs["val_loss"] for line in read_history(result.path)]
    assert result.result.best_epoch == int(np.argmin(losses))
    validation = split(load("digits"), validation=0.2, test=0.1, seed=3).validation
    logits = keras.saving.load_model(result.path / "model.keras", compile=False).predict(
        validation.x, verbose=0
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(validation.y, logits)
    assert float(loss) == pytest.approx(min(losses), rel=1e-5)
    assert same_bits(weights(result.path), result.model.get_weights())


def test_training_has_the_bits_of_a_run_without_the_average(averaged, trained):
    plain = state(trained.path)
    for kind in ("ema", "swa"):
        assert same_bits(state(averaged[kind].path)["trainable"], plain["trainable"]), kind
        assert [line.logs["loss"] for line in read_history(averaged[kind].path)] == [
            line.logs["loss"] for line in read_history(trained.path)
        ]
        assert not same_bits(weights(averaged[kind].path), weights(trained.path))


def test_the_mean_is_that_of_the_epochs_that_count(recipe, averaged):
    """The weights of a plain run at the ends of epochs 2 to 4; the last epoch is the best here."""
    prepared, ends = prepare(recipe), []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(prepared.model.get_weights()))
    train_part = prepared.parts.train
    engine_fit(
        prepared.model,
        train_part.x,
        train_part.y,
        epochs=4,
        batch_size=256,
        seed=3,
        callbacks=[keep],
        verbose=0,
    )
    assert averaged["swa"].result.best_epoch == 3
    trainable = [variable.path for variable in prepared.model.trainable_variables]
    places = [i for i, variable in enumerate(prepared.model.weights) if variable.path in trainable]
    for place in places:
        expected = np.mean([np.asarray(end[place], np.float64) for end in ends[1:]], axis=0)
        np.testing.assert_allclose(averaged["swa"].model.get_weights()[place], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.long
@TWO
def test_a_resumed_run_goes_on_with_its_average(recipe, averaged, kind, tmp_path, saving_every_epoch):
    given = with_overrides(recipe, AVERAGES[kind])
    with pytest.raises(Interrupted) as caught:
        train(given, parent=tmp_path, callbacks=[InterruptIn(3)], verbose=0)
    path = caught.value.path
    resume(path, verbose=0)
    one, other = state(path), state(averaged[kind].path)
    assert one.keys() == other.keys()
    assert all(same_bits(one[name], other[name]) for name in one)
    assert same_bits(weights(path), weights(averaged[kind].path))
    assert [line.logs for line in read_history(path)] == [
        line.logs for line in read_history(averaged[kind].path)
    ]


@TWO
def test_early_stopping_keeps_the_best_average(recipe, kind, tmp_path):
    keys = ["train.epochs=40", "train.early_stopping={patience = 2, min_delta = 0.3}"]
    result = train(with_overrides(recipe, [*AVERAGES[kind], *keys]), parent=tmp_path, verbose=0)
    losses = [line.logs["val_loss"] for line in read_history(result.path)]
    assert result.result.reason == "patience"
    assert len(losses) < 40
    assert result.result.evaluations["validation"].metrics["loss"] == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.long
def test_a_mean_of_weights_gets_the_statistics_that_fit_it(recipe, tmp_path, saving_every_epoch):
    """Those of the training rows under the averaged weights: measured again they are the same."""
    given = with_overrides(recipe, ["model.batch_norm=before", "train.swa.start=1", "train.epochs=3"])
    whole = train(given, parent=tmp_path / "whole", verbose=0)
    with pytest.raises(Interrupted) as caught:
        train(given, parent=tmp_path / "part", callbacks=[InterruptIn(2)], verbose=0)
    resumed = resume(caught.value.path, verbose=0)
    plain = train(with_overrides(given, ["train.swa=none"]), parent=tmp_path / "plain", verbose=0)
    assert same_bits(weights(whole.path), weights(resumed.path))
    for group in ("trainable", "non_trainable"):
        assert same_bits(state(whole.path)[group], state(plain.path)[group])
    rows = split(load("digits"), validation=0.2, test=0.1, seed=3).train.x
    (norm,) = refresh_batch_norm(whole.model, rows).layers
    assert norm.mean_moved < 1e-6  # standard deviations: the statistics are kept in float32
    assert norm.variance_moved < 1 + 1e-6
    assert refresh_batch_norm(plain.model, rows).layers[0].mean_moved > 0.01


@pytest.mark.parametrize("average", [ExponentialMovingAverage, StochasticWeightAverage])
def test_a_run_of_fit_keeps_averages_and_checkpoints_training(average, tmp_path):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 3)).astype("float32")

    def run(callbacks, folder):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "mse")
        fit(model, x, x[:, :1], epochs=4, run=tmp_path / folder, callbacks=callbacks, verbose=0)
        (path,) = (tmp_path / folder).iterdir()
        return model, state(path)

    (model, kept), (plain, expected) = run([average()], "averaged"), run([], "plain")
    assert same_bits(kept["trainable"], expected["trainable"])
    assert not same_bits(model.get_weights(), plain.get_weights()) or average is StochasticWeightAverage


def test_the_optimizer_keeps_the_average_of_the_recipe(recipe):
    optimizer = make_optimizer(with_overrides(recipe, ["train.ema=0.98"]))
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.98)
    assert not make_optimizer(recipe).use_ema


def test_labels_are_smoothed_by_the_loss_of_the_recipe(recipe):
    prepared = prepare(with_overrides(recipe, ["regularize.label_smoothing=0.2"]))
    assert isinstance(prepared.objective.loss, SmoothedSparseCategoricalCrossentropy)
    labels, logits = np.array([3, 1]), np.eye(10, dtype="float32")[[3, 2]]
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)(
        np.eye(10)[labels], logits
    )
    assert float(prepared.objective.loss(labels, logits)) == pytest.approx(float(expected))
    assert type(prepare(recipe).objective.loss) is keras.losses.SparseCategoricalCrossentropy


def test_yes_or_no_is_smoothed_too_and_numbers_are_refused():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, activation="sigmoid")])
    x, labels = np.zeros((4, 2), np.float32), np.array([0, 1, 1, 0], np.int32)
    objective = objective_for(model, Dataset(x, labels, "classification", ("no", "yes")), 0.2)
    outputs = np.array([[0.3], [0.6], [0.9], [0.1]], np.float32)
    shares = np.where(labels == 1, 0.9, 0.1)[:, None]
    expected = -(shares * np.log(outputs) + (1 - shares) * np.log(1 - outputs)).mean()
    assert float(objective.loss(labels[:, None], outputs)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(OptionError, match="classification only"):
        objective_for(model, Dataset(x, labels.astype(np.float32), "regression"), 0.2)


def test_training_rows_are_measured_and_shown(recipe, trained, tmp_path):
    given = with_overrides(
        recipe, ["train.evaluate_training=true", "train.early_stopping={monitor = 'train_loss'}"]
    )
    result = train(given, parent=tmp_path, verbose=0)
    history = read_history(result.path)
    assert {"loss", "train_loss", "train_accuracy", "val_loss"} <= set(history[0].logs)
    part = split(load("digits"), validation=0.2, test=0.1, seed=3).train
    losses = [line.logs["train_loss"] for line in history]
    logits = result.model.predict(part.x, verbose=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(part.y, logits)
    assert float(loss) == pytest.approx(min(losses), rel=1e-5)
    assert same_bits(state(result.path)["trainable"], state(trained.path)["trainable"])
    assert scalars(history[0])["train_in_inference/loss"] == losses[0]
    page = render(open_run(result.path))
    assert page.count("training, in inference mode") == 3  # a curve of loss and of accuracy, and a column


def test_a_measure_that_is_not_taken_is_not_watched(recipe):
    with pytest.raises(RecipeError, match="train_loss"):
        prepare(with_overrides(recipe, ["train.early_stopping={monitor = 'train_loss'}"]))


def test_zeros_under_an_l1_penalty_are_told(recipe, trained, tmp_path):
    result = train(with_overrides(recipe, ["regularize.l1=0.01"]), parent=tmp_path, verbose=0)
    kernels = {variable.path: variable for variable in result.model.weights}
    records = open_run(result.path)
    assert records.result is not None
    assert [found.path for found in records.result.l1_zeros] == ["mlp/dense_1/kernel", "mlp/output/kernel"]
    for found in records.result.l1_zeros:
        values = np.abs(np.asarray(kernels[found.path].value))
        assert (found.count, found.zeros) == (values.size, pytest.approx((values == 0).mean()))
        assert found.near_zeros == pytest.approx((values < 1e-3).mean())
    assert "Weights under the L1 penalty" in render(records)
    assert "mlp/dense_1/kernel" in render(records)
    plain = open_run(trained.path)
    assert plain.result is not None
    assert plain.result.l1_zeros == ()
    assert "Weights under the L1 penalty" not in render(plain)
