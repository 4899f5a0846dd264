"""Keras objects as code: what it makes when it runs has the same configuration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import keras
import pytest

from kilter._diagnosis.checks.singular import one_sided
from kilter._models.code import layer_code, loss_code, optimizer_code

layers, losses, optimizers = keras.layers, keras.losses, keras.optimizers
LAYERS = (
    layers.Conv2D(3, 3, kernel_constraint=keras.constraints.UnitNorm(axis=[0, 1, 2])),
    layers.Dense(
        2, activation="relu", kernel_initializer=keras.initializers.RandomNormal(stddev=0.5, seed=3)
    ),
    layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
    layers.ReLU(max_value=float("inf")),
    layers.Dense(2, bias_initializer=keras.initializers.Constant(0.0)),
)
LOSSES = (losses.Huber(0.5), losses.CosineSimilarity(axis=1), losses.BinaryCrossentropy(from_logits=True))
OPTIMIZERS = (
    optimizers.Adam(2e-4, beta_1=0.5, epsilon=1e-5),
    optimizers.SGD(optimizers.schedules.PiecewiseConstantDecay([10], [0.1, 0.01]), nesterov=True),
    optimizers.RMSprop(0.01, rho=0.5, clipnorm=1.0),
)


@pytest.mark.parametrize("given", [*LAYERS, *LOSSES, *OPTIMIZERS], ids=lambda one: type(one).__name__)
def test_code_makes_the_same_object(given):
    if isinstance(given, layers.Layer):
        code = layer_code(type(given), given.get_config())
    else:
        code = (loss_code if isinstance(given, losses.Loss) else optimizer_code)(given)
    made = eval(code, {"keras": keras})
    old, new = (one.get_config() | getattr(one, "_fn_kwargs", {}) for one in (given, made))
    if isinstance(given, layers.Bidirectional):
        old, new = (one["layer"]["config"] for one in (old, new))
    old, new = (
        keras.tree.map_structure(lambda value: round(value, 7) if isinstance(value, float) else value, one)
        for one in (old | {"name": ""}, new | {"name": ""})
    )
    assert new == old


def test_defaults_are_left_out():
    assert layer_code(layers.Conv2D, layers.Conv2D(3, 3).get_config()) == "keras.layers.Conv2D(3, (3, 3))"


@pytest.mark.parametrize(
    ("squared", "expected"),
    [
        (lambda x: jnp.where(x > 0, jnp.abs(x), x * x), True),
        (lambda x: jnp.where(x > 0, jnp.abs(x), x), False),
        (lambda x: jnp.sum(jnp.square(x), -1), True),
        (lambda x: jnp.sum(x, -1), False),
    ],
)
def test_a_sigmoid_of_what_is_never_negative_is_one_sided(squared, expected):
    program = jax.make_jaxpr(lambda x: jax.nn.sigmoid(squared(x)))(jnp.ones((2, 3)))
    assert one_sided(program) == [expected]


def doubled(x):
    return 2 * x


def test_functions_are_named_and_lambdas_are_left_open():
    named = keras.layers.Lambda(doubled, output_shape=(3,)).get_config()
    assert layer_code(keras.layers.Lambda, named) == "keras.layers.Lambda(doubled, output_shape=[3])"
    unnamed = keras.layers.Dense(3, activation=lambda x: x).get_config()
    assert layer_code(keras.layers.Dense, unnamed) == "keras.layers.Dense(3, activation=...)"
