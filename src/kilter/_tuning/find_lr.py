"""``find_lr``: the learning-rate range test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._array_types import Arrays
from kilter._engine.augmenting import Augment, as_augmentation
from kilter._engine.feed import Order, single_steps
from kilter._engine.fit import prepare, training_feed
from kilter._engine.loop import training
from kilter._engine.padding import padded
from kilter._engine.step import Batch
from kilter._models.optimizers import inner_optimizer, optimizer_slot, slot_index
from kilter._models.variables import State
from kilter._progress import QUICK, Verbose, shown
from kilter._tuning.rate_curve import LEAST_STEPS, FoundRate, divergence, read_curves
from kilter._tuning.trial import (
    TrialStep,
    fresh_metrics,
    loss_of_step,
    run_trial,
    step_with_loss,
    trial_feed,
    with_augmentation,
)
from kilter._validation import number, whole_number
from kilter.data.augmentation import Augmentation
from kilter.errors import ModelError


def find_lr(
    model: keras.Model,
    x: Arrays,
    y: Arrays | None = None,
    *,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 300,
    batch_size: int = 32,
    seed: int = 0,
    seeds: int = 1,
    shuffle: bool = True,
    sample_weight: Arrays | None = None,
    class_weight: Mapping[int, float] | None = None,
    augment: Augment | None = None,
    verbose: Verbose = "auto",
) -> FoundRate:
    """Find the learning rate to train a compiled model with; the model does not change.

    kilter trains a copy for ``steps`` steps. The rate grows exponentially from ``low`` to ``high``: rate_i =
    low · (high / low)^(i / (steps - 1)); the search stops when the loss diverges. The suggestion is a tenth
    of the rate of divergence, or the rate at which nine tenths of the fall of the smoothed loss are done if
    that is lower (Smith 2015, Cyclical Learning Rates; Géron, Hands-On Machine Learning, ch. 11).

    Args:
        model: compiled, with a Keras optimiser that has a single learning rate.
        x, y: as for :func:`kilter.fit`. Only the rows used are copied.
        low: the first rate, which should change nothing yet.
        high: the last rate, unless the loss diverges earlier.
        steps: from ``low`` to ``high``, at least 20.
        batch_size: rows per step; the suggestion is for this size.
        seed: draws the order of the rows and the augmentation, as in :func:`kilter.fit`.
        seeds: the number of searches, each with another row order; the result uses their median loss.
        shuffle, augment: as of :func:`kilter.fit`.
        sample_weight: a weight for each row; or ``class_weight``: one for each class's rows.
        verbose: as of :func:`kilter.fit`; by default only a long search shows its steps.

    Raises :class:`~kilter.errors.ModelError` if the loss never falls by more than chance, and for an
    optimiser with a schedule or several rates; :class:`~kilter.errors.DataError` and
    :class:`~kilter.errors.OptionError` as :func:`kilter.fit` does.

    Example:
        >>> import keras, kilter, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(256, 4))
        >>> model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> found = kilter.find_lr(model, x, x.sum(axis=1), seed=1, verbose=0)
        >>> 0.001 < found.suggestion < found.diverged_at / 9
        True
    """
    _check_options(low, high, steps, seeds)
    _check_optimizer(model)
    augmentation = as_augmentation(augment)
    lrs = np.geomspace(low, high, steps)
    curves = np.full((seeds, steps), np.nan)
    with shown(verbose, after=QUICK) as progress:
        for number in range(seeds):
            feed = trial_feed(
                model,
                x,
                y,
                sample_weight,
                class_weight,
                batch_size=batch_size,
                steps=steps,
                seed=seed + number,
                shuffle=shuffle,
                augmentation=augmentation,
            )
            losses = run_trial(
                model,
                ("find_lr", augmentation, seed if augmentation else 0),
                lambda: _rate_step(model, augmentation, seed),
                feed,
                steps=steps,
                given=lrs.astype(np.float32),
                enough=lambda recorded: divergence(recorded[:, 0], steps) is not None,
                progress=progress,
                stage=f"Learning rate search {number + 1} of {seeds}: step",
            )
            curves[number, : len(losses)] = losses[:, 0]
    return read_curves(lrs, curves)


def find_lr_by_steps(
    model: keras.Model,
    state: State,
    x: Any,
    y: Any,
    *,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 300,
    batch_size: int = 32,
    seed: int = 0,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
) -> FoundRate:
    """:func:`find_lr` from ``state``, step by step in the program that trains ``model`` on these data.

    Slower, but compiles nothing if the model is trained on these data anyway.
    """
    _check_options(low, high, steps, 1)
    _check_optimizer(model)
    lrs = np.geomspace(low, high, steps)
    feed = training_feed(x, y, sample_weight, class_weight, Order(batch_size, True, seed, most=steps))
    prepare(model, feed)
    feed = padded(model, feed, "train")  # as it is trained
    runner, place = training(model), slot_index(model, "learning_rate")
    losses: list[float] = []
    for rate, (block, start) in zip(lrs, single_steps(feed, steps), strict=True):
        state = fresh_metrics(model, state)
        state.optimizer[place] = jnp.asarray(rate, state.optimizer[place].dtype)
        state, logs = runner.call(state, block, start, start + 1)
        losses.append(float(loss_of_step(model, state, logs)))
        if divergence(np.array(losses), steps) is not None:
            break
    curve = np.full((1, steps), np.nan)
    curve[0, : len(losses)] = losses
    return read_curves(lrs, curve)


def _rate_step(model: keras.Model, augmentation: Augmentation | None, seed: int) -> TrialStep:
    """The model's training step at a given rate; records the batch's loss before the update."""

    def step(state: State, batch: Batch, rate: jax.Array) -> tuple[State, jax.Array]:
        train = step_with_loss(model, schedule=lambda iteration: rate)
        state, loss = with_augmentation(model, train, augmentation, seed)(state, batch)
        return state, loss[None]

    return step


def _check_options(low: float, high: float, steps: int, seeds: int) -> None:
    whole_number("steps", steps, LEAST_STEPS)
    whole_number("seeds", seeds, 1)
    number("low", low, above=0, remedy="pass a rate that changes nothing yet, such as 1e-7")
    number("high", high, above=low, remedy="pass a rate that is too high for training, such as 10.0")


def _check_optimizer(model: keras.Model) -> None:
    slot = optimizer_slot(model, "learning_rate")
    optimizer, scheduled = inner_optimizer(model), slot is not None and slot.is_scheduled
    if scheduled or isinstance(optimizer, keras.optimizers.MultiOptimizer):
        raise ModelError(
            expected="an optimiser with one learning rate that is a number",
            received=f"{type(optimizer).__name__} with {'a schedule' if scheduled else 'several rates'}",
            remedy="compile with a number as learning_rate for the search, with the schedule afterwards",
        )
