"""Rows of other shapes: what reaches the source, against NumPy."""

import pytest

from . import models  # first: it chooses Keras's backend

# isort: split
import keras
import numpy as np

import kilter

layers = keras.layers


def source(shape):
    """A model whose first layer tells what it is given: a dense layer that is the identity."""
    size = int(np.prod(shape))
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(size, use_bias=False)])
    model.layers[-1].kernel.assign(np.eye(size, dtype="float32"))
    return model


def seen(shape, given, x):
    """What a source of rows of ``shape`` is given for rows ``x`` of the shape ``given``."""
    student = kilter.reuse(
        source(shape), keep=1, head=lambda y: layers.Dense(1, name="new")(y), input_shape=given
    )
    assert student.input_shape == (None, *given)
    below = keras.Model(student.input, student.get_layer("new").input)
    return np.asarray(below(x)).reshape(len(x), *shape)


def halved(x):
    rows, high, wide, channels = x.shape
    return x.reshape(rows, high // 2, 2, wide // 2, 2, channels).mean(axis=(2, 4))


CASES = {
    "nothing": ((4, 4, 1), (4, 4, 1), lambda x: x),
    "grey to colour": ((4, 4, 3), (4, 4, 1), lambda x: np.repeat(x, 3, axis=-1)),
    "colour to grey": ((4, 4, 1), (4, 4, 3), lambda x: x.mean(axis=-1, keepdims=True)),
    "flat to image": ((4, 4, 2), (32,), lambda x: x.reshape(-1, 4, 4, 2)),
    "image to flat": ((32,), (4, 4, 2), lambda x: x.reshape(-1, 32)),
    "without the axis of channels": ((4, 4, 1), (4, 4), lambda x: x[..., None]),
    "with it": ((4, 4), (4, 4, 1), lambda x: x[..., 0]),
    "flat to colour": ((4, 4, 3), (16,), lambda x: np.repeat(x.reshape(-1, 4, 4, 1), 3, axis=-1)),
    "colour to flat grey": ((16,), (4, 4, 3), lambda x: x.mean(axis=-1).reshape(-1, 16)),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_reach_the_source_as_they_should(case):
    shape, given, expected = CASES[case]
    x = models.rows(given)
    np.testing.assert_allclose(seen(shape, given, x), expected(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("shape", "given"), [((4, 4, 1), (8, 8, 1)), ((16,), (8, 8)), ((4, 4, 3), (64,))])
def test_sizes_are_resized_without_loss_of_the_mean(shape, given):
    """Of constant images nothing changes, and a smaller one is a smoothed one: its mean stays near."""
    constant = np.full((2, *given), 3.0, "float32")
    np.testing.assert_allclose(seen(shape, given, constant), 3.0, rtol=1e-6)
    smooth = np.broadcast_to(np.linspace(0, 1, 8, dtype="float32")[None, :, None], (1, 8, 8))
    small = seen(shape, given, smooth.reshape(1, *given))
    assert small.mean() == pytest.approx(0.5, abs=1e-5)
    assert small.min() > 0


def test_a_source_of_any_size_takes_any_size():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))))
    student = kilter.reuse(model, keep=1, head=2, input_shape=(9, 7, 1))
    assert student.predict(models.rows((9, 7, 1)), verbose=0).shape == (6, 2)
    assert "adapt_size" not in [layer.name for layer in student.layers]
