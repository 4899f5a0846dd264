"""``clip_threshold``: where to clip gradients, measured over a trial of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.arrays import check_batch_size, is_array, row_count
from kilter._engine.fit import check_whole_numbers
from kilter._engine.step import Batch, global_norm, gradients
from kilter._models.variables import State
from kilter._plotting import Figure, drawn
from kilter._progress import QUICK, Verbose, shown
from kilter._tuning.rate_curve import LEAST_STEPS, divergence
from kilter._tuning.trial import TrialStep, run_trial, step_with_loss, trial_feed
from kilter.errors import ModelError, OptionError

# Nine of ten healthy steps stay as they are, and the tail is cut. The percentile of the norms is AutoClip's
# (Seetharaman et al. 2020), which takes it anew at each step, and a lower one.
PERCENTILE = 90.0


@dataclass(frozen=True, eq=False)
class FoundClip:
    """What :func:`kilter.clip_threshold` found.

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
    def from_dict(fields: Mapping[str, Any]) -> FoundClip:
        """The record of what :meth:`to_dict` gave; KeyError or ValueError where it is none."""
        return FoundClip(
            norms=np.asarray(fields["norms"], float),
            threshold=float(fields["threshold"]),
            percentile=float(fields["percentile"]),
        )


def read_norms(losses: np.ndarray, norms: np.ndarray, percentile: float) -> FoundClip:
    """The threshold of a stretch of training with these losses and gradient norms, [steps] each.

    Raises :class:`ModelError` where the stretch is not healthy: a norm or loss is not finite, the loss
    diverges (as in a search for the learning rate), or no gradient is other than zero.
    """
    wild = np.flatnonzero(~np.isfinite(norms))
    end = divergence(losses, len(losses))
    if len(wild) or end is not None:
        step = int(wild[0]) if len(wild) else end
        raise ModelError(
            expected="a healthy stretch of training to take the gradients' norms from",
            received=f"a loss or gradient that grows beyond measure at step {step}",
            remedy="take a smaller learning rate (kilter.find_lr finds one) before the clipping threshold",
        )
    threshold = float(np.percentile(norms, percentile))
    if threshold == 0:
        raise ModelError(
            expected="gradients other than zero",
            received=f"norms that are 0 up to their {percentile:g}th percentile",
            remedy="look at why nothing learns: saturated or dead units, frozen layers, weights all 0",
        )
    return FoundClip(norms, threshold, percentile)


def clip_threshold(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    percentile: float = PERCENTILE,
    steps: int = 200,
    batch_size: int = 32,
    seed: int = 0,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
    verbose: Verbose = "auto",
) -> FoundClip:
    """Measure at which norm to clip a compiled model's gradients; the model stays bit for bit as it is.

    A copy is trained for ``steps`` updates at the optimiser's learning rate; the threshold is the percentile
    of the norms of all gradients together, √(Σ ‖gradient‖²), before clipping (Seetharaman et al. 2020,
    AutoClip). Use it as ``global_clipnorm`` of the optimiser.

    Args:
        model: compiled, at the learning rate it is to be trained with.
        x: arrays, or an iterable of batches, as for :func:`kilter.fit`. Only the rows used are copied.
        y: targets, as the loss wants them.
        percentile: of the norms, above 0 and at most 100 (the largest norm).
        steps: how many updates, at least 20. Where the optimiser accumulates gradients over k batches, an
            update takes k, and its norm is of their mean: what the optimiser clips.
        batch_size: rows a step; the threshold is for this size.
        seed: draws the order of the rows, as in :func:`kilter.fit`.
        sample_weight: a weight for each row; or ``class_weight``: one for each class's rows.
        verbose: as of :func:`kilter.fit`; by default the measurement shows its steps if it takes long.

    Raises :class:`~kilter.errors.ModelError` where the stretch is not healthy (the loss or a gradient grows
    beyond measure, or all gradients are 0); otherwise as :func:`kilter.fit` does.

    Example:
        >>> import keras, kilter, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(256, 4))
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.01), "mse")
        >>> found = kilter.clip_threshold(model, x, x.sum(axis=1), percentile=100.0, verbose=0)
        >>> bool(found.threshold == found.norms.max())
        True
    """
    check_whole_numbers(LEAST_STEPS, steps=steps)
    check_batch_size(batch_size)
    _check_percentile(percentile)
    batches = getattr(getattr(model, "optimizer", None), "gradient_accumulation_steps", None) or 1
    if batches > 1:
        batch_size = min(batch_size, _rows_of_each(x, batches))
    feed = trial_feed(
        model, x, y, sample_weight, class_weight, batch_size=batch_size * batches, steps=steps, seed=seed
    )
    with shown(verbose, after=QUICK) as progress:
        recorded = run_trial(
            model,
            "clip_threshold",
            lambda: _norm_step(model, batches),
            feed,
            steps=steps,
            width=2,
            progress=progress,
            stage="Clipping threshold: step",
        )
    return read_norms(recorded[:, 0], recorded[:, 1], float(percentile))


def _norm_step(model: keras.Model, batches: int) -> TrialStep:
    """An update from so many batches, recording their mean loss and the norm of their mean gradient."""
    train, gradients_of = step_with_loss(model), gradients(model)

    def add(carry: tuple[State, Any], batch: Batch) -> tuple[tuple[State, Any], None]:
        state, sums = carry
        values = gradients_of(state, batch).values
        state, loss = train(state, batch)
        return (state, jax.tree.map(jnp.add, sums, (loss, values))), None

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
    """The most rows that each of the batches of an update can have."""
    received = f"gradient_accumulation_steps={batches} and "
    if not is_array(x):
        raise OptionError(
            expected="arrays, where the optimiser accumulates gradients: an update takes several batches",
            received=received + "an iterable of batches",
            remedy="pass x and y as arrays",
        )
    if (rows := row_count(x=x)) < batches:
        raise OptionError(
            expected="a row for each batch that the optimiser accumulates",
            received=received + f"{rows} rows",
            remedy="use more data, or accumulate fewer batches",
        )
    return rows // batches


def _check_percentile(percentile: float) -> None:
    if not isinstance(percentile, int | float) or not 0 < percentile <= 100:
        raise OptionError(
            expected="percentile above 0, at most 100",
            received=f"percentile={percentile!r}",
            remedy="take a number such as 90.0",
        )
