"""Decoders that mirror an encoder: layers from its codes back to its rows."""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import keras

from kilter._models.copying import check_graph, is_graph
from kilter.errors import ModelError
from kilter.nn.blocks import Seeds
from kilter.nn.options import ACTIVATIONS

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


class _Tied(keras.layers.Layer):
    """A layer with the transposed kernel of ``source``, and its own bias."""

    axis: int  # of the source's inputs, in its kernel

    def __init__(self, source: Any, activation: str | None) -> None:
        super().__init__(name=f"{source.name}_tied")
        self.source: Any = source
        self.activation = keras.activations.get(activation)
        self.bias = self.add_weight(shape=(source.kernel.shape[self.axis],), initializer="zeros", name="bias")


class TiedDense(_Tied):
    """activation(code · Wᵀ + b), with the kernel W, shape (inputs, units), of the dense layer ``source``."""

    axis = 0

    def call(self, code: Any) -> Any:
        """Codes (..., units) to rows (..., inputs)."""
        rows = keras.ops.matmul(code, keras.ops.transpose(self.source.kernel)) + self.bias
        return self.activation(rows)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the source's input."""
        return (*input_shape[:-1], self.source.kernel.shape[0])

    def untied(self) -> keras.layers.Layer:
        """An equal dense layer with its own kernel."""
        layer = keras.layers.Dense(self.bias.shape[0], activation=self.activation, name=self.name)
        layer.build((None, self.source.kernel.shape[1]))
        layer.set_weights([self.source.kernel.numpy().T, self.bias.numpy()])
        return layer


class TiedConv2DTranspose(_Tied):
    """activation(code *ᵀ W + b), with the kernel W, shape (h, w, channels, filters), of ``source``.

    The transposed convolution is the gradient of ``source`` with respect to its input.
    """

    axis = 2

    def call(self, code: Any) -> Any:
        """Codes (n, h, w, filters) to images (n, h', w', channels)."""
        source = self.source
        images = keras.ops.conv_transpose(
            code, source.kernel, strides=source.strides, padding=source.padding, data_format="channels_last"
        )
        return self.activation(images + self.bias)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output shape of the equal transposed convolution."""
        return tuple(self._untied().compute_output_shape(input_shape))

    def untied(self) -> keras.layers.Layer:
        """An equal transposed convolution with its own kernel."""
        layer = self._untied()
        layer.build((None, None, None, self.source.filters))
        layer.set_weights([self.source.kernel.numpy(), self.bias.numpy()])
        return layer

    def _untied(self) -> keras.layers.Conv2DTranspose:
        source = self.source
        return keras.layers.Conv2DTranspose(
            self.bias.shape[0],
            source.kernel_size,
            strides=source.strides,
            padding=source.padding,
            activation=self.activation,
            name=self.name,
        )


Layers = list[Any]  # Keras layers; Any because lists are invariant

# Activation layers by the name of their function; learned slopes count as leaky_relu.
_NAMES: Final = {
    "ELU": "elu",
    "LeakyReLU": "leaky_relu",
    "PReLU": "leaky_relu",
    "RReLU": "leaky_relu",
    "ReLU": "relu",
}


def decoder_layers(line: Sequence[Link], *, seeds: Seeds, tied: bool = False) -> list[Layers]:
    """For each stage of an encoder, the layers from its output back to its input.

    Concatenated from the last stage to the first they form a decoder. Dense layers mirror dense layers,
    transposed convolutions mirror convolutions, and nearest-neighbour upsampling mirrors pooling. Layers that
    keep the shape (normalisation, dropout, activations) have no counterpart. Hidden layers get the encoder's
    first activation and its paired initialiser; the last layer is linear. ``tied`` uses the encoder's
    kernels, transposed.
    """
    activation = hidden_activation(line)
    first = next((link for link in line if _is_weighted(link)), None)
    found = []
    for stage in stages(line):
        layers: Layers = []
        for link in reversed(stage):
            layers += _image(link, None if link is first else activation, seeds, tied)
        found.append(layers)
    return found


def hidden_activation(line: Sequence[Link]) -> str | None:
    """The name of the encoder's first activation; None if it is linear."""
    for link in line:
        name = _NAMES.get(type(link.layer).__name__)
        if name is None:
            name = getattr(getattr(link.layer, "activation", None), "__name__", "linear")
        if name in ACTIVATIONS and name != "linear":
            return name
    return None


def _is_weighted(link: Link) -> bool:
    return link.has_kernel or _is_global_pool(link.layer)


def _is_global_pool(layer: Any) -> bool:
    return isinstance(layer, keras.layers.GlobalAveragePooling2D | keras.layers.GlobalMaxPooling2D)


def _image(link: Link, activation: str | None, seeds: Seeds, tied: bool) -> Layers:
    """The layers from ``link.after`` back to ``link.before``."""
    layer = link.layer
    if getattr(layer, "data_format", None) == "channels_first":
        raise _no_image(link)
    if link.has_kernel:
        return _tied(link, activation) if tied else _free(link, activation, seeds)
    if link.before == link.after:
        return []
    if _is_global_pool(layer):
        units = math.prod(link.before)
        dense = keras.layers.Dense(
            units, activation=activation, kernel_initializer=seeds.initializer(activation)
        )
        flat = [keras.layers.Flatten()] if len(link.after) > 1 else []
        return [*flat, dense, keras.layers.Reshape(link.before)]
    if isinstance(layer, keras.layers.Flatten | keras.layers.Reshape):
        return [keras.layers.Reshape(link.before)]
    if isinstance(layer, keras.layers.MaxPooling2D | keras.layers.AveragePooling2D):
        return _sized([keras.layers.UpSampling2D(layer.strides)], link)
    if isinstance(layer, keras.layers.ZeroPadding2D):
        return [keras.layers.Cropping2D(layer.padding)]
    raise _no_image(link)


def _free(link: Link, activation: str | None, seeds: Seeds) -> Layers:
    layer = link.layer
    initializer = seeds.initializer(activation)
    if isinstance(layer, keras.layers.Dense):
        return [keras.layers.Dense(link.before[-1], activation=activation, kernel_initializer=initializer)]
    transposed = keras.layers.Conv2DTranspose(
        link.before[-1],
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        activation=activation,
        kernel_initializer=initializer,
    )
    return _sized([transposed], link)


def _tied(link: Link, activation: str | None) -> Layers:
    layer = link.layer
    if type(layer) is keras.layers.Dense:
        return [TiedDense(layer, activation)]
    plain = type(layer) is keras.layers.Conv2D and layer.groups == 1 and layer.dilation_rate == (1, 1)
    if not plain:
        raise ModelError(
            expected="an encoder of dense layers and plain convolutions for a tied autoencoder",
            received=f"layer {layer.name!r} of {type(layer).__name__}",
            remedy="leave 'tied' out of kind",
        )
    return _sized([TiedConv2DTranspose(layer, activation)], link)


def _sized(layers: Layers, link: Link) -> Layers:
    """``layers``, cropped or padded to the height and width of ``link.before``."""
    shape: tuple[Any, ...] = (None, *link.after)
    for layer in layers:
        shape = layer.compute_output_shape(shape)
    missing = [want - have for want, have in zip(link.before[:2], shape[1:3], strict=True)]
    cut = tuple((0, max(-side, 0)) for side in missing)
    pad = tuple((0, max(side, 0)) for side in missing)
    if any(side < 0 for side in missing):
        layers.append(keras.layers.Cropping2D(cut))
    if any(side > 0 for side in missing):
        layers.append(keras.layers.ZeroPadding2D(pad))
    return layers


def _no_image(link: Link) -> ModelError:
    return ModelError(
        expected="an encoder of dense layers, 2-D convolutions and pooling, which have mirror images",
        received=f"layer {link.layer.name!r} of {type(link.layer).__name__}, "
        f"from {link.before} to {link.after}",
        remedy="pass decoder=, a model from codes to rows",
    )


def as_model(layers: Sequence[Any], shape: Shape, name: str) -> keras.Sequential:
    """The layers in sequence, from rows of ``shape``."""
    return keras.Sequential([keras.Input(shape), *(layers or [keras.layers.Identity()])], name=name)


def untied(layer: Any) -> Any:
    """The layer, with its own kernel if it is tied to an encoder's."""
    return layer.untied() if isinstance(layer, TiedDense | TiedConv2DTranspose) else layer


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
