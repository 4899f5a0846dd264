"""Training goes on with the plain step where rewriting is off, untested, or fails."""

import functools
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import kilter
from kilter._text import warn_once
from kilter._xla.rules import RULES
from kilter._xla.values import Value, written

layers = keras.layers
RNG = np.random.default_rng(0)


def dense() -> keras.Model:
    drop = layers.Dropout(0.1, seed=1)
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(6, "tanh"), drop, layers.Dense(5, "softmax"), layers.Dense(3)]
    )


def images() -> keras.Model:
    stack = [layers.Conv2D(3, 2, strides=2), layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(2)]
    return keras.Sequential([keras.Input((4, 4, 1)), *stack])


def one_channel() -> keras.Model:
    return keras.Sequential([keras.Input((64, 64, 1)), layers.Dense(1)])


def rows(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype("float32")


# Models with their rows: in three batches, the last of them smaller, which makes a second program.
MODELS = {
    "dense": (dense, rows(20, 4), rows(20, 3), 8),
    "images": (images, rows(5, 4, 4, 1), rows(5, 2), 2),
    "one channel": (one_channel, rows(9, 64, 64, 1), rows(9, 64, 64, 1), 8),
}
# The model in which a rule is used.
USED_IN = {"convolution": "images", "max pooling": "images", "one-channel sum": "one channel"}


def trained(name: str = "dense", *, enabled: bool = True) -> list[np.ndarray]:
    """The weights after an epoch."""
    make, x, y, batch_size = MODELS[name]
    keras.utils.set_random_seed(0)
    model = make()
    model.compile(keras.optimizers.Nadam(0.01), "mse")
    kilter.fit(model, x, y, batch_size=batch_size, rewrite=enabled, verbose=0)
    return [np.asarray(one) for one in model.get_weights()]


@functools.cache
def plain(name: str = "dense") -> list[np.ndarray]:
    return trained(name, enabled=False)


@pytest.fixture(autouse=True)
def _warnings_are_new() -> Iterator[None]:
    warn_once.cache_clear()
    yield
    warn_once.cache_clear()


def raises(*_: Any) -> Value:
    raise RuntimeError("broken on purpose")


def misshapes(*_: Any) -> Value:
    return written(jnp.zeros((1, 2, 3)))


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("rule", "broken"),
    [*((rule, raises) for rule in RULES), ("product", misshapes), ("broadcast", misshapes)],
)
def test_a_broken_rule_leaves_the_plain_step(rule: str, broken: Any, monkeypatch: pytest.MonkeyPatch):
    model, used = USED_IN.get(rule, "dense"), []

    def breaks(*arguments: Any) -> Value:
        used.append(rule)
        return broken(*arguments)

    expected = plain(model)
    monkeypatch.setitem(RULES, rule, replace(RULES[rule], rewrite=breaks))
    with pytest.warns(UserWarning, match="could not be rewritten") as caught:
        found = trained(model)
    assert used
    assert len([one for one in caught if "rewritten" in str(one.message)]) == 1
    assert same(found, expected)


def test_the_environment_turns_rewriting_off(monkeypatch: pytest.MonkeyPatch):
    assert not same(trained(), plain())  # else this test could not fail
    monkeypatch.setenv("KILTER_REWRITE", "off")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert same(trained(), plain())


@pytest.mark.parametrize(("version", "tested"), [("0.9.4", False), ("0.10.0", True), ("0.11.0", False)])
def test_an_untested_jax_runs_the_plain_step(version: str, tested: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax, "__version__", version)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = trained()
    assert same(found, plain()) != tested
    assert len([one for one in caught if version in str(one.message)]) == (0 if tested else 1)


def test_turning_it_off_keeps_both_programs():
    """The same model, first rewritten, then not: no program is used for the other."""
    model, fresh = dense(), dense()
    fresh.set_weights(model.get_weights())
    for one in (model, fresh):
        one.compile(keras.optimizers.SGD(0.0), "mse")
    _, x, y, _ = MODELS["dense"]
    on, off = (kilter.evaluate(model, x, y, verbose=0, rewrite=enabled) for enabled in (True, False))
    assert off == kilter.evaluate(fresh, x, y, verbose=0, rewrite=False)
    np.testing.assert_allclose(on["loss"], off["loss"], rtol=1e-5)
