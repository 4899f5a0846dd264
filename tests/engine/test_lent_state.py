"""A model lends its arrays to the training program, instead of keeping a second copy."""

import keras
import numpy as np
import pytest

import kilter
from kilter._engine import batch_hooks
from kilter._models import variables
from kilter._models.variables import is_lent, lend

X = np.random.default_rng(0).standard_normal((40, 4)).astype("float32")
Y = X @ np.ones((4, 1), "float32")


@pytest.fixture
def model() -> keras.Model:
    return built()


def built() -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def address(array) -> int:
    return array.unsafe_buffer_pointer()


def test_an_array_of_the_model_alone_is_lent_and_any_other_copied(model):
    kernel, bias = model.trainable_variables[:2]
    held, before = bias.value, address(kernel.value)
    state = lend(model)
    assert address(state.trainable[0]) == before
    assert address(state.trainable[1]) != address(held)


def test_what_others_hold_stays_readable_and_the_numbers_are_the_same(model, monkeypatch):
    held = model.trainable_variables[0].value
    array, as_numpy = np.array(held), model.trainable_variables[1].numpy()
    kilter.fit(model, X, Y, epochs=2, batch_size=16, shuffle=False, verbose=0)
    np.testing.assert_array_equal(held, array)
    np.testing.assert_array_equal(as_numpy, 0)
    assert not is_lent(model)
    found, same = model.get_weights(), built()
    monkeypatch.setattr(batch_hooks, "lend", variables.pull)
    kilter.fit(same, X, Y, epochs=2, batch_size=16, shuffle=False, verbose=0)
    for one, another in zip(found, same.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)


def test_after_an_error_the_model_has_the_last_state(model, monkeypatch):
    class Fails(keras.callbacks.Callback):
        kilter_chunked = True

        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("from a callback")

    with pytest.raises(RuntimeError, match="from a callback"):
        kilter.fit(model, X, Y, callbacks=[Fails()], verbose=0)
    assert not is_lent(model)

    def refused(self) -> None:
        raise KeyboardInterrupt

    before = model.get_weights()
    monkeypatch.setattr(
        "kilter._engine.interrupt.Interrupt.pending", property(refused, lambda *_: None), raising=False
    )
    with pytest.raises(KeyboardInterrupt):
        kilter.fit(model, X, Y, verbose=0)
    assert not is_lent(model)
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_an_evaluation_returns_no_weights(model):
    kilter.fit(model, X, Y, verbose=0)
    before = [variable.value for variable in variables.variables(model).trainable]
    kilter.evaluate(model, X, Y, verbose=0)
    after = [variable.value for variable in variables.variables(model).trainable]
    assert all(one is other for one, other in zip(before, after, strict=True))
