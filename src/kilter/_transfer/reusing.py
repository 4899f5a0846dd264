"""``kilter.reuse``: a new model from the lower layers of a trained one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from kilter._models.copying import copy_onto
from kilter._models.reinitialize import draw_weights
from kilter._text import first_line
from kilter._transfer.adapting import adapted_inputs
from kilter._transfer.cutting import find_cut, part_below
from kilter._transfer.heads import Head, check_own, with_head
from kilter._validation import whole_number
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

    ``model`` is left as it is, bit for bit: weights, optimiser, flags and configuration. The layers that are
    reused come frozen, batch normalisations among them in inference mode, so that training at first reaches
    the head alone; :func:`kilter.fine_tune` thaws them. The new model is not compiled.

    Args:
        model: a built Sequential or Functional model; nested models are cut open where ``keep`` asks for it.
        keep: how many layers with weights to keep, from the bottom, with all that follows the last of them
            before the next: activation, normalisation, pooling, dropout. Negative: how many to leave out, so
            that -1 keeps all but the output. Or a layer's name, up to and including which all is kept ("name"
            or, in a nested model, "model/name"); or "all".
        head: how many outputs: a layer of as many logits, after global average pooling where the reused
            layers still give places. Or a Keras layer, a list of layers, or a function tensor -> tensor.
        input_shape: of a row of the new data, if it is another: images are resized, one channel is repeated,
            several are averaged into one, flat rows and images are made into each other.
        seed: of the head's weights, which its layers' own initialisers draw; a layer of the head that has
            been built before keeps its weights.

    Raises :class:`~kilter.errors.OptionError` for a ``keep`` that the model does not have or cannot be cut at
    (branches side by side; a layer applied below the cut and above), :class:`~kilter.errors.ModelError` for a
    model that is not built or a class of its own, a head that does not fit or has no weights, and an
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
            expected="a head with weights, for the layers that are reused come frozen",
            received="a head without any: nothing could be trained",
            remedy="pass head=the number of outputs, or end the head with a Dense layer",
        )
    return student


def _connected(inputs: Any, answer: Any, model: keras.Model) -> keras.Model:
    try:
        return keras.Model(inputs, answer, name=f"{model.name}_reused")
    except ValueError as problem:
        raise ModelError(
            expected="a head that stands on the reused layers, with names of its own",
            received=f"a head of which Keras says: {first_line(problem)}",
            remedy="give its layers other names, and let it take its input from nothing else",
        ) from problem


def _leaves(model: keras.Model) -> list[Any]:
    """All layers in a model, nested ones too, but for models."""
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if not isinstance(layer, keras.Model | keras.layers.InputLayer)
    ]


def _built_layers(head: Any) -> set[int]:
    """The layers of a head that have weights already, by their ``id``."""
    given = head if isinstance(head, list | tuple) else [head]
    return {
        id(layer)
        for one in given
        if isinstance(one, keras.layers.Layer)
        for layer in one._flatten_layers()
        if layer.built
    }
