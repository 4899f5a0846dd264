"""The gradient of max pooling, written with whole arrays, gives what XLA's own gives."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from jax import lax

from kilter._xla import pooling
from kilter._xla.rewrite import rewrite, trace

from .cases import assert_parity

# Shape of the images, window and strides over all axes, padding.
CASES = {
    "plain": ((5, 8, 6, 3), (1, 2, 2, 1), (1, 2, 2, 1), "VALID"),
    "what is left over": ((2, 9, 7, 3), (1, 2, 3, 1), (1, 2, 3, 1), "VALID"),
    "padded": ((2, 9, 7, 3), (1, 2, 2, 1), (1, 2, 2, 1), "SAME"),
    "padded unevenly": ((2, 6, 7, 3), (1, 3, 2, 1), (1, 3, 2, 1), [(0, 0), (2, 1), (0, 1), (0, 0)]),
    "overlapping": ((2, 9, 8, 3), (1, 3, 3, 1), (1, 2, 2, 1), "VALID"),
    "overlapping and padded": ((2, 9, 8, 3), (1, 3, 3, 1), (1, 1, 2, 1), "SAME"),
    "strides beyond the window": ((2, 11, 9, 3), (1, 2, 1, 1), (1, 4, 3, 1), "VALID"),
    "channels first": ((2, 3, 8, 6), (1, 1, 2, 2), (1, 1, 2, 2), "VALID"),
    "a line": ((4, 9, 3), (1, 2, 1), (1, 2, 1), "VALID"),
    "a body": ((2, 6, 5, 4, 2), (1, 3, 2, 2, 1), (1, 3, 2, 2, 1), "VALID"),
    "over everything": ((2, 4, 4, 3), (2, 4, 1, 3), (2, 4, 1, 3), "VALID"),
}


def gradients(name, dtype):
    """Images with many equal numbers, XLA's gradient, and ours, of one random gradient of the maxima."""
    shape, window, strides, padding = CASES[name]
    generator = np.random.default_rng(0)
    images = jnp.asarray(generator.integers(0, 3, shape), dtype)

    def pool(x):
        return lax.reduce_window(x, np.array(-np.inf, dtype), lax.max, window, strides, padding)

    def backward(x, given):
        return jax.vjp(pool, x)[1](given)[0]

    given = jnp.asarray(generator.normal(size=pool(images).shape), dtype)
    traced = trace(backward, images, given)
    return images, jax.jit(backward)(images, given), jax.jit(rewrite(traced, batch_size=2)), given


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_xla_own(name, dtype):
    images, expected, ours, given = gradients(name, dtype)
    got = ours(images, given)
    assert got.dtype == expected.dtype
    if "overlapping" in name:  # sums in another order
        limit = 1e-6 if dtype == "float32" else 0.1
        np.testing.assert_allclose(np.float32(got), np.float32(expected), atol=limit)
    else:
        np.testing.assert_array_equal(np.float32(got), np.float32(expected))


def test_nothing_is_left_of_xla_own_operation():
    images, _, ours, given = gradients("plain", "float32")
    assert "select-and-scatter" not in ours.lower(images, given).compile().as_text()


def test_numbers_that_are_not_finite_choose_as_xla_does():
    images, _, ours, given = gradients("plain", "float32")
    images = images.at[0, :4].set(np.nan).at[1, 2:5, 3].set(np.inf).at[2].set(-np.inf)
    pool = lambda x: lax.reduce_window(x, -np.inf, lax.max, *CASES["plain"][1:])  # noqa: E731
    expected = jax.vjp(pool, images)[1](given)[0]
    np.testing.assert_array_equal(ours(images, given), expected)


@pytest.mark.parametrize("case", ["a large window", "of the smallest"])
def test_what_is_left_to_xla(case):
    window = (1, 6, 6, 1) if case == "a large window" else (1, 2, 2, 1)
    select = lax.min if case == "of the smallest" else lax.max
    first = np.inf if case == "of the smallest" else -np.inf

    def pool(x):
        return lax.reduce_window(x, first, select, window, window, "VALID").sum()

    equations = jax.make_jaxpr(jax.grad(pool))(jnp.ones((2, 12, 12, 1))).eqns
    (found,) = [one for one in equations if one.primitive.name == "select_and_scatter_add"]
    assert not pooling.is_max_pooling(found)


@pytest.mark.long
def test_a_network_that_pools_trains_as_with_keras():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(22, 9, 9, 2)).astype("float32")
    y = generator.integers(0, 3, 22)

    def make():
        keras.utils.set_random_seed(0)
        layers = keras.layers
        model = keras.Sequential(
            [
                keras.Input((9, 9, 2)),
                layers.Conv2D(4, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(3, 2, padding="same"),
                layers.Conv2D(4, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(3),
            ]
        )
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    assert_parity(make, x, y)
