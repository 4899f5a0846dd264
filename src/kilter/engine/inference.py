"""Evaluation and prediction in compiled calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kilter import backend  # noqa: F401

# isort: split
import keras

from kilter.engine.batches import Rows, check_batch_size, collect
from kilter.engine.bridge import build, build_forward, fitting
from kilter.engine.checks import check_inputs, check_targets
from kilter.engine.feed import Order, ResidentFeed
from kilter.engine.loop import evaluate_feed, testing
from kilter.engine.program import owners, shelf, take

# How many bytes of predictions are made on the device before they go to the host.
_OUTPUT_BYTES = 1 << 28
_WIDEST = 8  # bytes of a number of the widest type


def evaluate(
    model: keras.Model, x: Any, y: Any = None, *, sample_weight: Any = None, batch_size: int = 256
) -> dict[str, float]:
    """Loss and metrics of a compiled model by name, as ``model.evaluate(..., return_dict=True)``.

    Metrics are exact means over the rows, also when the last batch is smaller. Neither weights nor
    batch-normalisation statistics change. Raises :class:`~kilter.errors.DataError` for data that do not fit.
    """
    check_batch_size(batch_size)
    rows = collect(x, y, sample_weight)
    feed = ResidentFeed(rows, Order(batch_size, shuffle=False, seed=0))
    check_inputs(model, rows)
    build(model, feed.example(), training=False)
    check_targets(model, rows)
    return evaluate_feed(model, testing(model), feed)


def predict(model: keras.Model, x: Any, *, batch_size: int = 256) -> Any:
    """The model's outputs in inference mode as NumPy arrays, rows first, in the structure the model returns.

    The model need not be compiled. Raises :class:`~kilter.errors.DataError` for inputs that do not fit.
    """
    check_batch_size(batch_size)
    rows = collect(x)
    check_inputs(model, rows)
    build_forward(model, jax.tree.map(lambda leaf: leaf[:1], rows.data[0]))
    variables = (
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
    )
    return _predict_rows(model, variables, rows, min(batch_size, rows.count))


def _predict_rows(model: keras.Model, variables: Any, rows: Rows, size: int) -> Any:
    x = rows.data[0]
    order = np.arange(rows.count, dtype=np.int32)
    whole = rows.count - rows.count % size
    with fitting(model, rows.data):
        bytes_a_batch = _output_bytes(model, variables, x, size)
        batches = max(1, min(whole // size, _OUTPUT_BYTES // max(bytes_a_batch, 1)))
        pieces = [
            order[start : start + batches * size].reshape(-1, size)
            for start in range(0, whole, batches * size)
        ]
        if whole < rows.count:
            pieces.append(order[whole:].reshape(1, -1))
        parts = [_predict_piece(model, variables, x, jnp.asarray(piece)) for piece in pieces]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _output_bytes(model: keras.Model, variables: Any, x: Any, size: int) -> int:
    """Bytes of the predictions of ``size`` rows, as declared; else from a trace, which takes its time."""
    declared = [tensor.shape[1:] for tensor in getattr(model, "outputs", None) or []]
    if declared and all(None not in shape for shape in declared):
        return sum(math.prod(shape) for shape in declared) * size * _WIDEST
    outputs = jax.eval_shape(lambda: _forward(model)(variables, take(x, jnp.zeros(size, jnp.int32))))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(outputs))


def _predict_piece(model: keras.Model, variables: Any, x: Any, order: jax.Array) -> Any:
    arguments = (variables, x, order)
    program = shelf(model).get("predict", owners(model), lambda: _predict_program(_forward(model)), arguments)
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), program(*arguments))


def _forward(model: keras.Model) -> Callable[..., Any]:
    options = {"training": False} if model._call_has_training_arg else {}

    def forward(variables: Any, batch: Any) -> Any:
        return model.stateless_call(*variables, batch, **options)[0]

    return forward


def _predict_program(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(variables: Any, x: Any, order: jax.Array) -> Any:
        return lax.map(lambda rows: forward(variables, take(x, rows)), order)

    return run
