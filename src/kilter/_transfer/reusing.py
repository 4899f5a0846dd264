"""``kilter.reuse``: a new model from the lower layers of a trained one."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from kilter._models.copying import copy_onto, fresh_name
from kilter._models.layers import require_model
from kilter._models.variables import draw_weights
from kilter._transfer.adapting import adapted_inputs
from kilter._transfer.cutting import find_cut, part_below
from kilter._validation import errors_as, is_whole, whole_number
from kilter.errors import ModelError, OptionError

Head = int | keras.layers.Layer | Sequence[keras.layers.Layer] | Callable[[Any], Any]
"""The number of outputs; a layer or model; several, one after the other; or a function tensor -> tensor."""

# By the rank of the reused layers' output, batch included.
_POOLING = {
    3: keras.layers.GlobalAveragePooling1D,
    4: keras.layers.GlobalAveragePooling2D,
    5: keras.layers.GlobalAveragePooling3D,
}


def reuse(
    model: keras.Model,
    *,
    keep: int | str,
    head: Head,
    input_shape: Sequence[int | None] | None = None,
    seed: int = 0,
) -> keras.Model:
    """A new model: copies of the lower layers of a trained one, with their weights, under a new head.

    ``model`` does not change. The reused layers are frozen, batch normalisations in inference mode, so that
    training at first changes only the head; :func:`kilter.fine_tune` unfreezes them. The new model is not
    compiled.

    Args:
        model: a built Sequential or Functional model; nested models are cut if ``keep`` requires it.
        keep: the number of layers with weights to keep, from the bottom, with the activation, normalisation,
            pooling and dropout after the last of them. Negative: the number to leave out; -1 keeps all but
            the output. Or the name of the last layer to keep ("name" or, in a nested model, "model/name"), or
            "all".
        head: the number of outputs, for a layer of logits, after global average pooling if the reused layers
            return sequences, images or volumes. Or a Keras layer, a list of layers, or a function
            tensor -> tensor.
        input_shape: of a row of the new data, if it differs: images are resized, one channel is repeated,
            several are averaged into one, flat rows and images are reshaped.
        seed: of the head's weights, drawn by its layers' initialisers; a built layer keeps its weights.

    Raises :class:`~kilter.errors.OptionError` for a ``keep`` that the model does not have or cannot be cut at
    (parallel branches; a layer applied below and above the cut), :class:`~kilter.errors.ModelError` for a
    model that is not built or not a graph of layers, a head that does not fit or has no weights, and an
    ``input_shape`` that cannot be adapted.

    Example:
        >>> import keras, kilter
        >>> model = kilter.nn.mlp((28, 28, 1), 8, hidden=(50, 20))
        >>> student = kilter.reuse(model, keep=-1, head=2)
        >>> [layer.name for layer in student.layers if layer.trainable and layer.weights]
        ['head']
    """
    require_model(model)
    whole_number("seed", seed, 0)
    cut = find_cut(model, keep)
    part, parts = part_below(model, cut)
    inputs, entering = adapted_inputs(model, part, input_shape)
    top, pairs = copy_onto(part, entering, parts)
    ready = _built_layers(head)
    answer = with_head(head, keras.tree.flatten(top)[0], model)
    student = _connected(inputs, answer, model)
    reused = {id(copy) for _, copy in pairs}
    new = [layer for layer in _leaves(student) if id(layer) not in reused]
    check_own(new, model)
    draw_weights([layer for layer in new if id(layer) not in ready], seed)
    for _, copy in pairs:
        copy.trainable = False
    if not student.trainable_variables:
        raise ModelError(
            expected="a head with weights, since the reused layers are frozen",
            received="a head without weights: nothing could be trained",
            remedy="pass head=the number of outputs, or end the head with a Dense layer",
        )
    return student


def _connected(inputs: Any, answer: Any, model: keras.Model) -> keras.Model:
    with errors_as(
        ModelError,
        ValueError,
        expected="a head with the reused layers as its only input, and with unique layer names",
        received="a head that Keras rejects",
        remedy="give its layers other names, and no other inputs",
    ):
        return keras.Model(inputs, answer, name=f"{model.name}_reused")


def _leaves(model: keras.Model) -> list[Any]:
    """All layers in a model, including nested ones, except models."""
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if not isinstance(layer, keras.Model | keras.layers.InputLayer)
    ]


def _built_layers(head: Any) -> set[int]:
    """The ``id`` of each layer of a head that is already built."""
    given = head if isinstance(head, list | tuple) else [head]
    return {
        id(layer)
        for one in given
        if isinstance(one, keras.layers.Layer)
        for layer in one._flatten_layers()
        if layer.built
    }


def with_head(head: Head, tensor: Any, model: keras.Model) -> Any:
    """The output of ``head`` on ``tensor``, the output of the layers reused of ``model``."""
    layers = _layers_of(head, tensor, model)
    with errors_as(
        ModelError,
        *(TypeError, ValueError, KeyError, AttributeError),
        expected=f"a head for rows of shape {tuple(tensor.shape[1:])}, which the reused layers give",
        received=f"head={_shown(head)}, which Keras rejects",
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
            remedy="pass a head of layers that accepts it",
        )
    layers.append(keras.layers.Dense(outputs, dtype="float32", name=fresh_name(model, "head")))
    return layers


def _shown(head: Any) -> str:
    if isinstance(head, list | tuple):
        return "[" + ", ".join(map(_shown, head)) + "]"
    if isinstance(head, keras.layers.Layer):
        return f"{type(head).__name__} {head.name!r}"
    return getattr(head, "__name__", None) or repr(head)
