"""Programs for a short life: the same numbers, kept apart from those that are compiled well."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from kilter._engine.fit import fit
from kilter._engine.program_cache import shelf
from kilter._xla.compilation import compares_floats, compile_options, is_quick, quick_compilation

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = X.sum(axis=1)


def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
    made.compile("adam", "mse")
    return made


def weights(trained: keras.Model) -> np.ndarray:
    return np.concatenate([np.ravel(one) for one in trained.get_weights()])


def test_quick_is_for_its_context_alone():
    usual = compile_options()
    with quick_compilation():
        assert is_quick()
        assert compile_options() != usual
    assert not is_quick()
    assert compile_options() == usual


def test_a_quick_program_computes_the_same_and_leaves_no_slow_one_behind():
    quick, well = model(), model()
    with quick_compilation():
        fit(quick, X, Y, epochs=2, verbose=0)
    fit(well, X, Y, epochs=2, verbose=0)
    np.testing.assert_allclose(weights(quick), weights(well), rtol=1e-4, atol=1e-6)  # float32, other orders
    before = len(shelf(quick).programs)
    fit(quick, X, Y, epochs=1, verbose=0)
    assert len(shelf(quick).programs) == before + 1


def pooled(inner: list[keras.layers.Layer], **how: bool) -> keras.Model:
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((6, 4)), *inner, keras.layers.GlobalMaxPooling1D()])
    made.compile("sgd", "mse", **how)
    return made


@pytest.mark.parametrize("runs", [math.inf, 1e-9], ids=["many runs", "hardly any"])
def test_a_quick_program_finds_the_maximum_that_it_took(runs):
    """Without care the gradient misses the maxima: computed again, they are rounded in another way."""
    x = np.random.default_rng(0).normal(size=(96, 6, 4)).astype("float32")
    quick, eager = (
        pooled([keras.layers.BatchNormalization(), keras.layers.ReLU()], run_eagerly=eagerly)
        for eagerly in (False, True)
    )
    with quick_compilation(runs):
        quick_loss = fit(quick, x, x[:, 0], batch_size=16, epochs=1, shuffle=False, verbose=0)
    loss = fit(eager, x, x[:, 0], batch_size=16, epochs=1, shuffle=False, verbose=0)
    np.testing.assert_allclose(quick_loss.history["loss"], loss.history["loss"], rtol=1e-5)
    np.testing.assert_allclose(weights(quick), weights(eager), rtol=1e-4, atol=1e-6)  # float32, other orders


@pytest.mark.parametrize(
    ("runs", "work", "compares", "level", "fused"),
    [
        (math.inf, 1.0, False, 1, True),
        (10, 1e9, False, 1, True),
        (10, 1e7, False, 0, True),
        (10, 1e7, True, 0, False),
        (1, 1e9, False, 0, True),
    ],
)
def test_a_program_that_runs_little_is_not_optimised(runs, work, compares, level, fused):
    with quick_compilation(runs):
        options = compile_options(compares=compares, work=work)
    assert options["xla_backend_optimization_level"] == level
    assert ("xla_disable_hlo_passes" not in options) == fused


@pytest.mark.parametrize(
    ("compute", "compares"),
    [
        (lambda x: (x == 0).mean(), False),
        (lambda x: x == x[::-1], True),
        (jax.grad(lambda x: x.max()), True),
        (lambda x: x.astype("int32") == jnp.arange(4), False),
    ],
    ids=["with a constant", "with another array", "gradient of a maximum", "integers"],
)
def test_a_comparison_of_arrays_of_floats_is_seen(compute, compares):
    assert compares_floats(jax.make_jaxpr(compute)(jnp.arange(4.0)).jaxpr) == compares
