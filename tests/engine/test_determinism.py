"""Same model, data and seed: the same bits. And no work is done twice."""

import gc
from typing import Any

import keras
import numpy as np
import pytest

from kilter._engine.feed import Order
from kilter._engine.fit import fit
from kilter._engine.inference import evaluate
from kilter._engine.program_cache import shelf

from .cases import BATCH, classifier, difference, rows, same_bits

layers = keras.layers
QUIET = {"batch_size": BATCH, "verbose": 0}


def noisy() -> keras.Model:
    return classifier("adam", hidden=lambda: [layers.Dropout(0.4), layers.GaussianNoise(0.1)])


def test_same_seeds_give_the_same_bits_with_dropout_and_shuffling():
    x, y = rows()
    one, other = noisy(), noisy()
    histories = [fit(model, x, y, epochs=3, seed=5, **QUIET).history for model in (one, other)]
    assert same_bits(one, other)
    assert histories[0] == histories[1]


def test_another_seed_gives_another_order():
    x, y = rows()
    one, other = classifier("adam"), classifier("adam")
    fit(one, x, y, seed=5, **QUIET)
    fit(other, x, y, seed=6, **QUIET)
    assert difference(one, other) > 1e-4


def test_dropout_draws_anew_in_every_step_and_epoch():
    """The rate is zero, so only the noise can change the loss from batch to batch of identical rows."""
    x, y = (np.repeat(part[:1], 48, axis=0) for part in rows())
    model = classifier(keras.optimizers.SGD(0.0), hidden=lambda: [layers.Dropout(0.5)])
    losses = fit(model, x, y, epochs=6, shuffle=False, **QUIET).history["loss"]
    assert len(set(losses)) == 6
    plain = classifier(keras.optimizers.SGD(0.0))
    losses = fit(plain, x, y, epochs=6, shuffle=False, **QUIET).history["loss"]
    assert len(set(losses)) == 1


def test_dropout_keeps_the_share_it_promises():
    """The mean of dropped-out ones is one, and its variance over units p / (1 - p) / n."""
    x = np.ones((64, 400), "float32")
    model = keras.Sequential([keras.Input((400,)), layers.Dropout(0.25, seed=3)])
    model.compile(keras.optimizers.SGD(0.0), loss=lambda y_true, y_pred: keras.ops.mean(y_pred, axis=-1))
    losses = fit(model, x, x, epochs=4, batch_size=16, verbose=0).history["loss"]
    expected_spread = np.sqrt(0.25 / 0.75 / x.size)
    assert np.abs(np.array(losses) - 1.0).max() < 5 * expected_spread


def test_the_order_of_an_epoch_is_a_permutation_drawn_from_seed_and_epoch():
    order = Order(BATCH, shuffle=True, seed=3)
    epochs = [order.rows(50, epoch) for epoch in range(4)]
    for numbers in epochs:
        assert sorted(numbers.tolist()) == list(range(50))
    assert len({tuple(numbers.tolist()) for numbers in epochs}) == 4
    np.testing.assert_array_equal(order.rows(50, 2), epochs[2])


def test_every_row_is_seen_exactly_once_an_epoch():
    """With rate 1 and loss row · w (gradient: the row) a one-hot table counts how often each row was used."""
    count = 50
    x = np.eye(count, dtype="float32")
    zeros = keras.initializers.Zeros()
    model = keras.Sequential(
        [keras.Input((count,)), layers.Dense(1, use_bias=False, kernel_initializer=zeros)]
    )
    model.compile(keras.optimizers.SGD(1.0), loss=keras.losses.MeanAbsoluteError(reduction="sum"))
    # |0 - y| with y = 1000 has gradient -1 for the row's own weight: each use adds 1.
    fit(model, x, np.full((count, 1), 1000.0, "float32"), epochs=3, **QUIET)
    np.testing.assert_array_equal(model.get_weights()[0].ravel(), np.full(count, 3.0, "float32"))


def test_two_fits_of_one_epoch_are_one_fit_of_two():
    x, y = rows()
    once, twice = noisy(), noisy()
    fit(once, x, y, epochs=2, **QUIET)
    fit(twice, x, y, epochs=1, **QUIET)
    fit(twice, x, y, epochs=2, initial_epoch=1, **QUIET)
    assert same_bits(once, twice)


def test_a_model_that_is_fitted_again_is_not_compiled_again():
    x, y = rows()
    model = classifier("adam")
    fit(model, x, y, validation_data=(x, y), **QUIET)
    compiled, seconds = dict(shelf(model).programs), shelf(model).seconds
    assert len(compiled) == 2  # train and test: the last partial batch is padded
    fit(model, x, y, validation_data=(x, y), epochs=3, seed=9, **QUIET)
    assert shelf(model).programs == compiled
    assert shelf(model).seconds == seconds


def test_compile_throws_the_old_training_programs_out_of_use():
    x, y = rows(48)
    model = classifier("sgd")
    fit(model, x, y, **QUIET)
    model.compile(keras.optimizers.SGD(0.0), loss="mse", metrics=["mae"])
    before = model.get_weights()
    onehot = np.eye(3, dtype="float32")[y]
    history = fit(model, x, onehot, **QUIET).history
    assert sorted(history) == ["loss", "mae"]
    for kept, first in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, first)


def test_one_compilation_serves_all_learning_rates():
    x, y = rows(48)
    model = classifier(keras.optimizers.SGD(0.1))
    fit(model, x, y, **QUIET)
    before, compiled = model.get_weights(), len(shelf(model).programs)
    model.optimizer.learning_rate = 0.0
    fit(model, x, y, **QUIET)
    assert len(shelf(model).programs) == compiled
    for kept, first in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, first)


@pytest.mark.parametrize("save", ["keras", "weights.h5"])
def test_a_trained_model_is_saved_and_loaded_as_ever(tmp_path: Any, save: str):
    x, y = rows(48)
    model = classifier("adam")
    fit(model, x, y, **QUIET)
    path = str(tmp_path / f"model.{save}")
    if save == "keras":
        model.save(path)
        loaded = keras.models.load_model(path)
    else:
        model.save_weights(path)
        loaded = classifier("adam")
        loaded.load_weights(path)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_the_model_trains_on_with_keras_after_kilter():
    x, y = rows(48)
    mixed, pure = classifier("adam"), classifier("adam")
    how = {"shuffle": False, **QUIET}
    fit(mixed, x, y, **how)
    mixed.fit(x, y, **how)
    fit(mixed, x, y, **how)
    pure.fit(x, y, epochs=3, **how)
    assert difference(mixed, pure) < 1e-4


@pytest.mark.long
def test_a_program_goes_with_the_optimizer_it_was_compiled_for():
    x, y = rows(48)
    model = classifier("adam")
    for _ in range(3):
        model.compile("adam", "sparse_categorical_crossentropy")
        fit(model, x, y, **QUIET)
        gc.collect()
    assert len(shelf(model).programs) <= 2  # this one's, and the one before it until a program is asked for


def test_an_identity_that_is_used_again_is_not_taken_for_the_owner_that_went():
    model = classifier()
    kept, gone, come = shelf(model), lambda: None, lambda: None
    arguments = (np.float32(1.0),)
    first = kept.get("one", (gone,), lambda: lambda x: x + 1, arguments)
    key, held = next(iter(kept.programs.items()))
    kept.programs = {key._replace(owners=(id(come),), read=kept.reading((come,))): held}
    assert kept.get("one", (gone,), lambda: lambda x: x + 1, arguments) is not first
    assert float(kept.get("one", (come,), lambda: lambda x: x + 2, arguments)(*arguments)) == 3.0


@pytest.mark.parametrize(("count", "rewritten"), [(1, False), (16, False), (48, True)])
def test_a_single_batch_is_evaluated_as_traced(count, rewritten):
    x, y = rows(count)
    model = classifier("sgd")
    evaluate(model, x, y, batch_size=16, verbose=0)
    assert {key.rewritten for key in shelf(model).programs} == {rewritten}
