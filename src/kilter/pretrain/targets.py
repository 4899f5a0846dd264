"""A decoder's targets: scaled rows and the loss that fits them. Checks of encoders and rows."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._models.copying import check_graph
from kilter._validation import one_of
from kilter.data.checks import find_nonfinite
from kilter.data.dataset import Dataset
from kilter.data.scaling import moments
from kilter.errors import DataError, ModelError
from kilter.nn.builders import CONSTANT

LEAST_ROWS: Final = 10  # fewer rows have no structure to learn


def check_encoder(encoder: Any) -> None:
    """Raise :class:`ModelError` unless ``encoder`` is a trainable model with one input and one output."""
    if not isinstance(encoder, keras.Model):
        raise ModelError(
            expected="an encoder: a Keras model, or a function without arguments that returns one",
            received=f"encoder={encoder!r}",
            remedy="for example keras.Sequential([keras.Input((28, 28, 1)), ...])",
        )
    check_graph(encoder)
    inputs, outputs = keras.tree.flatten(encoder.inputs), keras.tree.flatten(encoder.outputs)
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            expected="an encoder with one input and one output",
            received=f"model {encoder.name!r} with {len(inputs)} inputs and {len(outputs)} outputs",
            remedy="pass a keras.Model of the part from one input to the code",
        )
    if None in (*inputs[0].shape[1:], *outputs[0].shape[1:]):
        raise ModelError(
            expected="an encoder of rows with a fixed shape",
            received=f"model {encoder.name!r} from {inputs[0].shape} to {outputs[0].shape}",
            remedy="pass the full shape to its keras.Input, for example (28, 28, 1)",
        )
    if not encoder.trainable_variables:
        frozen = "all of them frozen" if encoder.variables else "none"
        raise ModelError(
            expected="an encoder with trainable weights",
            received=f"model {encoder.name!r} with {frozen if encoder.variables else 'no weights'}",
            remedy="set layer.trainable = True for the layers to train"
            if encoder.variables
            else "add a layer with weights",
        )


def checked_rows(x: Any, encoder: keras.Model, *, named: str = "x", least: int = LEAST_ROWS) -> np.ndarray:
    """The rows of an array or :class:`kilter.data.Dataset` as a NumPy array that the encoder accepts."""
    rows = np.asarray(x.x if isinstance(x, Dataset) else x)
    if rows.dtype.kind not in "biuf" or rows.ndim < 2:
        raise DataError(
            expected=f"{named} as an array of numbers, one row per example",
            received=f"{named} of type {type(x).__name__}, dtype {rows.dtype}, shape {rows.shape}",
            remedy="pass a NumPy array of shape (rows, ...)",
        )
    takes, name = tuple(encoder.inputs[0].shape[1:]), encoder.name
    if rows.shape[1:] != takes:
        raise DataError(
            expected=f"{named} of shape (rows, {', '.join(map(str, takes))}), the input of encoder {name!r}",
            received=f"{named} of shape {rows.shape}",
            remedy="reshape the data, or start the encoder with keras.Input(shape of one row)",
        )
    if len(rows) < least:
        raise DataError(
            expected=f"at least {least} rows in {named}",
            received=f"{named} with {len(rows)} rows",
            remedy="pass more rows; they need no labels",
        )
    bad = find_nonfinite(rows)
    if bad is not None:
        raise DataError(
            expected=f"finite numbers in {named}",
            received=bad.describe(named),
            remedy="fill or drop these rows",
        )
    return rows


def check_varied(rows: np.ndarray) -> None:
    """Raise :class:`DataError` if all rows are equal."""
    if (rows == rows[:1]).all():
        raise DataError(
            expected="rows that differ",
            received=f"{len(rows)} equal rows",
            remedy="check how the data are read",
        )


Loss = Literal["mse", "bce"]
LOSSES: Final[tuple[Loss, ...]] = ("mse", "bce")
BYTES: Final = (0.0, 255.0)


@dataclass(frozen=True)
class Targets:
    """target = (row - offset) / scale, and the loss of a decoder's outputs.

    ``offset`` and ``scale`` have one value, or one per entry of a row's last axis. With "bce", targets lie
    from 0 to 1 and outputs are logits; with "mse", outputs are targets.
    """

    loss: Loss
    offset: tuple[float, ...]
    scale: tuple[float, ...]

    def of(self, rows: jax.Array) -> jax.Array:
        """The targets of rows, float32."""
        offset, scale = jnp.asarray(self.offset), jnp.asarray(self.scale)
        return (rows.astype(jnp.float32) - offset) / scale

    def undo(self, target: jax.Array) -> jax.Array:
        """The rows of these targets."""
        return target * jnp.asarray(self.scale) + jnp.asarray(self.offset)

    def losses(self, outputs: jax.Array, target: jax.Array) -> jax.Array:
        """The loss of each value: cross-entropy of the logits, or squared error."""
        if self.loss == "bce":
            # max(z, 0) - z t + log(1 + exp(-|z|)): finite for every logit z.
            return jnp.maximum(outputs, 0) - outputs * target + jnp.log1p(jnp.exp(-jnp.abs(outputs)))
        return jnp.square(outputs - target)

    def errors(self, outputs: jax.Array, target: jax.Array) -> jax.Array:
        """The squared error of each value, for either loss."""
        if self.loss == "bce":
            # The same exponential as in the loss: XLA computes it once.
            small = jnp.exp(-jnp.abs(outputs))
            outputs = jnp.where(outputs >= 0, 1.0, small) / (1.0 + small)
        return jnp.square(jax.lax.stop_gradient(outputs) - target)

    def back(self) -> list[keras.layers.Layer]:
        """The layers from a decoder's outputs to rows in the data's units."""
        single = len(self.scale) == 1
        scale: Any = self.scale[0] if single else list(self.scale)
        offset: Any = self.offset[0] if single else list(self.offset)
        units = keras.layers.Rescaling(scale, offset=offset, dtype="float32", name="units")
        return [keras.layers.Activation("sigmoid"), units] if self.loss == "bce" else [units]


def targets_for(rows: np.ndarray, loss: str = "auto") -> Targets:
    """The targets that fit the data.

    "auto" is "bce" for bytes and for values from 0 to 1, else "mse". Bytes, and all rows with "bce", are
    scaled to 0 to 1 by :func:`value_range`. Other rows are standardised along their last axis: tables by
    column (constant columns are centred only), images by channel.
    """
    one_of("loss", loss, ("auto", *LOSSES))
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
    """(least, most) of the values; 0 to 255 for bytes that use more than half of that range.

    Bytes may be counts: scikit-learn's digits are 0 to 16 and must not become dark images.
    """
    low, high = float(rows.min()), float(rows.max())
    return BYTES if rows.dtype == np.uint8 and high > BYTES[1] / 2 else (low, high)
