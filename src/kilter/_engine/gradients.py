"""The gradients of a training step as a pure function: what Keras's own step computes, and hides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._engine.stable_losses import stable_losses
from kilter._engine.step import Batch
from kilter._models.variables import State


class Gradients(NamedTuple):
    """A batch's loss with all penalties (float, shape ()), and its gradient for each trainable variable.

    ``non_trainable`` is that part of the state after the pass: seed generators that have moved on.
    """

    loss: jax.Array
    values: list[jax.Array]
    non_trainable: list[jax.Array]


def gradients(model: keras.Model) -> Callable[[State, Batch], Gradients]:
    """``(state, batch) -> Gradients``: ∂loss/∂variable in training mode, before any clipping.

    The loss is the model's ``compute_loss``, cross-entropy from the logits where they are known, with the
    dropout masks that the training step would draw from this state. A scale that an optimiser puts on the
    loss (mixed precision) is taken off again, as the optimiser does before it clips.
    """

    def compute(state: State, batch: Batch) -> Gradients:
        x, y, sample_weight = batch
        with stable_losses(model):
            (_, aux), values = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)(
                state.trainable,
                state.non_trainable,
                state.metrics,
                x,
                y,
                sample_weight,
                training=True,
                optimizer_variables=state.optimizer,
            )
        scale = _loss_scale(model, state)
        return Gradients(aux[0], [value / jnp.asarray(scale, value.dtype) for value in values], aux[2])

    return compute


def global_norm(values: list[jax.Array]) -> jax.Array:
    """√(Σ ‖value‖²) over all arrays together, in float32; NaN or infinity where any of them has one.

    Example:
        >>> float(global_norm([jnp.array([3.0]), jnp.array([[4.0]])]))
        5.0
    """
    return jnp.sqrt(sum((jnp.sum(jnp.square(value.astype(jnp.float32))) for value in values), jnp.zeros(())))


def inner_product(one: list[jax.Array], other: list[jax.Array]) -> jax.Array:
    """Σ ⟨one, other⟩ over the arrays of two lists of the same shapes.

    Example:
        >>> one = [jnp.array([3.0]), jnp.array([[4.0]])]
        >>> float(inner_product(one, one))
        25.0
    """
    return sum((jnp.vdot(a, b) for a, b in zip(one, other, strict=True)), jnp.zeros(()))


def _loss_scale(model: keras.Model, state: State) -> Any:
    optimizer: Any = model.optimizer
    with keras.StatelessScope(list(zip(optimizer.variables, state.optimizer, strict=True))):
        return keras.ops.convert_to_tensor(optimizer.scale_loss(jnp.ones(())))
