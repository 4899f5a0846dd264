"""Pure step functions of a Keras model: (state, batch) -> (state, logs).

They call the model's own ``train_step`` and ``test_step``, so that everything Keras gives (regularisers,
constraints, clipping, loss scaling, gradient accumulation, EMA, custom losses and metrics, overridden steps)
means here what it means there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kilter import backend  # noqa: F401

# isort: split
import keras

from kilter.engine.bridge import State
from kilter.engine.objective import stable_losses
from kilter.engine.scheduling import Schedule, momentum_set, scheduler

Batch = Any
Logs = dict[str, jax.Array]
Step = Callable[..., tuple[State, Logs]]  # (state, batch), and whatever arrays the program is given for it


def train_step(model: keras.Model, schedule: Schedule | None = None) -> Step:
    """The model's training step as a pure function.

    ``schedule`` gives the learning rate, and the momentum if it cycles that, of each step. Logs are empty
    unless the model overrides ``train_step``: the stock step's logs are the results of its metrics, which the
    state carries.
    """
    schedule_in = scheduler(model, schedule)
    keep_logs = _overrides(model, "train_step")

    def step(state: State, batch: Batch) -> tuple[State, Logs]:
        scheduled, momentum = schedule_in(state.optimizer)
        given = (state.trainable, state.non_trainable, scheduled, state.metrics)
        with stable_losses(model), momentum_set(model, momentum):
            logs, (trainable, non_trainable, optimizer, metrics) = model.train_step(given, batch)
        new = _like(State(trainable, non_trainable, optimizer, metrics), state)
        return new, (_arrays(logs) if keep_logs else {})

    return step


def test_step(model: keras.Model) -> Step:
    """The model's evaluation step as a pure function; the optimiser's part of the state is passed through."""
    keep_logs = _overrides(model, "test_step")

    def step(state: State, batch: Batch) -> tuple[State, Logs]:
        given = (state.trainable, state.non_trainable, state.metrics)
        with stable_losses(model):
            logs, (trainable, non_trainable, metrics) = model.test_step(given, batch)
        new = _like(State(trainable, non_trainable, state.optimizer, metrics), state)
        return new, (_arrays(logs) if keep_logs else {})

    return step


def _overrides(model: keras.Model, name: str) -> bool:
    return getattr(type(model), name) is not getattr(keras.Model, name)


def _like(new: State, old: State) -> State:
    # The carry of a compiled loop keeps its dtypes; Keras may widen one (a float metric in mixed precision).
    return jax.tree.map(lambda value, model: jnp.asarray(value, model.dtype), new, old)


def _arrays(logs: Any) -> Logs:
    return {name: jnp.asarray(value) for name, value in logs.items()}
