"""What a decoder is to give: rows brought to a range, and the loss that fits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import jax
import jax.numpy as jnp

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras
import numpy as np

from kilter.data.scaling import moments
from kilter.errors import OptionError
from kilter.nn.inputs import CONSTANT

Loss = Literal["mse", "bce"]
LOSSES: Final[tuple[Loss, ...]] = ("mse", "bce")
BYTES: Final = (0.0, 255.0)


@dataclass(frozen=True)
class Targets:
    """target = (row - offset) / scale, and how a decoder's outputs are held to it.

    ``offset`` and ``scale`` have one number, or one for each place of a row's last axis. With the loss "bce"
    targets lie from 0 to 1 and outputs are logits; with "mse" outputs are targets.
    """

    loss: Loss
    offset: tuple[float, ...]
    scale: tuple[float, ...]

    def of(self, rows: jax.Array) -> jax.Array:
        """The targets of rows, float32."""
        offset, scale = jnp.asarray(self.offset), jnp.asarray(self.scale)
        return (rows.astype(jnp.float32) - offset) / scale

    def undo(self, target: jax.Array) -> jax.Array:
        """The rows whose targets these are."""
        return target * jnp.asarray(self.scale) + jnp.asarray(self.offset)

    def losses(self, outputs: jax.Array, target: jax.Array) -> jax.Array:
        """The loss of each number: the cross-entropy of the logits, or the squared error."""
        if self.loss == "bce":
            # max(z, 0) - z t + log(1 + exp(-|z|)): finite for every logit z.
            return jnp.maximum(outputs, 0) - outputs * target + jnp.log1p(jnp.exp(-jnp.abs(outputs)))
        return jnp.square(outputs - target)

    def errors(self, outputs: jax.Array, target: jax.Array) -> jax.Array:
        """The squared error of each number, whatever the loss."""
        if self.loss == "bce":
            # The sigmoid from the same exponential as the loss: it is computed once for both.
            small = jnp.exp(-jnp.abs(outputs))
            outputs = jnp.where(outputs >= 0, 1.0, small) / (1.0 + small)
        return jnp.square(jax.lax.stop_gradient(outputs) - target)

    def back(self) -> list[keras.layers.Layer]:
        """The layers from a decoder's outputs to rows in the data's own units."""
        single = len(self.scale) == 1
        scale: Any = self.scale[0] if single else list(self.scale)
        offset: Any = self.offset[0] if single else list(self.offset)
        units = keras.layers.Rescaling(scale, offset=offset, dtype="float32", name="units")
        return [keras.layers.Activation("sigmoid"), units] if self.loss == "bce" else [units]


def targets_for(rows: np.ndarray, loss: str = "auto") -> Targets:
    """The targets that fit the data.

    Bytes are brought to 0 to 1 (by :func:`value_range`), and so, where the loss is "bce", is any other range;
    with "auto" that is the loss for bytes and for numbers that lie from 0 to 1. Other rows are standardised
    along their last axis: a table by its columns (one that never varies is centred), images by channels.

    Raises :class:`OptionError` for another loss.
    """
    if loss not in (*LOSSES, "auto"):
        raise OptionError(
            expected='loss as "auto", "mse" or "bce"',
            received=f"loss={loss!r}",
            remedy="leave it out: it follows from the data",
        )
    low, high = value_range(rows)
    unit = rows.dtype == np.uint8 or (low >= 0 and high <= 1)
    if rows.dtype != np.uint8 and unit:
        low, high = 0.0, 1.0
    if loss == "bce" or (unit and loss == "auto"):
        return Targets("bce", (low,), (high - low,))
    if unit:
        return Targets("mse", (low,), (high - low,))
    found = moments(rows)
    mean, variance = (np.asarray(part, np.float64) for part in (found.mean, found.variance))
    scale = np.where(variance <= CONSTANT * np.square(mean), 1.0, np.sqrt(variance))
    return Targets("mse", tuple(mean.tolist()), tuple(scale.tolist()))


def value_range(rows: np.ndarray) -> tuple[float, float]:
    """The range of the values: 0 to 255 for bytes that use half of it or more, else from least to most.

    Bytes may hold counts (scikit-learn's digits are 0 to 16), which are not to become a dark image.
    """
    low, high = float(rows.min()), float(rows.max())
    return BYTES if rows.dtype == np.uint8 and high > BYTES[1] / 2 else (low, high)
