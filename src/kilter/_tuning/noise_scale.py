"""``gradient_noise_scale``: the noise of a batch's gradient, and the batch size that it suggests."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._array_types import Arrays
from kilter._engine.program_cache import Programs, owners
from kilter._engine.step import Batch, gradients, inner_product, like
from kilter._models.layers import require_model
from kilter._models.variables import State, fitting, pull
from kilter._progress import QUICK, Verbose, shown
from kilter._tuning.trial import trial_batches, trial_feed
from kilter._validation import whole_number
from kilter.errors import DataError, ModelError

LEAST_BATCHES = 4  # for an interval from the spread between batches
_WIDTH = 1.96  # two-sided 95 % of a normal distribution


@dataclass(frozen=True)
class NoiseScale:
    """The result of :func:`gradient_noise_scale`. ``G``: the true gradient; ``Σ``: one row's covariance.

    Attributes:
        noise_scale: tr(Σ)/|G|², in rows; infinite if the gradient cannot be distinguished from zero.
        low, high: an interval of about 95 % (jackknife over the batches); ``high`` may be infinite.
        variance: tr(Σ), the sum of the variances of a row's gradient.
        gradient_square: the unbiased estimate of |G|²; 0 or less if the noise hides it.
        batch_size, batches: of the measured gradients.
    """

    noise_scale: float
    low: float
    high: float
    variance: float
    gradient_square: float
    batch_size: int
    batches: int


def gradient_noise_scale(
    model: keras.Model,
    x: Arrays,
    y: Arrays | None = None,
    *,
    batch_size: int = 32,
    batches: int = 64,
    seed: int = 0,
    sample_weight: Arrays | None = None,
    class_weight: Mapping[int, float] | None = None,
    verbose: Verbose = "auto",
) -> NoiseScale:
    """The simple noise scale tr(Σ)/|G|² of a compiled model's loss; the model does not change.

    Up to about this batch size, a larger batch reduces the number of steps almost in proportion; well above
    it, rows are wasted (McCandlish et al. 2018, section 2.2). It grows as the loss falls, so measure it again
    during training.

    From the gradients g₁ … g_k of k disjoint batches of B rows and their mean ḡ, at the current weights:
    tr(Σ) = B/(k-1)·Σ|gᵢ-ḡ|² and |G|² = |ḡ|² - tr(Σ)/(kB), both unbiased; the paper's appendix A.1 with the
    batch sizes B and kB.

    Args:
        model: compiled; any optimiser.
        x, y: arrays, rows first, as for :func:`kilter.fit`.
        batch_size: B. With batch normalisation the noise is that of this batch size.
        batches: k, at least 4; fewer if there are not enough rows.
        seed: of the rows and their order.
        sample_weight: a weight for each row; or ``class_weight``: one for each class's rows.
        verbose: as of :func:`kilter.fit`; by default only a long call shows its progress.

    Raises :class:`~kilter.errors.DataError` for rows that make fewer than 4 batches,
    :class:`~kilter.errors.ModelError` if gradients are not finite or all 0; otherwise as :func:`kilter.fit`
    does.

    Example:
        >>> import keras, kilter, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(4096, 4))
        >>> model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse")
        >>> found = kilter.gradient_noise_scale(model, x, x.sum(axis=1), verbose=0)
        >>> found.low < found.noise_scale < found.high
        True
    """
    require_model(model)
    whole_number("batch_size", batch_size, 1)
    whole_number("batches", batches, LEAST_BATCHES)
    feed = trial_feed(
        model, x, y, sample_weight, class_weight, batch_size=batch_size, steps=batches, seed=seed
    )
    given = list(trial_batches(feed, batches))
    size = jax.tree.leaves(given[0])[0].shape[0]
    if len(given) < LEAST_BATCHES or size < batch_size:
        raise DataError(
            expected=f"rows for at least {LEAST_BATCHES} batches of {batch_size}",
            received=f"rows that make {len(given)} of {size}",
            remedy="pass more rows, or a smaller batch_size",
        )
    with shown(verbose, after=QUICK) as progress, fitting(model, given[0]):
        progress.stage(f"Gradient noise scale: {len(given)} batches of {size} rows")
        sums, squares, _ = _pass(model, given, None)  # two passes, so that no gradient is kept
        _, _, products = _pass(model, given, [value / len(given) for value in sums])
    return read_noise(squares, products, batch_size=batch_size)


def read_noise(squares: np.ndarray, products: np.ndarray, *, batch_size: int) -> NoiseScale:
    """The noise scale from |gᵢ|² and ⟨gᵢ, ḡ⟩ of each batch, float [k]; the mean of the latter is |ḡ|².

    The interval is a jackknife of |G|²/tr(Σ), which is 0 and not infinite for pure noise.
    """
    count, square = len(squares), products.mean()
    if not np.isfinite([squares, products]).all() or not squares.any():
        raise ModelError(
            expected="finite gradients that are not all zero",
            received=f"norms from {math.sqrt(squares.min()):g} to {math.sqrt(squares.max()):g}",
            remedy="check the weights and the loss first: kilter.diagnose(model, x, y)",
        )
    variance, gradient_square = _estimates(squares.mean(), square, count, batch_size)
    left_out = (count**2 * square - 2 * count * products + squares) / (count - 1) ** 2
    others = (squares.sum() - squares) / (count - 1)
    inverses = [
        _inverse(*_estimates(mean, mean_square, count - 1, batch_size))
        for mean, mean_square in zip(others, left_out, strict=True)
    ]
    error = math.sqrt((count - 1) * np.var(inverses)) if np.isfinite(inverses).all() else 0.0
    inverse = _inverse(variance, gradient_square)
    return NoiseScale(
        noise_scale=_positive_inverse(inverse),
        low=_positive_inverse(inverse + _WIDTH * error),
        high=_positive_inverse(inverse - _WIDTH * error),
        variance=variance,
        gradient_square=gradient_square,
        batch_size=batch_size,
        batches=count,
    )


def _estimates(mean_square: float, square: float, count: int, batch_size: int) -> tuple[float, float]:
    """tr(Σ) and |G|² from the mean of |gᵢ|² and from |ḡ|², of ``count`` batches."""
    variance = max(0.0, float(batch_size * count / (count - 1) * (mean_square - square)))
    return variance, float(square - variance / (count * batch_size))


def _inverse(variance: float, gradient_square: float) -> float:
    return gradient_square / variance if variance > 0 else math.inf


def _positive_inverse(inverse: float) -> float:
    return 1 / inverse if inverse > 0 else math.inf


def _pass(
    model: keras.Model, given: list[Batch], mean: list[Any] | None
) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """The sum of the batches' gradients, and of each |g|² and ⟨g, mean⟩, float64 [k]; None is a mean of 0."""
    state, numbers = pull(model), []
    sums = [jnp.zeros(value.shape, jnp.float32) for value in state.trainable]
    mean = sums if mean is None else mean
    programs = Programs(model)
    for batch in given:
        arguments = (state, sums, mean, batch)
        program = programs.get("noise_scale", owners(model), lambda: _adding(model), arguments)
        state, sums, found = program(*arguments)
        numbers.append(found)
    squares, products = np.asarray(jnp.stack(numbers), np.float64).T
    return sums, squares, products


def _adding(model: keras.Model) -> Callable[..., Any]:
    gradients_of = gradients(model)

    def run(state: State, sums: list[Any], mean: list[Any], batch: Batch) -> Any:
        found = gradients_of(state, batch)
        values = [value.astype(jnp.float32) for value in found.values]
        # The next batch draws different dropout masks: they are part of the noise.
        moved = like(found.non_trainable, state.non_trainable)
        numbers = jnp.stack([inner_product(values, values), inner_product(values, mean)])
        added = [one + other for one, other in zip(sums, values, strict=True)]
        return state._replace(non_trainable=moved), added, numbers

    return run
