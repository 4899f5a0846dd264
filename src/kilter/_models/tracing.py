"""Looking inside a model while it is traced: the ``call`` of each layer is replaced, then put back.

Works on any model, because it does not ask how layers are connected.
"""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
from jax.extend.core import get_opaque_trace_state

from kilter._models.layers import RECURRENT
from kilter._models.variables import values


@dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of a layer or operation.

    ``path`` names the layer and the models around it. ``inputs`` and ``outputs`` are all its arrays (or
    symbolic tensors); keeping them alive means that no identity is used twice. ``training``: whether the
    model itself passes ``training=True``, also at inference.
    """

    path: str
    layer: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    training: bool = False


Around = Callable[..., Any]
"""``(layer, call, *arguments, **options)`` to the output; ``call`` is the layer's own."""


@contextlib.contextmanager
def intercept_calls(layers: Iterable[Any], around: Around) -> Generator[None]:
    """While active, ``around(layer, call, *arguments, **options)`` runs in place of each layer's ``call``.

    Use it around tracing only. The calls are put back on exit, also after an error.
    """
    with contextlib.ExitStack() as stack:
        for layer in layers:
            replace_attribute(layer, "call", _intercepted(layer, around), stack)
        yield


def _intercepted(layer: Any, around: Around) -> Callable[..., Any]:
    own = layer.call

    def call(*arguments: Any, **options: Any) -> Any:
        return around(layer, own, *arguments, **options)

    return call


@contextlib.contextmanager
def watch_calls(model: keras.Model, see: Callable[[LayerCall, Any], Any]) -> Generator[None]:
    """While active, ``see(call, output)`` gets each call of a leaf layer, and returns the output to use.

    Calls inside a traced loop or under ``jax.vmap`` are left out.
    """
    layers = list(leaf_layers(model))
    paths = {id(layer): path for path, layer in layers}
    visible = in_same_trace()

    def around(layer: Any, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        output = call(*arguments, **options)
        if not visible():
            return output
        given = arrays_in((arguments, options))
        return see(LayerCall(paths[id(layer)], layer, given, arrays_in(output)), output)

    with intercept_calls([layer for _, layer in layers], around):
        yield


def arrays_in(value: Any) -> tuple[Any, ...]:
    """All arrays in a nested structure."""
    return tuple(leaf for leaf in jax.tree.leaves(value) if hasattr(leaf, "dtype"))


def floats_in(arrays: Iterable[Any]) -> list[Any]:
    """The floating-point arrays of at least one dimension among ``arrays``."""
    return [one for one in arrays if jnp.issubdtype(one.dtype, jnp.floating) and one.ndim]


def replace_attribute(instance: Any, name: str, value: Any, stack: contextlib.ExitStack) -> None:
    """Set ``instance.name`` until ``stack`` closes, which restores the instance's own or inherited attribute.

    Through ``__dict__``: Keras's ``__setattr__`` would track or refuse the replacement.
    """
    if name in instance.__dict__:
        stack.callback(instance.__dict__.__setitem__, name, instance.__dict__[name])
    else:
        stack.callback(instance.__dict__.pop, name)
    instance.__dict__[name] = value


def leaf_layers(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """The layers of ``model`` that hold no others, each once, with its path, such as ``"block/dense_1"``.

    A recurrent layer counts as a leaf: its cell is called inside a loop, where no value can be read.
    """
    seen: set[int] = set()

    def descend(holder: Any, path: str) -> Iterator[tuple[str, keras.layers.Layer]]:
        for layer in holder._flatten_layers(include_self=False, recursive=False):
            below = f"{path}{layer.name}"
            if isinstance(layer, RECURRENT) or not layer._layers:
                if id(layer) not in seen:
                    seen.add(id(layer))
                    yield below, layer
            else:
                yield from descend(layer, f"{below}/")

    return descend(model, "")


def in_same_trace() -> Callable[[], bool]:
    """A function that says whether it is called in the same trace as this one.

    Values computed in a traced loop or under ``jax.vmap``, where another trace is active, cannot be read
    outside.
    """
    begun = get_opaque_trace_state(convention="flax")
    return lambda: get_opaque_trace_state(convention="flax") == begun


def fixed_batch_size(model: keras.Model, batch_size: int | None = None) -> int | None:
    """The batch size that ``model`` requires; None if it takes any.

    Stateful recurrent layers fix it; if their states are not created yet, the answer is ``batch_size``.
    """
    layers = [layer for layer in model._flatten_layers() if getattr(layer, "stateful", False)]
    states = keras.tree.flatten([getattr(layer, "states", None) for layer in layers])
    tensors = [*(getattr(model, "inputs", None) or ()), *states]
    sizes = [tensor.shape[0] for tensor in tensors if tensor is not None and len(tensor.shape)]
    known = [size for size in sizes if size is not None]
    return max(known, default=batch_size if layers else None)


def forward(model: keras.Model, variables: Any, x: Any, *, training: bool) -> Any:
    """The outputs for ``x`` with ``variables`` = (trainable, non-trainable) values; the model is unchanged.

    Updates of statistics and seeds are dropped.
    """
    options = {"training": training} if model._call_has_training_arg else {}
    return model.stateless_call(*variables, x, **options)[0]


def forward_program(model: keras.Model, x: Any) -> Any:
    """The jaxpr of a forward pass at inference, by the model's values and ``x``; nothing is compiled."""

    def run(variables: Any, x: Any) -> list[jax.Array]:
        return jax.tree.leaves(forward(model, variables, x, training=False))

    return jax.make_jaxpr(run)(values(model), x)
