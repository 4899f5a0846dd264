"""Checks of what keeps weights from learning: decay, clipping, accumulation, smoothed labels, freezing."""

import math
from typing import Any, Final

import keras
import numpy as np
from scipy import stats

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks.scales import untrained_loss
from kilter._diagnosis.context import Context
from kilter._diagnosis.thresholds import band
from kilter._models.layers import KERNELS, LayerFacts, loss_weights
from kilter._models.optimizers import CLIPS
from kilter._models.variables import draw
from kilter._records import Evidence, Finding, Severity

_PLAIN: Final = "sgd"  # others divide the gradient by its own size, so that clipping cancels out
_NORM: Final = keras.layers.BatchNormalization
_LEAST_KERNEL: Final = 64
_SAMPLE: Final = 2_000


def check_decay(context: Context) -> list[Finding]:
    """Weight decay of the optimiser against which gradients cannot hold a weight."""
    decay = getattr(context.optimizer.optimizer, "weight_decay", None)
    if not isinstance(decay, int | float) or not decay:
        return []
    reached = band(context.thresholds, "decay", float(decay))
    if reached is None:
        return []
    severity, limit = reached
    evidence = [context.seen(limit, "weight decay", float(decay))]
    words = {"decay": decay, "optimizer": type(context.optimizer.optimizer).__name__, "most": 1 / decay}
    return [finding("excessive-decay", severity, ["optimizer"], evidence, **words)]


def check_smoothing(context: Context) -> list[Finding]:
    """Label smoothing that leaves little of the labels."""
    found = []
    for output in context.outputs:
        share = 0.0 if output.loss is None else output.loss.options.get("label_smoothing") or 0.0
        reached = band(context.thresholds, "smoothing", share)
        if reached is not None:
            evidence = [context.seen(reached[1], "label smoothing", share)]
            found.append(finding("excessive-smoothing", reached[0], [output.where], evidence, share=share))
    return found


def check_accumulation(context: Context) -> list[Finding]:
    """Gradients accumulated over more batches than the training, or an epoch, has."""
    steps = getattr(context.optimizer.optimizer, "gradient_accumulation_steps", None) or 1
    planned = None if context.epochs is None else context.epochs * context.steps_per_epoch
    if steps <= context.steps_per_epoch or steps == 1:
        return []
    never = planned is not None and steps > planned
    detail = (
        f"the training has {planned}: they never change"
        if never
        else f"an epoch has {context.steps_per_epoch}"
    )
    severity: Severity = "severe" if never else "warning"
    evidence = [Evidence("batches of an update", steps, context.steps_per_epoch, "batches of an epoch")]
    return [finding("accumulation-too-long", severity, ["optimizer"], evidence, steps=steps, detail=detail)]


def check_loss_scale(context: Context) -> list[Finding]:
    """A loss scale from which many steps overflow before it is small enough."""
    optimizer: Any = context.model.optimizer
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return []
    scale = float(optimizer.initial_scale)
    lost = max(0, math.ceil(math.log2(max(scale, 1.0)) - 24))
    if lost < 8:
        return []
    planned = (context.epochs or 1) * context.steps_per_epoch
    severity: Severity = "severe" if lost >= planned else "warning"
    evidence = [Evidence("initial loss scale", scale, 2.0**24, "Keras's default is 2^15")]
    return [finding("loss-scale", severity, ["optimizer"], evidence, scale=scale, lost=lost)]


def check_frozen(context: Context) -> list[Finding]:
    """Layers that cannot learn and whose kernels are still as their initialiser drew them."""
    if not context.model.trainable_variables:
        return []  # that all are frozen is another finding
    trainable = {id(one) for one in context.model.trainable_variables}
    found = [
        one.path
        for one in context.layers
        if not one.repeated and _kernel(one) is not None and id(_kernel(one)) not in trainable
        and is_random(context, one)
    ]  # fmt: skip
    if not found:
        return []
    evidence = [Evidence("frozen layers whose weights look random", len(found), 0)]
    return [finding("frozen-random", "warning", found, evidence)]


def _kernel(one: LayerFacts) -> Any:
    names = (*KERNELS, "embeddings")
    return next((kernel for name in names if (kernel := getattr(one.layer, name, None)) is not None), None)


def is_random(context: Context, one: LayerFacts) -> bool:
    """Whether the layer's own initialiser could have drawn its kernel, and nothing beside it was trained.

    Compared by a Kolmogorov-Smirnov test with a fresh draw, since trained weights have longer tails. A bias
    that is not 0, or statistics of a batch normalisation that follows, show a training run.
    """
    kernel, initializer = _kernel(one), _initializer(one)
    values = np.asarray(kernel, dtype=np.float64).ravel()
    if (
        initializer is None
        or len(values) < _LEAST_KERNEL
        or not np.isfinite(values).all()
        or np.ptp(values) == 0
    ):
        return False
    bias = getattr(one.layer, "bias", None)
    if bias is not None and np.any(np.asarray(bias) != 0):
        return False
    for index in one.consumers:
        after = context.layers[index].layer
        if isinstance(after, _NORM) and np.any(np.asarray(after.moving_mean) != 0):
            return False
    fresh = draw(initializer, kernel.shape, 1).ravel().astype(np.float64)
    random = np.random.default_rng(0)
    some, others = (random.choice(part, min(len(part), _SAMPLE), replace=False) for part in (values, fresh))
    wide = np.abs(values).max() > 1.5 * np.abs(fresh).max()
    test: Any = stats.ks_2samp(some, others)
    return bool(test.pvalue > 0.01) and not wide


def _initializer(one: LayerFacts) -> Any:
    names = ("kernel_initializer", "depthwise_initializer", "embeddings_initializer")
    return next((found for name in names if (found := getattr(one.layer, name, None)) is not None), None)


def check_foreign(context: Context) -> list[Finding]:
    """An optimiser that was built for the weights of another model."""
    optimizer: Any = context.optimizer.optimizer
    if optimizer is None or not optimizer.built:
        return []
    built = [id(one) for one in getattr(optimizer, "_trainable_variables", ())]
    own = {id(one) for one in context.model.weights}
    if not built or own & {*built}:
        return []
    evidence = [
        Evidence("weights of this model that the optimiser knows", 0, len(context.model.trainable_variables))
    ]
    return [finding("foreign-optimizer", "severe", ["optimizer"], evidence, count=len(built))]


def check_clipping(context: Context) -> list[Finding]:
    """Clipping that leaves next to nothing of the gradient, where the optimiser does not scale it again."""
    optimizer, probe = context.optimizer.optimizer, context.probe
    if probe is None or not len(probe) or context.optimizer.name != _PLAIN:
        return []
    norms = probe.values["weight_gradient_norm"][0]
    known = norms[np.isfinite(norms)]
    norm = float(np.sqrt(np.sum(np.square(known)))) if len(known) else 0.0
    option = next((one for one in CLIPS if getattr(optimizer, one, None)), None)
    if option is None or norm <= 0:
        return []
    limit = float(getattr(optimizer, option))
    if option == "clipvalue":
        count = sum(int(np.prod(one.shape)) for one in context.model.trainable_variables)
        kept = limit * math.sqrt(count)
    else:
        kept = limit if option == "global_clipnorm" else limit * math.sqrt(max(len(known), 1))
    share, limits = kept / norm, context.thresholds
    moved = kept * (context.optimizer.learning_rate or 0.0)
    if share >= limits.clipped and not (share < 0.1 and 0 < moved < limits.update_ratio_low):
        return []
    rate = context.optimizer.learning_rate
    detail = "" if rate is None else f", so that a step is at most {moved:.2g} long at a rate of {rate:g}"
    evidence = [context.seen("clipped", "share of the gradient's norm that is left", share)]
    words = {"option": option, "limit": limit, "share": share, "norm": norm, "detail": detail}
    return [finding("clipping-too-strong", "warning", ["optimizer"], evidence, **words)]


def check_penalties(context: Context) -> list[Finding]:
    """Penalties of weights and activations that are many times the loss of the predictions."""
    sizes = [untrained_loss(one) for one in context.outputs]
    probe = context.probe
    if probe is None or not len(probe) or not np.isfinite(probe.loss[0]) or None in sizes or not sizes:
        return []
    penalised = [one.path for one in context.layers if not one.repeated and penalties(one.layer)]
    weights = loss_weights(context.model, len(sizes))
    plain = sum(weight * size for weight, size in zip(weights, sizes, strict=True) if size is not None)
    if not penalised or plain <= 0:
        return []
    # An untrained answer costs about ``plain``; saturated ones may cost more, hence the wide margin.
    share, limits = (float(probe.loss[0]) - plain) / plain, context.thresholds
    of_weights = sum(_weight_penalty(one.layer) for one in context.layers if not one.repeated) / plain
    share = max(of_weights, share if of_weights == 0 else 0.0)
    if share <= limits.penalty_share:
        return []
    evidence = [context.seen("penalty_share", "penalties over the loss of an untrained answer", share)]
    return [finding("penalty-outweighs-loss", "warning", penalised, evidence, share=share)]


def penalties(layer: Any) -> list[str]:
    """The names of the layer's regularisers of weights and of its output."""
    names = ("kernel_regularizer", "bias_regularizer", "activity_regularizer", "recurrent_regularizer",
             "embeddings_regularizer", "depthwise_regularizer", "pointwise_regularizer")  # fmt: skip
    return [name for name in names if getattr(layer, name, None) is not None]


def _weight_penalty(layer: Any) -> float:
    total = 0.0
    for name in penalties(layer):
        weight = getattr(
            layer,
            {"recurrent_regularizer": "recurrent_kernel"}.get(name, name.removesuffix("_regularizer")),
            None,
        )
        if weight is not None and name != "activity_regularizer":
            total += float(np.asarray(getattr(layer, name)(weight.value)))
    return total if math.isfinite(total) else 0.0


MODEL = (check_decay, check_smoothing, check_accumulation, check_loss_scale, check_frozen, check_foreign)
PROBE = (check_clipping, check_penalties)
