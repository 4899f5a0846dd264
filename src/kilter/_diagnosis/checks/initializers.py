"""Checks of initial weights: initialisers that do not suit the activation, and identical units."""

from dataclasses import dataclass

import keras
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context, normalized, within
from kilter._diagnosis.thresholds import Thresholds, between
from kilter._models.keras_internals import BaseConvTranspose
from kilter._models.layers import ATTENTION, LayerFacts
from kilter._records import Evidence, Finding, Severity
from kilter.nn.depth import Signal, predict_layer
from kilter.nn.gain import weight_moment
from kilter.nn.pairing import PAIRINGS, VarianceScaling, pairing_of


@dataclass(frozen=True)
class _Unpaired:
    """A layer with weights that have ``excess`` times the variance that suits its activation."""

    layer: LayerFacts
    initializer: str
    excess: float


def check_pairing(context: Context) -> list[Finding]:
    """Layers with an initialiser that does not suit their activation, as one finding.

    A note if the network is shallow and the predicted variance stays within bounds; severe if the signal
    vanishes or explodes, or weights are so large that units saturate. Output layers only in the last case.
    """
    limits = context.thresholds
    inner = within(context, ATTENTION)  # its projections are scaled by its softmax
    unpaired = [
        one
        for layer in context.weighted
        if layer.path not in inner and (one := _unpaired(layer, limits)) is not None
    ]
    # A normalisation undoes the scale of a kernel, but for weights so large that they hardly change.
    found = [
        one
        for one in unpaired
        if one.excess > limits.weight_variance_excess
        or not (one.layer.is_output or normalized(context, one.layer))
    ]
    if not found:
        return []
    ratio = predicted_ratio(context)
    worst = max(found, key=lambda one: abs(np.log(one.excess)))
    tolerance = limits.weight_variance_tolerance
    evidence = [
        Evidence("layers with an unsuitable initialiser", len(found)),
        between("weight variance over suitable variance", worst.excess, 1 / tolerance, tolerance),
    ]
    if ratio is not None:
        name = "predicted variance of the last over the first hidden layer"
        evidence.append(between(name, ratio, 1 / limits.variance_ratio, limits.variance_ratio))
    activation = str(worst.layer.activation)
    detail = f"{worst.initializer} with {activation}, which needs {pairing_of(activation).default}"
    severity, where = _pairing_severity(context, found, ratio), [one.layer.path for one in found]
    return [finding("unpaired-initializer", severity, where, evidence, detail=detail)]


def _pairing_severity(context: Context, found: list[_Unpaired], ratio: float | None) -> Severity:
    limits = context.thresholds
    change = 1.0 if ratio is None else max(ratio, 1 / ratio) if ratio > 0 else np.inf
    large = max((one.excess for one in found if not one.layer.is_output), default=0.0)
    if change > limits.variance_ratio or large > limits.weight_variance_excess:
        return "severe"
    deep = len(found) >= limits.unpaired_depth  # the error grows with each such layer, not with the others
    return "warning" if deep or change > limits.variance_ratio_warning or large == 0 else "note"


def _unpaired(layer: LayerFacts, limits: Thresholds) -> _Unpaired | None:
    kernel, initializer, activation = layer.kernel, layer.initializer, layer.activation
    if kernel is None or kernel.size == 0 or activation not in PAIRINGS:
        return None
    known = isinstance(initializer, keras.initializers.Initializer)
    power = weight_moment(initializer, kernel.shape) if known else None
    if power is None:
        power = _power(kernel)
    if power == 0 or not np.isfinite(power) or _identical_units(layer):
        return None
    pairing = pairing_of(activation)
    fitting: tuple[str | VarianceScaling, ...] = (*pairing.initializers, *pairing.formulas)
    excesses = [power / (weight_moment(one, kernel.shape) or np.nan) for one in fitting]
    if activation in ("tanh", "sigmoid", "softmax", "linear"):  # LeCun's own, before Glorot's
        excesses.append(power / (weight_moment("lecun_normal", kernel.shape) or np.nan))
    excess = min(excesses, key=lambda one: abs(np.log(one)))
    if abs(np.log(excess)) <= np.log(limits.weight_variance_tolerance):
        return None
    return _Unpaired(layer, type(initializer).__name__, float(excess))


def _power(kernel: np.ndarray) -> float:
    """The variance of weights of unknown distribution, plus the effect of their common mean.

    Over n inputs of the same sign the mean adds n·mean to a unit's sum, like a variance of n·mean². It counts
    half, because half of a layer's inputs have the other sign or are 0. A mean due to chance is ignored.
    """
    values = kernel.astype(np.float64)
    mean, variance = values.mean(), values.var()
    if mean**2 <= 9 * variance / values.size:
        return float(variance)
    return float(variance + values[..., 0].size * mean**2 / 2)


def check_identical_units(context: Context) -> list[Finding]:
    """Hidden layers in which all units have the same incoming weights."""
    same = [layer for layer in context.hidden if _identical_units(layer)]
    if not same:
        return []
    kernel = same[0].kernel
    assert kernel is not None  # _identical_units saw it
    evidence = [
        Evidence("distinct columns of the kernel", 1, same[0].units, "one for each unit"),
        Evidence("first weight", float(kernel.flat[0])),
    ]
    return [finding("constant-initializer", "severe", [layer.path for layer in same], evidence)]


def _identical_units(layer: LayerFacts) -> bool:
    kernel = layer.kernel
    if kernel is None or kernel.ndim < 2 or kernel.size == 0:
        return False
    if isinstance(layer.layer, BaseConvTranspose):
        kernel = np.swapaxes(kernel, -1, -2)
    columns = kernel.reshape(-1, kernel.shape[-1])
    return columns.shape[1] > 1 and bool(np.all(columns == columns[:, :1]))


def predicted_ratio(context: Context) -> float | None:
    """Variance after the last hidden layer over that after the first, predicted by mean-field theory.

    None with fewer than two hidden layers, and if a layer in between is unknown; infinite if the signal
    overflows.
    """
    hidden = context.hidden
    if len(hidden) < 2:
        return None
    signals = _signals(context)
    first, last = (signals[context.activation_of(layer).index] for layer in (hidden[0], hidden[-1]))
    if first is None or last is None or not first.deviation > 0:
        return None
    return (last.deviation / first.deviation) ** 2 if np.isfinite(last.second) else np.inf


def _signals(context: Context) -> list[Signal | None]:
    signals: list[Signal | None] = []
    for facts in context.layers:
        before = signals[facts.sources[0]] if len(facts.sources) == 1 else None
        if facts.takes_input and len(context.inputs) == 1:
            before = _entering(context.inputs[0])
        if before is None or not np.isfinite(before.second):
            signals.append(before)  # an overflow stays one
        else:
            signals.append(predict_layer(facts.layer, before, training=True))
    return signals


def _entering(inputs: np.ndarray) -> Signal | None:
    if inputs.dtype.kind not in "fiub":
        return None
    values = inputs[:512].astype(np.float64)
    if not np.all(np.isfinite(values)):
        return None
    return Signal(float(values.mean()), float(np.square(values).mean()))
