"""A model as a chain of layers with the shapes between them, which a decoder can mirror."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from kilter._models.copying import check_graph, is_graph
from kilter.errors import ModelError

Shape = tuple[int, ...]

# Layers that make a new representation: each starts a stage.
_KERNELS = (
    keras.layers.Dense,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


class Link(NamedTuple):
    """A layer, and the shapes of a row before and after."""

    layer: Any
    before: Shape
    after: Shape

    @property
    def has_kernel(self) -> bool:
        """Whether the layer is dense or a convolution."""
        return isinstance(self.layer, _KERNELS)


def links(model: keras.Model) -> list[Link]:
    """The layers of a Sequential or Functional model from input to output, nested models flattened."""
    found = _walk(model)
    layers = [link.layer for link in found]
    twice = [layer for number, layer in enumerate(layers) if any(layer is one for one in layers[:number])]
    if twice:
        raise ModelError(
            expected="an encoder that uses each layer once",
            received=f"layer {twice[0].name!r}, which is used twice",
            remedy="pass decoder=, a model from codes to rows, without kind='tied' or greedy=True",
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
                expected="an encoder that is a chain of layers",
                received=f"layer {operation.name!r} ({type(operation).__name__}) with {len(sources)} inputs",
                remedy="pass decoder=, a model from codes to rows, without kind='tied' or greedy=True",
            )
        if is_graph(operation):
            found += _walk(operation)[::-1]
        else:
            found.append(Link(operation, tuple(sources[0].shape[1:]), tuple(tensor.shape[1:])))
        tensor = sources[0]


def stages(line: Sequence[Link]) -> list[list[Link]]:
    """The chain, cut before each dense layer and convolution but the first.

    Layers before the first one, such as normalisation, belong to its stage.
    """
    found: list[list[Link]] = [[]]
    for link in line:
        if link.has_kernel and any(one.has_kernel for one in found[-1]):
            found.append([])
        found[-1].append(link)
    return found


def without_top(model: keras.Model, count: int) -> keras.Model:
    """The model without its last ``count`` layers, which must form a chain. Layers are shared."""
    check_graph(model)
    tensor = model.outputs[0]
    for _ in range(count):
        operation, index, _ = tensor._keras_history
        node = None if isinstance(operation, keras.layers.InputLayer) else operation._inbound_nodes[index]
        if node is None or len(node.input_tensors) != 1 or len(model.outputs) != 1:
            raise ModelError(
                expected=f"a model that ends in a chain of {count} layers, with layers below",
                received=f"model {model.name!r}, cut at {operation.name!r}",
                remedy="drop fewer layers",
            )
        tensor = node.input_tensors[0]
    return model if count == 0 else keras.Model(model.inputs, tensor, name=model.name)
