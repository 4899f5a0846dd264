"""Models written as a class, as graphs: a call on symbolic inputs says which layer feeds which."""

from __future__ import annotations

from typing import Any

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras
import numpy as np

from kilter._models.copying import FOREIGN_ERRORS, is_graph, trains_itself


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
