"""Layers of a decoder that use the kernels of the encoder's, transposed, and have biases of their own.

Half the weights, and the decoder cannot undo what the encoder does not do (Vincent et al. 2010, "Stacked
denoising autoencoders", section 3.1).
"""

from __future__ import annotations

from typing import Any

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras


class TiedDense(keras.layers.Layer):
    """activation(code · Wᵀ + b) with the kernel W, shape (inputs, units), of the dense layer ``source``."""

    def __init__(self, source: Any, activation: str | None) -> None:
        super().__init__(name=f"{source.name}_tied")
        self.source: Any = source
        self.activation = keras.activations.get(activation)
        self.bias = self.add_weight(shape=(source.kernel.shape[0],), initializer="zeros", name="bias")

    def call(self, code: Any) -> Any:
        """Rows (..., inputs) of codes (..., units)."""
        rows = keras.ops.matmul(code, keras.ops.transpose(self.source.kernel)) + self.bias
        return self.activation(rows)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the source's input."""
        return (*input_shape[:-1], self.source.kernel.shape[0])

    def loose(self) -> keras.layers.Layer:
        """A dense layer that does the same, with a kernel of its own."""
        layer = keras.layers.Dense(self.bias.shape[0], activation=self.activation, name=self.name)
        layer.build((None, self.source.kernel.shape[1]))
        layer.set_weights([self.source.kernel.numpy().T, self.bias.numpy()])
        return layer


class TiedConv2DTranspose(keras.layers.Layer):
    """activation(code *ᵀ W + b) with the kernel W, shape (h, w, channels, filters), of ``source``.

    The transposed convolution is the gradient of ``source`` by its input.
    """

    def __init__(self, source: Any, activation: str | None) -> None:
        super().__init__(name=f"{source.name}_tied")
        self.source: Any = source
        self.activation = keras.activations.get(activation)
        self.bias = self.add_weight(shape=(source.kernel.shape[2],), initializer="zeros", name="bias")

    def call(self, code: Any) -> Any:
        """Images (n, h', w', channels) of codes (n, h, w, filters)."""
        source = self.source
        images = keras.ops.conv_transpose(
            code, source.kernel, strides=source.strides, padding=source.padding, data_format="channels_last"
        )
        return self.activation(images + self.bias)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """As of the transposed convolution that does the same."""
        return tuple(self._shell().compute_output_shape(input_shape))

    def loose(self) -> keras.layers.Layer:
        """A transposed convolution that does the same, with a kernel of its own."""
        layer = self._shell()
        layer.build((None, None, None, self.source.filters))
        layer.set_weights([self.source.kernel.numpy(), self.bias.numpy()])
        return layer

    def _shell(self) -> keras.layers.Conv2DTranspose:
        source = self.source
        return keras.layers.Conv2DTranspose(
            self.bias.shape[0],
            source.kernel_size,
            strides=source.strides,
            padding=source.padding,
            activation=self.activation,
            name=self.name,
        )
