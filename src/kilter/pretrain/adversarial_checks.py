"""Whether data, networks and options make a generative adversarial network, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._engine.arrays import Rows
from kilter.errors import DataError, ModelError, OptionError
from kilter.pretrain.checks import check_varied
from kilter.pretrain.gan_step import LOSSES, Objective

USUAL_SMOOTHING = 0.1


def checked_objective(loss: str, label_smoothing: float | None) -> Objective:
    """The objective of these names; :class:`OptionError` for one that is none."""
    if loss not in LOSSES:
        raise OptionError(
            expected=f"loss as one of {', '.join(map(repr, LOSSES))}",
            received=f"loss={loss!r}",
            remedy="leave it out for the logistic loss",
        )
    if label_smoothing is None:
        label_smoothing = USUAL_SMOOTHING if loss == "logistic" else 0.0
    smooth = isinstance(label_smoothing, int | float) and 0 <= label_smoothing < 0.5
    if not smooth or (label_smoothing and loss == "hinge"):
        raise OptionError(
            expected="label_smoothing from 0 to below 0.5, and 0 with the hinge loss, which has no labels",
            received=f"label_smoothing={label_smoothing!r} with loss={loss!r}",
            remedy="leave label_smoothing out",
        )
    return Objective(loss, float(label_smoothing))


def checked_data(rows: Rows, batch_size: int, *, ready: bool) -> np.ndarray:
    """The data as one array on the host, if networks can be made for them."""
    data = rows.data[0]
    if not hasattr(data, "shape"):
        raise DataError(
            expected="x as one array", received=f"x of type {type(data).__name__}", remedy="take one input"
        )
    if rows.count < batch_size:
        raise DataError(
            expected=f"at least one batch of {batch_size} rows",
            received=f"{rows.count} rows",
            remedy="pass a smaller batch_size, or more rows",
        )
    shape = data.shape[1:]
    if not ready and not (len(shape) == 1 or (len(shape) == 3 and min(shape[:2]) >= 8)):
        raise DataError(
            expected="x of shape (rows, features), or (rows, height, width, channels) from 8 pixels a side",
            received=f"x of shape {data.shape}",
            remedy="add the axis of channels with x[..., None], or pass a generator and a discriminator",
        )
    host = np.asarray(data)
    check_varied(host)
    return host


def check_adversaries(
    generator: keras.Model, discriminator: keras.Model, shape: Sequence[int], latent: int | None
) -> None:
    """Raise :class:`ModelError` unless noise becomes rows, and rows one number."""
    taken, given = generator.input_shape, generator.output_shape
    if not _is_shape(taken) or len(taken) != 2 or (latent is not None and taken[-1] != latent):
        raise ModelError(
            expected=f"a generator that takes ({latent or 'latent'},)",
            received=f"{generator.name!r}, which takes {_without_rows(taken)}",
            remedy="give it keras.Input((latent,)), and leave latent out",
        )
    if given[1:] != tuple(shape):
        raise ModelError(
            expected=f"a generator that gives rows of shape {tuple(shape)}, as x has",
            received=f"{generator.name!r}, which gives {_without_rows(given)}",
            remedy="reshape its output, or x",
        )
    if discriminator.input_shape[1:] != tuple(shape) or discriminator.output_shape[1:] != (1,):
        raise ModelError(
            expected=f"a discriminator from rows of shape {tuple(shape)} to one number, shape (1,)",
            received=f"{discriminator.name!r}, from {_without_rows(discriminator.input_shape)} to "
            f"{_without_rows(discriminator.output_shape)}",
            remedy="end it with keras.layers.Dense(1), without an activation",
        )
    last = discriminator.layers[-1]
    activation = keras.activations.serialize(getattr(last, "activation", None) or keras.activations.linear)
    if activation != "linear":
        raise ModelError(
            expected="a discriminator that ends in a logit",
            received=f"{last.name!r} with the activation {activation!r}",
            remedy="end it with keras.layers.Dense(1), without an activation",
        )
    for model in (generator, discriminator):
        if not model.trainable_variables:
            raise ModelError(
                expected="two models to train",
                received=f"{model.name!r} without a weight that is trainable",
                remedy="thaw its layers: layer.trainable = True",
            )


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and all(side is None or isinstance(side, int) for side in shape)


def _without_rows(shape: Any) -> str:
    return str(tuple(shape[1:])) if _is_shape(shape) else str(shape)
