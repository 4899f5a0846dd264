"""Many steps as one program: a step in a loop over the batches of an order.

A program takes the state, the data and the order of the rows, and runs the steps ``start`` to ``stop`` in one
compiled loop. The bounds are traced, so one compilation serves a whole epoch, a part of one, and any number
of epochs; the rows of a batch are gathered on the device.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
from jax import lax

from kilter._engine.devices import Kept, kept_in_place
from kilter._engine.host_rows import take
from kilter._engine.padding import Padded
from kilter._engine.step import Step
from kilter._models.variables import State
from kilter._xla.rewrite import Layout, rewritten, trace, turn

Chunk = Callable[..., Any]


def batch_at(data: Any, order: Any, index: Any, *, split: bool, padded: bool = False) -> Any:
    """Batch ``index``: the rows of its order; or, of data already ``split`` into batches, that one.

    ``padded``: as in :class:`~kilter._engine.feed.Block`; gives a :class:`~kilter._engine.padding.Padded`.
    """
    if split:
        return jax.tree.map(lambda array: lax.dynamic_index_in_dim(array, index, keepdims=False), data)
    rows = order[index]
    if not padded:
        return take(data, rows)
    x, y, sample_weight = take(data, jnp.where(rows < 0, ~rows, rows))
    return Padded(x, y, sample_weight, rows >= 0)


def steps_program(
    step: Step, kept: Kept | None = None, *, split: bool = False, padded: bool = False, once: bool = False
) -> Chunk:
    """``(state, data, order, start, stop, *given) -> (state, last step's logs)`` over ``order[start:stop]``.

    ``order``: row numbers, shape (steps, batch). ``given``: arrays that every step gets beside its batch.
    ``kept``: where state and batch are, on several devices. ``split``: the data are batches, not rows.
    ``padded``: some rows only fill a batch. ``once``: run the first step alone, as traced and
    without a loop, which compiles faster.
    """

    def at(data: Any, order: jax.Array, index: Any) -> Any:
        return batch_at(data, order, index, split=split, padded=padded)

    def run(
        state: State, data: Any, order: jax.Array, start: jax.Array, stop: jax.Array, *given: jax.Array
    ) -> Any:
        if once:
            as_written = (False,) * len(jax.tree.leaves(state))
            return kept_in_place(step, kept, as_written)(state, at(data, order, 0), *given)
        batch = jax.eval_shape(lambda: at(data, order, 0))
        traced = trace(step, state, batch, *given)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), traced.result[1])

        def loop(fast: Callable[..., Any], layout: Layout) -> Any:
            placed = kept_in_place(fast, kept, layout)

            def body(index: jax.Array, carry: Any) -> Any:
                return placed(carry[0], at(data, order, index), *given)

            held, logs = lax.fori_loop(start, stop, body, (turn(state, layout), zeros))
            return turn(held, layout), logs

        return rewritten(traced, loop, batch_size=order.shape[1])

    return run


def eager_steps(step: Step) -> Chunk:
    """:func:`steps_program` without compilation, for ``run_eagerly``: each step runs as Python reads it."""

    def run(state: State, data: Any, order: jax.Array, start: int, stop: int, *given: jax.Array) -> Any:
        logs = None
        for index in range(int(start), int(stop)):
            state, logs = step(state, take(data, order[index]), *given)
        return state, logs

    return run


def runs_eagerly(model: keras.Model) -> bool:
    """Whether steps run as Python: with ``run_eagerly=True``, and within ``jax.disable_jit()``."""
    return model.run_eagerly or bool(setting("disable_jit"))


def looks_for_nan() -> bool:
    """Whether JAX looks for NaN or infinity in every result, as with ``JAX_DEBUG_NANS=True``."""
    return bool(setting("debug_nans") or setting("debug_infs"))


def setting(name: str) -> Any:
    """A setting of JAX, also one that is set for a part of a program."""
    return getattr(jax.config, f"jax_{name}")


def located(program: Callable[..., Any], eager: Callable[..., Any]) -> Callable[..., Any]:
    """``program``; where JAX finds a NaN in its results, ``eager`` finds the operation, as in ``jax.jit``."""

    def run(*arguments: Any) -> Any:
        try:
            return program(*arguments)
        except Exception as error:
            if type(error).__name__ != "InternalFloatingPointError":  # JAX has no public name for it
                raise
            eager(*arguments)
            raise FloatingPointError(
                "a NaN or an infinity in a result of the compiled step, which the same step has not if run "
                "operation by operation"
            ) from error

    return run
