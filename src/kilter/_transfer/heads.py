"""The new head on top of reused layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from kilter._models.copying import fresh_name
from kilter._validation import errors_as, is_whole
from kilter.errors import ModelError, OptionError

Head = int | keras.layers.Layer | Sequence[keras.layers.Layer] | Callable[[Any], Any]
"""The number of outputs; a layer or model; several, one after the other; or a function tensor -> tensor."""

# By the rank of the reused layers' output, batch included.
_POOLING = {
    3: keras.layers.GlobalAveragePooling1D,
    4: keras.layers.GlobalAveragePooling2D,
    5: keras.layers.GlobalAveragePooling3D,
}


def with_head(head: Head, tensor: Any, model: keras.Model) -> Any:
    """The output of ``head`` on ``tensor``, the output of the layers reused of ``model``."""
    layers = _layers_of(head, tensor, model)
    with errors_as(
        ModelError,
        *(TypeError, ValueError, KeyError, AttributeError),
        expected=f"a head for rows of shape {tuple(tensor.shape[1:])}, which the reused layers give",
        received=f"head={_shown(head)}, which Keras refuses",
        remedy="pool or flatten first, or pass head=the number of outputs",
    ):
        answer = tensor
        for layer in layers:
            answer = layer(answer)
    if not isinstance(answer, keras.KerasTensor):
        raise ModelError(
            expected="a head that gives one tensor",
            received=f"head={_shown(head)}, which gives {type(answer).__name__}",
            remedy="return the output of the last layer",
        )
    return answer


def _layers_of(head: Any, tensor: Any, model: keras.Model) -> list[Callable[[Any], Any]]:
    if is_whole(head, 1):
        return _logits(head, tensor, model)
    given: list[Any] = list(head) if isinstance(head, list | tuple) else [head]
    layers = [one for one in given if isinstance(one, keras.layers.Layer)]
    if len(layers) == len(given):
        check_own(layers, model)
        _name_apart(layers, model)
        return given
    if isinstance(head, type) or not callable(head):
        raise OptionError(
            expected="head as a number of outputs from 1, a Keras layer, a list of layers, or a function "
            "from a tensor to a tensor",
            received=f"head={_shown(head)}",
            remedy="pass the number of classes for a layer of logits",
        )
    return [head]


def check_own(layers: Sequence[Any], model: keras.Model) -> None:
    """Raise :class:`ModelError` if one of ``layers`` is the model's: training would change the model."""
    theirs = {id(layer) for layer in model._flatten_layers()}
    shared = [layer.name for layer in layers if id(layer) in theirs]
    if shared:
        raise ModelError(
            expected="a head of new layers",
            received=f"layer {shared[0]!r}, which is part of model {model.name!r}",
            remedy="make a new layer, or keep more of the model",
        )


def _name_apart(layers: Sequence[Any], model: keras.Model) -> None:
    """Rename new layers with a name of the model's: Keras restarts its numbering in every process."""
    for layer in layers:
        if not layer.built and fresh_name(model, layer.name) != layer.name:
            layer.name = fresh_name(model, f"head_{layer.name}")


def _logits(outputs: int, tensor: Any, model: keras.Model) -> list[Callable[[Any], Any]]:
    """Global average pooling for sequences, images and volumes, then a layer of logits, in float32."""
    rank = len(tensor.shape)
    layers: list[Callable[[Any], Any]] = []
    if rank in _POOLING:
        layers.append(_POOLING[rank](name=fresh_name(model, "head_pooling")))
    elif rank != 2:
        raise ModelError(
            expected="reused layers that give features: rows, or rows of a sequence, an image or a volume",
            received=f"an array of shape {tuple(tensor.shape)}",
            remedy="pass a head of layers that takes it",
        )
    layers.append(keras.layers.Dense(outputs, dtype="float32", name=fresh_name(model, "head")))
    return layers


def _shown(head: Any) -> str:
    if isinstance(head, list | tuple):
        return "[" + ", ".join(map(_shown, head)) + "]"
    if isinstance(head, keras.layers.Layer):
        return f"{type(head).__name__} {head.name!r}"
    return getattr(head, "__name__", None) or repr(head)
