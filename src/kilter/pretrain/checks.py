"""What can be known to be wrong before any pretraining: the encoder, the rows, and the two together."""

from __future__ import annotations

from typing import Any, Final

from kilter import _backend  # noqa: F401

# isort: split
import keras
import numpy as np

from kilter._models.copying import check_graph
from kilter.data.checks import find_nonfinite
from kilter.data.dataset import Dataset
from kilter.errors import DataError, ModelError

LEAST_ROWS: Final = 10  # with fewer there is nothing to learn that another row would show again


def check_encoder(encoder: Any) -> None:
    """Raise :class:`ModelError` unless ``encoder`` is a model of one input and one output that can learn."""
    if not isinstance(encoder, keras.Model):
        raise ModelError(
            expected="an encoder as a Keras model, or a function without arguments that makes one",
            received=f"encoder={encoder!r}",
            remedy="for example keras.Sequential([keras.Input((28, 28, 1)), ...])",
        )
    check_graph(encoder)
    inputs, outputs = keras.tree.flatten(encoder.inputs), keras.tree.flatten(encoder.outputs)
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            expected="an encoder with one input and one output",
            received=f"model {encoder.name!r} with {len(inputs)} inputs and {len(outputs)} outputs",
            remedy="make a keras.Model of the part that leads from one input to the code",
        )
    if None in (*inputs[0].shape[1:], *outputs[0].shape[1:]):
        raise ModelError(
            expected="an encoder of rows of one fixed shape",
            received=f"model {encoder.name!r} from {inputs[0].shape} to {outputs[0].shape}",
            remedy="give its keras.Input the whole shape, such as (28, 28, 1)",
        )
    if not encoder.trainable_variables:
        frozen = "all of them frozen" if encoder.variables else "none"
        raise ModelError(
            expected="an encoder with weights to train",
            received=f"model {encoder.name!r} with {frozen if encoder.variables else 'no weights'}",
            remedy="set layer.trainable = True for the layers that are to learn"
            if encoder.variables
            else "give it a layer with weights",
        )


def checked_rows(x: Any, encoder: keras.Model, *, named: str = "x", least: int = LEAST_ROWS) -> np.ndarray:
    """The rows as one NumPy array, if the encoder takes them.

    ``x``: an array or a :class:`kilter.data.Dataset`, whose labels are not looked at. Raises
    :class:`DataError` for anything else, for fewer than ``least`` rows, for NaN and infinity, and for rows of
    another shape than the encoder's input.
    """
    rows = np.asarray(x.x if isinstance(x, Dataset) else x)
    if rows.dtype.kind not in "biuf" or rows.ndim < 2:
        raise DataError(
            expected=f"{named} as one array of numbers, a row for each example",
            received=f"{named} of type {type(x).__name__}, dtype {rows.dtype}, shape {rows.shape}",
            remedy="pass a NumPy array of shape (rows, ...)",
        )
    takes, name = tuple(encoder.inputs[0].shape[1:]), encoder.name
    if rows.shape[1:] != takes:
        raise DataError(
            expected=f"{named} of shape (rows, {', '.join(map(str, takes))}), as encoder {name!r} takes",
            received=f"{named} of shape {rows.shape}",
            remedy="reshape the data, or build the encoder with keras.Input of the shape of one row",
        )
    if len(rows) < least:
        raise DataError(
            expected=f"at least {least} rows in {named}",
            received=f"{named} with {len(rows)} rows",
            remedy="give more rows; they need no labels",
        )
    bad = find_nonfinite(rows)
    if bad is not None:
        raise DataError(
            expected=f"finite numbers in {named}",
            received=bad.describe(named),
            remedy="fill or drop these rows",
        )
    return rows


def check_images(shape: tuple[int, ...], task: str) -> None:
    """Raise :class:`DataError` unless rows of ``shape`` are images, (height, width, channels)."""
    if len(shape) != 3:
        raise DataError(
            expected=f"images, x of shape (rows, height, width, channels), for task={task!r}",
            received=f"rows of shape {shape}",
            remedy="reshape the rows to images and let the encoder begin with keras.layers.Flatten, or take "
            "kilter.pretrain.autoencoder",
        )


def check_varied(rows: np.ndarray) -> None:
    """Raise :class:`DataError` where all rows are the same."""
    if (rows == rows[:1]).all():
        raise DataError(
            expected="rows that differ",
            received=f"{len(rows)} rows that are all the same",
            remedy="look at how the data were read",
        )
