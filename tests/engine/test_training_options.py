"""The options of fit and of compile, against ``model.fit`` or a closed form."""

import keras
import numpy as np
import pytest

from kilter._engine.fit import fit

from .cases import BATCH, CLASSES, FEATURES, agree, assert_parity, classifier, difference, rows

layers = keras.layers
QUIET = {"batch_size": BATCH, "shuffle": False, "verbose": 0}


def test_class_weights():
    x, y = rows()
    assert_parity(lambda: classifier("adam"), x, y, class_weight={0: 0.2, 1: 1.0, 2: 5.0})


def test_class_weights_of_one_hot_targets():
    x, y = rows()
    onehot = np.eye(CLASSES, dtype="float32")[y]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    assert_parity(lambda: classifier("adam", loss=loss), x, onehot, class_weight={0: 0.2, 2: 5.0})


def test_a_validation_split():
    x, y = rows()
    assert_parity(lambda: classifier("adam"), x, y, validation_split=0.3)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("weighted", [True, False])
def test_validation_data_with_and_without_weights(weighted: bool):
    x, y = rows()
    weights = (np.linspace(0.0, 3.0, 23, dtype="float32"),) if weighted else ()
    validation = (*rows(23, seed=1), *weights)
    how = {"validation_data": validation, "validation_freq": 2, "validation_batch_size": 10, "epochs": 4}
    model = lambda: classifier("adam", hidden=lambda: [layers.BatchNormalization()])  # noqa: E731
    ours, _ = assert_parity(model, x, y, **how)
    again = fit(ours, x, y, **QUIET, **how).history
    assert len(again["val_loss"]) == 2
    assert len(again["loss"]) == 4


def test_validation_changes_no_bit_of_the_training():
    x, y = rows()
    alone, watched = classifier("adam"), classifier("adam")
    fit(alone, x, y, epochs=2, **QUIET)
    fit(watched, x, y, epochs=2, validation_data=rows(23, seed=1), **QUIET)
    for one, other in zip(alone.weights, watched.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one.value), np.asarray(other.value))


@pytest.mark.long
def test_the_first_epoch_can_be_given():
    x, y = rows()
    ours, _ = assert_parity(lambda: classifier("adam"), x, y, epochs=5, initial_epoch=3)
    assert fit(ours, x, y, epochs=5, initial_epoch=3, **QUIET).epoch == [3, 4]


def test_no_epochs_leave_the_model_as_it_was():
    x, y = rows()
    model, untouched = classifier("adam"), classifier("adam")
    history = fit(model, x, y, epochs=0, **QUIET)
    assert history.history == {}
    for one, other in zip(model.weights, untouched.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one.value), np.asarray(other.value))


def test_a_batch_larger_than_the_data_is_one_batch():
    x, y = rows()
    assert_parity(lambda: classifier("adam"), x, y, batch_size=1000)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_gradient_accumulation(name: str):
    x, y = rows()
    make = getattr(keras.optimizers, name)
    assert_parity(lambda: classifier(make(0.05, gradient_accumulation_steps=3)), x, y, epochs=3)


@pytest.mark.parametrize("frequency", [None, 3])
def test_the_moving_average_of_the_weights(frequency: int | None):
    x, y = rows()
    options = {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": frequency}
    assert_parity(lambda: classifier(keras.optimizers.Adam(0.05, **options)), x, y, epochs=3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy: str):
    x, y = rows(48)

    def make() -> keras.Model:
        return classifier(
            "adam", hidden=lambda: [layers.BatchNormalization()], dtype=keras.DTypePolicy(policy)
        )

    # bfloat16 keeps 8 bits of each product; where they are rounded in the fused program is XLA's choice.
    ours, _ = assert_parity(make, x, y, tolerance=0.03)
    assert all(weight.dtype == "float32" for weight in ours.trainable_weights)


def test_mixed_float16_skips_the_steps_that_overflow():
    """The loss scale starts at 2**15 and is halved whenever a gradient is not finite; Keras says so too."""
    x, y = rows(48)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        pair = [classifier(keras.optimizers.Adam(0.01)) for _ in range(2)]
    finally:
        keras.config.set_dtype_policy("float32")
    fit(pair[0], x * 1000.0, y, epochs=2, **QUIET)
    pair[1].fit(x * 1000.0, y, epochs=2, **QUIET)
    ours, theirs = (model.optimizer for model in pair)
    assert type(ours).__name__ == "LossScaleOptimizer"
    assert float(ours.dynamic_scale) == float(theirs.dynamic_scale) < 2.0**15
    assert int(ours.inner_optimizer.iterations) == int(theirs.inner_optimizer.iterations)


SCHEDULES = keras.optimizers.schedules
KERAS_SCHEDULES = {
    "exponential": lambda: SCHEDULES.ExponentialDecay(0.1, 4, 0.5),
    "piecewise": lambda: SCHEDULES.PiecewiseConstantDecay([3, 6], [0.1, 0.01, 0.001]),
    "cosine": lambda: SCHEDULES.CosineDecay(0.01, 8, warmup_target=0.1, warmup_steps=3),
}


@pytest.mark.parametrize("name", KERAS_SCHEDULES)
def test_a_schedule_of_keras_in_the_optimizer(name: str):
    x, y = rows()
    make = KERAS_SCHEDULES[name]
    assert_parity(lambda: classifier(keras.optimizers.SGD(make(), momentum=0.9)), x, y)


def line() -> keras.Model:
    """y = w x with w = 0 and the loss (w x - y)² of one row a batch."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(123.0), loss="mse")
    return model


def test_a_schedule_given_to_fit_sets_the_rate_of_every_step():
    """With x = 1 and y = 1 a step is w <- w + 2 rate (1 - w): 1 - w is the product of the 1 - 2 rate."""
    model, ones = line(), np.ones((6, 1), "float32")
    fit(model, ones, ones, batch_size=1, epochs=2, schedule=lambda step: 0.01 * (step + 1), verbose=0)
    expected = 1.0 - np.prod([1.0 - 2.0 * 0.01 * (step + 1) for step in range(12)])
    assert float(model.get_weights()[0][0, 0]) == pytest.approx(expected, rel=1e-6)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.12)


def test_a_schedule_goes_on_where_the_optimizer_stands():
    once, twice, ones = line(), line(), np.ones((6, 1), "float32")

    def schedule(step: int) -> float:
        return 0.01 * (step + 1)

    fit(once, ones, ones, batch_size=1, epochs=2, schedule=schedule, verbose=0)
    for _ in range(2):
        fit(twice, ones, ones, batch_size=1, epochs=1, schedule=schedule, verbose=0)
    assert once.get_weights()[0] == twice.get_weights()[0]


def test_a_schedule_of_keras_can_be_given_to_fit():
    x, y = rows()
    ours = classifier(keras.optimizers.SGD(99.0))
    theirs = classifier(keras.optimizers.SGD(KERAS_SCHEDULES["cosine"]()))
    got = fit(ours, x, y, epochs=2, schedule=KERAS_SCHEDULES["cosine"](), **QUIET)
    expected = theirs.fit(x, y, epochs=2, **QUIET)
    assert got.history.pop("learning_rate") == pytest.approx([0.1, 0.05])
    agree(got.history, expected.history)
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(np.asarray(one.value), np.asarray(other.value), rtol=1e-4, atol=1e-6)


def test_a_schedule_reaches_the_optimizer_inside_a_loss_scale():
    x, y = rows(48)
    plain = classifier(keras.optimizers.SGD(9.0))
    scaled = classifier(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(9.0)))
    for model in (plain, scaled):
        fit(model, x, y, schedule=lambda step: 0.1 / (1 + step), **QUIET)
    weights = zip(plain.weights, scaled.weights, strict=True)
    for one, other in weights:
        np.testing.assert_allclose(np.asarray(one.value), np.asarray(other.value), rtol=1e-5, atol=1e-6)


def test_numbers_of_other_types_become_the_models_own():
    x, y = rows(48)
    plain, doubles, lists = (classifier("adam") for _ in range(3))
    fit(plain, x, y, **QUIET)
    fit(doubles, x.astype("float64"), y.astype("int64"), **QUIET)
    fit(lists, x, y.astype("uint8")[:, None], **QUIET)
    assert difference(plain, doubles) == 0.0
    assert difference(plain, lists) < 1e-6
    assert x.shape[1] == FEATURES
