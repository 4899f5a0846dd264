"""Reading a compiled model into facts: one abstract forward pass shows which layer feeds which.

What happens between layers (such as an addition in a subclassed ``call``) shows as an unknown source.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._models.keras_internals import Merge
from kilter._models.layers import (
    NORMALIZATIONS,
    PASSING,
    POOLINGS,
    RECURRENT,
    SCALINGS,
    SHAPING,
    WEIGHTED,
    LayerFacts,
    OutputFacts,
    activation_layers,
    compiled_accuracy,
    compiled_losses,
    own_activation,
)
from kilter._models.tracing import (
    LayerCall,
    arrays_in,
    fixed_batch_size,
    floats_in,
    forward,
    intercept_calls,
    watch_calls,
)
from kilter._models.variables import fitting, values

# Layers allowed between a kernel and the activation that belongs to it.
_BETWEEN: Final = (*PASSING, *SCALINGS, *NORMALIZATIONS, *POOLINGS, Merge)

Entered = tuple[int, ...]

_WRAPPERS: Final = (keras.layers.TimeDistributed, keras.layers.Bidirectional)
# Batch size of the trace, if the model takes any.
_ROWS: Final = 2


def read_model(
    model: keras.Model, x: Any, targets: Sequence[np.ndarray | None]
) -> tuple[tuple[LayerFacts, ...], tuple[OutputFacts, ...]]:
    """The calls of a built model's layers on rows like those of ``x``, and its outputs.

    ``targets`` are paired with the outputs if their numbers agree. Nothing is computed and nothing changes.
    """
    calls, starts, ends = _trace(model, x)
    sources = [_sources(calls, index) for index in range(len(calls))]
    consumers: list[list[int]] = [[] for _ in calls]
    for index, before in enumerate(sources):
        for source in before:
            consumers[source].append(index)
    last = {index for index, call in enumerate(calls) if _shared(call.outputs, ends)}
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
                enters=entrances.get(index, ()),
                consumers=tuple(consumers[index]),
                is_output=index in heads,
                repeated=id(call.layer) in seen,
                shape=tuple(call.outputs[0].shape),
            )
        )
        seen.add(id(call.layer))
    return tuple(layers), tuple(_outputs(model, calls, sources, ends, targets))


def paired_targets(model: keras.Model, y: Any) -> list[np.ndarray]:
    """The targets in the order of the model's outputs; a dict is matched by the outputs' names."""
    names = getattr(model, "output_names", None)
    listed = isinstance(getattr(model, "_outputs_struct", None), list | tuple)
    if isinstance(y, dict) and listed and names and set(names) == set(y):
        y = [y[name] for name in names]
    return [np.asarray(leaf) for leaf in keras.tree.flatten(y) if leaf is not None]


def _trace(model: keras.Model, x: Any) -> tuple[list[LayerCall], list[Any], list[Any]]:
    """The calls that return floats, and the traced arrays that are the model's inputs and outputs."""
    calls: list[LayerCall] = []
    starts: list[Any] = []
    ends: list[Any] = []

    def record(call: LayerCall, output: Any) -> Any:
        if outputs := floats_in(call.outputs):
            calls.append(replace(call, outputs=tuple(outputs)))
        return output

    def fold(wrapper: Any, call: Any, *arguments: Any, **options: Any) -> Any:
        begun, output = len(calls), call(*arguments, **options)
        calls[begun:] = _folded(wrapper, calls[begun:], arrays_in(arguments), arrays_in(output))
        return output

    def run(variables: Any, inputs: Any) -> tuple[()]:
        starts.extend(jax.tree.leaves(inputs))
        wrappers = [one for one in model._flatten_layers() if isinstance(one, _WRAPPERS)]
        with watch_calls(model, record), intercept_calls(wrappers, fold):
            ends.extend(jax.tree.leaves(forward(model, variables, inputs, training=True)))
        return ()

    count = fixed_batch_size(model) or _ROWS
    rows = jax.tree.map(lambda array: _abstract_rows(array, count), x)
    with fitting(model):
        jax.eval_shape(run, values(model), rows)
    return calls, starts, ends


def _folded(
    wrapper: Any, calls: list[LayerCall], given: tuple[Any, ...], made: tuple[Any, ...]
) -> list[LayerCall]:
    """The calls inside a wrapper, connected with what it is given and returns.

    TimeDistributed calls its layer at each step: one call for all steps takes and returns whole series. The
    two directions of Bidirectional both lead to what it returns.
    """
    made = tuple(floats_in(made))
    if isinstance(wrapper, keras.layers.Bidirectional):
        return [replace(one, outputs=(*one.outputs, *made)) for one in calls]
    steps = given[0].shape[1] if given and given[0].ndim > 1 else 0
    if not isinstance(wrapper, keras.layers.TimeDistributed) or not calls or not steps or len(calls) % steps:
        return calls
    *before, last = calls[-(len(calls) // steps) :]
    first, *others = [*before, replace(last, outputs=made)]
    return [replace(first, inputs=(*given, *first.inputs)), *others]


def _abstract_rows(array: Any, count: int) -> jax.ShapeDtypeStruct | None:
    if array is None:  # an optional input
        return None
    array = np.asarray(array)
    # In the dtype that layers compute in: a cast at the entrance would hide where an input goes.
    dtype = array.dtype.newbyteorder("=") if array.dtype.kind == "i" else np.dtype("float32")
    return jax.ShapeDtypeStruct((count, *array.shape[1:]), jax.dtypes.canonicalize_dtype(dtype))


def _shared(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return any(one is other for one in some for other in others)


def _sources(calls: list[LayerCall], index: int) -> list[int]:
    """The calls that made the inputs of call ``index``; the latest if one passed its input on unchanged."""
    found: dict[int, None] = {}
    for entering in calls[index].inputs:
        makers = [one for one in range(index) if _shared([entering], calls[one].outputs)]
        passed = [one for one in makers if _shared([entering], calls[one].inputs)]
        found |= dict.fromkeys(passed[-1:] or makers)
    return list(found)


def _entrances(calls: list[LayerCall], starts: list[Any], sources: list[list[int]]) -> dict[int, Entered]:
    """The calls that take inputs of the model, reshaped at most, and the positions of those inputs."""
    found: dict[int, Entered] = {}
    for index, call in enumerate(calls):
        shaped = [one for one in sources[index] if isinstance(calls[one].layer, SHAPING)]
        through = {place for one in shaped for place in found.get(one, ())}
        alone = not sources[index]
        through |= {place for place, start in enumerate(starts) if _enters(start, call.inputs, alone=alone)}
        if through:
            found[index] = tuple(sorted(through))
    return found


def _enters(start: Any, given: Sequence[Any], *, alone: bool) -> bool:
    """Whether the input ``start`` is among ``given``.

    Integers are cast before, so their shape decides, for a call that gets nothing of other calls (``alone``).
    """
    if jnp.issubdtype(start.dtype, jnp.integer):
        return alone and any(array.shape == start.shape for array in given)
    return _shared([start], given)


def _after(consumers: list[list[int]], index: int) -> Iterator[int]:
    """All calls that the output of ``index`` reaches."""
    waiting, seen = list(consumers[index]), set()
    while waiting:
        if (one := waiting.pop()) not in seen:
            seen.add(one)
            yield one
            waiting.extend(consumers[one])


def _heads(calls: list[LayerCall], consumers: list[list[int]], last: set[int]) -> set[int]:
    """The calls with weights that lead to an output through no other weights; the last call is always one."""
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
    calls: list[LayerCall], consumers: list[list[int]], last: set[int], index: int
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


def _outputs(
    model: keras.Model,
    calls: list[LayerCall],
    sources: list[list[int]],
    ends: list[Any],
    targets: Sequence[np.ndarray | None],
) -> Iterator[OutputFacts]:
    losses = compiled_losses(model, len(ends))
    paired = targets if len(targets) == len(ends) else [None] * len(ends)
    for end, loss, target in zip(ends, losses, paired, strict=True):
        at = next((i for i in reversed(range(len(calls))) if _shared([end], calls[i].outputs)), None)
        yield OutputFacts(
            where=_last_weighted(calls, sources, at),
            activation=_activation_before(calls, sources, at),
            units=int(end.shape[-1]) if end.ndim > 1 else 1,
            shape=tuple(end.shape),
            loss=loss,
            targets=target,
            accuracy=len(ends) == 1 and bool(compiled_accuracy(model)),
        )


def _activation_before(calls: list[LayerCall], sources: list[list[int]], at: int | None) -> str | None:
    scaled = False
    while at is not None:
        layer = calls[at].layer
        if isinstance(layer, (*activation_layers(), *WEIGHTED)):
            own = own_activation(layer)
            return (
                own if own == "linear" or not scaled else None
            )  # scaled: no longer in the activation's range
        if isinstance(layer, RECURRENT):
            return None if scaled else own_activation(layer)
        if isinstance(layer, NORMALIZATIONS):
            return "linear"
        if not isinstance(layer, (*PASSING, *SCALINGS)):
            return None
        scaled = scaled or isinstance(layer, SCALINGS)
        at = sources[at][0] if len(sources[at]) == 1 else None
    return None


def _last_weighted(calls: list[LayerCall], sources: list[list[int]], at: int | None) -> str:
    while at is not None:
        if isinstance(calls[at].layer, WEIGHTED):
            return calls[at].path
        at = sources[at][-1] if sources[at] else None
    weighted = [call.path for call in calls if isinstance(call.layer, WEIGHTED)]
    return weighted[-1] if weighted else "loss"
