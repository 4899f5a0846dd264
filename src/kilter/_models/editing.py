"""Editing Keras models: copies with layers replaced, inserted or removed; all others keep their weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras

from kilter._models.copying import Cut, ModelCopy, copy_model, is_graph
from kilter._models.variables import assign_copies


def can_be_cut(model: keras.Model) -> bool:
    """Whether layers of ``model`` can be replaced: it is Sequential or Functional, and built."""
    return is_graph(model) and bool(model.built and getattr(model, "inputs", None))


def cut(model: keras.Model, cuts: Mapping[Any, Cut], front: Sequence[Any] = ()) -> ModelCopy:
    """A copy of ``model`` with ``cuts`` applied, by layer, and the ``front`` layers before its inputs.

    A replacement keeps each weight of the original layer that has the same name and shape.

    Raises:
        ModelError: as :func:`kilter._models.copying.copy_model` does.
    """
    by_identity = {id(layer): make for layer, make in cuts.items()}
    copied = copy_model(model, lambda layer: by_identity.get(id(layer)), front)
    for original, copy in copied.layers:
        if id(original) in by_identity:
            _keep_weights(original, copy if isinstance(copy, list) else [copy])
    return copied


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


def linear_chain(model: keras.Model) -> list[Any] | None:
    """The layers of a model in which each feeds only the next, with nested chains expanded; else None."""
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
