"""Sequential and Functional models as graphs: their calls, and copies with layers replaced or left out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from kilter._models.copying import (
    FOREIGN_ERRORS,
    Cut,
    ModelCopy,
    check_graph,
    copy_model,
    is_graph,
    trains_itself,
)
from kilter._models.tracing import LayerCall
from kilter._models.variables import assign_copies


def configuration(layer: Any) -> dict[str, Any] | None:
    """A layer's configuration, of plain values; None where it has none."""
    try:
        return dict(layer.get_config())
    except FOREIGN_ERRORS:
        return None


def can_be_cut(model: keras.Model) -> bool:
    """Whether layers of ``model`` can be replaced: it is Sequential or Functional, and built."""
    return is_graph(model) and bool(model.built and getattr(model, "inputs", None))


def cut(model: keras.Model, cuts: Mapping[Any, Cut], front: Sequence[Any] = ()) -> ModelCopy:
    """A copy of ``model`` with ``cuts`` applied, by layer, and the ``front`` layers before its inputs.

    A replacement keeps each weight of the original layer that has the same name and shape.
    """
    by_identity = {id(layer): make for layer, make in cuts.items()}
    held = {id(one): one.layer for one in open_layers(model) if _holds_one(one)}
    for place, layer in held.items():
        if (inside := by_identity.get(id(layer))) is not None:
            by_identity[place] = _held_cut(by_identity.get(place), inside)
    copied = copy_model(model, lambda layer: by_identity.get(id(layer)), front)
    twins = []
    for original, copy in copied.layers:
        if id(original) in by_identity:
            made = copy if isinstance(copy, list) else [copy]
            _keep_weights(original, made)
            if id(original) in held and made and _holds_one(made[0]):
                twins.append((held[id(original)], made[0].layer))
    return replace(copied, layers=(*twins, *copied.layers))


def _holds_one(layer: Any) -> bool:
    """Whether it calls a single layer at each step, in whose place another one can be put."""
    return isinstance(layer, keras.layers.TimeDistributed) and not layer.layer._layers


def _held_cut(own: Cut | None, inside: Cut) -> Cut:
    """A layer's ``own`` cut, then that of the layer it holds; further layers come after the holder."""

    def change(config: Any) -> Any:
        outer, *later = _listed(config if own is None else own(config))
        held = outer["layer"]
        made = inside(dict(held["config"]))
        if made is None:
            return later
        first, *more = _listed(made)
        new = keras.saving.serialize_keras_object(first) if isinstance(first, keras.Layer) else None
        return [{**outer, "layer": new or {**held, "config": first}}, *more, *later]

    return change


def _listed(made: Any) -> list[Any]:
    return made if isinstance(made, list) else [made]


def _keep_weights(original: Any, copies: Iterable[Any]) -> None:
    kept = {(one.name, tuple(one.shape)): one for one in getattr(original, "weights", ())}
    new = [variable for copy in copies for variable in getattr(copy, "weights", ())]
    pairs = [(variable, kept.get((variable.name, tuple(variable.shape)))) for variable in new]
    assign_copies((variable, value) for variable, value in pairs if value is not None)


def open_layers(model: keras.Model) -> Iterator[Any]:
    """The layers of ``model`` that can be replaced, those of nested graphs included.

    Layers inside another layer, such as the projections of an attention, cannot be.
    """
    for layer in model.layers if can_be_cut(model) else ():
        if is_graph(layer):
            yield from open_layers(layer)
        else:
            yield layer


def replaceable_layers(model: keras.Model) -> Iterator[Any]:
    """The open layers, and those that a TimeDistributed calls at each step."""
    for layer in open_layers(model):
        yield layer
        if _holds_one(layer):
            yield layer.layer


def linear_chain(model: keras.Model) -> list[Any] | None:
    """The layers of a model if each feeds only the next, with nested chains expanded; otherwise None."""
    if not can_be_cut(model) or len(model.inputs) != 1 or len(model.outputs) != 1:
        return None
    if not isinstance(model, keras.Sequential):
        nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
        if any(len(nodes) != 1 for nodes in model._nodes_by_depth.values()):
            return None
        if any(len(node.input_tensors) > 1 or not node.operation for node in nodes):
            return None
    flat: list[Any] = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        inner = linear_chain(layer) if isinstance(layer, keras.Model) else [layer]
        if inner is None:
            return None
        flat.extend(inner)
    return flat if len({id(layer) for layer in flat}) == len(flat) else None


def as_graph(model: keras.Model, x: Any) -> keras.Model | None:
    """An uncompiled Functional model made of the layers of ``model``, which is built, for rows like ``x``.

    None if the call cannot be followed (it computes with something other than layers and ``keras.ops``,
    branches on values, or has its own weights), and for a class that overrides training.
    """
    if is_graph(model):
        return model
    if trains_itself(model):
        return None
    try:
        inputs = keras.tree.map_structure(_input_like, x)
        graph = keras.Model(inputs, model.call(inputs), name=model.name)
    except FOREIGN_ERRORS:
        return None
    return graph if {*map(id, graph.weights)} == {*map(id, model.weights)} else None


def _input_like(array: Any) -> Any:
    array = np.asarray(array[:1])
    return keras.Input(array.shape[1:], dtype="int32" if array.dtype.kind in "iu" else "float32")


class Tensor:
    """A symbolic array between two calls, compared by identity; ``dtype`` is a name such as float32."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


@dataclass(frozen=True, eq=False)
class Graph:
    """The calls of a model in execution order, and the tensors that it returns."""

    calls: tuple[LayerCall, ...]
    outputs: tuple[Tensor, ...]


def read_graph(model: keras.Model) -> Graph:
    """The calls of a built model; a nested model contributes its own calls each time it is called.

    A nested subclassed model is one call.
    """
    check_graph(model)
    calls: list[LayerCall] = []
    outputs = _walk(model, _tensors(model.inputs), "", False, calls)
    return Graph(tuple(calls), tuple(outputs))


def _walk(
    model: Any, inputs: list[Tensor], prefix: str, training: bool, calls: list[LayerCall]
) -> list[Tensor]:
    def call(layer: Any, *arguments: Any, **named: Any) -> list[Tensor]:
        leaves = keras.tree.flatten((arguments, named))
        given = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
        forced = training or bool(named.get("training"))
        path = prefix + layer.name
        if is_graph(layer) and len(given) == len(layer.inputs):
            return _walk(layer, list(given), f"{path}/", forced, calls)
        outputs = _tensors(layer.output)
        calls.append(LayerCall(path, layer, given, tuple(outputs), forced))
        return outputs

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            inputs = call(layer, *inputs)
        return inputs
    # Keras runs the graph, with symbols instead of arrays and a record instead of each call.
    return keras.tree.flatten(model._run_through_graph(inputs, call_fn=call))


def _tensors(structure: Any) -> list[Tensor]:
    return [Tensor(keras.backend.standardize_dtype(leaf.dtype)) for leaf in keras.tree.flatten(structure)]
