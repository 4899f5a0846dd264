"""A model as one line of layers, with the shapes between them: what a mirror image can be made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from kilter._models.copying import check_graph, is_graph
from kilter.errors import ModelError

Shape = tuple[int, ...]

# What makes a new representation: a stage of a stack begins with one of these.
_KERNELS = (
    keras.layers.Dense,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


class Link(NamedTuple):
    """A layer, and the shapes of a row before and after it."""

    layer: Any
    before: Shape
    after: Shape

    @property
    def has_kernel(self) -> bool:
        """Whether the layer is dense or a convolution."""
        return isinstance(self.layer, _KERNELS)


def links(model: keras.Model) -> list[Link]:
    """The layers of a Sequential or Functional model from input to output, those of models within it too.

    Raises :class:`ModelError` where the model is no single line: a layer of several inputs, or one that is
    used twice.
    """
    found = _walk(model)
    layers = [link.layer for link in found]
    twice = [layer for number, layer in enumerate(layers) if any(layer is one for one in layers[:number])]
    if twice:
        raise ModelError(
            expected="an encoder that uses each layer once",
            received=f"layer {twice[0].name!r}, which is used twice",
            remedy="give decoder= a model from codes to rows, without kind='tied' or greedy=True",
        )
    return found


def _walk(model: Any) -> list[Link]:
    tensor, found = model.outputs[0], []
    while True:
        operation, index, _ = tensor._keras_history
        if isinstance(operation, keras.layers.InputLayer):
            return found[::-1]
        sources = operation._inbound_nodes[index].input_tensors
        if len(sources) != 1:
            raise ModelError(
                expected="an encoder whose layers follow one another in one line",
                received=f"layer {operation.name!r} ({type(operation).__name__}) with {len(sources)} inputs",
                remedy="give decoder= a model from codes to rows, without kind='tied' or greedy=True",
            )
        if is_graph(operation):
            found += _walk(operation)[::-1]
        else:
            found.append(Link(operation, tuple(sources[0].shape[1:]), tuple(tensor.shape[1:])))
        tensor = sources[0]


def stages(line: Sequence[Link]) -> list[list[Link]]:
    """The line cut before each dense layer and convolution but the first.

    What stands before the first belongs to it: normalisation, flattening.
    """
    found: list[list[Link]] = [[]]
    for link in line:
        if link.has_kernel and any(one.has_kernel for one in found[-1]):
            found.append([])
        found[-1].append(link)
    return found


def without_top(model: keras.Model, count: int) -> keras.Model:
    """The model up to its last ``count`` layers, which follow one another; the layers are shared with it."""
    check_graph(model)
    tensor = model.outputs[0]
    for _ in range(count):
        operation, index, _ = tensor._keras_history
        node = None if isinstance(operation, keras.layers.InputLayer) else operation._inbound_nodes[index]
        if node is None or len(node.input_tensors) != 1 or len(model.outputs) != 1:
            raise ModelError(
                expected=f"a model whose last {count} layers follow one another, and layers below them",
                received=f"model {model.name!r}, cut at {operation.name!r}",
                remedy="leave fewer layers out",
            )
        tensor = node.input_tensors[0]
    return model if count == 0 else keras.Model(model.inputs, tensor, name=model.name)
