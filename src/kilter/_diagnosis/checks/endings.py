"""Checks of how the outputs end: activations before the last one, softmax and its axis, logits, metrics.

Where the last activation is unknown (an operation, a Lambda, a custom function), the outputs of the
model for the first rows say what they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import keras
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks.output import BINARY, CATEGORICAL, SPARSE, SQUARES
from kilter._diagnosis.context import Context
from kilter._diagnosis.targets import target_facts
from kilter._models.layers import (
    PASSING,
    SCALINGS,
    WEIGHTED,
    LayerFacts,
    OutputFacts,
    activation_layers,
    compiled_accuracy,
    following,
    own_activation,
)
from kilter._records import Evidence, Finding, Severity

_SHARES: Final = ("softmax", "sigmoid", "hard_sigmoid")
_BOUNDED: Final = ("relu", "relu6", "tanh", "softsign", "exponential", "softplus")
_SUMS: Final = 1e-3


def check_first_activation(context: Context) -> Iterator[Finding]:
    """An activation before the softmax or sigmoid (or the logits) of an output, with no kernel between."""
    for output in context.outputs:
        last, first = last_two(context.layers, output)
        if first is None:
            continue
        doubled = first.activation in _SHARES
        severity: Severity = "severe" if doubled else "warning"
        why = "The second activation squashes the first, so no prediction can be confident"
        if not doubled:
            why = "It limits the logits, and units in its flat part get no gradient"
        evidence = [
            Evidence("activation before", str(first.activation), "linear", "logits are unbounded"),
            Evidence("activation of the output", last),
        ]
        words = {"first": first.activation, "last": last, "why": why}
        yield finding("activation-before-softmax", severity, [first.path], evidence, **words)


def last_two(layers: Sequence[LayerFacts], output: OutputFacts) -> tuple[str, LayerFacts | None]:
    """The output's softmax or sigmoid, and the call whose bounded activation it gets; None for neither."""
    head = next((one for one in layers if one.path == output.where), None)
    if head is None or output.activation not in _SHARES:
        return "", None
    chain = _chain_after(layers, head)
    calls = [one for one in chain if _activation(one) is not None]
    if len(calls) < 2:
        return "", None
    last, first = calls[-1], calls[-2]
    name = own_activation(first.layer)
    bounded = name in (*_SHARES, *_BOUNDED)
    if not bounded or own_activation(last.layer) not in _SHARES:
        return "", None
    return str(own_activation(last.layer)), replace(first, activation=name)


def _activation(call: LayerFacts) -> str | None:
    """What a call applies by itself; None for nothing, or for something unknown."""
    name = own_activation(call.layer) if isinstance(call.layer, (*activation_layers(), *WEIGHTED)) else None
    return None if name in (None, "linear") else name


def _chain_after(layers: Sequence[LayerFacts], head: LayerFacts) -> list[LayerFacts]:
    """The last call with a kernel and those after it, while only activations and passing layers follow."""
    chain = [head]
    for after in following(layers, head):
        if not isinstance(after.layer, (*activation_layers(), *PASSING)) or isinstance(after.layer, SCALINGS):
            return []
        chain.append(after)
    return chain


def check_many_labels(context: Context) -> list[Finding]:
    """A softmax for rows of 0 and 1 that have none or several ones."""
    found = []
    for output in context.outputs:
        targets = target_facts(output.targets)
        if output.activation != "softmax" or targets is None or output.targets is None:
            continue
        binary = targets.whole and targets.low >= 0 and targets.high <= 1
        several = output.units > 1 and targets.width == output.units
        if not binary or targets.shares or not several or len(output.shape) != 2:
            continue
        ones = output.targets.reshape(len(output.targets), -1).sum(axis=1)
        share = float(np.mean(ones != 1))
        evidence = [
            Evidence("share of rows without exactly one label", share, 0.0, "a softmax sums to 1"),
            Evidence("most labels of a row", int(ones.max())),
        ]
        found.append(finding("softmax-many-labels", "severe", [output.where], evidence, share=share))
    return found


def check_values(context: Context) -> list[Finding]:
    """Whether outputs of an unknown activation are what a cross-entropy takes: shares, or logits."""
    odd = any(map(_has_odd_axis, context.layers))
    unknown = [_is_unknown(one, odd=odd) for one in context.outputs]
    if context.probe is None or not any(unknown) or context.answers is None:
        return []
    triples = zip(context.outputs, context.answers, unknown, strict=True)
    return [one for output, values, asked in triples if asked for one in _of_values(output, values)]


def _has_odd_axis(call: LayerFacts) -> bool:
    softmax = isinstance(call.layer, keras.layers.Softmax)
    return softmax and call.layer.axis not in (-1, len(call.shape) - 1)


def _is_unknown(output: OutputFacts, *, odd: bool) -> bool:
    name = None if output.loss is None else output.loss.name
    unknown = output.activation is None or (odd and output.activation == "softmax")
    return name in (*SPARSE, *CATEGORICAL, *BINARY) and unknown


def _of_values(output: OutputFacts, values: np.ndarray) -> Iterator[Finding]:
    if not np.isfinite(values).all() or values.size == 0:
        return
    assert output.loss is not None
    categorical = output.loss.name not in BINARY
    inside = bool(values.min() >= -1e-6 and values.max() <= 1 + 1e-6)
    probabilities = are_probabilities(values, categorical=categorical)
    if inside and categorical and not probabilities and not output.loss.from_logits:
        axes = [axis for axis in range(values.ndim - 1) if values.shape[axis] > 1 and _sums(values, axis)]
        if axes:
            yield _wrong_axis(output, values, axes[0])
            return
    if output.activation is not None:
        return
    if output.loss.from_logits and probabilities:
        detail = "The outputs are probabilities already, and from_logits=True applies a second activation"
    elif not output.loss.from_logits and not inside:
        detail = f"The outputs go from {values.min():.3g} to {values.max():.3g}, but {output.loss.name} with "
        detail += "from_logits=False expects probabilities"
    else:
        return
    evidence = [
        Evidence("smallest output", float(values.min())),
        Evidence("largest output", float(values.max())),
        Evidence("from_logits", str(output.loss.from_logits), str(not output.loss.from_logits)),
    ]
    yield finding("from-logits", "severe", [output.where], evidence, detail=detail)


def are_probabilities(values: np.ndarray, *, categorical: bool) -> bool:
    """Whether outputs are from 0 to 1, and, for classes, sum to 1."""
    sums = not categorical or (values.ndim > 1 and values.shape[-1] > 1 and _sums(values, -1))
    return sums and bool(values.min() >= -1e-6 and values.max() <= 1 + 1e-6)


def _sums(values: np.ndarray, axis: int) -> bool:
    return bool(np.allclose(values.sum(axis=axis, dtype=np.float64), 1, atol=_SUMS))


def _wrong_axis(output: OutputFacts, values: np.ndarray, axis: int) -> Finding:
    meaning = "The rows of a batch compete with each other, and the output for a row depends on its batch"
    if axis:
        meaning = "Positions compete with each other instead of classes"
    evidence = [
        Evidence("axis along which the outputs sum to 1", axis, str(values.ndim - 1), "the classes"),
        Evidence("mean sum over the classes", float(values.sum(axis=-1).mean()), 1.0),
    ]
    words = {"axis": axis, "last": values.ndim - 1, "meaning": meaning}
    return finding("output-softmax-axis", "severe", [output.where], evidence, **words)


def check_shapes(context: Context) -> Iterator[Finding]:
    """Targets of pictures and sequences whose shape does not fit the loss: one-hot or sparse, and sizes."""
    for output in context.outputs:
        detail = _shape_complaint(output)
        if detail and output.targets is not None:
            evidence = [
                Evidence("shape of the outputs", str(output.shape[1:])),
                Evidence("shape of the targets", str(output.targets.shape[1:])),
            ]
            yield finding("targets-loss", "severe", [output.where], evidence, detail=detail)


def _shape_complaint(output: OutputFacts) -> str:
    if output.loss is None or output.targets is None or len(output.shape) < 3:
        return ""
    given, targets = output.shape[1:], output.targets.shape[1:]
    name = output.loss.name
    if name in SPARSE:
        wanted = given[:-1]
        if targets == given and given[-1] > 1:
            return f"{name} expects class numbers of shape {wanted}; the targets are one-hot: {targets}"
        if targets not in (wanted, (*wanted, 1)):
            return f"{name} expects class numbers of shape {wanted}; the targets have {targets}"
    elif name in CATEGORICAL:
        if targets in (given[:-1], (*given[:-1], 1)) and given[-1] > 1:
            return f"{name} expects one-hot targets of shape {given}; these are class numbers: {targets}"
        if targets != given:
            return f"{name} expects targets of shape {given}; they have {targets}"
    elif name in (*BINARY, *SQUARES) and targets not in (given, given[:-1] if given[-1] == 1 else given):
        return f"{name} expects targets of shape {given}; they have {targets}"
    return ""


def check_metrics(context: Context) -> list[Finding]:
    """Accuracy for targets that are no classes: it counts exact hits, and stays near 0."""
    if len(context.outputs) != 1:
        return []
    (output,) = context.outputs
    targets, name = target_facts(output.targets), None if output.loss is None else output.loss.name
    named = compiled_accuracy(context.model)
    amounts = targets is not None and not (targets.classes or targets.shares or targets.whole)
    if not named or name not in SQUARES or not amounts:
        return []
    detail = f"{named} counts predictions that equal the target exactly; for quantities that hardly ever "
    detail += "happens. Use 'mae'"
    evidence = [Evidence("metric", named), Evidence("loss", str(name))]
    return [finding("metric-misfit", "note", [output.where], evidence, detail=detail)]


MODEL = (check_first_activation, check_many_labels, check_shapes, check_metrics)
PROBE = (check_values,)
