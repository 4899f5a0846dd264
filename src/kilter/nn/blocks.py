"""The layers of a block, in order: kernel, batch normalisation, activation, dropout."""

import dataclasses
from typing import Any

import keras
import numpy as np

from kilter.nn.layers import RReLU
from kilter.nn.options import PRELU_SLOPE, HiddenOptions, default_initializer
from kilter.nn.pairing import VarianceScaling

Layers = list[keras.layers.Layer]


class Seeds:
    """Independent seeds for a sequence of layers, all derived from one seed (NumPy's SeedSequence)."""

    def __init__(self, seed: int) -> None:
        self._sequence = np.random.SeedSequence(seed)

    def next(self) -> int:
        """The next seed."""
        return int(self._sequence.spawn(1)[0].generate_state(1, np.uint32)[0] >> 1)

    def seeded(self, name: str) -> Any:
        """Keras's initialiser ``name``, with the next seed if it is random."""
        known: Any = keras.initializers.get(name)
        config = known.get_config()
        return type(known)(**config | ({"seed": self.next()} if "seed" in config else {}))

    def initializer(self, activation: str | None) -> Any:
        """The initialiser paired with ``activation``, with the next seed."""
        return self.seeded(default_initializer(activation or "linear"))


class Blocks:
    """Makes the blocks of one network, each with its own seeds from independent streams (SeedSequence)."""

    def __init__(self, common: HiddenOptions, *, dtype: str | None, seed: int) -> None:
        self._common = common
        self._dtype = dtype
        self._seeds = Seeds(seed)

    def input_norm(self) -> Layers:
        """The batch normalisation in front of the network, if requested."""
        common = self._common
        return [self._norm(common, "batch_norm_input")] if common.batch_norm == "input" else []

    def dense(self, units: int, number: int, options: HiddenOptions) -> Layers:
        """A dense layer with its normalisation, activation and dropout."""
        kernel = keras.layers.Dense(
            units,
            activation=_inner_activation(options),
            use_bias=options.batch_norm != "before",
            kernel_initializer=self._initializer(options.initializer),
            kernel_regularizer=_penalty(options),
            kernel_constraint=_limit(options, axis=[0]),
            dtype=self._dtype,
            name=f"dense_{number}",
        )
        return [
            kernel,
            *self._after_kernel(options, f"dense_{number}", rank=1),
            *self._dropout(options, f"dropout_{number}"),
        ]

    def convolution(self, filters: int, kernel_size: int, number: int, options: HiddenOptions) -> Layers:
        """A convolution that halves the image: by pooling, or by its stride if self-normalizing."""
        kernel = keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=2 if options.self_normalizing else 1,
            padding="same",
            activation=_inner_activation(options),
            use_bias=options.batch_norm != "before",
            kernel_initializer=self._initializer(options.initializer),
            kernel_regularizer=_penalty(options),
            kernel_constraint=_limit(options, axis=[0, 1, 2]),
            dtype=self._dtype,
            name=f"conv_{number}",
        )
        pool = keras.layers.MaxPooling2D(2, dtype=self._dtype, name=f"pool_{number}")
        return [
            kernel,
            *self._after_kernel(options, f"conv_{number}", rank=3),
            *([] if options.self_normalizing else [pool]),
            *self._dropout(options, f"conv_dropout_{number}"),
        ]

    def output(self, outputs: int, activation: str | None) -> keras.layers.Layer:
        """The last layer, in float32 under every policy: the loss is computed from it."""
        return keras.layers.Dense(
            outputs,
            activation=activation,
            kernel_initializer=self._seeds.initializer(None),
            kernel_regularizer=_penalty(self._common),
            kernel_constraint=_limit(self._common, axis=[0]),
            dtype="float32" if self._dtype and self._dtype.startswith("mixed") else self._dtype,
            name="output",
        )

    def _initializer(self, which: str | VarianceScaling) -> Any:
        if isinstance(which, VarianceScaling):
            return keras.initializers.VarianceScaling(**dataclasses.asdict(which), seed=self._seeds.next())
        return self._seeds.seeded(which)

    def _after_kernel(self, options: HiddenOptions, name: str, *, rank: int) -> Layers:
        """Batch normalisation and activation that are separate layers, in order.

        ``rank``: of a row of the layer's output, 1 or 3.
        """
        norm = [self._norm(options, f"{name}_norm")] if options.batch_norm in ("before", "after") else []
        inner = _inner_activation(options)
        activation = [] if inner else [self._activation(options, f"{name}_activation", rank)]
        return norm + activation if options.batch_norm == "before" else activation + norm

    def _activation(self, options: HiddenOptions, name: str, rank: int) -> keras.layers.Layer:
        named: dict[str, Any] = {"dtype": self._dtype, "name": name}
        match options.activation:
            case "leaky_relu":
                return keras.layers.LeakyReLU(negative_slope=options.negative_slope or 0.0, **named)
            case "elu" if options.elu_alpha != 1:
                return keras.layers.ELU(**named, alpha=options.elu_alpha or 1.0)
            case "rrelu":
                return RReLU(seed=self._seeds.next(), **named)
            case "prelu":
                shared: dict[Any, Any] = {"element": None, "layer": list(range(1, rank + 1))}
                axes = shared.get(options.prelu_slopes, list(range(1, rank)) or None)
                named["alpha_initializer"] = keras.initializers.Constant(PRELU_SLOPE)
                return keras.layers.PReLU(shared_axes=axes, **named)
        return keras.layers.Activation(options.activation, **named)

    def _norm(self, options: HiddenOptions, name: str) -> keras.layers.Layer:
        stated: dict[str, Any] = {
            "momentum": options.batch_norm_momentum,
            "epsilon": options.batch_norm_epsilon,
        }
        return keras.layers.BatchNormalization(**stated, dtype=self._dtype, name=name)

    def _dropout(self, options: HiddenOptions, name: str) -> Layers:
        if not options.dropout:
            return []
        kind = keras.layers.AlphaDropout if options.self_normalizing else keras.layers.Dropout
        return [kind(options.dropout, seed=self._seeds.next(), dtype=self._dtype, name=name)]


def _penalty(options: HiddenOptions) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L1L2(options.l1, options.l2) if options.l1 or options.l2 else None


def _limit(options: HiddenOptions, axis: list[int]) -> Any:
    """Max-norm over the incoming weights of each unit."""
    named: dict[str, Any] = {"max_value": options.max_norm, "axis": axis}
    return keras.constraints.MaxNorm(**named) if options.max_norm is not None else None


def _inner_activation(options: HiddenOptions) -> str | None:
    """The activation, if a name suffices and it directly follows the kernel."""
    own = options.activation in ("leaky_relu", "prelu", "rrelu") or options.elu_alpha not in (None, 1)
    return None if own or options.batch_norm == "before" else options.activation
