"""Checks of whether output activation, loss and targets fit together.

A softmax or sigmoid with its cross-entropy and ``from_logits=False`` is fine: kilter computes the loss from
the logits. Custom activations and losses are skipped, because their meaning is unknown.
"""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._diagnosis.targets import TargetFacts, ordered_classes, target_facts
from kilter._models.layers import LossFacts, OutputFacts
from kilter._records import Evidence, Finding, Severity

Complaint = tuple[Severity, str]

SPARSE: Final = (
    "sparse_categorical_crossentropy",
    "smoothed_sparse_categorical_crossentropy",
    "sparse_categorical_focal_crossentropy",
)
CATEGORICAL: Final = (
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "kl_divergence",
)
BINARY: Final = ("binary_crossentropy", "binary_focal_crossentropy")
SQUARES: Final = ("mean_squared_error", "mean_absolute_error", "huber", "log_cosh")
LOGARITHMIC: Final = ("mean_squared_logarithmic_error", "mean_absolute_percentage_error", "poisson")

_PROBABILITIES: Final = ("softmax", "sigmoid", "hard_sigmoid")
# The range of activations that are bounded.
_RANGES: Final = {
    "relu": (0.0, float("inf")),
    "relu6": (0.0, 6.0),
    "exponential": (0.0, float("inf")),
    "softplus": (0.0, float("inf")),
    "elu": (-1.0, float("inf")),
    "selu": (-1.7581, float("inf")),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
}
# Percentages are of little use where targets below 1 % of the mean have more than this share of the weight.
_DOMINATED: Final = 0.5
# Unbounded, or nearly so: their outputs can be logits.
_NEARLY_FREE: Final = ("linear", "leaky_relu", "prelu", "rrelu", "gelu", "silu", "mish")


def check_output(context: Context) -> list[Finding]:
    """Whether each output's activation fits its loss."""
    return list(_findings(context, "output-activation-loss", _output_complaints))


def check_targets(context: Context) -> list[Finding]:
    """Whether each output's targets fit its loss and activation."""
    return list(_findings(context, "targets-loss", _target_complaints))


def complaints(output: OutputFacts) -> Iterator[Complaint]:
    """What does not fit between an output's activation, its loss and its targets."""
    targets = target_facts(output.targets)
    if output.loss is not None:
        yield from _output_complaints(output, output.loss, targets)
        yield from _target_complaints(output, output.loss, targets)


def _findings(
    context: Context,
    code: str,
    said: Callable[[OutputFacts, LossFacts, TargetFacts | None], Iterator[Complaint]],
) -> Iterator[Finding]:
    """The most severe complaint about each output, as a finding: its remedy fixes the others too."""
    for output in context.outputs:
        loss, targets = output.loss, target_facts(output.targets)
        found = [] if loss is None else list(said(output, loss, targets))
        if loss is None or not found:
            continue
        severity, detail = min(found, key=lambda one: one[0] != "severe")
        evidence = [
            Evidence("output activation", output.activation or "unknown"),
            Evidence("output units", output.units),
            Evidence("loss", f"{loss.name or 'custom'}{', from_logits=True' if loss.from_logits else ''}"),
            Evidence("targets", "unknown" if targets is None else targets.kind),
        ]
        yield finding(
            code, severity, [output.where], evidence, _remedies(code, output, targets), detail=detail
        )


def _remedies(code: str, output: OutputFacts, targets: TargetFacts | None) -> tuple[str, ...] | None:
    """For targets out of the output's range: scale two values, or stretch a picture; else the usual ones."""
    if code != "targets-loss" or targets is None or output.loss is None:
        return None
    two = output.targets is not None and len(np.unique(output.targets)) == 2
    pictures = len(output.shape) >= 3
    if output.loss.name in BINARY and targets.high > 1 and (pictures or two):
        return ("rescale-targets", "repair-output")
    if not pictures:
        return None
    low, high = _RANGES.get(output.activation or "", (-float("inf"), float("inf")))
    outside = targets.low < low or targets.high > high
    return ("stretch-output", "repair-output") if output.loss.name in SQUARES and outside else None


def _output_complaints(
    output: OutputFacts, loss: LossFacts, targets: TargetFacts | None
) -> Iterator[Complaint]:
    activation, units = output.activation, output.units
    if activation == "softmax" and units == 1:
        yield "severe", "A softmax over one unit always outputs 1"
    if loss.name in (*SPARSE, *CATEGORICAL) and units == 1:
        yield "severe", f"{loss.name} needs one output unit per class, but the output has only one"
    if loss.name in SQUARES and (classes := ordered_classes(output)):
        yield (
            "severe",
            f"{loss.name} on one unit gives {classes} classes an order, but accuracy is compiled",
        )
    if activation is None:
        return
    if loss.name in (*SPARSE, *CATEGORICAL, *BINARY):
        yield from _crossentropy_complaints(activation, units, loss, targets)
    elif loss.name in (*SQUARES, *LOGARITHMIC):
        yield from _distance_complaints(activation, loss, targets)


def _crossentropy_complaints(
    activation: str, units: int, loss: LossFacts, targets: TargetFacts | None
) -> Iterator[Complaint]:
    bounded = activation in _RANGES and activation not in _PROBABILITIES
    if loss.from_logits and activation in _PROBABILITIES:
        yield (
            "severe",
            f"The output is already a {activation}, and from_logits=True applies a second one: "
            "the loss cannot become small",
        )
    elif loss.from_logits and bounded:
        yield "severe", f"from_logits=True expects unbounded logits, but {activation} limits them"
    elif not loss.from_logits and (bounded or activation in _NEARLY_FREE):
        yield "severe", f"{loss.name} expects probabilities, but {activation} does not output them"
    elif not loss.from_logits and loss.name in (*SPARSE, *CATEGORICAL) and activation != "softmax":
        yield (
            "severe",
            f"{loss.name} expects class probabilities that sum to 1 (softmax); the outputs of {activation} "
            "do not",
        )
    elif loss.name in BINARY and units > 1 and activation == "softmax":
        if targets is not None and not targets.shares:
            return  # several labels a row
        yield "warning", f"{loss.name} treats {units} classes as independent, but softmax makes them compete"


def _distance_complaints(
    activation: str, loss: LossFacts, targets: TargetFacts | None
) -> Iterator[Complaint]:
    if targets is None:
        return
    classes = targets.one_hot or targets.classes
    if loss.name == "poisson" and not targets.one_hot and targets.classes != 2:  # counts
        if activation in ("linear", "relu", "relu6"):
            yield (
                "warning",
                f"poisson takes the logarithm of the output, but {activation} outputs 0"
                f"{' and less' if activation == 'linear' else ', without a gradient'}; use exponential",
            )
    elif activation in _PROBABILITIES and (classes or targets.shares):
        yield (
            "warning",
            f"{loss.name} on probabilities has almost no gradient where the network is confidently wrong; "
            "use a cross-entropy",
        )
    elif classes and activation in ("relu", "relu6", "exponential", "tanh", "softsign", "elu", "selu"):
        yield (
            "severe",
            f"The targets are classes, but {activation} with {loss.name} does not model probabilities",
        )
    elif targets.one_hot or targets.classes > 1:
        yield "warning", f"The targets look like classes, but {loss.name} treats them as quantities"
    elif activation == "softmax":
        yield "severe", "The targets are quantities, but softmax outputs sum to 1"
    elif activation in ("relu", "relu6", "exponential") and loss.name in SQUARES and targets.low >= 0:
        yield (
            "warning",
            f"{activation} is flat at 0 or grows fast, which makes quantities hard to learn; use linear",
        )


def _target_complaints(
    output: OutputFacts, loss: LossFacts, targets: TargetFacts | None
) -> Iterator[Complaint]:
    if targets is None or loss.name is None:
        return
    if loss.name in SPARSE:
        yield from _sparse_complaints(output, loss, targets)
    elif loss.name in CATEGORICAL:
        yield from _categorical_complaints(output, loss, targets)
    elif loss.name in BINARY:
        yield from _binary_complaints(output, loss, targets)
    elif loss.name in (*SQUARES, *LOGARITHMIC):
        yield from _amount_complaints(output, targets)
        unfit = "" if output.targets is None else unfit_loss(loss.name, output.targets)
        if unfit:
            yield "severe", unfit


def unfit_loss(name: str, targets: np.ndarray) -> str:
    """Why a loss of numbers cannot be used for these targets; "" if it can.

    Keras takes the logarithm of 0 for negative targets, and divides percentages by the target.
    """
    if name not in LOGARITHMIC:
        return ""
    values = np.asarray(targets, np.float64).ravel()
    if name == "mean_absolute_percentage_error":
        sizes = np.maximum(np.abs(values), 1e-7)
        near = sizes < 0.01 * sizes.mean()
        share = float((near / sizes).sum() / (1 / sizes).sum())
        small = f"the {near.mean():.1%} of targets closest to 0 have {share:.0%} of the weight"
        return f"The percentage error divides by the target: {small}" if share > _DOMINATED else ""
    below = float((values < 0).mean())
    expects = "takes negative targets as 0" if name.startswith("mean") else "expects counts of 0 or more"
    return f"{name} {expects}; {below:.1%} of the targets are negative" if below else ""


def _sparse_complaints(output: OutputFacts, loss: LossFacts, targets: TargetFacts) -> Iterator[Complaint]:
    one_a_row = len(output.shape) == 2
    if one_a_row and targets.width > 1:
        yield "severe", f"{loss.name} expects one class number per row; the targets are {targets.kind}"
        return
    if not targets.whole:
        yield "severe", f"{loss.name} expects class numbers; the targets are {targets.kind}"
    ignored = loss.options.get("ignore_class")
    low = 0 if ignored is not None and targets.low == ignored else targets.low
    if (low < 0 or targets.high >= output.units) and output.units > 1 and targets.high != ignored:
        yield "severe", f"The output has {output.units} classes, 0 to {output.units - 1}; {_have(targets)}"


def _categorical_complaints(
    output: OutputFacts, loss: LossFacts, targets: TargetFacts
) -> Iterator[Complaint]:
    if len(output.shape) != 2:
        return
    if targets.width != output.units:
        detail = f"{loss.name} expects {output.units} numbers per row, one per class; {_have(targets)}"
        yield "severe", detail
    elif not targets.shares and targets.width > 1:
        severity: Severity = "severe" if targets.low < 0 else "warning"
        yield severity, f"{loss.name} expects rows that sum to 1; the targets are {targets.kind}"


def _binary_complaints(output: OutputFacts, loss: LossFacts, targets: TargetFacts) -> Iterator[Complaint]:
    if targets.low < 0 or targets.high > 1:
        yield "severe", f"{loss.name} expects values from 0 to 1; {_have(targets)}"
    yield from _width_complaint(output, targets)


def _amount_complaints(output: OutputFacts, targets: TargetFacts) -> Iterator[Complaint]:
    low, high = _RANGES.get(output.activation or "", (-float("inf"), float("inf")))
    if targets.low < low - 1e-6 or targets.high > high + 1e-6:
        yield "severe", f"{output.activation} outputs {low:g} to {high:g}; {_have(targets)}"
    yield from _width_complaint(output, targets)


def _width_complaint(output: OutputFacts, targets: TargetFacts) -> Iterator[Complaint]:
    if len(output.shape) == 2 and targets.width != output.units:
        yield "severe", f"The output has {output.units} units; the targets are {targets.kind}"


def _have(targets: TargetFacts) -> str:
    return f"the targets are {targets.kind}"
