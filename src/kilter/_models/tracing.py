"""Looking into a model while it is traced: one forward pass, with layers that report what goes through.

Works on any model, since it asks not how layers are wired but only that they are called: attributes of layer
instances (a layer's ``call``, its ``activation``) are replaced for the length of a trace, then put back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import keras
import numpy as np
from jax.extend.core import get_opaque_trace_state

from kilter._models.arrays import plain_array
from kilter._text import first_line
from kilter.errors import DataError, KilterError, ModelError, OptionError


def replace_attribute(instance: Any, name: str, value: Any, stack: contextlib.ExitStack) -> None:
    """Set ``instance.name`` until ``stack`` closes, which puts back what was there or was inherited.

    Through ``__dict__``: Keras's own ``__setattr__`` would track or refuse the replacement.
    """
    if name in instance.__dict__:
        stack.callback(instance.__dict__.__setitem__, name, instance.__dict__[name])
    else:
        stack.callback(instance.__dict__.pop, name)
    instance.__dict__[name] = value


def leaf_layers(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """The layers within ``model`` that hold no others, each once, with its path, such as ``"block/dense_1"``.

    A recurrent layer counts as one: its cell is called within a loop, where no value can be looked at.
    """
    seen: set[int] = set()

    def descend(holder: Any, path: str) -> Iterator[tuple[str, keras.layers.Layer]]:
        for layer in holder._flatten_layers(include_self=False, recursive=False):
            below = f"{path}{layer.name}"
            if isinstance(layer, keras.layers.RNN) or not layer._layers:
                if id(layer) not in seen:
                    seen.add(id(layer))
                    yield below, layer
            else:
                yield from descend(layer, f"{below}/")

    return descend(model, "")


def in_same_trace() -> Callable[[], bool]:
    """A function that says whether it is called in the trace that this one was called in.

    A layer that is called in a traced loop, such as jax.lax.scan, or under jax.vmap is in another: what it
    computes there cannot be read from outside.
    """
    begun = get_opaque_trace_state(convention="flax")
    return lambda: get_opaque_trace_state(convention="flax") == begun


def fixed_batch_size(model: keras.Model, batch_size: int | None = None) -> int | None:
    """The number of rows that each batch of ``model`` must have; None where any number will do.

    Inputs may be made for one batch size, and so are the states of stateful recurrent layers; where these are
    not made yet, it is ``batch_size``.
    """
    layers = [layer for layer in model._flatten_layers() if getattr(layer, "stateful", False)]
    states = keras.tree.flatten([getattr(layer, "states", None) for layer in layers])
    tensors = [*(getattr(model, "inputs", None) or ()), *states]
    sizes = [tensor.shape[0] for tensor in tensors if tensor is not None and len(tensor.shape)]
    known = [size for size in sizes if size is not None]
    return max(known, default=batch_size if layers else None)


def some_rows(x: Any, rows: int, seed: int) -> Any:
    """At most ``rows`` rows of the arrays in ``x``, drawn without replacement with ``seed``, in their order.

    Raises :class:`OptionError` for fewer than one row asked for, :class:`DataError` for no rows and for
    arrays of different lengths.
    """
    if rows < 1:
        raise OptionError(
            expected="rows of at least 1", received=f"rows={rows}", remedy="a few hundred are enough"
        )
    arrays = jax.tree.map(plain_array, x)
    shapes = [array.shape for array in jax.tree.leaves(arrays)]
    lengths = {shape[:1] for shape in shapes}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise DataError(
            expected="a batch: arrays with the same number of rows, at least 1",
            received=f"shapes {', '.join(map(str, shapes)) or 'of no array'}",
            remedy="give the inputs of some rows of the training data",
        )
    ((count,),) = lengths
    if count <= rows:
        return arrays
    chosen = np.sort(np.random.default_rng(seed).choice(count, rows, replace=False))
    return jax.tree.map(lambda array: array[chosen], arrays)


def build(model: keras.Model, x: Any) -> None:
    """Make the variables of a model that has none yet, by calling it on one row of ``x``."""
    if not all(layer.built for layer in model._flatten_layers()):
        with fitting(model):
            model(jax.tree.map(lambda array: array[:1], x), **_mode(model, training=False))


def forward(model: keras.Model, variables: Any, x: Any, *, training: bool) -> Any:
    """The outputs for ``x`` with ``variables`` = (trainable, non-trainable) values; the model is not changed.

    What training would change of statistics and seeds is dropped.
    """
    return model.stateless_call(*variables, x, **_mode(model, training=training))[0]


def values(model: keras.Model) -> tuple[list[Any], list[Any]]:
    """The model's variables as arrays: trainable, non-trainable."""
    return (
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
    )


@contextlib.contextmanager
def fitting(model: keras.Model) -> Iterator[None]:
    """While active, Keras's errors about inputs are a :class:`DataError`, loops a :class:`ModelError`."""
    try:
        yield
    except (KilterError, jax.errors.JaxRuntimeError):
        raise
    except jax.errors.UnexpectedTracerError as problem:
        raise ModelError(
            expected=f"layers of model {model.name!r} that are called outside loops",
            received="a layer within a traced loop (such as jax.lax.scan), where its values cannot be seen",
            remedy="call the layer outside the loop, or put the loop into a keras.layers.RNN",
        ) from problem
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as problem:
        raise DataError(
            expected=f"inputs that fit model {model.name!r}",
            received=f"Keras says: {first_line(problem)}",
            remedy="compare the shapes of x with model.input_shape",
        ) from problem


def _mode(model: keras.Model, *, training: bool) -> dict[str, bool]:
    return {"training": training} if model._call_has_training_arg else {}
