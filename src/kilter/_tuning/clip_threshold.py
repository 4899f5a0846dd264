"""``clip_threshold``: where to clip gradients, measured over a trial of training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._array_types import Arrays
from kilter._engine.arrays import is_array, row_count
from kilter._engine.augmenting import Augment, as_augmentation
from kilter._engine.step import Batch, global_norm, gradients
from kilter._models.layers import require_model
from kilter._models.variables import State
from kilter._progress import QUICK, Verbose, shown
from kilter._records import Figure, drawn
from kilter._tuning.find_lr import LEAST_STEPS, divergence
from kilter._tuning.trial import TrialStep, run_trial, step_with_loss, trial_feed, with_augmentation
from kilter._validation import number, whole_number
from kilter.data.augmentation import Augmentation
from kilter.errors import ModelError, OptionError

# Clips one healthy step in ten. AutoClip (Seetharaman et al. 2020) has a lower percentile, updated each step.
PERCENTILE = 90.0


@dataclass(frozen=True, eq=False)
class FoundClip:
    """The result of :func:`kilter.clip_threshold`.

    ``norms``: the norm of all gradients together at each step, before clipping, float64 [steps].
    ``threshold``: their ``percentile``, for an optimiser's ``global_clipnorm``.
    """

    norms: np.ndarray
    threshold: float
    percentile: float

    def plot(self) -> Figure:
        """The histogram of the norms, with the threshold as a line."""
        return drawn("gradient_norms", self)

    def to_dict(self) -> dict[str, Any]:
        """Numbers and a list, for a file."""
        return {"norms": self.norms.tolist(), "threshold": self.threshold, "percentile": self.percentile}

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> "FoundClip":
        """The record from :meth:`to_dict`; KeyError or ValueError for other mappings."""
        return FoundClip(
            norms=np.asarray(fields["norms"], float),
            threshold=float(fields["threshold"]),
            percentile=float(fields["percentile"]),
        )


def read_norms(losses: np.ndarray, norms: np.ndarray, percentile: float) -> FoundClip:
    """The threshold for these losses and gradient norms, [steps] each.

    Raises :class:`ModelError` if a norm or loss is not finite, the loss diverges, or all gradients are 0.
    """
    wild = np.flatnonzero(~np.isfinite(norms))
    end = divergence(losses, len(losses))
    if len(wild) or end is not None:
        step = int(wild[0]) if len(wild) else end
        raise ModelError(
            expected="stable training, to measure gradient norms",
            received=f"a loss or gradient that diverges at step {step}",
            remedy="use a smaller learning rate (kilter.find_lr finds one) first",
        )
    threshold = float(np.percentile(norms, percentile))
    if threshold == 0:
        raise ModelError(
            expected="gradients other than zero",
            received=f"norms that are 0 up to their {percentile:g}th percentile",
            remedy="check for saturated or dead units, frozen layers, and weights that are all 0",
        )
    return FoundClip(norms, threshold, percentile)


def clip_threshold(
    model: keras.Model,
    x: Arrays,
    y: Arrays | None = None,
    *,
    percentile: float = PERCENTILE,
    steps: int = 200,
    batch_size: int = 32,
    seed: int = 0,
    shuffle: bool = True,
    sample_weight: Arrays | None = None,
    class_weight: Mapping[int, float] | None = None,
    augment: Augment | None = None,
    verbose: Verbose = "auto",
) -> FoundClip:
    """Measure the norm at which to clip a compiled model's gradients; the model does not change.

    A copy is trained for ``steps`` updates at the optimiser's learning rate; the threshold is the percentile
    of the global gradient norm √(Σ ‖gradient‖²) before clipping (Seetharaman et al. 2020, AutoClip). Use it
    as ``global_clipnorm`` of the optimiser.

    Args:
        model: compiled, with the learning rate of the training.
        x, y: as for :func:`kilter.fit`. Only the rows used are copied.
        percentile: of the norms, above 0 and at most 100 (the largest norm).
        steps: updates, at least 20. If the optimiser accumulates gradients over k batches, an update takes k
            and its norm is that of their mean, which the optimiser clips.
        batch_size: rows per step; the threshold is for this size.
        seed: draws the order of the rows and the augmentation, as in :func:`kilter.fit`.
        shuffle, augment: as of :func:`kilter.fit`.
        sample_weight: a weight for each row; or ``class_weight``: one for each class's rows.
        verbose: as of :func:`kilter.fit`; by default only a long measurement shows its steps.

    Raises :class:`~kilter.errors.ModelError` if the loss or a gradient diverges or all gradients are 0;
    otherwise as :func:`kilter.fit` does.

    Example:
        >>> import keras, kilter, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(256, 4))
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.01), "mse")
        >>> found = kilter.clip_threshold(model, x, x.sum(axis=1), percentile=100.0, verbose=0)
        >>> bool(found.threshold == found.norms.max())
        True
    """
    require_model(model)
    whole_number("steps", steps, LEAST_STEPS)
    whole_number("batch_size", batch_size, 1)
    percentile = number("percentile", percentile, above=0, high=100, remedy="use a number such as 90.0")
    augmentation = as_augmentation(augment)
    batches = getattr(getattr(model, "optimizer", None), "gradient_accumulation_steps", None) or 1
    if batches > 1:
        batch_size = min(batch_size, _rows_of_each(x, batches))
    feed = trial_feed(
        model,
        x,
        y,
        sample_weight,
        class_weight,
        batch_size=batch_size * batches,
        steps=steps,
        seed=seed,
        shuffle=shuffle,
        augmentation=augmentation,
    )
    with shown(verbose, after=QUICK) as progress:
        recorded = run_trial(
            model,
            ("clip_threshold", augmentation, seed if augmentation else 0),
            lambda: _norm_step(model, batches, augmentation, seed),
            feed,
            steps=steps,
            width=2,
            progress=progress,
            stage="Clipping threshold: step",
        )
    return read_norms(recorded[:, 0], recorded[:, 1], percentile)


def _norm_step(model: keras.Model, batches: int, augmentation: Augmentation | None, seed: int) -> TrialStep:
    """An update from ``batches`` batches that records their mean loss and the norm of their mean gradient."""
    train, gradients_of = step_with_loss(model), gradients(model)

    def one_batch(state: State, batch: Batch) -> tuple[State, Any]:
        values = gradients_of(state, batch).values
        state, loss = train(state, batch)
        return state, (loss, values)

    take_batch = with_augmentation(model, one_batch, augmentation, seed)

    def add(carry: tuple[State, Any], batch: Batch) -> tuple[tuple[State, Any], None]:
        state, read = take_batch(carry[0], batch)
        return (state, jax.tree.map(jnp.add, carry[1], read)), None

    def step(state: State, batch: Batch, given: None) -> tuple[State, jax.Array]:
        nothing = jnp.zeros(()), [jnp.zeros_like(variable) for variable in state.trainable]
        if batches == 1:
            (state, sums), _ = add((state, nothing), batch)
        else:
            parts = jax.tree.map(lambda leaf: leaf.reshape(batches, -1, *leaf.shape[1:]), batch)
            (state, sums), _ = jax.lax.scan(add, (state, nothing), parts)
        loss, values = jax.tree.map(lambda leaf: leaf / batches, sums)
        return state, jnp.stack([loss, global_norm(values)])

    return step


def _rows_of_each(x: Any, batches: int) -> int:
    received = f"gradient_accumulation_steps={batches} and "
    if not is_array(x):
        raise OptionError(
            expected="arrays, for an optimiser that accumulates gradients over several batches",
            received=received + "an iterable of batches",
            remedy="pass x and y as arrays",
        )
    if (rows := row_count(x=x)) < batches:
        raise OptionError(
            expected="at least one row for each batch that the optimiser accumulates",
            received=received + f"{rows} rows",
            remedy="use more data, or accumulate fewer batches",
        )
    return rows // batches
