"""Checks of the architecture: activations, self-normalisation (SELU), dropout rates and kernel penalties."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context, is_passed, normalized, within
from kilter._diagnosis.targets import labels
from kilter._diagnosis.thresholds import Thresholds, band, between, seen
from kilter._models.keras_internals import BaseDepthwiseConv
from kilter._models.layers import ATTENTION, NORMALIZATIONS, RECURRENT, LayerFacts, drop_rates, following
from kilter._records import Evidence, Finding, Severity
from kilter.nn.gain import weight_moment

_SIGMOIDS = ("sigmoid", "hard_sigmoid")
# Layers after which a linear map is no longer linear; batch normalisation is linear at inference.
_NON_LINEAR = (
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
    *ATTENTION,
    *RECURRENT,
)
_TANHS = ("tanh", "softsign", "hard_tanh")
_DROPOUT = keras.layers.Dropout  # SpatialDropout1D, 2D and 3D are subclasses


def check_saturating(context: Context) -> list[Finding]:
    """Many hidden layers with sigmoid or tanh and no normalisation around them."""
    limits = context.thresholds
    bare = [one for one in context.hidden if not normalized(context, one)]
    kinds = {"sigmoid_depth": _SIGMOIDS, "tanh_depth": _TANHS}
    count = {limit: sum(one.activation in names for one in bare) for limit, names in kinds.items()}
    levels: tuple[Severity, ...] = ("severe", "warning")
    for severity in levels:
        if any(count[limit] >= getattr(limits, f"{limit}_{severity}") for limit in kinds):
            named = count["sigmoid_depth"] >= limits.sigmoid_depth_warning
            limit = "sigmoid_depth" if named else "tanh_depth"
            layers = [one for one in bare if one.activation in (*_SIGMOIDS, *_TANHS)]
            evidence = [context.seen(f"{limit}_{severity}", "hidden layers of this kind", count[limit])]
            names = " and ".join(sorted({str(one.activation) for one in layers}))
            places = [one.path for one in layers]
            return [finding("saturating-deep", severity, places, evidence, layers=len(layers), names=names)]
    return []


def check_exponential(context: Context) -> list[Finding]:
    """Hidden layers with an exponential activation."""
    found = [one.path for one in context.hidden if one.activation == "exponential"]
    severe = len(found) > 1  # exp(exp(x)) overflows float32 at x = 4.5
    return _of_hidden(context, "exponential-hidden", severe, found, "exponential hidden layers")


def check_softmax(context: Context) -> list[Finding]:
    """Hidden layers with a softmax that feeds another kernel; a softmax used as weights is fine."""
    found = [one.path for one in context.hidden if one.activation == "softmax" and feeds_kernel(context, one)]
    severe = len(found) > 1 or len(found) == len(context.hidden)
    return _of_hidden(context, "softmax-hidden", severe, found, "hidden layers with a softmax")


def _of_hidden(context: Context, code: str, severe: bool, found: list[str], name: str) -> list[Finding]:
    evidence = [Evidence(name, len(found)), Evidence("hidden layers", len(context.hidden))]
    return [finding(code, "severe" if severe else "warning", found, evidence)] if found else []


def feeds_kernel(context: Context, layer: LayerFacts) -> bool:
    """Whether the activation feeds another kernel, directly or through layers such as dropout."""
    inner = within(context, ATTENTION)
    if layer.path in inner:
        return False
    for at in following(context.layers, context.activation_of(layer)):
        if at.is_weighted:
            return at.path not in inner
        if len(at.sources) != 1 or isinstance(at.layer, _NON_LINEAR):
            return False
    return False


def check_linear(context: Context) -> list[Finding]:
    """Hidden layers without activation, except bottlenecks.

    Severe if no hidden layer has one: the whole network is then a linear map.
    """
    found = linear_layers(context)
    severe = len(found) == len(context.hidden)
    return _of_hidden(context, "linear-hidden", severe, found, "hidden layers without activation")


def linear_layers(context: Context) -> list[str]:
    """The hidden layers without activation that feed another kernel, with nothing non-linear between.

    The projections of an attention, and layers that end in a sum, a recurrent layer or a layer normalisation,
    are not among them.
    """
    return [
        one.path
        for one in context.hidden
        if one.activation == "linear" and feeds_kernel(context, one) and not _narrow(context, one)
    ]


def _narrow(context: Context, layer: LayerFacts) -> bool:
    """Whether the layer is a bottleneck: narrower than its neighbours, a low-rank factor that saves weights.

    Depthwise and separable convolutions count as such factors.
    """
    kernel = layer.kernel
    if kernel is None or kernel.ndim < 2 or isinstance(layer.layer, BaseDepthwiseConv):
        return True
    after = next(one for one in context.weighted if one.index > layer.index)
    return kernel.shape[-1] < min(kernel.shape[-2], after.units)


def check_width(context: Context) -> list[Finding]:
    """Layers through which everything passes, with fewer numbers a row than log2 of the classes.

    If each number only tells two groups of classes apart, that is the fewest that tell all of them apart.
    """
    classes = [one.units for one in context.outputs if labels(one.targets) is not None]
    least = math.ceil(math.log2(max(classes))) if len(classes) == 1 and classes[0] > 2 else 0
    found = {
        one.path: math.prod(one.shape[1:])
        for one in context.hidden
        if math.prod(one.shape[1:]) < least and is_passed(context, one)
    }
    if not found:
        return []
    evidence = [Evidence("numbers of the narrowest layer", min(found.values()), least, "log2 of the classes")]
    units = min(found.values())
    words = {"units": units, "plural": "s" * (units > 1), "classes": classes[0]}
    return [finding("narrow-layer", "warning", found, evidence, **words)]


def check_leaky_slope(context: Context) -> Iterator[Finding]:
    """Leaky activations with a negative slope of 1 or more."""
    for facts in context.layers:
        slope = _slope(facts.layer)
        if slope is not None and slope >= context.thresholds.leaky_slope and not facts.repeated:
            evidence = [context.seen("leaky_slope", "negative slope", slope)]
            yield finding("leaky-slope", "severe", [facts.path], evidence, slope=slope)


def _slope(layer: keras.layers.Layer) -> float | None:
    if isinstance(layer, keras.layers.LeakyReLU | keras.layers.ReLU):
        return float(np.max(layer.negative_slope))
    if isinstance(layer, keras.layers.PReLU):
        return float(np.mean(np.asarray(layer.alpha)))
    activation = getattr(layer, "activation", None)
    if isinstance(activation, keras.layers.Layer) and activation is not layer:
        return _slope(activation)
    return None


def check_selu_dropout(context: Context) -> list[Finding]:
    """Plain dropout after SELU."""
    found = [
        one.path
        for one in context.layers
        if isinstance(one.layer, _DROPOUT) and not one.repeated and _origin(context, one) == "selu"
    ]
    evidence = [Evidence("dropout layers", len(found), 0, "Klambauer et al. 2017")]
    return [finding("dropout-with-selu", "warning", found, evidence)] if found else []


def _origin(context: Context, facts: LayerFacts) -> str | None:
    """The activation that produced the layer's input; None if there is none, or the input is merged."""
    while len(facts.sources) == 1:
        facts = context.layers[facts.sources[0]]
        if facts.activation is not None:
            return facts.activation
    return None


def check_self_normalization(context: Context) -> list[Finding]:
    """Violated conditions of self-normalisation, in networks that consist mostly of SELU layers."""
    selu = [one for one in context.hidden if one.activation == "selu"]
    if len(selu) < 2 or 2 * len(selu) <= len(context.hidden):
        return []
    broken = list(_broken(context, selu))
    if not broken:
        return []
    where = dict.fromkeys(path for _, places in broken for path in places)
    detail = "; ".join(dict.fromkeys(one.name for one, _ in broken))
    return [finding("self-normalization", "warning", where, [one for one, _ in broken], detail=detail)]


def _broken(context: Context, selu: list[LayerFacts]) -> Iterator[tuple[Evidence, list[str]]]:
    layers, restraints = context.layers, ("kernel_regularizer", "kernel_constraint")
    restrained = [
        one.path for one in selu if any(getattr(one.layer, name, None) is not None for name in restraints)
    ]
    for name, places in (
        ("layers without LeCun normal initialisation", [one.path for one in selu if not _lecun(one)]),
        ("hidden layers without SELU", [one.path for one in context.hidden if one.activation != "selu"]),
        ("layers with several inputs", [one.path for one in layers if len(one.sources) > 1]),
        ("plain dropout", [one.path for one in layers if isinstance(one.layer, _DROPOUT)]),
        ("normalisation layers", [one.path for one in layers if isinstance(one.layer, NORMALIZATIONS)]),
        ("penalties or constraints on kernels", restrained),
    ):
        unique = list(dict.fromkeys(places))
        if unique:
            yield Evidence(name, len(unique), 0, "Klambauer et al. 2017"), unique
    yield from _off_standard(context)


def _off_standard(context: Context) -> Iterator[tuple[Evidence, list[str]]]:
    if len(context.inputs) != 1 or context.inputs[0].dtype.kind not in "fiu":
        return
    if not any(one.takes_input and one.is_weighted for one in context.layers):
        return
    values = context.inputs[0][:2048].astype(np.float64)
    mean, deviation = float(values.mean()), float(values.std())
    limits = context.thresholds
    if abs(mean) > limits.selu_mean:
        yield between("mean of the inputs", mean, -limits.selu_mean, limits.selu_mean), ["data"]
    if not 1 / limits.selu_deviation <= deviation <= limits.selu_deviation:
        low, high = 1 / limits.selu_deviation, limits.selu_deviation
        yield between("standard deviation of the inputs", deviation, low, high), ["data"]


def _lecun(layer: LayerFacts) -> bool:
    kernel = layer.kernel
    if kernel is None:
        return True
    drawn = weight_moment(layer.initializer, kernel.shape)
    wanted = weight_moment("lecun_normal", kernel.shape)
    return drawn is not None and wanted is not None and abs(drawn / wanted - 1) < 0.05


def check_dropout(context: Context) -> list[Finding]:
    """Layers that drop most of their inputs: dropout, recurrent layers and attention."""
    rates = {one.path: max(drop_rates(one.layer), default=0.0) for one in context.layers}
    return _above(context.thresholds, rates, "dropout", "excessive-dropout", "dropout rate", "rate")


def check_penalty(context: Context) -> list[Finding]:
    """Kernels with large L1 or L2 penalties; custom regularisers are skipped."""
    factors = {one.path: penalty_factor(one.layer) for one in context.weighted}
    return _above(context.thresholds, factors, "penalty", "excessive-penalty", "penalty factor", "factor")


def penalty_factor(layer: Any) -> float:
    """The largest factor of a kernel's penalty; 0 without a penalty, and for custom regularisers."""
    penalty = getattr(layer, "kernel_regularizer", None)
    known = penalty is not None and type(penalty).__module__.startswith("keras.")
    factors = [getattr(penalty, name, 0.0) for name in ("l1", "l2")] if known else []
    return max((float(np.max(np.asarray(one))) for one in factors), default=0.0)


def _above(
    limits: Thresholds, values: dict[str, float], limit: str, code: str, name: str, word: str
) -> list[Finding]:
    """A finding about the layers above the limit, severe or a warning; none if all are below."""
    largest = max(values.values(), default=0.0)
    reached = band(limits, limit, largest)
    if reached is None:
        return []
    severity, passed = reached
    where = [path for path, value in values.items() if value > getattr(limits, passed)]
    words: dict[str, Any] = {word: largest}
    return [finding(code, severity, where, [seen(limits, passed, name, largest)], **words)]
