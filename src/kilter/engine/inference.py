"""Evaluation and prediction in compiled calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kilter import backend  # noqa: F401

# isort: split
import keras

from kilter.engine.batch_feed import BatchFeed
from kilter.engine.batches import Rows, check_batch_size, is_array, row_count
from kilter.engine.bridge import State, build_forward, fitting
from kilter.engine.checks import check_inputs
from kilter.engine.feed import Block, Order
from kilter.engine.fit import AnyFeed, check_steps, prepare, training_feed
from kilter.engine.loop import Chunk, evaluate_feed, testing
from kilter.engine.program import owners, shelf, take
from kilter.progress import QUICK, Verbose, shown

# How many bytes of predictions are made on the device before they go to the host.
_OUTPUT_BYTES = 1 << 28
_WIDEST = 8  # bytes of a number of the widest type


def evaluate(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    batch_size: int = 256,
    steps: int | None = None,
    verbose: Verbose = "auto",
) -> dict[str, float]:
    """Loss and metrics of a compiled model by name, as ``model.evaluate(..., return_dict=True)``.

    ``x`` may be an iterable of batches ``(x, y)`` or ``(x, y, sample_weight)``, too, or a generator of them.
    ``steps``: the first so many batches are used, None for all.
    ``verbose``: as of :func:`kilter.fit`; by default a call shows what it does if it takes long.
    Metrics are exact means over the rows, also when the last batch is smaller. Neither weights nor
    batch-normalisation statistics change. Raises :class:`~kilter.errors.DataError` for data that do not fit.
    """
    check_batch_size(batch_size)
    check_steps(steps=steps)
    order = Order(batch_size, shuffle=False, seed=0)
    feed = training_feed(x, y, sample_weight, None, order, steps=steps, once=True)
    prepare(model, feed, training=False)
    with shown(verbose, after=QUICK) as progress:
        progress.stage("Evaluating")

        def between(chunk: Chunk) -> State:
            progress.stage("Evaluating: batch", chunk.last + 1, feed.steps or 0)
            return chunk.state

        return evaluate_feed(model, testing(model), feed, between)


def predict(
    model: keras.Model,
    x: Any,
    *,
    batch_size: int = 256,
    steps: int | None = None,
    verbose: Verbose = "auto",
) -> Any:
    """The model's outputs in inference mode as NumPy arrays, rows first, in the structure the model returns.

    ``x`` may be an iterable of batches, too, of whose parts only the first is used. ``steps``: the first so
    many batches are used, None for all. The model need not be compiled. ``verbose``: as of
    :func:`kilter.fit`; by default a call shows what it does if it takes long. Raises
    :class:`~kilter.errors.DataError` for inputs that do not fit.
    """
    check_batch_size(batch_size)
    check_steps(steps=steps)
    feed = _inputs_feed(x, batch_size, steps)
    example, _, _ = feed.example()
    size = row_count(x=example)
    check_inputs(model, Rows((example, None, None), size))
    build_forward(model, jax.tree.map(lambda leaf: leaf[:1], example))
    variables = (
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
    )
    with fitting(model, (example,)):
        rows = max(1, _OUTPUT_BYTES * size // max(_output_bytes(model, variables, example, size), 1))
    parts: list[Any] = []
    with shown(verbose, after=QUICK) as progress:
        progress.stage("Predicting")
        for block in feed.blocks(0):
            for part in _predict_block(model, variables, block, rows):
                parts.append(part)
                progress.stage("Predicting: part", len(parts))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _inputs_feed(x: Any, batch_size: int, steps: int | None) -> AnyFeed:
    if not is_array(x):
        return BatchFeed(x, most=steps, once=True, inputs_only=True)
    # Fewer rows than a batch are one of their own.
    order = Order(min(batch_size, row_count(x=x)), shuffle=False, seed=0)
    return training_feed(x, None, None, None, order, steps=steps)


def _predict_block(model: keras.Model, variables: Any, block: Block, rows: int) -> Iterator[Any]:
    """The outputs of a block's batches, of some ``rows`` at a time."""
    order = np.asarray(block.order)
    # One by one where a block is not full: the rows that fill it up are not worth predicting, nor is every
    # number of batches worth a program.
    length = max(1, rows // order.shape[1]) if block.steps == len(order) else 1
    for start in range(0, block.steps, length):
        yield _predict_piece(model, variables, block.data[0], order[start : start + length])


def _output_bytes(model: keras.Model, variables: Any, x: Any, size: int) -> int:
    """Bytes of the predictions of ``size`` rows, as declared; else from a trace, which takes its time."""
    declared = [tensor.shape[1:] for tensor in getattr(model, "outputs", None) or []]
    if declared and all(None not in shape for shape in declared):
        return sum(math.prod(shape) for shape in declared) * size * _WIDEST
    outputs = jax.eval_shape(lambda: _forward(model)(variables, take(x, jnp.zeros(size, jnp.int32))))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(outputs))


def _predict_piece(model: keras.Model, variables: Any, x: Any, order: np.ndarray) -> Any:
    arguments = (variables, x, jnp.asarray(order))
    with fitting(model, (x,)):
        program = shelf(model).get(
            "predict", owners(model), lambda: _predict_program(_forward(model)), arguments
        )
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
