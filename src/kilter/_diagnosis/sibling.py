"""The sound sibling: a person's own network (kind, depth and widths), begun, activated and optimised soundly.

A copy whose configurations are cleaned: initialisers that fit, live activations, moderate dropout and
penalties, standardised inputs, an output that fits the targets, batch normalisation in deep stacks without
any, and Adam with a warm-up and a cosine decay. A class with its own ``call`` gets new weights and the
optimiser only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import keras
import numpy as np

from kilter._diagnosis.checks.architecture import feeds_kernel, linear_layers
from kilter._diagnosis.checks.output import BINARY, CATEGORICAL, SPARSE, SQUARES, complaints
from kilter._diagnosis.context import Context
from kilter._diagnosis.targets import target_facts
from kilter._models.copying import Cut, copy_model, copy_written, is_graph
from kilter._models.editing import as_graph, can_be_cut, cut, open_layers
from kilter._models.layers import (
    ATTENTION,
    LOOKUPS,
    NORMALIZATIONS,
    SCALINGS,
    WEIGHTED,
    LayerFacts,
    OutputFacts,
)
from kilter._models.variables import draw_weights
from kilter.data.scaling import moments
from kilter.nn.pairing import PAIRINGS, pairing_of

Config = dict[str, Any]
RATE: Final = 4e-3
ATTENTION_RATE: Final = 2e-3
_CLIP: Final = 1.0
_DEEP: Final = 5  # hidden layers, from which on a stack without normalisation gets it
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
_SOUND: Final = "relu"
_POOR: Final = ("sigmoid", "hard_sigmoid", "softmax", "exponential")


def sibling(context: Context, steps: int, seed: int) -> keras.Model:
    """The sibling, compiled for a training of ``steps`` steps. Raises as a copy of the model does."""
    graph = as_graph(context.model, context.x)
    if graph is None or not can_be_cut(graph):
        model, loss, weight = copy_written(context.model).model, None, None
    else:
        model, loss, weight = _cleaned(context, graph)
    model.trainable = model.trainable or not context.model.trainable_variables
    free = [one for one in model._flatten_layers(include_self=False) if one.trainable]
    draw_weights(free, seed)
    return compiled_soundly(context, model, steps, loss=loss, weight=weight)


def own_network(context: Context, steps: int) -> keras.Model:
    """The network as it is, with its own weights, under the sibling's optimiser."""
    model = context.model
    copied = copy_model(model) if is_graph(model) and can_be_cut(model) else copy_written(model)
    return compiled_soundly(context, copied.model, steps)


def compiled_soundly(
    context: Context, model: keras.Model, steps: int, *, loss: Any = None, weight: float | None = None
) -> keras.Model:
    """``model`` with the given loss, or the original's, and Adam: a tenth of the steps warm it up."""
    attends = any(isinstance(one, ATTENTION) for one in model._flatten_layers())
    warm = max(1, steps // 10)
    rate = keras.optimizers.schedules.CosineDecay(
        RATE / 100, max(1, steps - warm), warmup_target=ATTENTION_RATE if attends else RATE, warmup_steps=warm
    )
    given: Any = context.model._compile_config.config  # type: ignore[attr-defined]
    keras.Model.compile(
        model,
        optimizer=keras.optimizers.Adam(rate, clipnorm=_CLIP),  # type: ignore[arg-type]
        loss=given["loss"] if loss is None else loss,
        loss_weights=given["loss_weights"] if weight is None else [weight],
    )
    return model


def _cleaned(context: Context, graph: keras.Model) -> tuple[keras.Model, Any, float | None]:
    """The copy with clean configurations, its loss (None: the original's) and the weight of that loss."""
    facts: dict[int, LayerFacts] = {}
    for one in context.layers:
        facts.setdefault(id(one.layer), one)
    poor = _poor_activations(context)
    insert = _lacks_normalization(context)
    cuts: dict[Any, Cut] = {}
    for layer in open_layers(graph):
        if layer.trainable_variables and not isinstance(layer, keras.Model):
            cuts[layer] = _cleaner(facts.get(id(layer)), poor, insert=insert)
        elif id(layer) in poor or isinstance(layer, keras.layers.Dropout | keras.layers.LeakyReLU):
            cuts[layer] = _cleaner(None, poor | {id(layer)} if id(layer) in poor else poor)
    ending = _ending(context)
    loss = weight = None
    if ending is not None:
        head, change, loss, weight = ending
        clean = cuts.get(head, lambda config: config)
        cuts[head] = lambda config: change(clean(config))
    front = [_normalization(context, array) for array in context.inputs]
    listed = front if len(front) == len(graph.inputs) and any(front) else ()
    return cut(graph, cuts, listed).model, loss, weight


def _cleaner(facts: LayerFacts | None, poor: set[int], *, insert: bool = False) -> Cut:
    """A layer's configuration with what harms a training replaced; inner configurations too."""

    def clean(config: Config) -> Any:
        found = _clean(config)
        hidden = facts is not None and facts.is_weighted and not facts.is_output
        if facts is None:
            return {**found, "activation": _SOUND} if "activation" in found else found
        named = facts.activation_layer == facts.path
        if named and id(facts.layer) in poor:
            found["activation"] = _SOUND
        if hidden and "kernel_initializer" in found:
            lively = facts.activation if id(facts.layer) not in poor else _SOUND
            found["kernel_initializer"] = (
                pairing_of(lively).default if lively in PAIRINGS else "glorot_uniform"
            )
        if isinstance(facts.layer, keras.layers.BatchNormalization):
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


def _clean(config: Any) -> Any:
    """The configuration with sound initialisers, rates and penalties; other values as they are."""
    found = dict(config)
    for key, value in config.items():
        if key.endswith("_regularizer"):
            found[key] = None
        elif key.endswith("_initializer") and key in _STARTS:
            found[key] = _STARTS[key]
        elif key in ("kernel_initializer", "depthwise_initializer", "pointwise_initializer"):
            found[key] = "glorot_uniform"
        elif key in ("rate", "dropout", "recurrent_dropout") and isinstance(value, float) and value > 0.5:
            found[key] = 0.2
        elif key == "momentum" and isinstance(value, float):  # of batch normalisation
            found[key] = min(value, 0.9)
        elif key == "negative_slope" and isinstance(value, float) and value >= 1:
            found[key] = 0.2
        elif key in ("layer", "backward_layer", "cell") and isinstance(value, dict) and "config" in value:
            found[key] = {**value, "config": _clean(value["config"])}
    if "recurrent_initializer" in config:
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


def _ending(context: Context) -> tuple[Any, Callable[[Any], Any], Any, float | None] | None:
    """How the last layer and the loss change to fit the targets; None if they fit, or cannot be changed."""
    if len(context.outputs) != 1:
        return None
    (output,) = context.outputs
    head = context.layer(output.where)
    facts = target_facts(output.targets)
    if head is None or facts is None or output.loss is None or not isinstance(head.layer, WEIGHTED):
        return None
    tail = bool(head.consumers)
    if output.loss.name in SQUARES and output.activation == "linear" and not tail:
        return _rescaled(head, output)
    if not list(complaints(output)) or tail:
        return None
    wanted = _wanted(output, facts)
    if wanted is None:
        return None
    units, activation, loss = wanted
    width = next((key for key in ("units", "filters") if hasattr(head.layer, key)), None)
    if width is None:
        return None
    return head.layer, lambda config: {**config, width: units, "activation": activation}, loss, None


def _wanted(output: OutputFacts, facts: Any) -> tuple[int, str, str] | None:
    name = None if output.loss is None else output.loss.name
    sparse = facts.classes or (name in SPARSE and facts.whole and facts.low >= 0)
    if facts.width == 1 and sparse and name not in (*SPARSE, *CATEGORICAL, *BINARY) and facts.classes > 2:
        return (1, "linear", "mse") if output.units == 1 else (facts.classes, "softmax", SPARSE[0])
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


def _rescaled(head: LayerFacts, output: OutputFacts) -> tuple[Any, Callable[[Any], Any], Any, float] | None:
    """A layer that scales the output to the targets' mean and deviation, where they are far from 0 and 1."""
    targets = np.asarray(output.targets, dtype=np.float64)
    mean, deviation = float(targets.mean()), float(targets.std())
    whole: Any = None  # Keras says int and takes None
    if deviation == 0 or not (abs(mean) > 3 or deviation > 3 or deviation < 0.1):
        return None
    scale = keras.layers.Normalization(axis=whole, mean=mean, variance=deviation**2, invert=True)
    weight = 1 / deviation**2 if output.loss and output.loss.name == "mean_squared_error" else 1 / deviation

    def change(config: Any) -> Any:
        return [*(config if isinstance(config, list) else [config]), scale]

    return head.layer, change, None, weight


def _normalization(context: Context, array: np.ndarray) -> Any:
    """The layer that standardises an input by its last axis; None for ids, and where a layer scales it."""
    first = [one.layer for one in context.layers if one.takes_input]
    if array.dtype.kind not in "fu" or array.ndim < 2 or not first:
        return None
    if any(isinstance(one, (*LOOKUPS, *SCALINGS, *NORMALIZATIONS)) for one in first):
        return None
    found = moments(array, axis=-1)
    others = tuple(range(array.ndim - 1))
    span = array.max(axis=others).astype(np.float64) - array.min(axis=others).astype(np.float64)
    variance = np.maximum(found.variance.astype(np.float64), np.square(0.05 * span))
    variance = np.where(variance > 0, variance, 1.0).astype("float32")
    return keras.layers.Normalization(axis=-1, mean=np.asarray(found.mean), variance=variance)
