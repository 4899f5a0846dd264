"""A Sequential or Functional model as a flat list of calls, nested models resolved: who feeds whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kilter._models.copying import FOREIGN_ERRORS, check_graph, is_graph, trains_itself


def as_graph(model: keras.Model, x: Any) -> keras.Model | None:
    """An uncompiled Functional model of the very layers of ``model``, which is built, for rows like ``x``.

    What is a graph already is given back. None where the call cannot be followed (it computes with something
    else than layers and ``keras.ops``, looks at values, or has weights of its own), and for a class with its
    own training step, loss or metrics, which a plain graph would lose. No weight changes.
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
    """A symbolic array between two calls, told apart by identity; ``dtype`` is a name such as float32."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


@dataclass(frozen=True, eq=False)
class Call:
    """One application of a layer or operation.

    ``path`` has the names of the models around it, joined by slashes. ``training``: the model passes
    training=True to this call itself, so that it trains even where everything else predicts.
    """

    layer: Any
    path: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    training: bool


@dataclass(frozen=True, eq=False)
class Graph:
    """The calls of a model in the order in which they run, and the tensors that it returns."""

    calls: tuple[Call, ...]
    outputs: tuple[Tensor, ...]


def read_graph(model: keras.Model) -> Graph:
    """The calls of a built model; of nested models those inside, as often as the model is called.

    Raises :class:`~kilter.errors.ModelError` for a model that is not built, or neither Sequential nor
    Functional. A nested model of that kind is one call.
    """
    check_graph(model)
    calls: list[Call] = []
    outputs = _walk(model, _tensors(model.inputs), "", False, calls)
    return Graph(tuple(calls), tuple(outputs))


def _walk(model: Any, inputs: list[Tensor], prefix: str, training: bool, calls: list[Call]) -> list[Tensor]:
    def call(layer: Any, *arguments: Any, **named: Any) -> list[Tensor]:
        leaves = keras.tree.flatten((arguments, named))
        given = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
        forced = training or bool(named.get("training"))
        path = prefix + layer.name
        if is_graph(layer) and len(given) == len(layer.inputs):
            return _walk(layer, list(given), f"{path}/", forced, calls)
        outputs = _tensors(layer.output)
        calls.append(Call(layer, path, given, tuple(outputs), forced))
        return outputs

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            inputs = call(layer, *inputs)
        return inputs
    # Keras's own run through the graph, with names in the place of arrays and a note in that of a call.
    return keras.tree.flatten(model._run_through_graph(inputs, call_fn=call))


def _tensors(structure: Any) -> list[Tensor]:
    return [Tensor(keras.backend.standardize_dtype(leaf.dtype)) for leaf in keras.tree.flatten(structure)]
