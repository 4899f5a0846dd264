"""Several training runs of one model in one program, each with its own initial state and row order.

For accelerators. On a CPU, one run after another is faster (docs/decisions/016-batched-trainings.md).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.feed import Order, ResidentFeed
from kilter._engine.fit import prepare, training_feed
from kilter._engine.loop import metric_logs
from kilter._engine.program_cache import owners, shelf
from kilter._engine.step import train_step
from kilter._engine.step_loop import steps_program
from kilter._models.optimizers import slot_index
from kilter._models.variables import State, fitting, pull, push
from kilter.errors import OptionError

Logs = tuple[Mapping[str, float], ...]


def fit_together(
    model: keras.Model,
    states: Sequence[State],
    x: Any,
    y: Any,
    orders: Sequence[Order],
    *,
    rates: Sequence[float | None],
    class_weight: Mapping[int, float] | None = None,
) -> list[tuple[State, Logs]]:
    """Train from each of ``states`` with the rows in its order; returns the final state and logs of each.

    ``rates``: the learning rate of each epoch, None for the state's own. The orders may differ only in their
    seeds. The numbers equal those of :func:`kilter.fit`, to rounding. The model's variables are overwritten.
    """
    feed = training_feed(x, y, None, class_weight, orders[0])
    if not isinstance(feed, ResidentFeed):
        raise OptionError(
            expected="arrays that fit on the device, to train on them together",
            received="rows that have to be streamed",
            remedy="train one after another",
        )
    prepare(model, feed)
    feeds = [ResidentFeed(feed.rows, order, place=feed.place) for order in orders]
    push(states[0], model)
    model.reset_metrics()
    fresh = pull(model).metrics
    stacked, logs = _stacked(states), [list[Mapping[str, float]]() for _ in states]
    for epoch, rate in enumerate(rates):
        stacked = stacked._replace(metrics=_stacked([fresh] * len(states)))
        if rate is not None:
            stacked = _rated(model, stacked, rate)
        for blocks in zip(*(one.blocks(epoch) for one in feeds), strict=True):
            stacked, _ = _run(model, stacked, blocks)
        for number, found in enumerate(logs):
            push(_one(stacked, number), model)
            found.append(metric_logs(model, None))
    return [(_finished(model, _one(stacked, number)), tuple(found)) for number, found in enumerate(logs)]


def _finished(model: keras.Model, state: State) -> State:
    """The final state: an optimiser may replace the last weights by other values."""
    push(state, model)
    if isinstance(model.optimizer, keras.optimizers.Optimizer):
        model.optimizer.finalize_variable_values(model.trainable_weights)
    return pull(model)


def _run(model: keras.Model, stacked: State, blocks: Sequence[Any]) -> Any:
    first = blocks[0]
    order = jnp.stack([jnp.asarray(block.order) for block in blocks])
    arguments = (stacked, first.data, order, jnp.int32(0), jnp.int32(first.steps))
    with fitting(model, first.data):
        program = shelf(model).get(
            ("train together", len(blocks)),
            owners(model),
            lambda: jax.vmap(steps_program(train_step(model)), in_axes=(0, None, 0, None, None)),
            arguments,
            donate=(0,),
        )
    return program(*arguments)


def _rated(model: keras.Model, stacked: State, rate: float) -> State:
    place = slot_index(model, "learning_rate")
    optimizer = list(stacked.optimizer)
    optimizer[place] = jnp.full_like(optimizer[place], rate)
    return stacked._replace(optimizer=optimizer)


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *trees)


def _one(stacked: State, number: int) -> State:
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf[number])), stacked)
