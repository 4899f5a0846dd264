"""Settings of JAX act on a training as they do on Keras's."""

from typing import Any

import jax
import keras
import numpy as np
import pytest

import kilter
from kilter._engine.program_cache import shelf

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
HOW: dict[str, Any] = {"batch_size": 8, "verbose": 0}


def net(rate: float = 0.1) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


@pytest.mark.parametrize("name", ["fit", "evaluate", "predict"])
def test_the_search_for_nan_names_the_operation(name: str):
    model = net()
    model.layers[0].kernel.assign(np.full((3, 2), 1e38))
    model.layers[0].bias.assign([-np.inf, 0.0])
    large = np.full((16, 3), 1e30, "float32")  # inf - inf
    call = getattr(kilter, name)
    with jax.debug_nans(True), pytest.raises(FloatingPointError, match=r"encountered in \w+"):
        call(model, large, *(() if name == "predict" else (X[:, :2],)), **HOW)
    assert np.isfinite(model.layers[0].kernel.numpy()).all()


def test_without_jit_the_numbers_are_the_same():
    found = []
    for whether in (True, False):
        model, rows = net(), X[:8]
        with jax.disable_jit(whether):
            kilter.fit(model, rows, rows[:, :2], **HOW)
            found.append(kilter.predict(model, rows, **HOW))
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_another_precision_of_products_is_compiled_anew():
    model = net()
    kilter.evaluate(model, X, X[:, :2], **HOW)
    count = len(shelf(model).programs)
    with jax.default_matmul_precision("highest"):
        kilter.evaluate(model, X, X[:, :2], **HOW)
    assert len(shelf(model).programs) > count
