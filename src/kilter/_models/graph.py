"""A Sequential or Functional model as a flat list of layer calls, with nested models expanded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kilter._models.copying import FOREIGN_ERRORS, check_graph, is_graph, trains_itself
from kilter._models.tracing import LayerCall


def as_graph(model: keras.Model, x: Any) -> keras.Model | None:
    """An uncompiled Functional model made of the layers of ``model``, which is built, for rows like ``x``.

    A model that is a graph already is returned as it is. None if the call cannot be followed (it computes
    with something other than layers and ``keras.ops``, branches on values, or has weights of its own), and
    for a class with its own training step, loss or metrics, which a plain graph would lose. No weight
    changes.
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

    Raises:
        ModelError: if the model is not built, or neither Sequential nor Functional.
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
