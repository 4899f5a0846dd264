"""Trial steps: a recorded training of a copy of the model's variables.

Nothing is written back, so the model is unchanged even if an error or Ctrl-C ends the trial.
"""

import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.arrays import is_array, row_count
from kilter._engine.augmenting import augmented, check_augmentation
from kilter._engine.batch_feed import BatchFeed
from kilter._engine.feed import Order
from kilter._engine.fit import AnyFeed, prepare, training_feed
from kilter._engine.host_rows import take
from kilter._engine.interrupt import Interrupt
from kilter._engine.loop import Chunk, Runner
from kilter._engine.step import Batch, Schedule, like, train_step
from kilter._models.variables import State, pull
from kilter._progress import SILENT, Progress
from kilter._validation import whole_number
from kilter.data.augmentation import Augmentation
from kilter.errors import ModelError, OptionError

# A trial can stop between chunks. The first chunk is short, to time the steps.
_FIRST_CHUNK = 25

LossStep = Callable[[State, Batch], tuple[State, Any]]
TrialStep = Callable[[State, Batch, Any], tuple[State, jax.Array]]
"""``(state, batch, given) -> (state, numbers to record [width])``; pure."""


class Trial(NamedTuple):
    """The state of a trial: step i gets the i-th elements of ``given``.

    ``recorded``: float32 [steps, width], NaN for steps to come; ``step``: the number of steps done.
    """

    state: State
    given: Any
    recorded: jax.Array
    step: jax.Array


def trial_feed(
    model: keras.Model,
    x: Any,
    y: Any,
    sample_weight: Any,
    class_weight: Mapping[int, float] | None,
    *,
    batch_size: int,
    steps: int,
    seed: int,
    shuffle: bool = True,
    augmentation: Augmentation | None = None,
) -> AnyFeed:
    """Check data and model as :func:`kilter.fit` does, and make the feed of ``steps`` batches.

    Only the rows used are copied. Arrays make whole batches only: one program, equally noisy losses.
    """
    whole_number("batch_size", batch_size, 1)
    whole_number("seed", seed, 0)
    order = Order(batch_size, shuffle=shuffle, seed=seed)
    if is_array(x):
        count = row_count(x=x, y=y, sample_weight=sample_weight)
        order = replace(order, batch_size=min(batch_size, count))
        used: Any = slice(count - count % order.batch_size)
        if steps * order.batch_size <= count:
            used = order.rows(count, 0)[: steps * order.batch_size]
            order = replace(order, shuffle=False)
        x, y, sample_weight = jax.tree.map(
            lambda leaf: (leaf.to_numpy() if hasattr(leaf, "to_numpy") else leaf)[used], (x, y, sample_weight)
        )
    feed = training_feed(x, y, sample_weight, class_weight, order)
    prepare(model, feed)
    if augmentation is not None:
        check_augmentation(model, augmentation, feed.example())
    return feed


def with_augmentation(
    model: keras.Model, step: LossStep, augmentation: Augmentation | None, seed: int
) -> LossStep:
    """``step`` on batches augmented as in a training with ``seed``; ``step`` itself without augmentation."""
    if augmentation is None:
        return step
    changed: Any = augmented(model, step, augmentation)
    return lambda state, batch: changed(state, batch, jnp.uint32(seed % 2**32))


def trial_batches(feed: AnyFeed, steps: int) -> Iterator[Batch]:
    """At most ``steps`` batches of a trial's feed on the device; :class:`OptionError` for an iterable."""
    if isinstance(feed, BatchFeed):
        raise OptionError(
            expected="x as arrays, rows first",
            received=f"{type(feed.source).__name__}",
            remedy="pass some rows of the training data as arrays; a few thousand are enough",
        )
    every = (take(block.data, block.order[step]) for block in feed.blocks(0) for step in range(block.steps))
    return itertools.islice(every, steps)


def run_trial(
    model: keras.Model,
    name: Hashable,
    make: Callable[[], TrialStep],
    feed: AnyFeed,
    *,
    steps: int,
    width: int = 1,
    given: Any = None,
    enough: Callable[[np.ndarray], bool] = lambda recorded: False,
    progress: Progress = SILENT,
    stage: str = "Trial: step",
) -> np.ndarray:
    """Train a copy of the model for ``steps`` steps; returns the records, float64 [steps done, width].

    ``name``: of the program in the model's cache. ``enough``: True for the records so far stops the trial.
    ``progress`` shows ``stage`` and the steps done.
    """
    recorded = jnp.full((steps, width), jnp.nan, jnp.float32)
    trial: Any = Trial(pull(model), jax.tree.map(jnp.array, given), recorded, jnp.int32(0))
    runner = Runner(model, name, lambda: _recording(make()), steps_a_chunk=_FIRST_CHUNK)

    def is_over(trial: Any) -> bool:
        return int(trial.step) >= steps or enough(_recorded(trial))

    def between(chunk: Chunk) -> Any:
        progress.stage(stage, min(int(chunk.state.step), steps), steps)  # type: ignore[attr-defined]
        return None if interrupt.asked() or is_over(chunk.state) else chunk.state

    progress.stage(stage, 0, steps, detail="compiling")
    with Interrupt() as interrupt:
        for epoch in itertools.count():
            chunk = runner.run(feed, epoch, trial, between)
            interrupt.check()
            if chunk is None:
                break
            trial = chunk.state
            if is_over(trial):
                break
    return _recorded(trial)


def step_with_loss(model: keras.Model, schedule: Schedule | None = None) -> LossStep:
    """The model's training step and the loss of its batch: before the update, with all penalties, unscaled.

    Metrics are reset at each step. An overridden ``train_step`` must return its ``"loss"``.
    """
    train = train_step(model, schedule)

    def step(state: State, batch: Batch) -> tuple[State, jax.Array]:
        state, logs = train(fresh_metrics(model, state), batch)
        return state, loss_of_step(model, state, logs)

    return step


def fresh_metrics(model: keras.Model, state: State) -> State:
    """The state with reset metrics."""
    fresh = [value for metric in model.metrics for value in metric.stateless_reset_state()]
    return state._replace(metrics=like(fresh, state.metrics))


def loss_of_step(model: keras.Model, state: State, logs: Mapping[str, jax.Array] | None) -> jax.Array:
    """The loss of a step that began with reset metrics: its log, or the value of the loss tracker."""
    if logs is not None and "loss" in logs:
        return logs["loss"]
    tracker: Any = model._loss_tracker
    places = {id(variable): place for place, variable in enumerate(model.metrics_variables)}
    if logs is not None or not all(id(variable) in places for variable in tracker.variables):
        raise ModelError(
            expected=f'a train_step of model {model.name!r} that returns its "loss"',
            received=f"one that returns {sorted(logs or {})}",
            remedy='add "loss" to the dictionary that train_step returns',
        )
    return tracker.stateless_result([state.metrics[places[id(variable)]] for variable in tracker.variables])


def _recording(step: TrialStep) -> Any:
    def record(trial: Trial, batch: Batch) -> tuple[Trial, dict[str, jax.Array]]:
        given = jax.tree.map(lambda array: array[trial.step], trial.given)
        state, values = step(trial.state, batch, given)
        # A step past the last, at the end of a chunk, writes nothing: JAX drops out-of-bounds updates.
        recorded = trial.recorded.at[trial.step].set(values.astype(trial.recorded.dtype))
        return Trial(state, trial.given, recorded, trial.step + 1), {}

    return record


def _recorded(trial: Any) -> np.ndarray:
    return np.asarray(trial.recorded, np.float64)[: int(trial.step)]
