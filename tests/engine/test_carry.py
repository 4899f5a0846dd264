"""The state that goes into a step has the structure, shapes and dtypes of the one that comes out."""

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
import pytest

from kilter._engine import step
from kilter._engine.step_loop import steps_program
from kilter._models.variables import State, build, pull, push, variables

from .cases import classifier, rows, same_bits
from .test_model_kinds import two_headed, two_headed_rows

layers, optimizers = keras.layers, keras.optimizers
BFLOAT = keras.DTypePolicy("mixed_bfloat16")
FLOAT16 = keras.DTypePolicy("mixed_float16")

MODELS: dict[str, Callable[[], keras.Model]] = {
    "sgd": lambda: classifier("sgd"),
    "normalised, with dropout": lambda: classifier(
        "nadam", hidden=lambda: [layers.BatchNormalization(), layers.Dropout(0.5)]
    ),
    "adafactor": lambda: classifier(optimizers.Adafactor(0.01)),
    "accumulated": lambda: classifier(optimizers.Adam(0.1, gradient_accumulation_steps=2)),
    "averaged": lambda: classifier(optimizers.Adam(0.1, use_ema=True)),
    "scaled": lambda: classifier(optimizers.LossScaleOptimizer(optimizers.Adam(0.1))),
    "bfloat16": lambda: classifier("adam", hidden=lambda: [layers.BatchNormalization()], dtype=BFLOAT),
    "float16": lambda: classifier("adam", dtype=FLOAT16),
    "two heads": lambda: two_headed(named=True),
}


def _layout(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def _example(name: str, model: keras.Model) -> Any:
    x, y = two_headed_rows(named=True) if name == "two heads" else rows(16)
    batch = (x, y, None)
    build(model, batch)
    return batch


@pytest.mark.parametrize("name", MODELS)
def test_a_step_keeps_the_layout_of_the_state(name: str):
    model = MODELS[name]()
    batch = _example(name, model)
    state = pull(model)
    for taken in (step.train_step(model), step.test_step(model, logged=False)):
        after, logs = jax.eval_shape(taken, state, batch)
        assert _layout(after) == _layout(state)
        assert logs is None


def test_a_program_keeps_the_layout_of_the_state():
    model = MODELS["normalised, with dropout"]()
    data = _example("normalised, with dropout", model)
    state, order = pull(model), np.arange(16, dtype="int32").reshape(2, 8)
    after, _ = jax.eval_shape(
        steps_program(step.train_step(model)), state, data, order, np.int32(0), np.int32(2)
    )
    assert _layout(after) == _layout(state)


def test_a_program_of_no_steps_gives_the_state_back():
    model = MODELS["sgd"]()
    data = _example("sgd", model)
    state, order = pull(model), np.arange(16, dtype="int32").reshape(2, 8)
    after, _ = jax.jit(steps_program(step.train_step(model)))(state, data, order, np.int32(1), np.int32(1))
    for one, other in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_pull_copies_and_push_writes_everything_back():
    model, other = MODELS["averaged"](), MODELS["averaged"]()
    for each in (model, other):
        _example("averaged", each)
    state = pull(model)
    held = [variable.value for group in variables(model) for variable in group]
    assert all(copy is not value for copy, value in zip(jax.tree.leaves(state), held, strict=True))
    changed = State(*([leaf + 1 for leaf in group] for group in state))
    push(changed, model)
    assert not same_bits(model, other)
    for got, expected in zip(jax.tree.leaves(pull(model)), jax.tree.leaves(changed), strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))
