"""Plans which batch normalisation is folded into which layer, and computes the new weights."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np

from kilter._models.editing import Graph, Tensor, read_graph
from kilter._models.layers import KERNELS
from kilter._models.tracing import LayerCall
from kilter._models.variables import assign

layers = keras.layers


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """y = scale·z + shift for every channel; both have shape (channels,)."""

    scale: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True, eq=False)
class Weights:
    """A layer's kernels by attribute name, and its bias (output channels,); zeros if it has none."""

    kernels: Mapping[str, np.ndarray]
    bias: np.ndarray


Fold = Callable[[Any, Weights, ChannelMap], Weights]


@dataclass(frozen=True)
class Kind:
    """How to fold a map ``behind`` a kind of layer, and one ``in_front`` of it (None: impossible)."""

    behind: Fold
    in_front: Fold | None


def channel_map(norm: Any) -> ChannelMap:
    """The map that a batch normalisation computes at inference; without γ or β these are 1 and 0."""
    variance = np.asarray(norm.moving_variance, np.float64)
    mean = np.asarray(norm.moving_mean, np.float64)
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else np.ones_like(mean)
    beta = np.asarray(norm.beta, np.float64) if norm.center else np.zeros_like(mean)
    with np.errstate(divide="ignore", invalid="ignore"):  # the planner finds values that are not finite
        scale = gamma / np.sqrt(variance + norm.epsilon)
    return ChannelMap(scale, beta - mean * scale)


def read_weights(layer: Any) -> Weights:
    """The weights of a layer of one of the :data:`KINDS`."""
    names = [name for name in KERNELS if hasattr(layer, name)]
    kernels = {name: np.asarray(getattr(layer, name), np.float64) for name in names}
    if layer.bias is not None:
        return Weights(kernels, np.asarray(layer.bias, np.float64))
    return Weights(kernels, np.zeros(_output_channels(layer)))


def write_weights(layer: Any, weights: Weights) -> None:
    """Write the weights into a layer that has a bias, rounded to the dtype of its variables."""
    assign((getattr(layer, name), values) for name, values in weights.kernels.items())
    assign([(layer.bias, weights.bias)])


def _output_channels(layer: Any) -> int:
    if isinstance(layer, layers.Dense):
        return layer.units
    if isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
        return int(np.prod(layer.kernel.shape[-2:]))
    return layer.filters


def _behind(name: str, shape: Callable[[np.ndarray], tuple[int, ...]]) -> Fold:
    """Scales kernel ``name``; ``shape`` is the shape of the scale that broadcasts against it."""

    def fold(_: Any, weights: Weights, channels: ChannelMap) -> Weights:
        kernel = weights.kernels[name]
        scaled = kernel * channels.scale.reshape(shape(kernel))
        return Weights({**weights.kernels, name: scaled}, weights.bias * channels.scale + channels.shift)

    return fold


def _dense_in_front(_: Any, weights: Weights, channels: ChannelMap) -> Weights:
    kernel = weights.kernels["kernel"]
    return Weights({"kernel": kernel * channels.scale[:, None]}, weights.bias + channels.shift @ kernel)


def _convolution_in_front(layer: Any, weights: Weights, channels: ChannelMap) -> Weights:
    kernel = weights.kernels["kernel"]  # (*space, channels of a group, filters)
    taken, filters = kernel.shape[-2:]
    group = np.arange(filters) // (filters // layer.groups)
    channel = group * taken + np.arange(taken)[:, None]  # the input channel of each weight
    space = tuple(range(kernel.ndim - 2))
    shift = (kernel.sum(axis=space) * channels.shift[channel]).sum(axis=0)
    return Weights({"kernel": kernel * channels.scale[channel]}, weights.bias + shift)


def _depthwise_in_front(_: Any, weights: Weights, channels: ChannelMap) -> Weights:
    kernel, shift = _through_depthwise(weights.kernels["kernel"], channels)
    return Weights({"kernel": kernel}, weights.bias + shift)


def _separable_in_front(_: Any, weights: Weights, channels: ChannelMap) -> Weights:
    depthwise, shift = _through_depthwise(weights.kernels["depthwise_kernel"], channels)
    pointwise = weights.kernels["pointwise_kernel"]
    bias = weights.bias + shift @ pointwise.reshape(pointwise.shape[-2:])
    return Weights({"depthwise_kernel": depthwise, "pointwise_kernel": pointwise}, bias)


def _through_depthwise(kernel: np.ndarray, channels: ChannelMap) -> tuple[np.ndarray, np.ndarray]:
    """The kernel (*space, channels, multiplier) scaled, and what the shift adds to each of its outputs."""
    space = tuple(range(kernel.ndim - 2))
    shift = kernel.sum(axis=space) * channels.shift[:, None]
    return kernel * channels.scale[:, None], shift.reshape(-1)


_LAST = _behind("kernel", lambda kernel: (kernel.shape[-1],))
_convolution = Kind(_LAST, _convolution_in_front)
_transposed = Kind(_behind("kernel", lambda kernel: (kernel.shape[-2], 1)), None)
_depthwise = Kind(_behind("kernel", lambda kernel: kernel.shape[-2:]), _depthwise_in_front)
_separable = Kind(_behind("pointwise_kernel", lambda kernel: (kernel.shape[-1],)), _separable_in_front)

# By exact type: a subclass may compute something else.
KINDS: Final[Mapping[type, Kind]] = {
    layers.Dense: Kind(_LAST, _dense_in_front),
    **dict.fromkeys((layers.Conv1D, layers.Conv2D, layers.Conv3D), _convolution),
    **dict.fromkeys((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _transposed),
    **dict.fromkeys((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise),
    **dict.fromkeys((layers.SeparableConv1D, layers.SeparableConv2D), _separable),
}


_LINEAR = (None, keras.activations.linear)


@dataclass(frozen=True)
class NormFold:
    """What happened to one batch normalisation, at the path ``layer``.

    ``into``: the path of the layer that it was folded into; or None, and the ``reason``.
    """

    layer: str
    into: str | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """Layers to leave out of a copy, new weights by layer, and the result for each normalisation."""

    dropped: frozenset[Any]
    weights: Mapping[Any, Weights]
    layers: tuple[NormFold, ...]


def plan_folds(model: keras.Model) -> FoldPlan:
    """Find every exact fold; the other batch normalisations get a reason.

    Each is folded into the layer before it if possible, else into the one after it; there from the last to
    the first, so that of two in a row the later is folded first.
    """
    planner = _Planner(read_graph(model))
    norms = [call for call in planner.graph.calls if isinstance(call.layer, keras.layers.BatchNormalization)]
    notes: dict[str, NormFold] = {}
    for norm in norms:
        notes[norm.path] = planner.try_behind(norm)
    for norm in reversed(norms):
        if notes[norm.path].into is None:
            before = notes[norm.path].reason
            notes[norm.path] = planner.try_in_front(norm, before)
    hidden = (_hidden_in(call) for call in planner.graph.calls)
    return FoldPlan(
        frozenset(planner.dropped),
        planner.weights,
        (*notes.values(), *dict.fromkeys(note for group in hidden for note in group)),
    )


class _Planner:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.dropped: list[Any] = []
        self.weights: dict[Any, Weights] = {}
        self._times = Counter(call.layer for call in graph.calls)
        self._maker: dict[Tensor, LayerCall] = {
            tensor: call for call in graph.calls for tensor in call.outputs
        }
        self._users: dict[Tensor, list[LayerCall]] = {}
        for call in graph.calls:
            for tensor in call.inputs:
                self._users.setdefault(tensor, []).append(call)
        self._returned = set(graph.outputs)
        self._alias: dict[Tensor, Tensor] = {}

    def try_behind(self, norm: LayerCall) -> NormFold:
        tensor = self._source(norm)
        maker = self._maker.get(tensor)
        why_not = self._blocked(norm) or self._no_maker(norm, tensor, maker)
        if maker is None or why_not:
            return NormFold(norm.path, reason=why_not)
        channels = channel_map(norm.layer)
        self._fold(maker, KINDS[type(maker.layer)].behind, channels)
        self._drop(norm, tensor)
        return NormFold(norm.path, into=maker.path)

    def try_in_front(self, norm: LayerCall, before: str) -> NormFold:
        """Fold ``norm`` into the layer after it, if possible; ``before`` is why not the other way."""
        if self._blocked(norm):
            return NormFold(norm.path, reason=before)
        users = self._users.get(norm.outputs[0], [])
        why_not = self._no_user(norm, users)
        fold = None if why_not else KINDS[type(users[0].layer)].in_front
        if fold is None:
            return NormFold(norm.path, reason=f"{before}; {why_not}")
        self._fold(users[0], fold, channel_map(norm.layer))
        self._drop(norm, self._source(norm))
        return NormFold(norm.path, into=users[0].path)

    def _source(self, norm: LayerCall) -> Tensor:
        """The input of ``norm``, skipping folded normalisations."""
        tensor = norm.inputs[0]
        while tensor in self._alias:
            tensor = self._alias[tensor]
        return tensor

    def _fold(self, call: LayerCall, fold: Any, channels: ChannelMap) -> None:
        weights = self.weights.get(call.layer) or read_weights(call.layer)
        self.weights[call.layer] = fold(call.layer, weights, channels)

    def _drop(self, norm: LayerCall, source: Tensor) -> None:
        """Remove ``norm``: the users of its output use its input."""
        output = norm.outputs[0]
        self.dropped.append(norm.layer)
        self._alias[output] = source
        others = [user for user in self._users[source] if user is not norm]
        self._users[source] = others + self._users.get(output, [])
        if output in self._returned:
            self._returned.add(source)

    def _blocked(self, norm: LayerCall) -> str:
        layer = norm.layer
        if type(layer) is not keras.layers.BatchNormalization:
            return f"it is a {type(layer).__name__}, which may compute something else"
        if self._times[layer] > 1:
            return f"it is shared: called {self._times[layer]} times"
        if norm.training:
            return "it is called with training=True, so it uses batch statistics"
        channels = channel_map(layer)
        if not (np.isfinite(channels.scale).all() and np.isfinite(channels.shift).all()):
            return "its weights or statistics are not finite"
        return ""

    def _no_maker(self, norm: LayerCall, tensor: Tensor, maker: LayerCall | None) -> str:
        if maker is None:
            return "the input comes before it"
        if why_not := self._no_kernel(maker, norm.layer, "before it"):
            return why_not
        if len(self._users[tensor]) > 1 or tensor in self._returned:
            return f"the output of {maker.path} before it is used elsewhere too"
        activation = maker.layer.activation
        if activation not in _LINEAR:
            name = getattr(activation, "__name__", type(activation).__name__)
            return f"{maker.path} before it has an activation, {name}"
        return ""

    def _no_user(self, norm: LayerCall, users: list[LayerCall]) -> str:
        if norm.outputs[0] in self._returned:
            return "its output is an output of the model"
        if len(users) != 1:
            return f"its output goes to {len(users)} layers"
        (user,) = users
        if why_not := self._no_kernel(user, norm.layer, "after it"):
            return why_not
        if KINDS[type(user.layer)].in_front is None:
            return f"{user.path} after it sums fewer terms at the border"
        if _pads(user.layer):
            return f"{user.path} after it pads with zeros (padding={user.layer.padding!r})"
        if not np.issubdtype(np.dtype(self._source(norm).dtype), np.inexact):
            return f"{user.path} after it would get integers"
        return ""

    def _no_kernel(self, call: LayerCall, norm: Any, where: str) -> str:
        layer = call.layer
        if type(layer) not in KINDS:
            return f"{call.path} {where} is a {type(layer).__name__}"
        if self._times[layer] > 1:
            return f"{call.path} {where} is shared: called {self._times[layer]} times"
        if getattr(layer, "lora_enabled", False) or layer.quantization_mode:
            return f"{call.path} {where} has a kernel in parts (LoRA or quantised)"
        rank = norm.input_spec.ndim
        first = getattr(layer, "data_format", "channels_last") == "channels_first"
        if norm.axis % rank != (1 if first else rank - 1):
            return f"it normalises axis {norm.axis}, which is not the channels of {call.path} {where}"
        return ""


def _pads(layer: Any) -> bool:
    """Whether a layer pads its input; a kernel of size 1 needs no padding."""
    return getattr(layer, "padding", "valid") != "valid" and max(layer.kernel_size) > 1


def _hidden_in(call: LayerCall) -> list[NormFold]:
    """Batch normalisations inside a layer that is not a Sequential or Functional model."""
    if isinstance(call.layer, keras.layers.BatchNormalization) or not isinstance(call.layer, keras.Layer):
        return []
    inside = call.layer._flatten_layers(include_self=False)
    norms = [layer for layer in inside if isinstance(layer, keras.layers.BatchNormalization)]
    reason = f"it is inside {call.path}, a {type(call.layer).__name__}"
    return [NormFold(f"{call.path}/{norm.name}", reason=reason) for norm in norms]
