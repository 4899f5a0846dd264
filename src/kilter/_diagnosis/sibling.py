"""The sibling: the given network with suitable initialisation, activations and optimiser.

It has the kind, depth and widths of the given network. It is a copy with corrected configurations:
initialisers that fit, live activations, moderate dropout and penalties, standardised inputs, an output that
fits the targets, batch normalisation in deep stacks without any, and Adam. Its rate warms up and decays
(:func:`rate_at`).
A class with its own ``call`` gets only new weights and the optimiser.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np

from kilter._diagnosis.checks.architecture import feeds_kernel, linear_layers
from kilter._diagnosis.checks.endings import check_many_labels
from kilter._diagnosis.checks.output import BINARY, CATEGORICAL, SPARSE, SQUARES, complaints
from kilter._diagnosis.context import Context
from kilter._diagnosis.easing import INNER, MODERATE, Easing
from kilter._diagnosis.targets import ordered_classes, target_facts
from kilter._models.copying import Cut, copy_model, copy_written, is_graph
from kilter._models.editing import as_graph, can_be_cut, configuration, cut, replaceable_layers
from kilter._models.layers import (
    ATTENTION,
    DROPOUTS,
    LOOKUPS,
    NORMALIZATIONS,
    RECURRENT,
    SCALINGS,
    WEIGHTED,
    LayerFacts,
    OutputFacts,
    like_losses,
    loss_weights,
)
from kilter._models.optimizers import averaging_of, compiled_like
from kilter._models.variables import draw_weights
from kilter.data.scaling import moments
from kilter.nn.pairing import PAIRINGS, pairing_of

Config = dict[str, Any]
# What may differ between a network and its sibling, by the remedies' codes.
PARTS: Final = (
    "standardize-inputs",
    "repair-output",
    "rescale-outputs",
    "reinitialize-paired",
    "replace-activation",
    "ease-regularization",
    "repair-batch-norm",
    "insert-batch-norm",
)
RATE: Final = 4e-3
ATTENTION_RATE: Final = 2e-3
CLIP: Final = 1.0
_DEEP: Final = 5  # a stack with this many hidden layers and no normalisation gets it
_STARTS: Final = {
    "recurrent_initializer": "orthogonal",
    "embeddings_initializer": "uniform",
    "bias_initializer": "zeros",
}
_CELL: Final = {
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "unit_forget_bias": True,
    "stateful": False,
}
# Layers without weights whose configuration may change.
_ADJUSTED: Final = (*DROPOUTS, keras.layers.GaussianNoise, keras.layers.LeakyReLU)
_SOUND: Final = "relu"
_POOR: Final = ("sigmoid", "hard_sigmoid", "softmax", "exponential")


def sibling(context: Context, seed: int) -> keras.Model:
    """The sibling, compiled. Raises as a copy of the model does."""
    graph = as_graph(context.model, context.x)
    if graph is None or not can_be_cut(graph):
        model, changed = copy_written(context.model).model, {}
    else:
        cleaning = cleaning_of(context, graph)
        model, changed = cleaning.model(), cleaning.compiled
    model.trainable = model.trainable or not context.model.trainable_variables
    free = [one for one in model._flatten_layers(include_self=False) if one.trainable]
    draw_weights(free, seed)
    return compiled_soundly(context, model, **changed)


def own_network(context: Context) -> keras.Model:
    """The unchanged network, with its own weights and the sibling's optimiser."""
    model = context.model
    copied = copy_model(model) if is_graph(model) and can_be_cut(model) else copy_written(model)
    return compiled_soundly(context, copied.model)


def compiled_soundly(context: Context, model: keras.Model, **changed: Any) -> keras.Model:
    """``model`` compiled as the original, but for ``changed``, with Adam.

    Its rate is a number, so that one program serves every course of the rate, and treatments too.
    """
    if "loss" in changed:
        changed["metrics"] = None  # they may not fit the new outputs
    return compiled_like(context.model, model, optimizer=sound_optimizer(model, context.model), **changed)


def sound_optimizer(model: keras.Model, given: keras.Model, rate: float = 0.0) -> keras.optimizers.Optimizer:
    """Adam with clipped gradients, at ``rate``, or the largest rate that suits the kind of network.

    It averages weights if the ``given`` model's optimiser does.
    A ``given`` model's own Adam serves as well, at that rate, unless gradients may explode through time: it
    needs no other program.
    """
    layers = model._flatten_layers()
    rate = rate or (ATTENTION_RATE if any(isinstance(one, ATTENTION) for one in layers) else RATE)
    averaging = averaging_of(given)
    sound = keras.optimizers.Adam(rate, clipnorm=CLIP, **averaging)
    if any(isinstance(one, RECURRENT) for one in layers) or type(given.optimizer) is not type(sound):
        return sound
    varied = ("name", "learning_rate", "clipnorm")
    own, usual = (
        {key: value for key, value in one.get_config().items() if key not in varied}
        for one in (given.optimizer, sound)
    )
    plain = own == usual and getattr(given.optimizer, "clipnorm", None) is None
    return keras.optimizers.Adam(rate, **averaging) if plain else sound


def rate_at(highest: float, done: int, steps: int) -> float:
    """The rate after ``done`` of ``steps`` steps: a tenth of them warm it up, a cosine takes it down.

    Example:
        >>> [round(rate_at(1.0, done, 100), 2) for done in (0, 10, 55, 100)]
        [0.01, 1.0, 0.5, 0.0]
    """
    warm = max(1, steps // 10)
    if done < warm:
        return highest * (0.01 + 0.99 * done / warm)
    return highest * (1 + math.cos(math.pi * min(1.0, (done - warm) / max(1, steps - warm)))) / 2


@dataclass(frozen=True, eq=False)
class Cleaning:
    """How a graph of layers becomes its sibling.

    ``cuts``: how the configuration of each layer that changes does. ``front``: layers before the inputs, ()
    for none. ``loss``: the new one; None for the original's. ``weights``: what the loss of each output is
    multiplied by; () for nothing.
    """

    graph: keras.Model
    cuts: Mapping[Any, Cut]
    front: Sequence[Any]
    loss: Any
    weights: tuple[float, ...]

    def model(self) -> keras.Model:
        """The sibling, uncompiled, with the weights of layers that keep their shapes."""
        return cut(self.graph, self.cuts, self.front).model

    @property
    def compiled(self) -> Config:
        """The arguments of compile() that change."""
        given = {} if self.loss is None else {"loss": self.loss}
        if self.weights:
            now = loss_weights(self.graph, len(self.weights))
            given["loss_weights"] = like_losses(
                self.graph, [one * factor for one, factor in zip(now, self.weights, strict=True)]
            )
        return given


def cleaning_of(
    context: Context, graph: keras.Model, parts: Collection[str] = PARTS, easing: Easing = MODERATE
) -> Cleaning:
    """The cleaning that changes these ``parts``."""
    facts: dict[int, LayerFacts] = {}
    for one in context.layers:
        facts.setdefault(id(one.layer), one)
    poor = _poor_activations(context) if "replace-activation" in parts else set()
    insert = "insert-batch-norm" in parts and _lacks_normalization(context)
    cuts: dict[Any, Cut] = {}
    for layer in replaceable_layers(graph):
        if layer.trainable_variables and not isinstance(layer, keras.Model):
            cuts[layer] = _cleaner(facts.get(id(layer)), poor, parts, insert=insert)
        elif id(layer) in poor or isinstance(layer, _ADJUSTED):
            cuts[layer] = _cleaner(None, poor, parts, sound=id(layer) in poor)
    if "ease-regularization" in parts:
        cuts = {layer: _eased_first(easing, make) for layer, make in cuts.items()}
    heads, loss, weights = _endings(context, parts)
    for head, change in heads:
        cuts[head] = _after(cuts.get(head), change)
    numbered = enumerate(context.inputs) if PARTS[0] in parts else ()
    front = [_normalization(context, index, array) for index, array in numbered]
    listed = front if len(front) == len(graph.inputs) and any(front) else ()
    changed = {layer: make for layer, make in cuts.items() if _changes(layer, make)}
    return Cleaning(graph, changed, listed, loss, weights)


def _changes(layer: Any, make: Cut) -> bool:
    """Whether the cut changes the layer; one without a configuration cannot be changed."""
    config = configuration(layer)
    return config is not None and make(dict(config)) != config


def _cleaner(
    facts: LayerFacts | None,
    poor: set[int],
    parts: Collection[str],
    *,
    insert: bool = False,
    sound: bool = False,
) -> Cut:
    """A layer's configuration with what harms a training replaced; inner configurations too.

    ``sound``: whether a layer without facts gets a sound activation.
    """

    def clean(config: Config) -> Any:
        found = _clean(config, parts)
        hidden = facts is not None and facts.is_weighted and not facts.is_output
        if facts is None:
            return {**found, "activation": _SOUND} if sound and "activation" in found else found
        named = facts.activation_layer == facts.path
        if named and id(facts.layer) in poor:
            found["activation"] = _SOUND
        # An activation comes with its initialiser, also where others keep theirs.
        paired = "reinitialize-paired" in parts or id(facts.layer) in poor
        if hidden and "kernel_initializer" in found and paired:
            lively = facts.activation if id(facts.layer) not in poor else _SOUND
            wanted = pairing_of(lively).default if lively in PAIRINGS else "glorot_uniform"
            found["kernel_initializer"] = _unless_same(config["kernel_initializer"], wanted)
        if isinstance(facts.layer, keras.layers.BatchNormalization) and "repair-batch-norm" in parts:
            first = keras.config.image_data_format() == "channels_first"
            found["axis"] = found["axis"] if first else -1
        if not insert or not hidden or found.get("activation") is None:
            return found
        activation = found["activation"]
        return [
            {**found, "activation": "linear"},
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.Activation(activation),
        ]

    return clean


def _unless_same(config: Any, wanted: str) -> Any:
    """The name of an initialiser; its configuration as it is, if that is the same."""
    now, then = keras.initializers.get(config), keras.initializers.get(wanted)
    return config if type(now) is type(then) else wanted


def _clean(config: Any, parts: Collection[str]) -> Any:
    """The configuration with sound initialisers, rates and penalties; other values as they are."""
    drawn, active = "reinitialize-paired" in parts, "replace-activation" in parts
    found = dict(config)
    for key, value in config.items():
        if key.endswith("_initializer") and key in _STARTS and drawn:
            found[key] = _unless_same(value, _STARTS[key])
        elif key in ("kernel_initializer", "depthwise_initializer", "pointwise_initializer") and drawn:
            found[key] = _unless_same(value, "glorot_uniform")
        elif key == "momentum" and isinstance(value, float) and "repair-batch-norm" in parts:
            found[key] = min(value, 0.9)
        elif key == "negative_slope" and isinstance(value, float) and value >= 1 and active:
            found[key] = 0.2
        elif key in INNER and isinstance(value, dict) and "config" in value:
            found[key] = {**value, "config": _clean(value["config"], parts)}
    if active and "recurrent_initializer" in config:
        found |= {key: sound for key, sound in _CELL.items() if key in config}
    return found


def _poor_activations(context: Context) -> set[int]:
    """The identities of layers whose activation is flat, explodes or is missing, and feeds another kernel."""
    hidden = {one.path: one for one in context.hidden}
    found = [one for one in hidden.values() if one.activation in _POOR and feeds_kernel(context, one)]
    found += [hidden[path] for path in linear_layers(context)]
    return {id(context.activation_of(one).layer) for one in found}


def _lacks_normalization(context: Context) -> bool:
    normal = any(isinstance(one.layer, NORMALIZATIONS) for one in context.layers)
    return len(context.hidden) >= _DEEP and not normal and context.batch_size >= context.thresholds.norm_batch


def _eased_first(easing: Easing, change: Cut) -> Cut:
    return lambda config: change(easing.eased(config))


def _after(clean: Cut | None, change: Any) -> Cut:
    """One cut after another."""
    return change if clean is None else lambda config: change(clean(config))


def _endings(
    context: Context, parts: Collection[str]
) -> tuple[list[tuple[Any, Cut]], Any, tuple[float, ...]]:
    """How the last layers change to fit the targets, the new loss, and what losses are multiplied by.

    Outputs of quantities far from 0 and 1 are scaled; of a single output that does not fit, width, activation
    and loss change.
    """
    rescaled = [_rescaled(context, one) if "rescale-outputs" in parts else None for one in context.outputs]
    if any(rescaled):
        weights = tuple(1.0 if one is None else one[2] for one in rescaled)
        return [one[:2] for one in rescaled if one is not None], None, weights
    if len(context.outputs) != 1 or "repair-output" not in parts:
        return [], None, ()
    (output,) = context.outputs
    head = context.layer(output.where)
    facts = target_facts(output.targets)
    if head is None or facts is None or output.loss is None or not isinstance(head.layer, WEIGHTED):
        return [], None, ()
    quantities = output.loss.name in SQUARES and output.activation == "linear" and not ordered_classes(output)
    fits = quantities or not (list(complaints(output)) or check_many_labels(context))
    wanted = None if fits or head.consumers else _wanted(output, facts)
    width = next((key for key in ("units", "filters") if hasattr(head.layer, key)), None)
    if wanted is None or width is None:
        return [], None, ()
    units, activation, loss = wanted
    return [(head.layer, lambda config: {**config, width: units, "activation": activation})], loss, ()


def _wanted(output: OutputFacts, facts: Any) -> tuple[int, str, str] | None:
    name = None if output.loss is None else output.loss.name
    sparse = facts.classes or (name in SPARSE and facts.whole and facts.low >= 0)
    if facts.width == 1 and sparse and name not in (*SPARSE, *CATEGORICAL, *BINARY) and facts.classes > 2:
        numbers = output.units == 1 and not ordered_classes(output)
        return (1, "linear", "mse") if numbers else (facts.classes, "softmax", SPARSE[0])
    if facts.width == 1 and sparse:
        classes = max(int(facts.high) + 1, 2)
        if classes == 2 and output.units == 1:
            return 1, "sigmoid", BINARY[0]
        return max(classes, output.units), "softmax", SPARSE[0]
    if facts.shares and len(output.shape) == 2:
        return facts.width, "softmax", CATEGORICAL[0]
    if math.prod(output.shape[1:]) != facts.width:
        return None
    if facts.whole and facts.low >= 0 and facts.high <= 1:
        return output.units, "sigmoid", BINARY[0]
    return output.units, "linear", "mse"


def _rescaled(context: Context, output: OutputFacts) -> tuple[Any, Cut, float] | None:
    """A layer that scales the output to the targets' mean and deviation, where they are far from 0 and 1.

    With what the loss is then multiplied by; None for other outputs.
    """
    head = context.layer(output.where)
    if head is None or head.consumers or output.loss is None or output.loss.name not in SQUARES:
        return None
    fits = target_facts(output.targets) is not None and isinstance(head.layer, WEIGHTED)
    if not fits or output.activation != "linear":
        return None
    targets = np.asarray(output.targets, dtype=np.float64)
    mean, deviation = float(targets.mean()), float(targets.std())
    if deviation == 0 or not (abs(mean) > 3 or deviation > 3 or deviation < 0.1):
        return None
    whole: Any = None  # Keras says int and takes None
    scale = keras.layers.Normalization(axis=whole, mean=mean, variance=deviation**2, invert=True)
    weight = 1 / deviation**2 if output.loss.name == "mean_squared_error" else 1 / deviation

    def change(config: Any) -> Any:
        return [*(config if isinstance(config, list) else [config]), scale]

    return head.layer, change, weight


def _normalization(context: Context, index: int, array: np.ndarray) -> Any:
    """The layer that standardises an input by its last axis; None for ids, and where a layer scales it."""
    first = [one.layer for one in context.layers if index in one.enters]
    if array.dtype.kind not in "fu" or array.ndim < 2 or not first:
        return None
    if any(isinstance(one, (*LOOKUPS, *SCALINGS, *NORMALIZATIONS)) for one in first):
        return None
    found = moments(array, axis=-1)
    if _is_standard(np.asarray(found.mean), np.sqrt(np.asarray(found.variance))):
        return None
    others = tuple(range(array.ndim - 1))
    span = array.max(axis=others).astype(np.float64) - array.min(axis=others).astype(np.float64)
    variance = np.maximum(found.variance.astype(np.float64), np.square(0.05 * span))
    variance = np.where(variance > 0, variance, 1.0).astype("float32")
    return keras.layers.Normalization(axis=-1, mean=np.asarray(found.mean), variance=variance)


def _is_standard(mean: np.ndarray, deviation: np.ndarray) -> bool:
    """Whether columns are so near to mean 0 and deviation 1 that scaling them changes little."""
    near = (np.abs(mean) <= 0.5) & (deviation >= 0.5) & (deviation <= 2.0)
    return bool(near.all())
