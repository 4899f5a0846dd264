"""A yardstick: ``lax.scan`` over Keras's own stateless training step, with the data on the device."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from peers.conversation import Conversation, load, options
from peers.keras_model import compiled_model

State = tuple[list[jax.Array], ...]  # trainable, non-trainable, optimiser, metric variables


def state_of(model: keras.Model, x: np.ndarray, y: np.ndarray, batch_size: int) -> State:
    """Build optimiser and metrics; every variable's value, copied because it is donated."""
    model.optimizer.build(model.trainable_variables)
    model._symbolic_build(data_batch=(x[:batch_size], y[:batch_size]))
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    return tuple([jnp.array(variable.value) for variable in group] for group in groups)


def epoch_of(model: keras.Model, batch_size: int) -> Any:
    """A function (state, x, y, order) -> (state, loss): full batches in one scan, then the partial one."""

    def epoch(state: State, x: jax.Array, y: jax.Array, order: jax.Array) -> tuple[State, jax.Array]:
        def step(state: State, rows: jax.Array) -> tuple[State, jax.Array]:
            logs, state = model.train_step(state, (x[rows], y[rows]))
            return state, logs["loss"]

        state = (*state[:3], [jnp.zeros_like(value) for value in state[3]])
        full = len(order) // batch_size * batch_size
        state, losses = jax.lax.scan(step, state, order[:full].reshape(-1, batch_size))
        if full == len(order):
            return state, losses[-1]
        return step(state, order[full:])

    return jax.jit(epoch, donate_argnums=0)


def main() -> None:
    """Serve epochs until told to stop."""
    talk, chosen = Conversation(), options()
    x, y = load(chosen.workload, chosen.data)
    model = compiled_model(chosen.workload)
    state = state_of(model, x, y, chosen.workload.batch_size)
    epoch = epoch_of(model, chosen.workload.batch_size)
    x_device, y_device = jnp.asarray(x), jnp.asarray(y)
    generator = np.random.default_rng(0)
    talk.ready("keras", "jax", "jaxlib", "numpy")
    while talk.epoch_wanted():
        begin = time.perf_counter()
        order = jnp.asarray(generator.permutation(len(x)).astype(np.int32))
        state, loss = jax.block_until_ready(epoch(state, x_device, y_device, order))
        talk.report(time.perf_counter() - begin, float(loss))


if __name__ == "__main__":
    main()
