"""``find_lr``: the learning-rate range test, and how its curve is read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from scipy.signal import lfilter

from kilter._array_types import Arrays
from kilter._engine.augmenting import Augment, as_augmentation
from kilter._engine.feed import Order, single_steps
from kilter._engine.fit import prepare, training_feed
from kilter._engine.loop import training
from kilter._engine.padding import padded
from kilter._engine.step import Batch
from kilter._models.layers import require_model
from kilter._models.optimizers import inner_optimizer, optimizer_slot, slot_index
from kilter._models.variables import State
from kilter._progress import QUICK, Verbose, shown
from kilter._records import Figure, drawn
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

# The memory of the exponential mean, as a share of the search, so that its lag in decades does not depend on
# the number of steps. fastai's fixed β = 0.98 would lag by more than a decade at 300 steps.
MEMORY_SHARE = 1 / 30
# fastai stops where the smoothed loss exceeds four times its best (fastai.callback.schedule.LRFinder).
DIVERGED_FACTOR = 4.0
# The distance from the rate of divergence (Géron, Hands-On Machine Learning, ch. 11).
SAFETY = 10.0
# The suggestion is at most the rate at which this share of the fall is done: the bottom is flat, and its
# lowest point is random.
FALL_SHARE = 0.9
# The lowest of many noisy values is about this many standard errors below their mean.
BOTTOM_ERRORS = 2.0
# The smallest fall that counts, in standard errors. Of 20,000 simulated searches of 300 steps over pure
# noise, one in 10,000 reached 5 with normal noise, and 6.5 with heavy tails (Student's t with 3 degrees of
# freedom).
FALL_ERRORS = 6.0
LEAST_STEPS = 20


@dataclass(frozen=True, eq=False)
class FoundRate:
    """The result of :func:`kilter.find_lr`.

    ``lrs``: the rates, float64 [steps done]. ``losses``: of each step's batch before its update, with all
    penalties; the median of several seeds. ``smoothed``: their bias-corrected exponential mean.
    ``suggestion``: the rate to train with, or the peak of a one-cycle schedule. ``diverged_at``: the rate of
    divergence, or None. ``lowest_at``: the rate of the lowest smoothed loss. ``first_loss``: the mean loss at
    the first rates, which change nothing yet. ``curves``: the losses of each seed, [seeds, steps done];
    infinite after divergence.
    """

    lrs: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float
    diverged_at: float | None
    lowest_at: float
    first_loss: float
    curves: np.ndarray

    def plot(self) -> Figure:
        """Loss against learning rate (logarithmic), for each batch and smoothed, with the suggested rate."""
        return drawn("learning_rate_search", self)

    def to_dict(self) -> dict[str, Any]:
        """Numbers and lists, for a file."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> "FoundRate":
        """The record from :meth:`to_dict`, in which infinities may be text; else TypeError or ValueError."""
        arrays = ("lrs", "losses", "smoothed", "curves")
        read: Any = {
            name: np.asarray(value, float) if name in arrays else None if value is None else float(value)
            for name, value in fields.items()
        }
        return FoundRate(**read)


def read_curves(lrs: np.ndarray, curves: np.ndarray) -> FoundRate:
    """The suggested learning rate from one or more searches over the rates ``lrs`` (increasing, [steps]).

    ``curves`` [seeds, steps]: the losses of each; non-finite values and missing steps (NaN) count as
    infinite. The median over the seeds is smoothed and read:

    - it *diverges* at the first step that is not finite, or where the smoothed loss exceeds its best by three
      times the best, or by three times the fall so far if that is more: that is 4 · best for a positive loss,
      and a loss near zero may fluctuate;
    - the *suggestion* is a tenth of the rate of divergence, or the rate at which nine tenths of the fall are
      done if that is lower.

    Raises :class:`ModelError` if the loss is not finite at the start, or never falls by more than chance.
    """
    curves = np.where(np.isfinite(curves), curves, np.inf)
    losses = np.median(curves, axis=0)
    end = divergence(losses, len(lrs))
    diverged_at = None if end is None else float(lrs[end])
    smoothed = smooth(losses[:end], len(lrs))
    if not len(smoothed):
        raise ModelError(
            expected="a finite loss before the first update",
            received="a loss that is NaN or infinite",
            remedy="scale the inputs, and check the loss function and the initialisation",
        )
    lowest, first = int(np.argmin(smoothed)), float(np.mean(losses[:end][: _window(len(lrs))]))
    fall = first - float(smoothed[lowest])
    noise = _noise(losses[:end], lowest, len(lrs))
    error = noise * math.sqrt(_variance_left(len(lrs)) + 1 / _window(len(lrs)))
    if not fall > FALL_ERRORS * error + float(np.finfo(np.float32).eps) * abs(first) or lowest == 0:
        raise _never_falls(lrs, first, float(smoothed[lowest]), error, diverged_at)
    begin = min(_window(len(lrs)), lowest)
    level = first - FALL_SHARE * fall + BOTTOM_ERRORS * noise * math.sqrt(_variance_left(len(lrs)))
    edge = begin + int(np.argmax(smoothed[begin:] <= level))
    made = len(lrs) if end is None else end + 1
    return FoundRate(
        lrs=lrs[:made],
        losses=losses[:made],
        smoothed=smooth(losses[:made], len(lrs)),
        suggestion=min(float(lrs[edge]), math.inf if diverged_at is None else diverged_at / SAFETY),
        diverged_at=diverged_at,
        lowest_at=float(lrs[lowest]),
        first_loss=first,
        curves=curves[:, :made],
    )


def divergence(losses: np.ndarray, steps: int) -> int | None:
    """The step of divergence in a search of ``steps`` (see :func:`read_curves`), or None."""
    wild = np.flatnonzero(~np.isfinite(losses))
    finite = losses[: wild[0]] if len(wild) else losses
    if len(finite):
        smoothed, window = smooth(finite, steps), _window(steps)
        best = np.minimum.accumulate(smoothed)
        # The first loss is the mean of the first window.
        fall = np.where(np.arange(len(finite)) < window, 0.0, np.mean(finite[:window]) - best)
        above = smoothed - best > (DIVERGED_FACTOR - 1) * np.maximum(np.abs(best), fall)
        above[: math.ceil(_memory(steps))] = False  # a mean of a few batches is noise
        if above.any():
            return int(np.argmax(above))
    return int(wild[0]) if len(wild) else None


def smooth(losses: np.ndarray, steps: int) -> np.ndarray:
    """The exponential mean of the losses of a search of ``steps``, corrected for its start at zero.

    s_i = β s_{i-1} + (1-β) loss_i, divided by 1 - β^(i+1) (Smith 2015; Gugger 2018, who takes β = 0.98). β is
    such that the mean is m = steps · :data:`MEMORY_SHARE` steps old: β = m / (1 + m).

    Example:
        >>> smooth(np.array([1.0, 4.0]), steps=30)  # β = 1/2
        array([1., 3.])
    """
    if not len(losses):
        return losses
    beta = _beta(steps)
    return lfilter([1 - beta], [1, -beta], losses) / (1 - beta ** np.arange(1, len(losses) + 1))


def _memory(steps: int) -> float:
    return max(1.0, steps * MEMORY_SHARE)


def _beta(steps: int) -> float:
    return _memory(steps) / (1 + _memory(steps))


def _window(steps: int) -> int:
    """The number of steps that are averaged for the first loss."""
    return max(5, round(2 * _memory(steps)))


def _variance_left(steps: int) -> float:
    """The share of the batches' variance in the smoothed loss: (1 - β) / (1 + β)."""
    return (1 - _beta(steps)) / (1 + _beta(steps))


def _noise(losses: np.ndarray, lowest: int, steps: int) -> float:
    """The standard deviation of a batch's loss, from differences of neighbours; 0 for a single loss."""
    part = losses[: max(lowest + 1, 2 * _window(steps))]
    return math.sqrt(float(np.mean(np.diff(part) ** 2)) / 2) if len(part) > 1 else 0.0


def _never_falls(
    lrs: np.ndarray, first: float, lowest: float, error: float, diverged_at: float | None
) -> ModelError:
    shot_up = "" if diverged_at is None else f"; it diverges at {diverged_at:.2g}"
    return ModelError(
        expected=f"a loss that falls somewhere between the rates {lrs[0]:.2g} and {lrs[-1]:.2g}",
        received=f"{first:.4g} at the beginning and {lowest:.4g} at its lowest, with an error of {error:.2g} "
        f"by chance{shot_up}",
        remedy="use a lower low or a higher high, more steps or several seeds; if it still does not fall, "
        "the model does not learn: check the scale of the inputs, the loss and the initialisation",
    )


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
    require_model(model)
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
