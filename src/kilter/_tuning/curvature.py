"""``largest_curvature``: the largest eigenvalue of the loss's Hessian, by power iteration."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._array_types import Arrays
from kilter._engine.program_cache import owners, shelf
from kilter._engine.step import Batch, global_norm, inner_product, training_loss
from kilter._models.layers import require_model
from kilter._models.variables import State, fitting, pull
from kilter._progress import QUICK, Verbose, shown
from kilter._tuning.trial import trial_batches, trial_feed
from kilter._validation import number, whole_number
from kilter.errors import ModelError

# If vᵀHv is below this share of ‖Hv‖ after half of the products, v is not near eigenvectors of positive
# eigenvalues.
_ALIGNED = 0.9

Vector = list[jax.Array]
Product = Callable[[Vector], Vector]
"""v -> Hv, for a vector with one array for each trainable variable."""


@dataclass(frozen=True)
class Curvature:
    """The result of :func:`largest_curvature`.

    Attributes:
        eigenvalue: the Rayleigh quotient λ = vᵀHv of the last unit vector v; from below, the largest
            eigenvalue of H.
        residual: ‖Hv - λv‖; an eigenvalue of H is within this distance of λ.
        converged: whether the residual is at most the tolerance times λ.
        products: Hessian-vector products done.
        rows: of the data.
    """

    eigenvalue: float
    residual: float
    converged: bool
    products: int
    rows: int

    @property
    def stable_rate(self) -> float:
        """2/λ: with a larger rate, plain gradient descent on these rows diverges along v; infinite for λ ≤ 0.

        Momentum β raises it to 2(1+β)/λ (Cohen et al. 2021, section 2); adaptive optimisers differ.
        """
        return 2 / self.eigenvalue if self.eigenvalue > 0 else math.inf


def largest_curvature(
    model: keras.Model,
    x: Arrays,
    y: Arrays | None = None,
    *,
    rows: int = 512,
    products: int = 200,
    tolerance: float = 0.01,
    seed: int = 0,
    sample_weight: Arrays | None = None,
    class_weight: Mapping[int, float] | None = None,
    verbose: Verbose = "auto",
) -> Curvature:
    """The largest eigenvalue of the Hessian of a compiled model's loss; the model does not change.

    Power iteration, v ← Hv/‖Hv‖, where Hv is the derivative of the gradient along v (Pearlmutter 1994). It
    finds the eigenvalue of largest magnitude. If that is negative, or two of opposite sign have the same
    magnitude, it restarts with H + ‖Hv‖·I, whose largest eigenvalue belongs to H's largest.

    The loss is the training loss of ``rows`` rows in one batch: with penalties, batch statistics and one set
    of dropout masks; cross-entropy from the logits where they are known.

    Args:
        model: compiled; any optimiser.
        x, y: arrays, rows first, as for :func:`kilter.fit`.
        rows: at most this many are used, drawn with ``seed``.
        products: the most Hessian-vector products, at least 2; each costs about as much as two gradients.
        tolerance: stop at this residual relative to the eigenvalue, above 0 and below 1.
        seed: of the rows and of the first vector.
        sample_weight: a weight for each row; or ``class_weight``: one for each class's rows.
        verbose: as of :func:`kilter.fit`; by default only a long call shows its progress.

    Raises :class:`~kilter.errors.ModelError` if a product is not finite or no weight is trainable;
    :class:`~kilter.errors.OptionError` and :class:`~kilter.errors.DataError` as :func:`kilter.fit` does.

    Example:
        >>> import keras, kilter, numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1, use_bias=False)])
        >>> model.compile("sgd", "mse")
        >>> x = np.diag([1.0, 2.0])  # loss ((w₁-1)² + (2w₂-1)²)/2, so H = diag(1, 4)
        >>> round(kilter.largest_curvature(model, x, np.ones(2), verbose=0).eigenvalue, 2)
        4.0
    """
    require_model(model)
    whole_number("rows", rows, 1)
    whole_number("products", products, 2)
    number("tolerance", tolerance, above=0, below=1, remedy="use 0.01")
    feed = trial_feed(model, x, y, sample_weight, class_weight, batch_size=rows, steps=1, seed=seed)
    batch = next(trial_batches(feed, 1))
    state = pull(model)
    if not state.trainable:
        raise ModelError(
            expected="a model with trainable weights",
            received=f"model {model.name!r} with none, or with all of them frozen",
            remedy="set trainable=True on a layer that has weights",
        )
    with shown(verbose, after=QUICK) as progress:
        progress.stage(f"Largest curvature: power iteration on {jax.tree.leaves(batch)[0].shape[0]} rows")
        product = _product(model, state, batch)
        first = _unit(_drawn(state.trainable, seed))
        found, made, vector = _iterate(product, first, 0.0, products // 2, tolerance)
        if found.eigenvalue < _ALIGNED * found.length:
            found, more, _ = _iterate(product, first, found.length, products - made, tolerance)
            made += more
        elif not found.small:
            found, more, _ = _iterate(product, vector, 0.0, products - made, tolerance)
            made += more
    return Curvature(found.eigenvalue, found.residual, found.small, made, jax.tree.leaves(batch)[0].shape[0])


@dataclass(frozen=True)
class _Pair:
    eigenvalue: float
    residual: float
    length: float
    small: bool


def _iterate(
    product: Product, vector: Vector, shift: float, most: int, tolerance: float
) -> tuple[_Pair, int, Vector]:
    """Power iteration on H + ``shift``·I from a unit vector; the pair is H's own, with the last vector."""
    made = 0
    while True:
        made += 1
        image, numbers = _advance(product(vector), vector, jnp.float32(shift))
        value, residual, length, image_length = (float(number) for number in numbers)
        if not math.isfinite(length):
            raise ModelError(
                expected="a loss with finite second derivatives",
                received=f"a Hessian-vector product of norm {length}",
                remedy="check the weights and the loss first: kilter.diagnose(model, x, y)",
            )
        small = residual <= tolerance * abs(value)
        if small or image_length == 0 or made == most:
            return _Pair(value, residual, length, small), made, vector
        vector = image


@jax.jit
def _advance(along: Vector, vector: Vector, shift: jax.Array) -> tuple[Vector, jax.Array]:
    """The next unit vector, and λ, ‖Hv - λv‖, ‖Hv‖ and ‖(H + shift)v‖, from ``along`` = Hv."""
    value = inner_product(along, vector)
    residual = global_norm([a - value * b for a, b in zip(along, vector, strict=True)])
    image = [a + shift * b for a, b in zip(along, vector, strict=True)]
    return _unit(image), jnp.stack([value, residual, global_norm(along), global_norm(image)])


def _product(model: keras.Model, state: State, batch: Batch) -> Product:
    arguments = (state, batch, [value.astype(jnp.float32) for value in state.trainable])
    with fitting(model, batch):
        program = shelf(model).get("curvature", owners(model), lambda: _along(model), arguments)
    return lambda vector: program(state, batch, vector)


def _along(model: keras.Model) -> Callable[[State, Batch, Vector], Vector]:
    """``(state, batch, v) -> Hv``: the derivative of the gradient along v."""

    def run(state: State, batch: Batch, vector: Vector) -> Vector:
        def loss_of(trainable: Vector) -> jax.Array:
            _, aux = training_loss(model, state._replace(trainable=trainable), batch)
            return jnp.asarray(aux[0], jnp.float32)  # without the scale of mixed precision

        tangent = [part.astype(value.dtype) for part, value in zip(vector, state.trainable, strict=True)]
        _, along = jax.jvp(jax.grad(loss_of), (state.trainable,), (tangent,))
        return [value.astype(jnp.float32) for value in along]

    return run


def _drawn(like: Vector, seed: int) -> Vector:
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.standard_normal(value.shape), jnp.float32) for value in like]


def _unit(vector: Vector) -> Vector:
    length = global_norm(vector)
    return [value / jnp.where(length > 0, length, 1) for value in vector]
