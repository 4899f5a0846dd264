"""Checks before anything is traced: inputs against the model, targets against the loss."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import keras
import numpy as np

from kilter._engine.arrays import Rows
from kilter._engine.stable_losses import SPARSE
from kilter._models.variables import fitting, output_specs
from kilter.errors import DataError

_SHOWN_ROWS = 5


def check_inputs(model: keras.Model, rows: Rows) -> None:
    """Raise :class:`DataError` if the inputs' shapes differ from those that a built model declares.

    An open dimension (None) fits any size, and None fits an optional input.
    """
    tensors = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if not tensors:
        return
    declared = [tuple(tensor.shape) for tensor in tensors]
    arrays = _in_declared_order(model, rows.data[0])
    given = [None if array is None else tuple(array.shape) for array in arrays]
    if len(declared) != len(given):
        raise _other_count(model, rows.data, declared, given)
    fits = all(
        # Keras's own mark of an input made with optional=True.
        getattr(tensor._keras_history.operation, "optional", False)
        if shape is None
        else _fits(tuple(tensor.shape), shape)
        for tensor, shape in zip(tensors, given, strict=True)
    )
    if not fits:
        raise DataError(
            expected=f"x of shape {_shown(declared)}, as model {model.name!r} takes it",
            received=f"x of shape {_shown(given)}",
            remedy="for one row, pass x[None]"
            if given == [shape[1:] for shape in declared]
            else "reshape the data, or build the model with keras.Input of the shape of one row"
            + (" and optional=True where None may be passed" if None in given else ""),
        )
    for tensor, array in zip(tensors, arrays, strict=True):
        _check_whole(model, tensor, array)


def _check_whole(model: keras.Model, tensor: Any, array: Any) -> None:
    """Raise :class:`DataError` for fractions where the input is of integers, as Keras would cut them off."""
    is_cut = keras.backend.is_int_dtype(tensor.dtype) and isinstance(array, np.ndarray | jax.Array)
    if not is_cut or isinstance(array, np.memmap) or not np.issubdtype(array.dtype, np.floating):
        return
    values = np.asarray(array).reshape(len(array), -1)
    bad = np.flatnonzero((values != np.floor(values)).any(axis=1))
    if len(bad):
        shown = bad[:_SHOWN_ROWS]
        firsts = [row[row != np.floor(row)][0].item() for row in values[shown]]
        raise DataError(
            expected=f"whole numbers for input {tensor.name!r} of model {model.name!r}, of {tensor.dtype}",
            received=f"fractions in {len(bad)} rows; first rows {shown.tolist()} with {firsts}",
            remedy="correct the numbers, or make the keras.Input one of floats",
        )


def _other_count(model: keras.Model, data: Any, declared: list[Any], given: list[Any]) -> DataError:
    x, y, _ = data
    remedy = "pass one array for each input, as a list or as a dict by name"
    if isinstance(x, list) and y is None:
        remedy = "make each batch a tuple (x, y)" + (
            ", not a dict with keys 'x' and 'y'"
            if isinstance(x[0], Mapping)
            else ": a list of arrays is one x"
        )
    return DataError(
        expected=f"x as {_counted(declared)}, as model {model.name!r} takes it",
        received=_counted(given),
        remedy=remedy,
    )


def _counted(shapes: list[Any]) -> str:
    return f"{len(shapes)} {'array' if len(shapes) == 1 else 'arrays'} of shape {_shown(shapes)}"


def _in_declared_order(model: keras.Model, x: Any) -> list[Any]:
    """The arrays of ``x`` in the order of the model's inputs; a dict is matched by name, as in Keras."""
    listed = getattr(model, "_inputs_struct", None)
    if not isinstance(x, Mapping) or listed is None:
        return keras.tree.flatten(x)
    if isinstance(listed, Mapping):
        names = sorted(listed)
        if any(isinstance(part, Mapping | list | tuple) for part in listed.values()):
            return keras.tree.flatten(x)
    else:
        names = [tensor.name for tensor in keras.tree.flatten(listed)]
    missing = [name for name in names if name not in x]
    if missing:
        raise DataError(
            expected=f"x with the inputs {', '.join(names)} of model {model.name!r}",
            received=f"a dict without {', '.join(missing)}: it has {', '.join(map(str, x))}",
            remedy="name the arrays as the model's keras.Input are named, or pass a list in their order",
        )
    return [x[name] for name in names]


def _fits(declared: tuple[Any, ...], given: tuple[int, ...]) -> bool:
    # Keras itself adds or drops a last axis of one.
    if len(given) == len(declared) - 1 and declared[-1] == 1:
        given = (*given, 1)
    elif len(given) == len(declared) + 1 and given[-1] == 1:
        given = given[:-1]
    return len(declared) == len(given) and all(
        want is None or want == have for want, have in zip(declared[1:], given[1:], strict=True)
    )


def _shown(shapes: list[Any]) -> str:
    open_rows = [None if shape is None else ("rows", *shape[1:]) for shape in shapes]
    return ", ".join("None" if one is None else "(" + ", ".join(map(str, one)) + ")" for one in open_rows)


@dataclass
class TargetCheck:
    """Raises :class:`DataError` if integer labels are outside a sparse cross-entropy's classes.

    Keras on JAX would go on. Nothing is checked if only some outputs have a loss, or the classes are open.
    The model's outputs are looked up once, for data that come in parts.
    """

    model: keras.Model
    _outputs: list[Any] | None = field(default=None, init=False)

    def __call__(self, data: Any, first: int = 0) -> None:
        """Check one part ``(x, y, sample_weight)``, whose first row is number ``first`` of the data."""
        compiled: Any = getattr(self.model, "_compile_loss", None)
        if compiled is None or not compiled.built:
            return
        losses = [entry.loss for entry in compiled._flat_losses]
        if not any(map(_reads_classes, losses)):
            return
        if self._outputs is None:
            with fitting(self.model, data):
                self._outputs = _in_order(self.model, output_specs(self.model, data[0]))
        targets = _targets(compiled, data[1])
        if not len(losses) == len(targets) == len(self._outputs):
            return
        for number, (loss, labels, output) in enumerate(zip(losses, targets, self._outputs, strict=True)):
            if _reads_classes(loss) and labels is not None and output.shape[-1] is not None:
                part = "model" if len(losses) == 1 else f"output {number + 1} of"
                classes, ignored = output.shape[-1], loss._fn_kwargs.get("ignore_class")
                _check_labels(np.asarray(labels), classes, ignored, f"{part} {self.model.name!r}", first)


def _reads_classes(loss: Any) -> bool:
    return getattr(loss, "fn", None) in SPARSE


def _in_order(model: keras.Model, outputs: list[Any]) -> list[Any]:
    """Declared outputs in the order of the losses: a dict's by the paths of these."""
    named: Any = getattr(model, "_outputs_struct", None)
    paths = [entry.path for entry in model._compile_loss._flat_losses]  # type: ignore[attr-defined]
    known = isinstance(named, Mapping) and all(len(path) == 1 and path[0] in named for path in paths)
    return [named[path[0]] for path in paths] if known else outputs


def _targets(compiled: Any, y: Any) -> list[Any]:
    """The arrays of ``y`` in the order of the losses; a dict is matched by name, as in Keras."""
    paths, names = [entry.path for entry in compiled._flat_losses], compiled.output_names
    if isinstance(y, Mapping) and all(len(path) == 1 and path[0] in y for path in paths):
        return [y[path[0]] for path in paths]
    if isinstance(y, Mapping) and names and set(names) == set(y):
        return [y[name] for name in names]
    return keras.tree.flatten(y)


def _check_labels(labels: np.ndarray, classes: int, ignored: int | None, where: str, start: int) -> None:
    wrong = ~((labels >= 0) & (labels < classes) & (labels == np.floor(labels)))
    if ignored is not None:
        wrong &= labels != ignored
    bad = np.flatnonzero(wrong.reshape(len(labels), -1).any(axis=1))
    if len(bad):
        shown = bad[:_SHOWN_ROWS]
        rows, found = (start + shown).tolist(), labels[shown].ravel().tolist()
        raise DataError(
            expected=f"labels 0 to {classes - 1}, as {where} has {classes} outputs",
            received=f"{len(bad)} row{'s' * (len(bad) > 1)} outside; first rows {rows} with labels {found}",
            remedy="correct the labels, or give the last layer as many units as there are classes",
        )
