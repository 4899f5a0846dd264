"""The generator with its rounds written out gives the bits of jax.random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kilter._xla.random_bits import quick, threefry_bits


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 4), (0, 2)])
@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
def test_the_bits_are_those_of_jax(shape: tuple[int, ...], seed: int):
    key = jax.random.key(seed, impl="threefry2x32")
    expected = jax.random.bits(key, shape, "uint32")
    assert np.array_equal(threefry_bits(jax.random.key_data(key), 32, shape), expected)


@pytest.mark.parametrize("width", [8, 16])
def test_other_widths_are_left_to_jax(width: int):
    key = jax.random.key(5, impl="threefry2x32")
    expected = jax.random.bits(key, (9,), f"uint{width}")
    found = threefry_bits(jax.random.key_data(key), width, (9,))
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_a_quick_key_draws_splits_and_folds_as_the_key_it_is_made_of():
    key = jax.random.key(11, impl="threefry2x32")
    fast = quick(key)

    def drawn(key: jax.Array) -> list[jax.Array]:
        first, second = jax.random.split(key)
        return [
            jax.random.uniform(key, (5, 3)),
            jax.random.normal(first, (4,)),
            jax.random.bernoulli(jax.random.fold_in(second, 3), 0.3, (6,)),
        ]

    for found, expected in zip(jax.jit(drawn)(fast), jax.jit(drawn)(key), strict=True):
        assert np.array_equal(found, expected)
    several = jax.vmap(lambda number: jax.random.uniform(jax.random.fold_in(fast, number), (4,)))(
        jnp.arange(3)
    )
    assert np.array_equal(several[2], jax.random.uniform(jax.random.fold_in(key, 2), (4,)))
