"""Plans which batch normalisation is folded into which layer, and computes the new weights."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kilter._infer.kernels import KINDS, ChannelMap, Weights, channel_map, read_weights
from kilter._models.editing import Graph, Tensor, read_graph
from kilter._models.tracing import LayerCall

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
