"""Evaluation and prediction in compiled calls."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax

from kilter._array_types import Arrays
from kilter._engine.arrays import FiniteCheck, Rows, is_array, row_count
from kilter._engine.batch_feed import BatchFeed
from kilter._engine.batch_hooks import BatchHooks, callback_list
from kilter._engine.checks import check_inputs
from kilter._engine.devices import Devices, Placement, on_devices, placement
from kilter._engine.feed import Block, Order
from kilter._engine.fit import (
    AnyFeed,
    check_ids,
    checked_size,
    counted_steps,
    prepare,
    training_feed,
)
from kilter._engine.host_rows import take
from kilter._engine.loop import Chunk, evaluate_feed, testing
from kilter._engine.overrides import check_loop, overrides
from kilter._engine.padding import padded
from kilter._engine.program_cache import Programs, owners
from kilter._engine.stable_losses import from_logits
from kilter._engine.step import PredictStep, predict_step
from kilter._engine.step_loop import located, looks_for_nan, runs_eagerly
from kilter._models.layers import require_model
from kilter._models.variables import assign, build_forward, fitting, values, values_kept
from kilter._progress import QUICK, Verbose, shown
from kilter._xla.rewrite import rewriting

# Bytes of predictions on the device before they move to the host.
_OUTPUT_BYTES = 1 << 28
_WIDEST = 8  # bytes of the widest dtype
_MOST_AT_ONCE: Final = 512  # rows

Callbacks = Sequence[keras.callbacks.Callback] | keras.callbacks.Callback | None


def evaluate(
    model: keras.Model,
    x: Arrays,
    y: Arrays | None = None,
    *,
    sample_weight: Arrays | None = None,
    batch_size: int | None = 256,
    steps: int | None = None,
    callbacks: Callbacks = (),
    return_dict: bool = True,
    stable_loss: bool = True,
    rewrite: bool = True,
    devices: Devices = None,
    verbose: Verbose = "auto",
) -> Any:
    """Loss and metrics of a compiled model by name, as ``model.evaluate(..., return_dict=True)``.

    ``x`` may also be an iterable of batches ``(x, y)`` or ``(x, y, sample_weight)``, or a generator of them.
    ``steps``: use only the first so many batches; None uses all. Metrics are exact means over the rows, also
    when the last batch is smaller. ``batch_size=None`` is Keras's: 32, or with ``steps`` all rows in so many
    batches. ``callbacks``: Keras's, with ``on_test_`` hooks, called as in Keras; ``model.stop_evaluating``
    ends the call. ``return_dict=False`` returns a list in Keras's order. ``stable_loss``, ``rewrite``,
    ``devices`` and ``verbose``: as in :func:`kilter.fit`; by default a call shows what it does if it takes
    long.

    Weights and batch-normalisation statistics do not change. As in Keras, the state that inference changes
    (random seeds, the states of a stateful recurrent layer) is carried from batch to batch and stays in the
    model.

    Raises:
        DataError: if the data do not fit.
        ModelError: if the model overrides Keras's evaluation loop.
    """
    require_model(model)
    limit, counted = counted_steps(model, steps, "steps")
    order = Order(checked_size(batch_size, x, limit), shuffle=False, seed=0)
    with on_devices(model, devices):
        feed = training_feed(x, y, sample_weight, None, order, steps=counted, once=True, check="warn")
        prepare(model, feed, training=False)
        feed = padded(model, feed, "test")
        told = callback_list(model, callbacks, verbose, 1, limit or feed.steps)
        hooks = BatchHooks.of(model, told, "test")
        with from_logits(stable_loss), rewriting(rewrite), shown(verbose, after=QUICK) as progress:
            progress.stage("Evaluating")

            def between(chunk: Chunk) -> None:
                progress.stage("Evaluating: batch", chunk.last + 1, feed.steps or 0)

            told.on_test_begin()
            found = evaluate_feed(model, testing(model, hooks.every), feed, between, hooks, restores=False)
            told.on_test_end(found)
    return found if return_dict else model._flatten_metrics_in_order(found)


def predict(
    model: keras.Model,
    x: Arrays,
    *,
    batch_size: int | None = 256,
    steps: int | None = None,
    callbacks: Callbacks = (),
    devices: Devices = None,
    verbose: Verbose = "auto",
) -> Any:
    """The outputs of the model's ``predict_step`` as NumPy arrays, rows first, in the same structure.

    ``x`` may also be an iterable of batches; only their first part is used, unless the model overrides
    ``predict_step``. ``steps``: use only the first so many batches; None uses all. The model need not be
    compiled. ``batch_size=None`` is Keras's: 32, or with ``steps`` all rows in so many batches.
    ``callbacks``: Keras's, with ``on_predict_`` hooks, called as in Keras; ``model.stop_predicting`` ends the
    call. ``devices`` and ``verbose``: as in :func:`kilter.fit`; by default a call shows what it does if it
    takes long.

    As in Keras, the state that inference changes (random seeds, the states of a stateful recurrent layer) is
    carried from batch to batch and stays in the model. Random numbers equal Keras's for the same
    ``batch_size``.

    Raises:
        DataError: if the inputs do not fit.
        ModelError: if the model overrides Keras's prediction loop.
    """
    require_model(model)
    limit, counted = counted_steps(model, steps, "steps")
    batch_size = checked_size(batch_size, x, limit)
    check_loop(model, "predict")
    with on_devices(model, devices):
        feed = _inputs_feed(model, x, batch_size, counted)
        example, _, _ = feed.example()
        size = row_count(x=example)
        check_inputs(model, Rows((example, None, None), size))
        build_forward(model, jax.tree.map(lambda leaf: leaf[:1], example))
        check_ids(model, feed, "predict")
        told = callback_list(model, callbacks, verbose, 1, limit or feed.steps)
        hooks = BatchHooks.of(model, told, "predict")
        model.stop_predicting = False
        parts: list[Any] = []
        with shown(verbose, after=QUICK) as progress:
            progress.stage("Predicting")
            told.on_predict_begin()
            for part in _parts(model, feed, hooks):
                parts.append(part)
                progress.stage("Predicting: part", len(parts))
            told.on_predict_end()
    return _joined(parts)


def predict_unchanged(model: keras.Model, x: Any, *, batch_size: int = 256) -> Any:
    """Like :func:`predict`, but the model keeps every bit, including its random seeds."""
    with values_kept(model.non_trainable_variables):
        return predict(model, x, batch_size=batch_size, verbose=0)


def whole_batches(rows: int) -> int:
    """A batch size that divides the rows, so that one program serves them all; 512 if there is none.

    Example:
        >>> whole_batches(600), whole_batches(397), whole_batches(10_007)
        (300, 397, 512)
    """
    divisors = (size for size in range(_MOST_AT_ONCE, _MOST_AT_ONCE // 4, -1) if rows % size == 0)
    return next(divisors, rows if 0 < rows <= 2 * _MOST_AT_ONCE else _MOST_AT_ONCE)


def _inputs_feed(model: keras.Model, x: Any, batch_size: int, steps: int | None) -> AnyFeed:
    if not is_array(x):
        inputs_only = not overrides(model, "predict_step")
        feed = BatchFeed(x, most=steps, once=True, inputs_only=inputs_only, finite=FiniteCheck("warn"))
        if all(layer.built for layer in model._flatten_layers()):
            feed.hooks = ()  # Keras reads no batch before
        return feed
    # Fewer rows than a batch are one batch.
    order = Order(min(batch_size, row_count(x=x)), shuffle=False, seed=0)
    return training_feed(x, None, None, None, order, steps=steps, check="warn")


def _parts(model: keras.Model, feed: AnyFeed, hooks: BatchHooks) -> Iterator[Any]:
    """The outputs of consecutive batches; the hooks are called around those of an execution, or each part."""
    predictor = _Predictor(model)
    done, open_parts = 0, list[Any]()

    def end() -> None:
        first = done - 1 if hooks.every is None else (done - 1) // hooks.every * hooks.every
        outputs = _joined(open_parts)
        open_parts.clear()
        hooks.call("end", first + (hooks.every or 1) - 1, {"outputs": outputs})

    for block in feed.blocks(0):
        order, start = np.asarray(block.order), 0
        while start < block.steps and not model.stop_predicting:
            if hooks.told and not open_parts:
                hooks.call("begin", done)
                predictor.read()
            room = predictor.room(block) if hooks.every is None else hooks.every - done % hooks.every
            stop = min(start + room, block.steps)
            part = predictor.outputs(block.data, order[start:stop])
            done, start = done + stop - start, stop
            if hooks.told:
                predictor.write()
                open_parts.append(part)
                if hooks.every is None or done % hooks.every == 0:
                    end()
            yield part
        if model.stop_predicting:
            break
    if open_parts:
        end()
    if not hooks.told:
        predictor.write()


def _joined(parts: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


class _Predictor:
    """One call of :func:`predict`: the model's values, of which the non-trainable change with every batch."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._programs = Programs(model)
        self.read()

    def read(self) -> None:
        """Take the values that the model has now."""
        self._trainable, self._non_trainable = values(self._model)

    def write(self) -> None:
        """Give the model the values after the last batch."""
        assign(zip(self._model.non_trainable_variables, self._non_trainable, strict=True))

    def room(self, block: Block) -> int:
        """How many batches' outputs fit in memory at once."""
        # One by one if a block is not full: neither padding nor a separate program is worth it.
        count, size = block.order.shape
        if block.steps < count or runs_eagerly(self._model):
            return 1
        return max(1, _OUTPUT_BYTES // max(self._output_bytes(block.data, size), 1))

    def outputs(self, data: Any, order: np.ndarray) -> Any:
        """The outputs of some batches of a block."""
        placed = placement()
        arguments = (self._trainable, self._non_trainable, data, order)
        if placed is not None:
            arguments = placed.missing(arguments)
        if runs_eagerly(self._model):
            program = _eager_predictions(predict_step(self._model))
        else:
            with fitting(self._model, data):
                program = self._programs.get(
                    "predict" if placed is None else ("predict", placed),
                    owners(self._model),
                    lambda: _predict_program(predict_step(self._model), placed),
                    arguments,
                )
            if looks_for_nan():
                program = located(program, _eager_predictions(predict_step(self._model)))
        outputs, self._non_trainable = program(*arguments)
        return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), outputs)

    def _output_bytes(self, data: Any, size: int) -> int:
        """Bytes of the predictions of ``size`` rows, as declared, or from a trace, which takes longer."""
        stock = not overrides(self._model, "predict_step")
        declared = [tensor.shape[1:] for tensor in (stock and getattr(self._model, "outputs", None)) or []]
        if declared and all(None not in shape for shape in declared):
            return sum(math.prod(shape) for shape in declared) * size * _WIDEST
        with fitting(self._model, data):
            outputs, _ = jax.eval_shape(
                lambda: predict_step(self._model)(
                    self._trainable, self._non_trainable, take(data, jnp.zeros(size, jnp.int32))
                )
            )
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(outputs))


def _eager_predictions(step: PredictStep) -> Callable[..., Any]:
    def run(trainable: Any, state: Any, data: Any, order: jax.Array) -> Any:
        parts = []
        for rows in order:
            outputs, state = step(trainable, state, take(data, rows))
            parts.append(outputs)
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts), state

    return run


def _predict_program(step: PredictStep, placed: Placement | None = None) -> Callable[..., Any]:
    split, joined = (
        (lambda tree: tree, lambda tree: tree) if placed is None else (placed.split, placed.joined)
    )

    def run(trainable: Any, non_trainable: Any, data: Any, order: jax.Array) -> Any:
        def one(state: Any, rows: jax.Array) -> Any:
            outputs, new = step(trainable, state, split(take(data, rows)))
            return joined(new), outputs

        if len(order) == 1:  # a loop is compiled into slower code
            state, outputs = one(non_trainable, order[0])
            outputs = jax.tree.map(lambda leaf: leaf[None], outputs)
        else:
            state, outputs = lax.scan(one, non_trainable, order)
        return joined(outputs), state

    return run
