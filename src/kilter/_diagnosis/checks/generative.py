"""Checks of variational autoencoders and GANs: KL collapse, and discriminators that have won."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks.output import BINARY
from kilter._diagnosis.context import Context
from kilter._diagnosis.loss_probe import slopes
from kilter._diagnosis.thresholds import band
from kilter._models.copying import FOREIGN_ERRORS, is_graph
from kilter._models.layers import OutputFacts, given_losses, loss_weights
from kilter._records import Evidence, Finding, Severity

_SAMPLE: Final = 500
# The KL term of a normal distribution with the log-variance, or log-deviation, 1, over that with the mean 1.
_BY_SPREAD: Final = (np.e - 2, np.e**2 - 3)
_SURE: Final = 0.99
_CRITIC: Final = re.compile(r"(^|_)(d|disc|discriminator|critic)_?loss$")
_MAKER: Final = re.compile(r"(^|_)(g|gen|generator)_?loss$")


def check_kl(context: Context) -> list[Finding]:
    """A KL term that costs more than the code can gain: the best decoder ignores the code.

    A latent dimension is used only if the variance that it can explain is above the noise that the weight of
    the KL term stands for (Lucas et al. 2019).
    """
    if len(context.outputs) != 1 or not is_graph(context.model):
        return []
    weights = {
        one.path: kl_weight(one.layer, context.batch_size) for one in context.layers if not one.repeated
    }
    reversed_ = [path for path, weight in weights.items() if weight is not None and weight < 0]
    if reversed_:
        evidence = [Evidence("weight of the KL term", weights[reversed_[0]] or 0.0, 0.0)]
        return [finding("kl-sign", "severe", reversed_, evidence)]
    path, weight = max(weights.items(), key=lambda one: one[1] or 0.0, default=("", None))
    variance = explained(context.outputs[0]) if weight else None
    scale = loss_weights(context.model, 1)[0]
    if not weight or not variance or scale <= 0:
        return []
    share, limits = weight / (scale * variance), context.thresholds
    reached = band(limits, "kl_share", share)
    if reached is None:
        return []
    severity, limit = reached
    name = "cost of the KL term over what a code can gain"
    evidence = [context.seen(limit, name, share), Evidence("weight of the KL term", weight)]
    words: dict[str, Any] = {"share": share, "most": weight / share * limits.kl_share_warning}
    return [finding("kl-collapse", severity, [path], evidence, **words)]


def explained(output: OutputFacts) -> float | None:
    """The largest loss reduction per latent dimension, in units of a KL weight; None if unknown.

    For squares, and for a cross-entropy near the shares of the ones: twice the largest eigenvalue of the
    targets' covariance, divided by the numbers of a row; of targets scaled by the loss's curvature.
    """
    targets, name = output.targets, None if output.loss is None else output.loss.name
    if targets is None or name not in ("mean_squared_error", BINARY[0]) or targets.dtype.kind not in "fiub":
        return None
    rows = np.asarray(targets[:_SAMPLE], dtype=np.float64).reshape(len(targets[:_SAMPLE]), -1)
    if len(rows) < 10 or not np.isfinite(rows).all():
        return None
    mean, factor = rows.mean(axis=0), 2.0
    centred = rows - mean
    if name == BINARY[0]:
        near, factor = np.clip(mean, 0.02, 0.98), 1.0
        centred = centred / np.sqrt(near * (1 - near))
    largest = float(np.linalg.norm(centred, 2) ** 2 / len(rows))
    return factor * largest / rows.shape[1]


def kl_weight(layer: Any, rows: int) -> float | None:
    """The weight of a KL term that a layer adds to the loss, negative if subtracted; None for other layers.

    The layer is called with made-up means and log-variances, two tensors or the halves of one: the KL term is
    a square of the mean, and grows exponentially with the other.
    """
    nodes: list[Any] = list(getattr(layer, "_inbound_nodes", []))
    tensors = list(nodes[0].input_tensors) if nodes else []
    if len(tensors) not in (1, 2) or type(layer).__module__.partition(".")[0] == "keras":
        return None  # layers of Keras add no such loss
    shapes = [tuple(one.shape[1:]) for one in tensors]
    if not shapes[0] or shapes[0] != shapes[-1] or None in shapes[0]:
        return None
    halved = len(shapes) == 1
    if halved and shapes[0][-1] % 2:
        return None
    shape = (*shapes[0][:-1], shapes[0][-1] // 2) if halved else shapes[0]

    def penalty(first: float, second: float) -> float:
        given = [jnp.full((rows, *shape), value, jnp.float32) for value in (first, second)]
        given = [jnp.concatenate(given, axis=-1)] if halved else given
        return float(sum(jnp.sum(one) for one in _added(layer, nodes[0], given)))

    try:
        none, one, other, two, twice = (penalty(*pair) for pair in ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2)))
    except FOREIGN_ERRORS:
        return None
    for mean, double, spread in ((one, two, other), (other, twice, one)):
        base = mean - none
        if base == 0 or not np.isclose((double - none) / base, 4, rtol=0.02):
            continue
        if any(np.isclose((spread - none) / base, known, rtol=0.02) for known in _BY_SPREAD):
            return 2 * base / max(int(np.prod(shape)), 1)
    return None


def _added(layer: Any, node: Any, given: list[Any]) -> list[Any]:
    """The losses that a call of the layer adds, its regularisers' included."""
    filled = {id(tensor): value for tensor, value in zip(node.input_tensors, given, strict=True)}
    args, kwargs = node.arguments.fill_in(filled)
    states = (
        [one.value for one in group] for group in (layer.trainable_variables, layer.non_trainable_variables)
    )
    _, _, losses = layer.stateless_call(*states, *args, return_losses=True, **kwargs)
    return list(losses)


def is_generator(context: Context) -> bool:
    """Whether trainable layers feed a frozen discriminator; then a single class of targets is intended."""
    weighted = [one for one in context.layers if one.layer.weights and not one.repeated]
    learns = [bool(one.layer.trainable_variables) for one in weighted]
    return len(learns) > 1 and learns[0] and not learns[-1]


def check_critic(context: Context) -> list[Finding]:
    """A frozen discriminator that is certain about every generated row, so the generator gets no gradient."""
    if len(context.outputs) != 1 or context.outputs[0].activation != "sigmoid" or not is_generator(context):
        return []
    (output,), answers = context.outputs, context.answers
    if answers is None or output.targets is None or len(np.unique(output.targets)) != 1:
        return []
    wanted, given = float(np.ravel(output.targets)[0]), np.asarray(answers[0], dtype=np.float64)
    far = float(np.abs(wanted - given).min())
    if far < _SURE:
        return []
    slope = _slope(context, given)
    level: Severity = "severe" if slope is not None and slope < context.thresholds.slope_left else "warning"
    evidence = [Evidence("smallest distance of a prediction from the target", far, _SURE)]
    if slope is not None:
        name = "derivative of the loss by the logit"
        flat = level == "severe"
        evidence.append(context.seen("slope_left", name, slope) if flat else Evidence(name, slope))
    detail = "the discriminator rejects every row that the generator makes, and "
    detail += (
        "almost no gradient passes. Use 'binary_crossentropy' with the label 1, which has a slope there"
        if level == "severe"
        else "the generator hardly gets a signal"
    )
    return [finding("discriminator-won", level, [output.where], evidence, detail=detail)]


def _slope(context: Context, given: np.ndarray) -> float | None:
    """The mean size of the loss's gradient by the logit; None if it cannot be called."""
    output, loss = context.outputs[0], given_losses(context.model, 1)[0]
    if loss is None or output.targets is None:
        return None
    if output.loss is not None and output.loss.name in BINARY:
        return 1.0  # it is computed from the logits
    found = slopes(loss, output.targets[: len(given)], given)
    return None if found is None else float(np.mean(found * given * (1 - given)))


def check_rivals(context: Context) -> list[Finding]:
    """The discriminator's loss goes to 0 while the generator's grows."""
    for critic, maker in _rivals(context.history or {}):
        quarter = max(1, len(critic) // 4)
        last, first = float(np.median(critic[-quarter:])), float(np.median(critic[:quarter]))
        grown = float(np.median(maker[-quarter:])) - float(np.median(maker[:quarter]))
        if last < 0.1 * first and grown > 0.5 * abs(float(np.median(maker[:quarter]))):
            evidence = [Evidence("critic's loss at the end over that at the start", last / first, 0.1)]
            detail = f"the discriminator's loss fell from {first:.3g} to {last:.3g}, the generator's rose by "
            detail += f"{grown:.3g}"
            return [finding("discriminator-won", "warning", ["training"], evidence, detail=detail)]
    return []


def _rivals(history: Mapping[str, Sequence[float]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The loss curves of discriminator and generator, found by log name; finite and long enough."""

    def named(kind: re.Pattern[str]) -> list[np.ndarray]:
        found = [np.asarray(values, float) for name, values in history.items() if kind.search(name)]
        return [one for one in found if len(one) >= 8 and np.isfinite(one).all()]

    return ((one, other) for one in named(_CRITIC) for other in named(_MAKER) if len(one) == len(other))


MODEL = (check_kl,)
PROBE = (check_critic,)
TRAINING = (check_rivals,)
