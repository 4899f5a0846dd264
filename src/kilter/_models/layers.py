"""What a Keras model says about itself, read once: its layers as they are called, its loss, its optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import jax
import keras
import numpy as np

from kilter._models.keras_internals import BaseConv, BaseConvTranspose, BaseDepthwiseConv, BaseSeparableConv

# An output within 1 % of a bound: the slope there is below 0.02 (tanh), 0.01 (sigmoid, elu).
MARGIN = 0.01
# -scale · alpha, the lower bound of SELU (Klambauer et al. 2017).
_SELU_BOUND = -1.7580993408473766


class Saturation(NamedTuple):
    """The slopes of an activation: outputs below ``low`` or above ``high`` are saturated."""

    low: float | jax.Array
    high: float | jax.Array

    def of(self, output: jax.Array) -> jax.Array:
        """Which elements of an output are saturated: float array -> bool array of its shape."""
        return (output < self.low) | (output > self.high)


def saturation(layer: keras.layers.Layer) -> Saturation | None:
    """Where outputs of ``layer`` are saturated; None where its activation is unknown, or flat only where 0.

    Known are tanh, sigmoid, hard_sigmoid, softsign, elu and selu. ReLU's flat side shows as zeros and dead
    units; a softmax is flat where it is right, which is no fault.
    """
    name = activation_name(layer)
    if name in ("tanh", "softsign"):
        return Saturation(MARGIN - 1, 1 - MARGIN)
    if name in ("sigmoid", "hard_sigmoid"):
        return Saturation(MARGIN, 1 - MARGIN)
    if name == "selu":
        return Saturation((1 - MARGIN) * _SELU_BOUND, math.inf)
    if name == "elu":
        return Saturation((MARGIN - 1) * float(getattr(layer, "alpha", 1.0)), math.inf)
    return None


# Layers that are an activation and nothing else, with Keras's name for it; None: read it from the layer.
_ACTIVATION_LAYERS: Final[dict[type, str | None]] = {
    keras.layers.Activation: None,
    keras.layers.ReLU: "relu",
    keras.layers.LeakyReLU: "leaky_relu",
    keras.layers.ELU: "elu",
    keras.layers.PReLU: "prelu",
    keras.layers.Softmax: "softmax",
}


def activation_layer(name: str) -> Callable[[type], type]:
    """A class decorator: instances of the class are the activation `name` and nothing else."""

    def register(kind: type) -> type:
        _ACTIVATION_LAYERS[kind] = name
        return kind

    return register


def activation_layers() -> tuple[type, ...]:
    """The classes of layers that are an activation and nothing else."""
    return tuple(_ACTIVATION_LAYERS)


def activation_name(layer: Any) -> str | None:
    """What the layer's activation is called in Keras, such as ``"relu"``; None for none, or a custom one."""
    for kind, name in _ACTIVATION_LAYERS.items():
        if name is not None and isinstance(layer, kind):
            return name
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", None)
    return name if name is not None and getattr(keras.activations, name, None) is function else None


WEIGHTED: Final = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    BaseConv,
    BaseConvTranspose,
    BaseDepthwiseConv,
    BaseSeparableConv,
)
CONVOLUTIONS: Final = (BaseConv, BaseConvTranspose, BaseDepthwiseConv, BaseSeparableConv)
DROPOUTS: Final = (
    keras.layers.Dropout,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)
NORMALIZATIONS: Final = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
)


@dataclass(frozen=True, eq=False)
class LayerFacts:
    """One call of a leaf layer.

    Attributes:
        index: its place in the order of the calls.
        path: the layer's path, such as ``"block/dense_1"``; kind: its class name.
        layer: the layer itself.
        activation: what is applied to the output before the next layer with weights, by Keras's name: the
            layer's own, or that of a layer after it ("linear" for none). None for a function of one's own.
        activation_layer: path of the layer that applies it; ``path`` itself for the layer's own.
        sources: indices of the calls its inputs came from; () where they come from none directly.
        takes_input: whether one of its inputs is the model's own, at most in another shape.
        consumers: indices of the calls that its output goes to.
        is_output: whether nothing with weights comes after it.
        repeated: whether the same layer was called before.
        shape: of the output, rows first.
    """

    index: int
    path: str
    kind: str
    layer: keras.layers.Layer
    activation: str | None
    activation_layer: str
    sources: tuple[int, ...]
    takes_input: bool
    consumers: tuple[int, ...]
    is_output: bool
    repeated: bool
    shape: tuple[int, ...]

    @property
    def is_weighted(self) -> bool:
        """Whether it multiplies by a kernel: a dense layer or a convolution."""
        return isinstance(self.layer, WEIGHTED)

    @property
    def kernel(self) -> np.ndarray | None:
        """The kernel's values; None without one, or with several."""
        kernel = getattr(self.layer, "kernel", None)
        return None if kernel is None else np.asarray(kernel)

    @property
    def initializer(self) -> Any:
        """The kernel's initialiser, None without one."""
        return getattr(self.layer, "kernel_initializer", None)

    @property
    def units(self) -> int:
        """The size of the output's last axis."""
        return int(self.shape[-1]) if len(self.shape) > 1 else 1

    @property
    def use_bias(self) -> bool:
        """Whether a bias is added."""
        return bool(getattr(self.layer, "use_bias", False))

    @property
    def trainable(self) -> bool:
        """Whether it has a weight that training changes."""
        return bool(self.layer.trainable_variables)


@dataclass(frozen=True, eq=False)
class LossFacts:
    """A compiled loss: Keras's name of its function (None for one of your own), and how outputs are read."""

    name: str | None
    from_logits: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class OutputFacts:
    """One output of the model, with the loss it is compiled with and its targets.

    Attributes:
        where: path of the last layer with weights before it.
        activation: by Keras's name, "linear" for none, None where it is not known.
        units: size of its last axis; shape: of a batch.
        loss: None for an output without one.
        targets: None without; rows first.
    """

    where: str
    activation: str | None
    units: int
    shape: tuple[int, ...]
    loss: LossFacts | None
    targets: np.ndarray | None


@dataclass(frozen=True, eq=False)
class OptimizerFacts:
    """The compiled optimiser, out of its loss-scaling wrapper.

    Attributes:
        name: its class in lower case, such as "adam"; "" without an optimiser.
        learning_rate: the largest of the first steps under a schedule; None where it cannot be known.
        scheduled: whether the rate changes by a schedule of Keras.
        momentum: 0 for none.
        iterations: how many steps it has taken.
    """

    name: str
    learning_rate: float | None
    scheduled: bool
    momentum: float
    iterations: int
    optimizer: Any


# Steps at which a schedule is asked for its rate: warm-ups are over by then, decays have not ended.
_ASKED_STEPS: Final = (0, 10, 100, 1_000, 10_000)


def optimizer_facts(model: keras.Model) -> OptimizerFacts:
    """The facts of the model's optimiser."""
    optimizer: Any = model.optimizer
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    if optimizer is None:
        return OptimizerFacts("", None, False, 0.0, 0, None)
    given: Any = getattr(optimizer, "_learning_rate", None)
    scheduled = given is not None and isinstance(given, keras.optimizers.schedules.LearningRateSchedule)
    if given is not None and scheduled:
        rate: float | None = max(float(np.asarray(given(step))) for step in _ASKED_STEPS)
    elif callable(given) and not isinstance(given, keras.Variable):
        function: Any = given  # without arguments
        scheduled, rate = True, float(np.asarray(function()))
    else:
        rate = None if given is None else float(np.asarray(given))
    momentum = getattr(optimizer, "momentum", 0.0)
    return OptimizerFacts(
        name=type(optimizer).__name__.lower(),
        learning_rate=rate,
        scheduled=scheduled,
        momentum=float(momentum) if isinstance(momentum, int | float) else 0.0,
        iterations=int(np.asarray(optimizer.iterations)),
        optimizer=optimizer,
    )


def loss_facts(loss: Any) -> LossFacts | None:
    """The facts of one loss as it is given to compile(): a name, a Keras loss, its class, or a function."""
    if loss is None:
        return None
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    elif isinstance(loss, type) and issubclass(loss, keras.losses.Loss):
        loss = loss()
    function = getattr(loss, "fn", loss)
    options = dict(getattr(loss, "_fn_kwargs", {}))
    name = getattr(function, "__name__", None)
    known = name is not None and (
        getattr(keras.losses, name, None) is function
        or name == "smoothed_sparse_categorical_crossentropy"  # kilter's own
    )
    return LossFacts(name if known else None, bool(options.get("from_logits", False)), options)


def compiled_losses(model: keras.Model, outputs: int) -> list[LossFacts | None]:
    """The facts of the loss of each output; None where it cannot be told which loss it has."""
    compiled: Any = getattr(model, "_compile_loss", None)
    given = None if compiled is None else compiled._user_loss
    if isinstance(given, dict):
        names = output_names(model) or list(given)
        listed = [given.get(name) for name in names]
    elif isinstance(given, list | tuple):
        listed = list(given)
    else:
        listed = [given] * outputs  # Keras takes a single loss for every output
    return [loss_facts(one) for one in listed] if len(listed) == outputs else [None] * outputs


def output_names(model: keras.Model) -> list[str]:
    """The outputs' names in their flattened order: the keys of a dict of outputs, else their layers' names.

    [] for a model that does not know them before it is called.
    """
    given: Any = getattr(model, "_outputs_struct", None)
    return sorted(given) if isinstance(given, dict) else list(getattr(model, "output_names", None) or [])
