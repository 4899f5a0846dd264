"""The layers of a block, in the order that fits: kernel, batch normalisation, activation, dropout."""

from __future__ import annotations

import dataclasses
from typing import Any

from kilter import backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras
import numpy as np

from kilter.nn.options import HiddenOptions, VarianceScaling, default_initializer

Layers = list[keras.layers.Layer]
# These activations have a slope of their own and are layers in Keras; the others are functions of a name.
SLOPED = ("leaky_relu", "prelu")


class Blocks:
    """Makes the blocks of one network, each with seeds of its own.

    The seeds are independent streams (NumPy's SeedSequence), so that no two layers of one shape begin alike,
    and they belong to the layers, so that neither other models nor global seeds change the outcome.
    """

    def __init__(self, options: HiddenOptions, *, dtype: str | None, seed: int) -> None:
        self._options = options
        self._dtype = dtype
        self._seeds = np.random.SeedSequence(seed)

    def input_norm(self) -> Layers:
        """The batch normalisation in front of the network, where it is asked for."""
        return [self._norm("batch_norm_input")] if self._options.batch_norm == "input" else []

    def dense(self, units: int, number: int) -> Layers:
        """A dense layer with what belongs to it."""
        options = self._options
        kernel = keras.layers.Dense(
            units,
            activation=self._inner_activation(),
            use_bias=options.batch_norm != "before",
            kernel_initializer=self._initializer(options.initializer),
            kernel_regularizer=self._penalty(),
            kernel_constraint=self._limit(axis=[0]),
            dtype=self._dtype,
            name=f"dense_{number}",
        )
        return [kernel, *self._after_kernel(f"dense_{number}"), *self._dropout(f"dropout_{number}")]

    def convolution(self, filters: int, kernel_size: int, number: int) -> Layers:
        """A convolution that halves the image: by pooling, or by its stride if self-normalizing."""
        options = self._options
        kernel = keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=2 if options.self_normalizing else 1,
            padding="same",
            activation=self._inner_activation(),
            use_bias=options.batch_norm != "before",
            kernel_initializer=self._initializer(options.initializer),
            kernel_regularizer=self._penalty(),
            kernel_constraint=self._limit(axis=[0, 1, 2]),
            dtype=self._dtype,
            name=f"conv_{number}",
        )
        pool = keras.layers.MaxPooling2D(2, dtype=self._dtype, name=f"pool_{number}")
        return [
            kernel,
            *self._after_kernel(f"conv_{number}", shared_axes=[1, 2]),
            *([] if options.self_normalizing else [pool]),
            *self._dropout(f"conv_dropout_{number}"),
        ]

    def output(self, outputs: int, activation: str | None) -> keras.layers.Layer:
        """The last layer, in float32 under every policy: the loss is computed from it."""
        return keras.layers.Dense(
            outputs,
            activation=activation,
            kernel_initializer=self._initializer(default_initializer("linear")),
            kernel_regularizer=self._penalty(),
            kernel_constraint=self._limit(axis=[0]),
            dtype="float32" if self._dtype and self._dtype.startswith("mixed") else self._dtype,
            name="output",
        )

    def _seed(self) -> int:
        return int(self._seeds.spawn(1)[0].generate_state(1, np.uint32)[0] >> 1)

    def _initializer(self, which: str | VarianceScaling) -> Any:
        if isinstance(which, VarianceScaling):
            return keras.initializers.VarianceScaling(**dataclasses.asdict(which), seed=self._seed())
        known: Any = keras.initializers.get(which)
        config = known.get_config()
        return type(known)(**config | ({"seed": self._seed()} if "seed" in config else {}))

    def _penalty(self) -> keras.regularizers.Regularizer | None:
        options = self._options
        return keras.regularizers.L1L2(options.l1, options.l2) if options.l1 or options.l2 else None

    def _limit(self, axis: list[int]) -> Any:
        """Max-norm over the axes that lead into one unit."""
        named: dict[str, Any] = {"max_value": self._options.max_norm, "axis": axis}
        return keras.constraints.MaxNorm(**named) if self._options.max_norm is not None else None

    def _inner_activation(self) -> str | None:
        """The activation, where nothing stands between it and the kernel."""
        outside = self._options.batch_norm == "before" or self._options.activation in SLOPED
        return None if outside else self._options.activation

    def _after_kernel(self, name: str, shared_axes: list[int] | None = None) -> Layers:
        """What of batch normalisation and activation the kernel's layer does not do, in order."""
        options = self._options
        norm = [self._norm(f"{name}_norm")] if options.batch_norm in ("before", "after") else []
        activation = [] if self._inner_activation() else [self._activation(f"{name}_activation", shared_axes)]
        return norm + activation if options.batch_norm == "before" else activation + norm

    def _activation(self, name: str, shared_axes: list[int] | None) -> keras.layers.Layer:
        named: dict[str, Any] = {"dtype": self._dtype, "name": name}
        if self._options.activation == "leaky_relu":
            return keras.layers.LeakyReLU(**named, negative_slope=self._options.negative_slope or 0.0)
        if self._options.activation == "prelu":
            # He et al. 2015 begin at 0.25 and learn one slope a channel.
            named["alpha_initializer"] = keras.initializers.Constant(0.25)
            return keras.layers.PReLU(shared_axes=shared_axes, **named)
        return keras.layers.Activation(self._options.activation, **named)

    def _norm(self, name: str) -> keras.layers.Layer:
        return keras.layers.BatchNormalization(dtype=self._dtype, name=name)

    def _dropout(self, name: str) -> Layers:
        options = self._options
        if not options.dropout:
            return []
        kind = keras.layers.AlphaDropout if options.self_normalizing else keras.layers.Dropout
        return [kind(options.dropout, seed=self._seed(), dtype=self._dtype, name=name)]
