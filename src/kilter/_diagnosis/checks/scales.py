"""Checks of scales that the eye misses: sentinels, scaling layers that do not fit, outputs without weight."""

import math
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, Final

import jax.numpy as jnp
import keras
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks.output import BINARY, CATEGORICAL, SPARSE, SQUARES, complaints
from kilter._diagnosis.context import Context
from kilter._diagnosis.targets import labels, target_facts
from kilter._diagnosis.values import masked_values, sentinels, unmasked
from kilter._models.copying import FOREIGN_ERRORS, trains_itself
from kilter._models.layers import LOOKUPS, SCALINGS, LayerFacts, OutputFacts, following, loss_weights
from kilter._records import Evidence, Finding, Severity

_SAMPLE: Final = 5_000
_LEAST_ROWS: Final = 20
_FAVOURED: Final = 1.5  # above it one class, or its weight, is larger on purpose
_AS_COMMON: Final = 0.02  # of rounding


def check_sentinels(context: Context) -> Iterator[Finding]:
    """Columns of a table in which a number such as -999 stands for a missing value."""
    for index, array in enumerate(context.inputs):
        readers = context.readers(index)
        if any(isinstance(one.layer, LOOKUPS) or _is_clipped(context, one) for one in readers):
            continue
        columns = sentinels(array)
        if columns:
            shares = {one: float(np.mean(array[:, one] == value)) for one, value in columns.items()}
            listed = [f"{context.column(one)} ({columns[one]:g} in {shares[one]:.1%})" for one in columns]
            more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
            far, limits = (
                max(_distance(array[:, one], value) for one, value in columns.items()),
                context.thresholds,
            )
            severity: Severity = "severe" if far > limits.input_scale else "warning"
            evidence = [
                Evidence("distance from the other values, in their standard deviations", far),
                Evidence("columns with an isolated, repeated value", len(columns), 0),
                Evidence("largest share of rows with it", max(shares.values())),
            ]
            detail = f"Isolated values in columns {', '.join(listed[:5])}{more}"
            yield finding("sentinel-values", severity, ["data"], evidence, detail=detail)


def _distance(column: np.ndarray, value: float) -> float:
    """How many deviations of the other values a value is away from their mean."""
    others = column[np.isfinite(column) & (column != value)].astype(np.float64)
    return abs(value - float(others.mean())) / max(float(others.std()), 1e-12)


def check_scaling_layers(context: Context) -> Iterator[Finding]:
    """Rescaling and Normalization layers at the inputs after which the scale is worse than before."""
    for index, array in enumerate(context.inputs):
        first = [one for one in context.readers(index) if isinstance(one.layer, SCALINGS)]
        if not first or array.dtype.kind not in "fiu" or len(array) < _LEAST_ROWS or len(first) > 1:
            continue
        chain = _scaling_chain(context, first[0])
        rows = unmasked(array[:_SAMPLE], masked_values([one.layer for one in context.readers(index)]))
        before, after = rows.astype(np.float64), _through(chain, array[:_SAMPLE])
        if after is None or not (np.isfinite(before).all() and np.isfinite(after).all()):
            continue
        limits = context.thresholds
        deviation, size = float(after.std()), max(abs(float(after.mean())), float(after.std()))
        flat = deviation < 0.02 and before.std() > 2 * deviation
        most = limits.input_scale_warning
        if not (flat or size > most):
            continue
        severity: Severity = "severe" if size > limits.input_scale or flat else "warning"
        names = ", then ".join(one.path for one in chain)
        detail = f"The inputs have mean {before.mean():.3g} and deviation {before.std():.3g}; after {names} "
        detail += f"mean {after.mean():.3g} and deviation {deviation:.3g}"
        if flat and max(abs(before.mean()), before.std()) < most:
            detail += ": they were scaled before"
        evidence = [
            Evidence(
                "standard deviation after the scaling layers", deviation, 0.02 if flat else None, "1 is usual"
            ),
            Evidence("mean or standard deviation after them", size, None if size <= most else most),
        ]
        yield finding("scaled-twice", severity, [one.path for one in chain], evidence, detail=detail)


def _scaling_chain(context: Context, first: LayerFacts) -> list[LayerFacts]:
    """The scaling layers from the input on, one after the other, and what clips their outputs."""
    after = following(context.layers, first)
    return [first, *takewhile(lambda one: isinstance(one.layer, (*SCALINGS, keras.layers.ReLU)), after)]


def _is_clipped(context: Context, first: LayerFacts) -> bool:
    """Whether a layer that reads an input scales it, and another clips it then."""
    clips = (one.layer for one in _scaling_chain(context, first)[1:])
    return any(getattr(one, "max_value", None) is not None for one in clips)


def _through(chain: list[LayerFacts], rows: np.ndarray) -> np.ndarray | None:
    """What the layers make of the rows; None if they cannot take them as they are."""
    value: Any = jnp.asarray(rows, jnp.float32)
    try:
        for one in chain:
            value = one.layer(value)
    except FOREIGN_ERRORS:
        return None
    return np.asarray(value, dtype=np.float64)


def check_drowned(context: Context) -> list[Finding]:
    """Outputs whose weighted loss, before training, is about a hundredth of another's."""
    sizes = [untrained_loss(one) for one in context.outputs]
    weights = loss_weights(context.model, len(sizes))
    weighted = {
        place: weight * size
        for place, (weight, size) in enumerate(zip(weights, sizes, strict=True))
        if size is not None and size > 0
    }
    known = {place: value for place, value in weighted.items() if value > 0 and math.isfinite(value)}
    if len(known) < 2:
        return []
    large, small = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    ratio, limits = known[large] / known[small], context.thresholds
    if ratio <= limits.loss_ratio:
        return []
    names = [_output_name(context, place) for place in (large, small)]
    evidence = [context.seen("loss_ratio", "largest over smallest weighted loss before training", ratio)]
    detail = f"Before training the weighted loss of {names[0]} is {ratio:.3g} times that of {names[1]}"
    where = [context.outputs[place].where for place in (small, large)]
    # Weights that alone make it so are no accident of units: the sibling has them too.
    given = weights[large] / weights[small] > limits.loss_ratio and ratio > limits.loss_ratio**1.5
    level: Severity = "severe" if given else "warning"
    remedies = None if given else _against(context.outputs[large])
    return [finding("drowned-output", level, where, evidence, remedies, detail=detail)]


def _against(output: OutputFacts) -> tuple[str, ...] | None:
    """What makes the larger loss small, and not only light: an output that fits, or scaled targets."""
    if any(severity == "severe" for severity, _ in complaints(output)):
        return ("repair-output", "balance-losses")
    amounts = output.activation == "linear" and output.loss is not None and output.loss.name in SQUARES
    return ("rescale-outputs", "balance-losses") if amounts else None


def check_untrained(context: Context) -> Iterator[Finding]:
    """Outputs with targets that nothing trains: a loss weight of 0, or no loss where others have one."""
    count = len(context.outputs)
    weights = loss_weights(context.model, count)
    lossless = any(one.loss is not None for one in context.outputs) and not trains_itself(context.model)
    for place, (output, weight) in enumerate(zip(context.outputs, weights, strict=True)):
        named = "The loss" if count == 1 else f"The loss of {_output_name(context, place)}"
        if output.targets is None:
            continue
        if output.loss is not None and weight == 0:
            detail, remedies = f"{named} has the weight 0", ("balance-losses",)
        elif output.loss is None and lossless:
            detail, remedies = f"{_output_name(context, place)} has no loss", ("add-loss",)
        else:
            continue
        evidence = [
            Evidence(
                "loss weight", weight if output.loss is not None else 0.0, "more than 0", "above 0 it trains"
            )
        ]
        yield finding("output-not-trained", "severe", [output.where], evidence, remedies, detail=detail)


def check_row_weights(context: Context) -> list[Finding]:
    """Weights of rows and classes that silence all rows of a class, or all rows but a few."""
    weights, limits = context.row_weights, context.thresholds
    if weights is None or np.size(weights) != context.rows:
        return []
    flat = np.ravel(np.asarray(weights, dtype=np.float64))
    if not np.isfinite(flat).all() or (flat < 0).any():
        return []
    total = float(flat.sum())
    effective = total**2 / float(np.square(flat).sum()) / len(flat) if total > 0 else 0.0
    evidence = [context.seen("effective_rows", "effective share of the rows", effective)]
    named = [labels(one.targets) for one in context.outputs]
    for classes in (one for one in named if one is not None):
        counts = np.bincount(classes)
        sums, counts = np.bincount(classes, flat)[counts > 0], counts[counts > 0]
        silent = [str(one) for one in np.unique(classes)[sums == 0]]
        if silent and total > 0:
            detail = f"All rows of class {', '.join(silent[:5])} have the weight 0"
            return [finding("row-weights", "severe", ["targets"], evidence, detail=detail)]
        if effective < limits.effective_rows:
            break
        made = float(sums.max() / sums.min()) if total > 0 else 1.0
        ratio, each = float(counts.max() / counts.min()), sums / counts
        favoured = float(each[counts.argmax()] / each[counts.argmin()]) if total > 0 else 1.0
        reversed_ = min(favoured, ratio) > _FAVOURED
        if made > limits.class_ratio and (reversed_ or made > 3 * ratio):
            detail = f"With the weights one class counts {made:.3g} times as much as another, without them "
            detail += f"at most {ratio:.3g} times as much"
            detail += ": the common class has the larger weight, not the rare one" if reversed_ else ""
            evidence = [context.seen("class_ratio", "most over least weight of a class", made)]
            # As many times as it is common is a mistake; other weights may be costs.
            mistaken = reversed_ and abs(favoured / ratio - 1) < _AS_COMMON
            level: Severity = "severe" if mistaken else "warning"
            remedies = ("class-weights",) if reversed_ else ()
            return [finding("row-weights", level, ["targets"], evidence, remedies, detail=detail)]
    if effective >= limits.effective_rows:
        return []
    detail = f"With these weights the rows are worth only {effective:.1%} of their number"
    # They may be meant so, as of unlabelled rows or of noisy ones: the outcome on validation rows tells.
    severity: Severity = "severe" if total == 0 else "warning"
    return [finding("row-weights", severity, ["targets"], evidence, detail=detail)]


def _output_name(context: Context, place: int) -> str:
    names = list(getattr(context.model, "output_names", None) or [])
    return repr(names[place]) if len(names) == len(context.outputs) else f"output {place}"


def untrained_loss(output: OutputFacts) -> float | None:
    """About what an untrained output's loss is: that of the answer 0, or of equal shares; None if unknown."""
    facts = target_facts(output.targets)
    name = None if output.loss is None else output.loss.name
    if facts is None or output.targets is None or name is None:
        return None
    values = np.asarray(output.targets, dtype=np.float64)
    if name == "mean_squared_error":
        return float(values.var(axis=0).mean() + np.square(values.mean(axis=0)).mean())
    if name in ("mean_absolute_error", "huber", "log_cosh"):
        return float(np.abs(values).mean())
    if name in BINARY:
        return math.log(2)
    return math.log(max(output.units, 2)) if name in (*SPARSE, *CATEGORICAL) else None
