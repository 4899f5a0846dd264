"""Reading a compiled model into facts: one abstract forward pass tells which layer feeds which.

Works on any model, nested and subclassed included, since layers are found by being called. What happens
between layers without a layer (an addition in a subclassed ``call``) shows as a source that is not known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._models.keras_internals import BaseGlobalPooling, BasePooling, Merge
from kilter._models.layers import (
    NORMALIZATIONS,
    WEIGHTED,
    LayerFacts,
    OutputFacts,
    activation_layers,
    activation_name,
    compiled_losses,
)
from kilter._models.tracing import (
    fitting,
    fixed_batch_size,
    forward,
    in_same_trace,
    leaf_layers,
    replace_attribute,
    values,
)

_SHAPING: Final = (
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.RepeatVector,
    keras.layers.Identity,
)
_PASSING: Final = (
    *_SHAPING,
    keras.layers.ActivityRegularization,
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)
# What multiplies and adds known numbers.
_SCALING: Final = (keras.layers.Normalization, keras.layers.Rescaling)
# What may stand between a kernel and the activation that belongs to it.
_BETWEEN: Final = (*_PASSING, *_SCALING, *NORMALIZATIONS, Merge, BasePooling, BaseGlobalPooling)

# Rows of the trace, where the model takes batches of any size.
_ROWS: Final = 2


@dataclass
class _Call:
    """A call in the trace; outputs are kept alive so that no identity is used twice."""

    path: str
    layer: Any
    entering: list[Any]
    leaving: list[Any]


def read_model(
    model: keras.Model, x: Any, targets: Sequence[np.ndarray | None]
) -> tuple[tuple[LayerFacts, ...], tuple[OutputFacts, ...]]:
    """The calls of a built model's layers on rows like those of ``x``, and its outputs.

    ``targets`` are paired with the outputs where there are as many. Nothing is computed and nothing changes.

    Raises :class:`~kilter.errors.DataError` for inputs that do not fit the model.
    """
    calls, starts, ends = _trace(model, x)
    sources = [_sources(calls, index) for index in range(len(calls))]
    consumers: list[list[int]] = [[] for _ in calls]
    for index, before in enumerate(sources):
        for source in before:
            consumers[source].append(index)
    last = {index for index, call in enumerate(calls) if _shared(call.leaving, ends)}
    heads = _heads(calls, consumers, last)
    entrances = _entrances(calls, starts, sources)
    seen: set[int] = set()
    layers = []
    for index, call in enumerate(calls):
        activation, holder = _activation_after(calls, consumers, last, index)
        layers.append(
            LayerFacts(
                index=index,
                path=call.path,
                kind=type(call.layer).__name__,
                layer=call.layer,
                activation=activation,
                activation_layer=calls[holder].path,
                sources=tuple(sources[index]),
                takes_input=index in entrances,
                consumers=tuple(consumers[index]),
                is_output=index in heads,
                repeated=id(call.layer) in seen,
                shape=tuple(call.leaving[0].shape),
            )
        )
        seen.add(id(call.layer))
    return tuple(layers), tuple(_outputs(model, calls, sources, ends, targets))


def paired_targets(model: keras.Model, y: Any) -> list[np.ndarray]:
    """The targets in the order of the model's outputs; those of a dict by the outputs' names."""
    names = getattr(model, "output_names", None)
    listed = isinstance(getattr(model, "_outputs_struct", None), list | tuple)
    if isinstance(y, dict) and listed and names and set(names) == set(y):
        y = [y[name] for name in names]
    return [np.asarray(leaf) for leaf in keras.tree.flatten(y) if leaf is not None]


def _trace(model: keras.Model, x: Any) -> tuple[list[_Call], list[Any], list[Any]]:
    """The calls, the model's inputs and its outputs as they appear in the trace."""
    calls: list[_Call] = []
    starts: list[Any] = []
    ends: list[Any] = []

    def run(variables: Any, inputs: Any) -> tuple[()]:
        starts.extend(jax.tree.leaves(inputs))
        with contextlib.ExitStack() as stack:
            visible = in_same_trace()
            for path, layer in leaf_layers(model):
                replace_attribute(layer, "call", _watched(path, layer, calls, visible), stack)
            ends.extend(jax.tree.leaves(forward(model, variables, inputs, training=True)))
        return ()

    count = fixed_batch_size(model) or _ROWS
    rows = jax.tree.map(lambda array: _some_rows(array, count), x)
    with fitting(model):
        jax.eval_shape(run, values(model), rows)
    return calls, starts, ends


def _some_rows(array: Any, count: int) -> jax.ShapeDtypeStruct | None:
    if array is None:  # an optional input
        return None
    array = np.asarray(array)
    # In the type that layers compute in, or the cast on the way in hides where an input goes.
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind == "i" else np.dtype("float32")
    return jax.ShapeDtypeStruct((count, *array.shape[1:]), jax.dtypes.canonicalize_dtype(dtype))


def _watched(path: str, layer: Any, calls: list[_Call], visible: Callable[[], bool]) -> Any:
    original = layer.call

    def call(*arguments: Any, **options: Any) -> Any:
        output = original(*arguments, **options)
        leaving = _floats(output) if visible() else []
        if leaving:
            calls.append(_Call(path, layer, _arrays((arguments, options)), leaving))
        return output

    return call


def _arrays(value: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(value) if hasattr(leaf, "dtype")]


def _floats(value: Any) -> list[Any]:
    return [leaf for leaf in _arrays(value) if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.ndim]


def _shared(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return any(one is other for one in some for other in others)


def _sources(calls: list[_Call], index: int) -> list[int]:
    """The calls that what enters call ``index`` came from, the latest where one passed it on unchanged."""
    found: list[int] = []
    for entering in calls[index].entering:
        origin = next((i for i in reversed(range(index)) if _shared([entering], calls[i].leaving)), None)
        if origin is not None and origin not in found:
            found.append(origin)
    return found


def _entrances(calls: list[_Call], starts: list[Any], sources: list[list[int]]) -> set[int]:
    """The calls that take the model's own inputs, at most in another shape."""
    # Whole numbers are cast on their way into the layer, so that only their shape is known again.
    shapes = [start.shape for start in starts if jnp.issubdtype(start.dtype, jnp.integer)]
    found: set[int] = set()
    for index, call in enumerate(calls):
        if sources[index]:
            if any(one in found and isinstance(calls[one].layer, _SHAPING) for one in sources[index]):
                found.add(index)
        elif _shared(call.entering, starts) or any(array.shape in shapes for array in call.entering):
            found.add(index)
    return found


def _after(consumers: list[list[int]], index: int) -> Iterator[int]:
    """All calls that the output of ``index`` reaches."""
    waiting, seen = list(consumers[index]), set()
    while waiting:
        if (one := waiting.pop()) not in seen:
            seen.add(one)
            yield one
            waiting.extend(consumers[one])


def _heads(calls: list[_Call], consumers: list[list[int]], last: set[int]) -> set[int]:
    """The calls with weights after which none comes; the latest of all is one, wherever its output goes."""
    weighted = [index for index, call in enumerate(calls) if isinstance(call.layer, WEIGHTED)]
    found = set()
    for index in weighted:
        after = {index, *_after(consumers, index)}
        if not any(one != index and one in weighted for one in after) and (
            after & last or index == weighted[-1]
        ):
            found.add(index)
    return found


def _activation_after(
    calls: list[_Call], consumers: list[list[int]], last: set[int], index: int
) -> tuple[str | None, int]:
    """The activation that call ``index`` ends in, and the call that applies it."""
    own = own_activation(calls[index].layer)
    if own != "linear" or not isinstance(calls[index].layer, WEIGHTED):
        return own, index
    at = index
    while consumers[at]:
        at = consumers[at][0]
        layer = calls[at].layer
        if isinstance(layer, activation_layers()):
            return own_activation(layer), at
        if isinstance(layer, WEIGHTED):
            return "linear", index
        if not isinstance(layer, _BETWEEN):
            return None, index
    return ("linear" if at in last else None), index


def own_activation(layer: Any) -> str | None:
    """What a layer applies to its output by Keras's name; "linear" for nothing, None for what is not known.

    JAX's functions of the same name count as Keras's.
    """
    name = activation_name(layer)
    if name is not None:
        return "silu" if name == "swish" else name
    function = getattr(layer, "activation", None)
    if function is None:
        return "linear" if isinstance(layer, WEIGHTED) else None
    module, name = getattr(function, "__module__", "") or "", getattr(function, "__name__", "")
    known = module.split(".")[0] in ("jax", "keras") and hasattr(keras.activations, name)
    return name if known else None


def _outputs(
    model: keras.Model,
    calls: list[_Call],
    sources: list[list[int]],
    ends: list[Any],
    targets: Sequence[np.ndarray | None],
) -> Iterator[OutputFacts]:
    losses = compiled_losses(model, len(ends))
    paired = targets if len(targets) == len(ends) else [None] * len(ends)
    for end, loss, target in zip(ends, losses, paired, strict=True):
        at = next((i for i in reversed(range(len(calls))) if _shared([end], calls[i].leaving)), None)
        yield OutputFacts(
            where=_last_weighted(calls, sources, at),
            activation=_activation_before(calls, sources, at),
            units=int(end.shape[-1]) if end.ndim > 1 else 1,
            shape=tuple(end.shape),
            loss=loss,
            targets=target,
        )


def _activation_before(calls: list[_Call], sources: list[list[int]], at: int | None) -> str | None:
    scaled = False
    while at is not None:
        layer = calls[at].layer
        if isinstance(layer, (*activation_layers(), *WEIGHTED)):
            own = own_activation(layer)
            return own if own == "linear" or not scaled else None  # of another range than its name says
        if isinstance(layer, NORMALIZATIONS):
            return "linear"
        if not isinstance(layer, (*_PASSING, *_SCALING)):
            return None
        scaled = scaled or isinstance(layer, _SCALING)
        at = sources[at][0] if len(sources[at]) == 1 else None
    return None


def _last_weighted(calls: list[_Call], sources: list[list[int]], at: int | None) -> str:
    while at is not None:
        if isinstance(calls[at].layer, WEIGHTED):
            return calls[at].path
        at = sources[at][-1] if sources[at] else None
    weighted = [call.path for call in calls if isinstance(call.layer, WEIGHTED)]
    return weighted[-1] if weighted else "loss"
