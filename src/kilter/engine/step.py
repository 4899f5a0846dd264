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
from kilter.errors import OptionError

Batch = Any
Logs = dict[str, jax.Array]
Step = Callable[[State, Batch], tuple[State, Logs]]
Schedule = Callable[[jax.Array], Any]


def train_step(model: keras.Model, schedule: Schedule | None = None) -> Step:
    """The model's training step as a pure function.

    ``schedule`` maps the optimiser's iteration (int array, shape ()) to the learning rate of that step; it is
    traced. Logs are empty unless the model overrides ``train_step``: the stock step's logs are the results of
    its metrics, which the state carries.
    """
    set_rate = _rate_setter(model, schedule) if schedule is not None else lambda values: values
    keep_logs = _overrides(model, "train_step")

    def step(state: State, batch: Batch) -> tuple[State, Logs]:
        given = (state.trainable, state.non_trainable, set_rate(state.optimizer), state.metrics)
        with stable_losses(model):
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


def _rate_setter(model: keras.Model, schedule: Schedule) -> Callable[[list[jax.Array]], list[jax.Array]]:
    """A function that writes ``schedule(iteration)`` into the optimiser's learning-rate slot."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    names = {id(variable): index for index, variable in enumerate(model.optimizer.variables)}
    rate = names.get(id(optimizer._learning_rate))
    iterations = names[id(optimizer.iterations)]
    if rate is None:
        raise OptionError(
            expected="an optimiser with a constant learning rate, which schedule= then sets",
            received=f"{type(optimizer).__name__} that already has a schedule of its own, and schedule=",
            remedy="give the schedule once, either to the optimiser or to kilter.fit",
        )

    def set_rate(values: list[jax.Array]) -> list[jax.Array]:
        new = jnp.asarray(schedule(values[iterations]), values[rate].dtype)
        return [new if index == rate else value for index, value in enumerate(values)]

    return set_rate
