"""The one place where Keras's variables and the pure engine meet.

``pull`` reads a model's variables into a :class:`State`, ``push`` writes a state back. Nothing else in the
engine touches a Keras variable, and no synchronisation happens behind the reader's back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import keras

from kilter._models.keras_internals import compute_output_spec
from kilter._text import first_line
from kilter.errors import DataError, KilterError, ModelError


class State(NamedTuple):
    """All that a training step changes, as lists of arrays in Keras's own order.

    ``non_trainable`` holds batch-normalisation statistics and the seed generators of dropout and the like;
    ``optimizer`` holds the iteration count, the learning rate and the slots.
    """

    trainable: list[Any]
    non_trainable: list[Any]
    optimizer: list[Any]
    metrics: list[Any]


def variables(model: keras.Model) -> State:
    """The model's Keras variables, in the layout of a :class:`State`."""
    optimizer = model.optimizer.variables if model.optimizer is not None else []
    return State(
        list(model.trainable_variables),
        list(model.non_trainable_variables),
        list(optimizer),
        list(model.metrics_variables),
    )


def pull(model: keras.Model) -> State:
    """Copy the model's variables into a state that the engine may donate to XLA.

    A copy, not a reference: the compiled step reuses the memory of the state it is given, and the model must
    stay readable if the step is interrupted.
    """
    return copied(held(model))


def copied(state: State) -> State:
    """The same values in memory of their own, that may be donated."""
    return jax.device_put(state, may_alias=False)


def held(model: keras.Model) -> State:
    """The values of the model's variables, not copied: not to be donated."""
    return State(*([variable.value for variable in group] for group in variables(model)))


def push(state: State, model: keras.Model) -> None:
    """Write a state into the model's variables. The arrays are shared: do not donate the state afterwards."""
    for group, values in zip(variables(model), state, strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(value)


def lend(model: keras.Model, other: keras.Model) -> None:
    """Give ``other``, of the same variables, the values that ``model`` has; the arrays are shared."""
    push(held(model), other)


def build(model: keras.Model, batch: Sequence[Any], *, training: bool = True) -> None:
    """Create the variables of model, loss, metrics and optimiser from one ``(x, y, sample_weight)``.

    Raises :class:`ModelError` if the model is not compiled, :class:`DataError` if the batch does not fit.
    """
    check_compiled(model, training=training)
    with fitting(model, batch):
        model._symbolic_build(data_batch=tuple(batch))


def check_compiled(model: keras.Model, *, training: bool = True) -> None:
    """Raise :class:`ModelError` if the model is not compiled, or lacks the optimiser that training needs."""
    if not getattr(model, "compiled", False):
        raise ModelError(
            expected="a compiled model",
            received=f"model {model.name!r}, on which compile() was not called",
            remedy="call model.compile(optimizer=..., loss=...) first",
        )
    if training and model.optimizer is None:
        raise ModelError(
            expected="a model compiled with an optimiser",
            received=f"model {model.name!r} with optimizer=None",
            remedy="call model.compile(optimizer=..., loss=...)",
        )


@contextlib.contextmanager
def fitting(model: keras.Model, batch: Sequence[Any]) -> Iterator[None]:
    """While active, what Keras has against ``batch`` in a trace of the model becomes a :class:`DataError`."""
    try:
        yield
    except (KilterError, jax.errors.JaxRuntimeError):  # the device's own errors, such as no memory
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as problem:
        raise DataError(
            expected=f"data that fit model {model.name!r} and its loss",
            received=f"shapes {_shapes(batch)}; Keras says: {first_line(problem)}",
            remedy="compare the shapes of x and y with model.input_shape, model.output_shape and the loss",
        ) from problem


def build_forward(model: keras.Model, x: Any) -> None:
    """Create the variables of an uncompiled or unbuilt model from the shapes of one batch of inputs."""
    if not all(layer.built for layer in model._flatten_layers()):
        compute_output_spec(model, _symbolic(x))


def output_specs(model: keras.Model, x: Any) -> list[Any]:
    """The outputs of a built model for inputs like ``x``, as flat symbolic tensors; some batches will do.

    As declared; those of a model that declares none are found by a trace, which takes its time.
    """
    declared = keras.tree.flatten(getattr(model, "outputs", None) or [])
    return declared or keras.tree.flatten(compute_output_spec(model, _symbolic(x)))


def _symbolic(batch: Any) -> Any:
    return keras.tree.map_structure(
        lambda leaf: (
            None
            if leaf is None  # an optional input
            else keras.KerasTensor(leaf.shape, keras.backend.standardize_dtype(leaf.dtype))
        ),
        batch,
    )


def _shapes(batch: Any) -> str:
    named = zip(("x", "y", "sample_weight"), batch, strict=False)
    return ", ".join(f"{name}={keras.tree.map_structure(_shape, part)}" for name, part in named)


def _shape(leaf: Any) -> tuple[int, ...] | None:
    return None if leaf is None else tuple(leaf.shape)
