"""find_lr and clip_threshold: true to what training does, and without a trace in the model."""

import os
import random
import signal

import numpy as np
import pytest

from kilter import _backend  # noqa: F401

# isort: split
import keras
from keras.src.random.seed_generator import global_seed_generator

from kilter._engine.fit import fit
from kilter._engine.program_cache import shelf
from kilter._engine.step import global_norm, gradients
from kilter._models.variables import build, pull
from kilter._tuning.clip_threshold import clip_threshold
from kilter._tuning.find_lr import find_lr, find_lr_by_steps
from kilter._tuning.trial import Runner
from kilter.errors import DataError, KilterError, ModelError, OptionError

from .cases import CLASSES, FEATURES, classifier, relative, rows

COUNT, STEPS = 2000, 200


def dropout_and_norm():
    return [keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)]


def two_inputs():
    keras.utils.set_random_seed(1)
    left, right = keras.Input((FEATURES,)), keras.Input((FEATURES,))
    hidden = keras.layers.Dense(8, activation="relu")(keras.layers.concatenate([left, right]))
    model = keras.Model([left, right], keras.layers.Dense(CLASSES)(hidden))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


class OwnStep(keras.Sequential):
    def train_step(self, state, data):
        logs, state = super().train_step(state, data)
        return {"loss": logs["loss"], "own": logs["loss"] * 2}, state


def own_step():
    keras.utils.set_random_seed(1)
    model = OwnStep([keras.Input((FEATURES,)), keras.layers.Dense(8), keras.layers.Dense(CLASSES)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def scaled():
    inner = keras.optimizers.Adam(0.01)
    return classifier(keras.optimizers.LossScaleOptimizer(inner), hidden=dropout_and_norm)


MODELS = {
    "nadam, dropout, batch norm": lambda: classifier("nadam", hidden=dropout_and_norm),
    "momentum, l2, softmax": lambda: classifier(
        keras.optimizers.SGD(0.01, momentum=0.9), output="softmax", kernel_regularizer="l2"
    ),
    "accumulation, clipping": lambda: classifier(
        keras.optimizers.Adam(0.01, gradient_accumulation_steps=2, clipnorm=1.0)
    ),
    "moving averages": lambda: classifier(keras.optimizers.RMSprop(0.01, use_ema=True)),
    "loss scale": scaled,
    "two inputs": two_inputs,
    "a train_step of its own": own_step,
}
OPTIMIZERS = ("sgd", "adagrad", "lion", "muon")  # those of the models above aside
TRIALS = {
    "find_lr": lambda model, *data, **how: find_lr(model, *data, steps=STEPS, **how),
    "clip_threshold": lambda model, *data, **how: clip_threshold(model, *data, steps=20, **how),
}


def everything(model):
    """All that a trial might disturb: the variables of model, optimiser and metrics; global generators."""
    found = [np.array(variable.value) for variable in (*model.variables, *model.optimizer.variables)]
    found += [np.array(variable.value) for variable in model.metrics_variables]
    found.append(np.array(global_seed_generator().state.value))
    return [array.tobytes() for array in found], random.getstate(), str(np.random.get_state())


def data_for(model):
    x, y = rows(COUNT)
    return ([x, x[:, ::-1].copy()] if len(model.inputs) == 2 else x), y


@pytest.mark.sampled(6)
@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_trial_changes_no_bit_and_training_goes_on_as_without(make, trial):
    one, other = make(), make()
    x, y = data_for(one)
    fit(one, x, y, epochs=1, batch_size=500, verbose=0)
    fit(other, x, y, epochs=1, batch_size=500, verbose=0)
    before = everything(one)
    trial(one, x, y, sample_weight=np.linspace(0.5, 1.5, COUNT))
    assert everything(one) == before
    for model in (one, other):
        fit(model, x, y, initial_epoch=1, epochs=2, batch_size=500, verbose=0)
    assert everything(one)[0] == everything(other)[0]


@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
def test_a_model_that_is_not_built_trains_as_without_the_trial(trial):
    def make():
        keras.utils.set_random_seed(5)
        model = keras.Sequential([keras.layers.Dense(8, activation="elu"), keras.layers.Dense(CLASSES)])
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    x, y = rows(COUNT)
    weights = []
    for tried in (False, True):
        model = make()
        if tried:
            trial(model, x, y)
        fit(model, x, y, epochs=1, batch_size=500, verbose=0)
        weights.append([weight.tobytes() for weight in model.get_weights()])
    assert weights[0] == weights[1]


class Stop(Exception):
    pass


@pytest.mark.sampled(4)
@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
@pytest.mark.parametrize("how", ["Ctrl-C", "error"])
def test_an_interrupted_trial_leaves_the_model_as_it_was(trial, how, monkeypatch):
    model = classifier("nadam", hidden=dropout_and_norm)
    x, y = rows(COUNT)
    fit(model, x, y, epochs=1, batch_size=500, verbose=0)
    before, run = everything(model), Runner.run

    def disturbed(self, feed, epoch, state, between):
        def after_a_chunk(chunk):  # its donated buffers are gone
            if how == "error":
                raise Stop
            os.kill(os.getpid(), signal.SIGINT)
            return between(chunk)

        return run(self, feed, epoch, state, after_a_chunk)

    monkeypatch.setattr(Runner, "run", disturbed)
    with pytest.raises(KeyboardInterrupt if how == "Ctrl-C" else Stop):
        trial(model, x, y)
    assert everything(model) == before


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimiser_can_be_searched(name):
    found = find_lr(classifier(name), *rows(COUNT), steps=STEPS)
    assert found.suggestion < found.lowest_at
    assert found.diverged_at is None or found.suggestion <= found.diverged_at / 10


def test_the_losses_are_those_of_keras_at_the_same_rates():
    """An independent reading: Keras trains the same batches, the rate set by hand before each."""
    x, y = rows(COUNT)
    how = {"batch_size": 16, "steps": 100, "high": 0.1, "low": 1e-4}
    model, twin = (classifier("adam", hidden=lambda: [keras.layers.BatchNormalization()]) for _ in "ab")
    found = find_lr(model, x, y, seed=3, **how)
    order = np.random.Generator(np.random.PCG64([3, 0])).permutation(COUNT)[:1600].reshape(100, 16)
    np.testing.assert_allclose(found.lrs, np.geomspace(1e-4, 0.1, 100), rtol=1e-12)
    for rate, numbers, loss in zip(found.lrs, order, found.losses, strict=True):
        twin.optimizer.learning_rate = rate
        twin.reset_metrics()
        # float32 sums in another order, raised by Adam's square roots over 100 steps
        assert loss == pytest.approx(twin.train_on_batch(x[numbers], y[numbers])[0], rel=1e-3)


BY_STEPS = ("nadam, dropout, batch norm", "momentum, l2, softmax", "loss scale", "a train_step of its own")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", BY_STEPS)
def test_a_search_in_the_program_that_trains_finds_the_same_and_compiles_nothing_more(name):
    model, (x, y) = MODELS[name](), rows(COUNT)
    how = {"steps": 100, "batch_size": 20, "low": 1e-4, "seed": 2, "class_weight": {0: 2.0, 1: 1.0, 2: 0.5}}
    build(model, (x[:2], y[:2], np.ones(2, "float32")))
    before = everything(model)
    by_steps = find_lr_by_steps(model, pull(model), x, y, **how)
    assert everything(model) == before
    same = find_lr(model, x, y, **how)
    np.testing.assert_allclose(by_steps.losses, same.losses, rtol=1e-4)
    assert by_steps.suggestion == pytest.approx(same.suggestion)
    programs = set(shelf(model).programs)
    fit(model, x, y, epochs=2, batch_size=20, class_weight=how["class_weight"], steps_per_epoch=5, verbose=0)
    assert set(shelf(model).programs) == programs


def test_the_recorded_loss_has_the_penalties_and_weights_in_it():
    x, y = rows(COUNT)
    model = classifier("sgd", kernel_regularizer=keras.regularizers.L2(0.1))
    weights = np.where(y == 0, 3.0, 1.0)
    by_row = find_lr(model, x, y, sample_weight=weights, batch_size=COUNT, steps=40)
    by_class = find_lr(model, x, y, class_weight={0: 3.0, 1: 1.0, 2: 1.0}, batch_size=COUNT, steps=40)
    np.testing.assert_array_equal(by_row.losses, by_class.losses)
    expected = model.evaluate(x, y, sample_weight=weights, verbose=0, batch_size=COUNT)[0]
    assert by_row.losses[0] == pytest.approx(expected, rel=1e-5)
    assert expected > 1.2 * find_lr(classifier("sgd"), x, y, batch_size=COUNT, steps=40).losses[0]


def test_few_rows_are_gone_through_more_than_once_and_a_small_set_is_one_batch():
    x, y = rows(90)
    assert len(find_lr(classifier("adam"), x, y, batch_size=16, steps=100, high=0.1).losses) == 100
    assert len(find_lr(classifier("adam"), x, y, batch_size=500, steps=40, high=0.1).losses) == 40


@pytest.mark.parametrize("kind", ["memmap", "batches"])
def test_other_sources_give_what_arrays_give(kind, tmp_path):
    x, y = rows(320)
    path = tmp_path / "x.npy"
    np.save(path, x)
    batches = [(x[start : start + 32], y[start : start + 32]) for start in range(0, 320, 32)]
    source = (np.load(path, mmap_mode="r"), y) if kind == "memmap" else (batches,)
    other = find_lr(classifier("sgd"), *source, steps=40)
    same = find_lr(classifier("sgd"), x, y, steps=40)
    if kind == "memmap":
        np.testing.assert_array_equal(other.losses, same.losses)
    assert 0.1 < other.suggestion / same.suggestion < 10


def test_only_the_rows_used_are_copied():
    class Counted(np.ndarray):
        asked = 0

        def __getitem__(self, key):
            if isinstance(key, np.ndarray):
                type(self).asked += len(key)
            return np.asarray(self)[key]

    x, y = rows(COUNT)
    clip_threshold(classifier("sgd"), x.view(Counted), y, steps=20, batch_size=16)
    assert Counted.asked == 320


def test_several_seeds_are_read_by_their_median():
    x, y = rows(COUNT)
    model = classifier("adam")
    found = find_lr(model, x, y, steps=60, seeds=3, seed=7)
    singles = [find_lr(model, x, y, steps=60, seed=seed) for seed in (7, 8, 9)]
    assert len(found.curves) == 3
    made = min(len(one.losses) for one in (*singles, found))
    middle = np.median([one.losses[:made] for one in singles], axis=0)
    np.testing.assert_array_equal(found.losses[:made], middle)


def test_mixed_precision_is_searched_and_its_norms_are_unscaled():
    x, y = rows(COUNT)
    plain, scaled_model = classifier("adam", hidden=dropout_and_norm), scaled()
    plain.set_weights(scaled_model.get_weights())
    norms = [clip_threshold(model, x, y, steps=20).norms[0] for model in (plain, scaled_model)]
    # equal but for the dropout masks' seeds, which both models drew from the same generator
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"low": 1.0, "high": 0.1}, OptionError, "high as a number, above 1.0"),
        ({"low": 0.0}, OptionError, "low as a number, above 0"),
        ({"high": float("inf")}, OptionError, "high=inf"),
        ({"low": "small"}, OptionError, "low='small'"),
        ({"steps": 5}, OptionError, "steps as a whole number, at least 20"),
        ({"seeds": 0}, OptionError, "seeds as a whole number, at least 1"),
        ({"seed": -1}, OptionError, "seed as a whole number"),
        ({"batch_size": 0}, OptionError, "batch_size"),
        ({"low": 1e-9, "high": 1e-8}, ModelError, "by chance"),
        ({"sample_weight": np.ones(3)}, DataError, "same number of rows"),
    ],
    ids=str,
)
def test_what_cannot_be_searched_is_told(how, error, message):
    with pytest.raises(error, match=message):
        find_lr(classifier("adam"), *rows(COUNT), **how)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)), "schedule"),
        (lambda: keras.optimizers.MultiOptimizer(lambda variable: keras.optimizers.SGD()), "several"),
    ],
    ids=["a schedule", "several rates"],
)
def test_an_optimiser_without_one_rate_is_refused(optimizer, message):
    with pytest.raises(ModelError, match=message):
        find_lr(classifier(optimizer()), *rows(COUNT))


def test_a_train_step_without_its_loss_is_refused():
    class Silent(OwnStep):
        def train_step(self, state, data):
            logs, state = super().train_step(state, data)
            return {"other": logs["own"]}, state

    model = Silent([keras.Input((FEATURES,)), keras.layers.Dense(CLASSES)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(KilterError, match='returns its "loss"'):
        find_lr(model, *rows(COUNT))


def test_the_norms_are_those_of_the_gradients_that_train():
    """Plain SGD moves the weights by rate · gradient: the norm of each step's move tells the gradient's."""
    x, y = rows(COUNT)
    model = classifier(keras.optimizers.SGD(0.5), output="softmax", kernel_regularizer="l2")
    found = clip_threshold(model, x, y, steps=20, batch_size=16, seed=2, percentile=80)
    order = np.random.Generator(np.random.PCG64([2, 0])).permutation(COUNT)[:320].reshape(20, 16)
    for numbers, norm in zip(order, found.norms, strict=True):
        before = model.get_weights()
        fit(model, x[numbers], y[numbers], batch_size=16, shuffle=False, verbose=0)
        moved = [new - old for new, old in zip(model.get_weights(), before, strict=True)]
        assert norm == pytest.approx(np.sqrt(sum(np.sum(move**2) for move in moved)) / 0.5, rel=1e-4)
    assert found.threshold == np.percentile(found.norms, 80)


def test_accumulated_gradients_are_measured_as_the_optimiser_clips_them():
    """Two batches of 8 accumulated are one of 16, for a model without batch statistics."""
    x, y = rows(COUNT)
    whole = clip_threshold(classifier(keras.optimizers.SGD(0.1)), x, y, steps=20, batch_size=16).norms
    halves = classifier(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    parts = clip_threshold(halves, x, y, steps=20, batch_size=8).norms
    np.testing.assert_allclose(parts, whole, rtol=1e-4)
    few = clip_threshold(halves, x[:21], y[:21], steps=20, batch_size=32)
    assert len(few.norms) == 20
    with pytest.raises(OptionError, match="iterable of batches"):
        clip_threshold(halves, [(x[:8], y[:8])])
    with pytest.raises(OptionError, match="1 rows"):
        clip_threshold(halves, x[:1], y[:1])


def test_gradients_of_a_linear_model_are_the_closed_form():
    """mean (wᵀx + b - y)²: ∂/∂w = 2 mean (e x), ∂/∂b = 2 mean e."""
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True) + 1
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile("sgd", "mse")
    batch = (x, y, None)
    build(model, batch)
    found = gradients(model)(pull(model), batch)
    assert float(found.loss) == pytest.approx(float(np.mean(y**2)), rel=1e-6)
    expected = [-2 * np.mean(y * x, axis=0)[:, None], -2 * np.mean(y, axis=0)]
    assert all(
        relative(np.asarray(got), want) < 1e-6 for got, want in zip(found.values, expected, strict=True)
    )
    flat = np.concatenate([want.ravel() for want in expected])
    assert float(global_norm(found.values)) == pytest.approx(np.linalg.norm(flat), rel=1e-6)


@pytest.mark.parametrize(
    ("model", "how", "message"),
    [
        (lambda: classifier(keras.optimizers.SGD(1e30)), {}, "diverges at step"),
        (lambda: classifier("sgd", loss=lambda y_true, y_pred: 0.0 * y_pred), {}, "other than zero"),
        (lambda: classifier("sgd"), {"percentile": 0}, "percentile as a number, above 0 and at most 100"),
        (lambda: classifier("sgd"), {"percentile": 101.0}, "at most 100"),
        (lambda: classifier("sgd"), {"steps": 3}, "at least 20"),
    ],
    ids=["explodes", "zero", "no percentile", "over 100", "few steps"],
)
def test_an_unhealthy_stretch_is_told(model, how, message):
    with pytest.raises(KilterError, match=message):
        clip_threshold(model(), *rows(COUNT), **how)


def test_the_histogram_counts_every_step_and_marks_the_threshold():
    found = clip_threshold(classifier("sgd"), *rows(COUNT), steps=50)
    bars, line = found.plot().data
    assert sum(bars.y) == 50
    assert set(line.x) == {found.threshold}
    assert np.mean(found.norms <= found.threshold) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ({"clipvalue": 1.0}, [0.9, 1.0]),
        ({"clipnorm": 1.0}, [0.00899964, 0.9999595]),
        ({"global_clipnorm": 1.0}, [0.00899964, 0.9999595]),
    ],
    ids=str,
)
def test_the_gradient_0_9_and_100_is_clipped_as_the_textbook_has_it(clip, expected):
    """loss = 0.9 w₀ + 100 w₁ at rate 1: the weights move by the clipped gradient."""
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
    )
    model.compile(keras.optimizers.SGD(1.0, **clip), lambda y_true, y_pred: y_pred)
    fit(model, np.array([[0.9, 100.0]]), np.zeros((1, 1)), batch_size=1, epochs=1, verbose=0)
    np.testing.assert_allclose(-model.get_weights()[0][:, 0], expected, rtol=1e-6)


def test_the_global_norm_is_over_all_variables_and_the_norm_over_each():
    x = np.array([[3.0, 4.0]])
    moves = {}
    for name in ("clipnorm", "global_clipnorm"):
        inputs = keras.Input((2,))
        outputs = [keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(inputs) for _ in "ab"]
        model = keras.Model(inputs, outputs)
        model.compile(keras.optimizers.SGD(1.0, **{name: 1.0}), [lambda y_true, y_pred: y_pred] * 2)
        fit(model, x, [np.zeros((1, 1))] * 2, batch_size=1, verbose=0)
        moves[name] = np.linalg.norm(model.get_weights()[0])
    assert moves["clipnorm"] == pytest.approx(1.0, rel=1e-6)
    assert moves["global_clipnorm"] == pytest.approx(1 / np.sqrt(2), rel=1e-6)
