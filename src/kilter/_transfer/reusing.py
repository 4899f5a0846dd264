"""``kilter.reuse``: a new model from the lower layers of a trained one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kilter._models.copying import copy_onto
from kilter._models.variables import draw_weights
from kilter._transfer.adapting import adapted_inputs
from kilter._transfer.cutting import find_cut, part_below
from kilter._transfer.heads import Head, check_own, with_head
from kilter._validation import errors_as, whole_number
from kilter.errors import ModelError


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
        expected="a head whose only input is the reused layers, with unique layer names",
        received="a head that Keras refuses",
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
