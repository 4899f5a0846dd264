"""Checks of batch normalisation: axis, batch size, moving averages and neighbouring layers."""

import math
from collections.abc import Iterator

import keras

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._models.layers import CONVOLUTIONS, LayerFacts
from kilter._records import Evidence, Finding, Severity


def _norms(context: Context) -> list[LayerFacts]:
    return [
        one
        for one in context.layers
        if isinstance(one.layer, keras.layers.BatchNormalization) and not one.repeated
    ]


def check_axis(context: Context) -> Iterator[Finding]:
    """Batch normalisation over another axis than that of the features."""
    for facts in _norms(context):
        rank = len(facts.shape)
        axis = getattr(facts.layer, "axis", -1)
        axis = (axis if isinstance(axis, int) else axis[0]) % rank
        wanted = _feature_axis(context, facts)
        if axis != wanted and facts.shape[axis] != 1:
            severity: Severity = "severe" if rank == 4 else "warning"
            evidence = [Evidence("axis", axis, str(wanted), "Ioffe & Szegedy 2015, section 3.2")]
            detail = f"{facts.path} normalises along axis {axis} of {rank}; the features are on axis {wanted}"
            yield finding("batch-norm-axis", severity, [facts.path], evidence, detail=detail)


def _feature_axis(context: Context, facts: LayerFacts) -> int:
    """The axis of the features: the last one, or 1 for images with channels first."""
    before: LayerFacts | None = facts
    while before is not None and not isinstance(before.layer, CONVOLUTIONS):
        before = context.layers[before.sources[0]] if before.sources else None
    image_format = keras.config.image_data_format() if before is None else before.layer.data_format
    first = image_format == "channels_first" and len(facts.shape) > 2
    return 1 if first else len(facts.shape) - 1


def check_batch(context: Context) -> list[Finding]:
    """Batch normalisation with too few numbers per feature in a batch."""
    limits, batch = context.thresholds, min(context.batch_size, context.rows)
    small = {
        one.path: batch * math.prod(one.shape[1:-1])
        for one in _norms(context)
        if batch * math.prod(one.shape[1:-1]) < limits.norm_batch
    }
    if not small:
        return []
    rows = min(small.values())
    severity: Severity = "severe" if rows == 1 else "warning"
    evidence = [context.seen("norm_batch", "numbers per batch and feature", rows)]
    return [finding("batch-norm-small-batch", severity, small, evidence, rows=rows)]


def check_momentum(context: Context) -> list[Finding]:
    """Moving averages that still lag behind after two epochs."""
    limits, steps = context.thresholds, 2 * context.steps_per_epoch
    left = {one.path: float(getattr(one.layer, "momentum", 0.0)) ** steps for one in _norms(context)}
    slow = {path: share for path, share in left.items() if share > limits.norm_lag}
    if not slow:
        return []
    share = max(slow.values())
    limit = "norm_lag_warning" if share > limits.norm_lag_warning else "norm_lag"
    severity: Severity = "warning" if limit == "norm_lag_warning" else "note"
    evidence = [context.seen(limit, "share of the initial statistics left after two epochs", share)]
    return [finding("batch-norm-momentum", severity, slow, evidence, steps=steps, share=share)]


def check_bias(context: Context) -> list[Finding]:
    """Biases that the following batch normalisation cancels."""
    found = []
    for facts in context.weighted:
        own = facts.activation_layer != facts.path or facts.activation == "linear"
        after = [context.layers[index].layer for index in facts.consumers]
        normalized = bool(after) and all(
            isinstance(one, keras.layers.BatchNormalization) and one.center for one in after
        )
        if facts.use_bias and own and normalized:
            found.append(facts.path)
    evidence = [Evidence("layers with a redundant bias", len(found))]
    return [finding("redundant-bias", "note", found, evidence)] if found else []


def check_dropout(context: Context) -> list[Finding]:
    """Dropout directly before batch normalisation."""
    found = [
        context.layers[source].path
        for facts in _norms(context)
        for source in facts.sources
        if isinstance(context.layers[source].layer, keras.layers.Dropout)
    ]
    evidence = [Evidence("dropout layers before batch normalisation", len(found))]
    return [finding("dropout-before-batch-norm", "note", found, evidence)] if found else []
