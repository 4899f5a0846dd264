"""Cutting Keras models: copies with layers replaced, put in, taken out; all others keep their weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import keras

from kilter._models.copying import Cut, ModelCopy, copy_model, is_graph


def can_be_cut(model: keras.Model) -> bool:
    """Whether layers of ``model`` can be replaced: it is a Sequential or Functional one, and built."""
    return is_graph(model) and bool(model.built and getattr(model, "inputs", None))


def cut(model: keras.Model, cuts: Mapping[Any, Cut], front: Sequence[Any] = ()) -> ModelCopy:
    """A copy of ``model`` with ``cuts`` made, by layer, and ``front`` layers put before its inputs.

    Of a layer that is cut, each weight is kept whose name and shape a weight of what comes in its place has.

    Raises :class:`~kilter.errors.ModelError` as :func:`kilter._models.copying.copy_model` does.
    """
    by_identity = {id(layer): make for layer, make in cuts.items()}
    copied = copy_model(model, lambda layer: by_identity.get(id(layer)), front)
    for original, copy in copied.layers:
        if id(original) in by_identity:
            _keep_weights(original, copy if isinstance(copy, list) else [copy])
    return copied


def _keep_weights(original: Any, copies: Iterable[Any]) -> None:
    kept = {(one.name, tuple(one.shape)): one for one in getattr(original, "weights", ())}
    for copy in copies:
        for variable in getattr(copy, "weights", ()):
            value = kept.get((variable.name, tuple(variable.shape)))
            if value is not None:
                variable.assign(jnp.array(value.value, copy=True))


def open_layers(model: keras.Model) -> Iterator[Any]:
    """The layers of ``model`` that can be replaced: its own and those of nested models that can be cut too.

    Layers inside another layer, such as the projections of an attention, cannot.
    """
    for layer in model.layers if can_be_cut(model) else ():
        if is_graph(layer):
            yield from open_layers(layer)
        else:
            yield layer


def linear_chain(model: keras.Model) -> list[Any] | None:
    """The layers of a model in which each feeds the next and no other; None for any other model.

    The layers of nested chains stand in their place.
    """
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
