"""Kinds of layers, one list each, and what a model says about its layers, losses and outputs."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import jax
import keras
import numpy as np
from keras import layers as kinds

from kilter._backend import require_own_jax
from kilter._models.causes import explained
from kilter._models.keras_internals import (
    BaseConv,
    BaseConvTranspose,
    BaseDepthwiseConv,
    BaseGlobalPooling,
    BasePooling,
    BaseSeparableConv,
    DropoutRNNCell,
)
from kilter.errors import ModelError

# Kinds of layers. Subclasses count, unless code asks for an exact type.
CONVOLUTIONS: Final = (BaseConv, BaseConvTranspose, BaseDepthwiseConv, BaseSeparableConv)
WEIGHTED: Final = (kinds.Dense, kinds.EinsumDense, *CONVOLUTIONS)
"""Layers that multiply by a kernel."""
KERNELS: Final = ("kernel", "depthwise_kernel", "pointwise_kernel")
"""The attributes that hold kernels; the last one that a layer has makes its output."""
POOLINGS: Final = (BasePooling, BaseGlobalPooling)
RECURRENT: Final = (kinds.RNN,)
ATTENTION: Final = (kinds.Attention, kinds.MultiHeadAttention, kinds.GroupQueryAttention)

NORMALIZATIONS: Final = (
    kinds.BatchNormalization,
    kinds.LayerNormalization,
    kinds.GroupNormalization,
    kinds.RMSNormalization,
)
"""Layers that normalise activations with parameters that are trained."""
SCALINGS: Final = (kinds.Normalization, kinds.Rescaling)
"""Layers that scale and shift by fixed numbers."""

LOOKUPS: Final = (
    kinds.Embedding,
    kinds.CategoryEncoding,
    kinds.IntegerLookup,
    kinds.Hashing,
    kinds.Discretization,
)
"""Layers that read numbers as ids or bins, so that their scale does not matter."""

# The rates of layers that drop units. GaussianNoise drops nothing. LSTM and GRU are listed as well as their
# cells, because on a GPU they may run without calling the cell.
DROP_RATES: Final[Mapping[type, tuple[str, ...]]] = {
    kinds.Dropout: ("rate",),  # SpatialDropout1D, 2D and 3D are subclasses
    kinds.AlphaDropout: ("rate",),
    kinds.GaussianDropout: ("rate",),
    kinds.Attention: ("dropout",),  # AdditiveAttention too; MultiHeadAttention holds a Dropout
    DropoutRNNCell: ("dropout", "recurrent_dropout"),
    kinds.LSTM: ("dropout", "recurrent_dropout"),
    kinds.GRU: ("dropout", "recurrent_dropout"),
}
"""Every kind of layer that can drop units, with the attributes that hold its rates."""
DROPOUTS: Final = tuple(kind for kind, rates in DROP_RATES.items() if rates == ("rate",))
"""Layers that drop units and do nothing else."""

AUGMENTATIONS: Final = tuple(
    kind
    for name, kind in vars(kinds).items()
    if name.startswith(("Random", "RandAug", "AugMix", "MixUp", "CutMix"))
)
"""Layers that change pictures at random, in training only."""
SHAPING: Final = (kinds.Flatten, kinds.Reshape, kinds.Permute, kinds.RepeatVector, kinds.Identity)
"""Layers that change at most the shape."""
PASSING: Final = (*SHAPING, kinds.ActivityRegularization, *DROPOUTS, kinds.GaussianNoise)
"""Layers that do not change values at inference, except their shape."""

# Layers that are an activation and nothing else, with Keras's name for it; None: read it from the layer.
_ACTIVATIONS: Final[dict[type, str | None]] = {
    kinds.Activation: None,
    kinds.ReLU: "relu",
    kinds.LeakyReLU: "leaky_relu",
    kinds.ELU: "elu",
    kinds.PReLU: "prelu",
    kinds.Softmax: "softmax",
}


def activation_layer(name: str) -> Callable[[type], type]:
    """A class decorator: a layer of this class is the activation ``name`` and nothing else."""

    def register(kind: type) -> type:
        _ACTIVATIONS[kind] = name
        return kind

    return register


def activation_layers() -> tuple[type, ...]:
    """The classes of layers that are an activation and nothing else."""
    return tuple(_ACTIVATIONS)


def activation_name(layer: Any) -> str | None:
    """Keras's name of the layer's activation, such as ``"relu"``; None for none, or a custom one."""
    for kind, name in _ACTIVATIONS.items():
        if name is not None and isinstance(layer, kind):
            return name
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", None)
    return name if name is not None and getattr(keras.activations, name, None) is function else None


def own_activation(layer: Any) -> str | None:
    """What a layer applies to its output, by Keras's name; "linear" for nothing, None if unknown.

    JAX's functions of the same name count as Keras's.
    """
    name = activation_name(layer)
    if name is not None:
        return "silu" if name == "swish" else name
    function = getattr(layer, "activation", None)
    if function is None:
        return "linear" if isinstance(layer, WEIGHTED) else None
    module, name = getattr(function, "__module__", "") or "", getattr(function, "__name__", "")
    known = module.split(".")[0] in ("jax", "keras") and hasattr(keras.activations, name)
    return name if known else None


def drop_rates(layer: Any) -> tuple[float, ...]:
    """The rates at which ``layer`` drops units; () for a kind that never does."""
    for kind, names in DROP_RATES.items():
        if isinstance(layer, kind):
            return tuple(float(getattr(layer, name)) for name in names)
    return ()


# An output within 1 % of a bound is saturated: the slope there is below 0.02 (tanh), 0.01 (sigmoid, elu).
MARGIN = 0.01
SELU_BOUND: Final = -1.7580993408473766
"""-scale · alpha, the lower bound of SELU (Klambauer et al. 2017); alpha dropout sets dropped units to it."""


class Saturation(NamedTuple):
    """Where an activation is flat: outputs below ``low`` or above ``high`` are saturated."""

    low: float | jax.Array
    high: float | jax.Array

    def of(self, output: jax.Array) -> jax.Array:
        """Which elements of an output are saturated: float array -> bool array of its shape."""
        return (output < self.low) | (output > self.high)


def saturation(layer: keras.layers.Layer) -> Saturation | None:
    """Where outputs of ``layer`` are saturated; None if its activation is unknown, or flat only at 0.

    ReLU's flat side shows as zeros and dead units; a softmax is flat where it is confident, which is not a
    problem.
    """
    name = activation_name(layer)
    if name in ("tanh", "softsign"):
        return Saturation(MARGIN - 1, 1 - MARGIN)
    if name in ("sigmoid", "hard_sigmoid"):
        return Saturation(MARGIN, 1 - MARGIN)
    if name == "selu":
        return Saturation((1 - MARGIN) * SELU_BOUND, math.inf)
    if name == "elu":
        return Saturation((MARGIN - 1) * float(getattr(layer, "alpha", 1.0)), math.inf)
    return None


@dataclass(frozen=True, eq=False)
class LayerFacts:
    """One call of a leaf layer.

    Attributes:
        activation: what is applied to the output before the next layer with weights, by Keras's name
            ("linear" for none); None for a custom function. activation_layer: the path of what applies it.
        sources: indices of the calls that its inputs come from. consumers: of those its output goes to.
        takes_input: whether one of its inputs is an input of the model, reshaped at most. enters: the
            positions of those inputs.
        is_output: whether nothing with weights comes after it.
        repeated: whether the same layer was called before. shape: of the output, rows first.
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
    enters: tuple[int, ...] = ()

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


def following(calls: Sequence[LayerFacts], one: LayerFacts) -> Iterator[LayerFacts]:
    """The calls after ``one``, each the only one that takes what the call before gives."""
    while len(one.consumers) == 1:
        one = calls[one.consumers[0]]
        yield one


@dataclass(frozen=True, eq=False)
class LossFacts:
    """A compiled loss: Keras's name of its function (None for a custom one), and whether it takes logits."""

    name: str | None
    from_logits: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class OutputFacts:
    """One output of the model, with the loss it is compiled with (None without) and its targets.

    ``where``: path of the last layer with weights before it. ``activation``: by Keras's name, "linear" for
    none, None if unknown. ``shape``: of a batch. ``accuracy``: whether the only output is compiled with one.
    """

    where: str
    activation: str | None
    units: int
    shape: tuple[int, ...]
    loss: LossFacts | None
    targets: np.ndarray | None
    accuracy: bool = False


_OWN_LOSSES: Final = (
    "smoothed_sparse_categorical_crossentropy",
    "sparse_categorical_focal_crossentropy",
    "sparse_dice",
)


def loss_facts(loss: Any) -> LossFacts | None:
    """The facts of one loss as passed to compile(): a name, a Keras loss, its class, or a function."""
    if loss is None:
        return None
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    elif isinstance(loss, type) and issubclass(loss, keras.losses.Loss):
        loss = loss()
    function = getattr(loss, "fn", loss)
    options = dict(getattr(loss, "_fn_kwargs", {}))
    name = getattr(function, "__name__", None)
    known = name is not None and (getattr(keras.losses, name, None) is function or name in _OWN_LOSSES)
    return LossFacts(name if known else None, bool(options.get("from_logits", False)), options)


def compiled_losses(model: keras.Model, outputs: int) -> list[LossFacts | None]:
    """The facts of the loss of each output; None if it cannot be found."""
    try:
        return [loss_facts(one) for one in given_losses(model, outputs)]
    except ValueError as problem:  # a name that Keras does not know
        raise explained(problem, model, None) from problem


def given_losses(model: keras.Model, outputs: int) -> list[Any]:
    """The loss of each output as passed to compile(); None if it cannot be found, or there is none."""
    compiled: Any = getattr(model, "_compile_loss", None)
    given = None if compiled is None else compiled._user_loss
    if isinstance(given, dict):
        names = output_names(model) or list(given)
        listed = [given.get(name) for name in names]
    elif isinstance(given, list | tuple):
        listed = list(given)
    else:
        listed = [given] * outputs  # Keras takes a single loss for every output
    return listed if len(listed) == outputs else [None] * outputs


def loss_weights(model: keras.Model, outputs: int) -> list[float]:
    """The weight of each output's loss; 1 where none is given."""
    compiled: Any = getattr(model, "_compile_loss", None)
    given = None if compiled is None else compiled._user_loss_weights
    if isinstance(given, dict):
        given = [given.get(name, 1.0) for name in output_names(model)]
    listed = [given] if isinstance(given, int | float) else list(given or [])
    known = [1.0 if one is None else float(one) for one in listed]
    return known if len(known) == outputs else [1.0] * outputs


def like_losses(model: keras.Model, values: Sequence[Any]) -> Any:
    """A value for each output as the losses were compiled: by name, in a list, or a single one alone."""
    config: Any = getattr(getattr(model, "_compile_config", None), "config", {})
    given, names = config.get("loss"), output_names(model)
    if isinstance(given, dict) and names:
        return dict(zip(names, values, strict=True))
    return list(values) if len(values) > 1 or isinstance(given, list | tuple) else values[0]


def compiled_metrics(model: keras.Model) -> list[Any]:
    """The metrics as passed to compile(), of all outputs."""
    compiled: Any = getattr(model, "_compile_metrics", None)
    return keras.tree.flatten(compiled._user_metrics) if compiled is not None else []


def compiled_accuracy(model: keras.Model) -> str:
    """The name of an accuracy among the compiled metrics; "" without one."""
    names = (one if isinstance(one, str) else name_of(one) for one in compiled_metrics(model))
    known = ("accuracy", "acc", "binary_accuracy", "categorical_accuracy", "pixel_accuracy")
    return next((name for name in names if name in known), "")


def name_of(one: Any) -> str:
    """The name of a function or of a loss, metric or layer; that of its class if it has none."""
    return getattr(one, "__name__", None) or getattr(one, "name", None) or type(one).__name__


def output_names(model: keras.Model) -> list[str]:
    """The names of the flattened outputs: the keys of a dict of outputs, else their layers' names.

    [] for a subclassed model, which does not declare its outputs.
    """
    given: Any = getattr(model, "_outputs_struct", None)
    return sorted(given) if isinstance(given, dict) else list(getattr(model, "output_names", None) or [])


def require_model(model: Any) -> None:
    """Raise :class:`ModelError` unless this is a Keras model, :class:`BackendError` where JAX would hang."""
    require_own_jax()
    if not isinstance(model, keras.Model):
        raise ModelError(
            expected="a Keras model",
            received=f"an object of type {type(model).__name__}",
            remedy="pass an instance of keras.Model, as the first argument",
        )
