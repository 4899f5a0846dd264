"""Checks of attention: width of heads, rate without warm-up, post-norm depth, spread of the weights, axes."""

import math
from collections.abc import Iterator
from typing import Any, Final

import keras
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._models.copying import is_graph
from kilter._models.keras_internals import Merge
from kilter._models.layers import ATTENTION
from kilter._records import Evidence, Finding, Severity

_ADAPTIVE: Final = ("adam", "adamw", "nadam", "adamax", "rmsprop", "lamb")
_NORMS: Final = (keras.layers.LayerNormalization, keras.layers.RMSNormalization)
_PROBLEMS: Final = {
    "rows": "A softmax over an array of shape {shape} runs over the batch, so rows change each other's "
    "weights",
    "single": "A softmax over an array of shape {shape} runs over an axis of length 1, so every weight is 1",
    "other": "A softmax over an array of shape {shape} runs over axis {axis}, but its weights are summed "
    "over another axis",
}


def attentions(context: Context) -> Iterator[Any]:
    """The attention layers of the model."""
    return (one for one in context.model._flatten_layers() if isinstance(one, ATTENTION))


def check_heads(context: Context) -> list[Finding]:
    """Heads of so few dimensions that they can hardly tell tokens apart."""
    limits, narrow = context.thresholds, {}
    for layer in attentions(context):
        size = getattr(layer, "_key_dim", None) or getattr(layer, "head_dim", None)
        heads = getattr(layer, "_num_heads", None) or getattr(layer, "num_query_heads", None)
        shape = getattr(layer, "_query_dense", None)
        width = getattr(getattr(shape, "kernel", None), "shape", (0,))[0]
        if size and heads and size <= limits.head_width and size * heads < width:
            narrow[layer.name] = int(size)
    if not narrow:
        return []
    evidence = [context.seen("head_width", "dimensions of a head", min(narrow.values()))]
    return [finding("narrow-heads", "warning", narrow, evidence, size=min(narrow.values()))]


def check_rate(context: Context) -> list[Finding]:
    """A high rate from the first step on, under attention and an optimiser that scales its steps."""
    limits, facts = context.thresholds, context.optimizer
    layers = [one.name for one in attentions(context)]
    rate = facts.learning_rate
    if not layers or rate is None or facts.scheduled or facts.name not in _ADAPTIVE:
        return []
    if rate <= limits.attention_rate:
        return []
    evidence = [context.seen("attention_rate", "learning rate at the first step", rate)]
    return [
        finding("rate-without-warm-up", "warning", ["optimizer"], evidence, rate=rate, blocks=len(layers))
    ]


def check_post_norm(context: Context) -> list[Finding]:
    """Many blocks that normalise after the residual sum, without a warm-up of the rate."""
    count = _post_norms(context.model)
    limits = context.thresholds
    if count < limits.post_norm_depth or context.optimizer.scheduled or not any(attentions(context)):
        return []
    evidence = [context.seen("post_norm_depth", "normalisations after a residual sum", count)]
    return [finding("post-norm-depth", "warning", ["optimizer"], evidence, count=count)]


def _post_norms(model: keras.Model) -> int:
    """Normalisations of a residual sum whose output goes into the next residual sum; graphs only."""
    if not is_graph(model) or not hasattr(model, "_nodes_by_depth"):
        return 0
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    makers = {id(out): node for node in nodes for out in node.output_tensors}
    readers: dict[int, list[Any]] = {}
    for node in nodes:
        for entering in node.input_tensors:
            readers.setdefault(id(entering), []).append(node)

    def is_sum(node: Any) -> bool:
        operation = node.operation
        return isinstance(operation, Merge) or type(operation).__name__ == "Add"

    found = 0
    for node in nodes:
        if isinstance(node.operation, _NORMS) and node.input_tensors:
            maker = makers.get(id(node.input_tensors[0]))
            after = readers.get(id(node.output_tensors[0]), [])
            found += bool(maker is not None and is_sum(maker) and len(after) > 1 and any(map(is_sum, after)))
    return found


def check_spread(context: Context) -> list[Finding]:
    """Attention whose heads all put their weight on one token from the start: logits far too large."""
    reading, limits = context.sequences, context.thresholds
    if reading is None:
        return []
    names = {key.partition(":")[2]: np.asarray(value) for key, value in reading.heads.items()}
    sharp = {name: float(np.nanmean(one)) for name, one in names.items() if np.isfinite(one).any()}
    low = {name: value for name, value in sharp.items() if value < limits.attention_entropy}
    if low:
        least = min(low.values())
        evidence = [
            context.seen("attention_entropy", "entropy of the weights over that of uniform ones", least)
        ]
        return [finding("attention-collapsed", "warning", low, evidence, entropy=least)]
    flat = [name for name, value in sharp.items() if value > 1 - 1e-7]
    if not flat or len(flat) < len(sharp):
        return []
    zero = [one.name for one in attentions(context) if _is_blank(one)]
    if not zero:
        return []
    evidence = [Evidence("attention layers whose queries or keys are 0", len(zero))]
    return [finding("attention-uniform", "severe", zero, evidence)]


def _is_blank(layer: Any) -> bool:
    """Whether the weights of the queries or of the keys are all 0."""
    kernels = [getattr(getattr(layer, name, None), "kernel", None) for name in ("_query_dense", "_key_dense")]
    return any(one is not None and not np.asarray(one).any() for one in kernels)


def check_tokens(context: Context) -> Iterator[Finding]:
    """Tokens that differ too little: drowned by their positions, or all alike after some blocks."""
    reading, limits = context.sequences, context.thresholds
    if reading is None or not reading.tokens:
        return
    likeness = [np.asarray(one, float) for one in reading.tokens.values()]
    names = [key.partition(":")[2] for key in reading.tokens]
    share = float(likeness[0][1])
    if reading.inputs.ndim == 2 and share < limits.token_share:
        evidence = [context.seen("token_share", "share of the variance that tokens make", share)]
        yield finding("embedding-scale", "warning", names[:1], evidence, share=share)
    first, last = float(likeness[0][0]), float(likeness[-1][0])
    if len(likeness) > 1 and last > limits.token_likeness and first < 0.9:
        evidence = [context.seen("token_likeness", "mean cosine between the tokens of a row", last)]
        yield finding("rank-collapse", "warning", names[-1:], evidence, first=first, last=last)


def check_softmax_axis(context: Context) -> Iterator[Finding]:
    """Softmaxes over the rows of the batch, over an axis of length 1, or over an axis that is not summed."""
    for one in () if context.sequences is None else context.sequences.misused:
        layers = [
            facts.path
            for facts in context.layers
            if facts.activation == "softmax" and facts.shape[1:] == one.shape[1:]
        ]
        shape = ("rows", *one.shape[1:])
        text = _PROBLEMS[one.problem].format(shape=str(shape).replace("'", ""), axis=one.axes[0])
        evidence = [Evidence("length of the axis", math.prod(one.shape[axis] for axis in one.axes))]
        severity: Severity = "severe" if one.problem == "rows" else "warning"
        yield finding("softmax-axis", severity, layers or ["attention"], evidence, detail=text)


MODEL = (check_heads, check_rate, check_post_norm)
PROBE = (check_softmax_axis, check_spread, check_tokens)
