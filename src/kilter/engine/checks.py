"""What can be known to be wrong before anything is traced: inputs against model, targets against loss."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from kilter import backend  # noqa: F401

# isort: split
import keras

from kilter.engine.batches import Rows
from kilter.errors import DataError
from kilter.nn.losses import smoothed_sparse_categorical_crossentropy

_SHOWN_ROWS = 5
# The losses that read class numbers.
_SPARSE = (keras.losses.sparse_categorical_crossentropy, smoothed_sparse_categorical_crossentropy)


def check_inputs(model: keras.Model, rows: Rows) -> None:
    """Raise :class:`DataError` if the inputs' shapes differ from those a built model declares.

    A dimension that the model leaves open (None) fits everything. Models that declare no input shape are
    checked by Keras when they are built.
    """
    declared = [tuple(tensor.shape) for tensor in keras.tree.flatten(getattr(model, "inputs", None) or [])]
    given = [tuple(leaf.shape) for leaf in jax.tree.leaves(rows.data[0])]
    if not declared:
        return
    fits = len(declared) == len(given) and all(map(_fits, declared, given))
    if not fits:
        raise DataError(
            expected=f"x of shape {_shown(declared)}, as model {model.name!r} takes it",
            received=f"x of shape {_shown(given)}",
            remedy="reshape the data, or build the model with keras.Input of the shape of one row",
        )


def _fits(declared: tuple[Any, ...], given: tuple[int, ...]) -> bool:
    # Keras itself adds a last axis of one to a plain vector of inputs.
    given = (*given, 1) if len(given) == len(declared) - 1 and declared[-1] == 1 else given
    return len(declared) == len(given) and all(
        want is None or want == have for want, have in zip(declared[1:], given[1:], strict=True)
    )


def _shown(shapes: list[tuple[Any, ...]]) -> str:
    open_rows = [("rows", *shape[1:]) for shape in shapes]
    return ", ".join("(" + ", ".join(map(str, shape)) + ")" for shape in open_rows)


def check_targets(model: keras.Model, rows: Rows) -> None:
    """Raise :class:`DataError` if integer labels lie outside a sparse cross-entropy's classes.

    Keras on JAX would train on: an index out of range reads as NaN, as another class or as none.
    """
    compiled = getattr(model, "_compile_loss", None)
    targets = jax.tree.leaves(rows.data[1])
    outputs = keras.tree.flatten(getattr(model, "outputs", None) or [])
    if compiled is None or not compiled.built or len(targets) != 1 or len(outputs) != 1:
        return
    loss = compiled._flat_losses[0].loss
    if getattr(loss, "fn", None) not in _SPARSE:
        return
    classes, ignored = outputs[0].shape[-1], loss._fn_kwargs.get("ignore_class")
    labels = np.asarray(targets[0])
    wrong = (labels < 0) | (labels >= classes)
    if ignored is not None:
        wrong &= labels != ignored
    bad = np.flatnonzero(wrong.reshape(rows.count, -1).any(axis=1))
    if len(bad):
        first = labels[bad[:_SHOWN_ROWS]].ravel().tolist()
        raise DataError(
            expected=f"labels 0 to {classes - 1}, as model {model.name!r} has {classes} outputs",
            received=f"{len(bad)} rows outside; first rows {bad[:_SHOWN_ROWS].tolist()} with labels {first}",
            remedy="correct the labels, or give the last layer as many units as there are classes",
        )
