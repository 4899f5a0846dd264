"""Checks of the data: every row, or a sample where that would be slow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks.generative import is_generator
from kilter._diagnosis.checks.output import SQUARES
from kilter._diagnosis.context import Context, normalized
from kilter._diagnosis.learnable import Learnable, learnable
from kilter._diagnosis.targets import labels, target_facts
from kilter._diagnosis.thresholds import Thresholds, band
from kilter._diagnosis.values import masked_values, unmasked, without_sentinels
from kilter._models.keras_internals import Merge
from kilter._models.layers import LOOKUPS, NORMALIZATIONS, SCALINGS, OutputFacts, following
from kilter._records import Evidence, Finding, Severity
from kilter._text import few
from kilter.data.checks import find_nonfinite
from kilter.data.precision import lossy_columns, lost_values

# Layers after which the scale of the inputs no longer matters, or that do not read quantities.
_SCALING: Final = (*NORMALIZATIONS, *SCALINGS, *LOOKUPS)
_SAMPLE: Final = 20_000
_LEAST_COLUMNS: Final = 2
_MOST_COLUMNS: Final = 512


def check_finite(context: Context) -> list[Finding]:
    """NaN and infinite values in inputs and targets, of validation rows too."""
    found, evidence, places = [], [], []
    named = [("inputs", "data", array) for array in context.inputs]
    named += [("targets", "targets", one.targets) for one in context.outputs if one.targets is not None]
    for kind, data in (("inputs", context.x_val), ("targets", context.y_val)):
        held = map(np.asarray, jax.tree.leaves(data))
        named += [(f"validation {kind}", "validation data", array) for array in held]
    for name, place, array in named:
        bad = find_nonfinite(array)
        if bad is not None:
            found.append(bad.describe(name))
            evidence.append(Evidence(f"non-finite {name}", bad.nan + bad.infinite, 0))
            places.append(place)
    where = dict.fromkeys(places)
    return [finding("data-not-finite", "severe", where, evidence, detail="; ".join(found))] if found else []


def found_not_finite(
    found: Mapping[str, Mapping[str, str]], history: Mapping[str, Sequence[float]]
) -> list[Finding]:
    """NaN and infinite values that a training met: severe if a curve is not finite, else a warning."""
    said = [f"{name} ({kind}): {what}" for kind, each in found.items() for name, what in each.items()]
    if not said:
        return []
    curves = [np.asarray(curve, np.float64) for curve in history.values()]
    survived = all(np.isfinite(curve).all() for curve in curves)
    where = [kind for kind, each in found.items() if each]
    return [finding("data-not-finite", "warning" if survived else "severe", where, detail="; ".join(said))]


def check_scale(context: Context) -> list[Finding]:
    """Inputs far from mean 0 and standard deviation 1, or with very unequal scales, and no scaling layer."""
    found = []
    for index, array in enumerate(context.inputs):
        first = _first_layers(context, index)
        # If no layer reads the input directly, an operation before the first layer may scale it.
        if first and not any(isinstance(layer, _SCALING) for layer in first):
            named = "inputs" if len(context.inputs) == 1 else f"values of input {_input_name(context, index)}"
            readers = [one for one in context.readers(index) if one.is_weighted]
            made = _scale(context, array, masked_values(first), named)
            if readers and all(normalized(context, one) for one in readers):  # which cancels the scale
                made = (replace(one, severity="warning") for one in made)
            found += made
    return sorted(found, key=lambda one: one.severity != "severe")[:1]


def _first_layers(context: Context, index: int) -> list[Any]:
    """The layers that read an input, and those after a merge of it with others."""
    found = []
    for one in context.readers(index):
        after = [context.layers[place] for place in one.consumers]
        found += [each.layer for each in (after if isinstance(one.layer, Merge) and after else [one])]
    return found


def _input_name(context: Context, index: int) -> str:
    names = [one.name for one in getattr(context.model, "inputs", None) or ()]
    named = len(names) == len(context.inputs) and not names[index].startswith("keras_tensor")
    return repr(names[index]) if named else str(index)


def _scale(context: Context, array: np.ndarray, masked: list[float], named: str) -> Iterator[Finding]:
    if array.dtype.kind not in "fiu" or not len(array):
        return
    rows = without_sentinels(unmasked(_sample(array, _SAMPLE), masked))
    rows = rows.reshape(len(rows), -1).astype(np.float64)
    if not np.all(np.isfinite(rows)) or (rows == rows[0]).all():  # equal rows have no scale
        return
    limits = context.thresholds
    mean, deviation = float(rows.mean()), float(rows.std())
    size = max(abs(mean), deviation)
    unequal = _unequal(rows) if array.ndim == 2 else 1.0
    severity: Severity = "warning"
    if size > limits.input_scale:
        severity, limit, value = "severe", "input_scale", size
    elif deviation < limits.input_scale_least:
        severity, limit, value = "severe", "input_scale_least", deviation
    elif size > limits.input_scale_warning:
        limit, value = "input_scale_warning", size
    elif unequal > limits.feature_scales:
        limit, value = "feature_scales", unequal
    else:
        return
    name = {
        "input_scale_least": "standard deviation of the inputs",
        "feature_scales": "largest over smallest standard deviation of a feature",
    }.get(limit, "mean or standard deviation of the inputs")
    detail = f"The {named} have mean {mean:.3g} and standard deviation {deviation:.3g}"
    if array.ndim == 2 and unequal > limits.feature_scales:
        detail += f", and those of the features differ by a factor of {unequal:.3g}"
    yield finding("unscaled-inputs", severity, ["data"], [context.seen(limit, name, value)], detail=detail)


def _unequal(rows: np.ndarray) -> float:
    """The largest over the smallest standard deviation of a feature; columns with few values are skipped.

    Border pixels and one-hot columns hardly vary, and standardising them does not help.
    """
    deviations = np.array([column.std() for column in rows.T if len(np.unique(column[:200])) > 10])
    deviations = deviations[deviations > 0]
    return float(deviations.max() / deviations.min()) if len(deviations) > 1 else 1.0


def _sample(array: np.ndarray, rows: int) -> np.ndarray:
    if len(array) <= rows:
        return array
    return array[np.sort(np.random.default_rng(0).choice(len(array), rows, replace=False))]


def check_amounts(context: Context) -> Iterator[Finding]:
    """Quantities far from the scale of a new output, which is around 0 with standard deviation 1.

    Skipped if a layer after the last kernel rescales, and for losses that do not measure distances.
    """
    several = len(context.outputs) > 1
    for output in context.outputs:
        facts = target_facts(output.targets)
        loss = None if output.loss is None else output.loss.name
        if (
            facts is None
            or facts.classes
            or facts.shares
            or loss not in SQUARES
            or _rescaled(context, output)
        ):
            continue
        values = np.asarray(output.targets, dtype=np.float64)
        mean, deviation, limits = float(values.mean()), float(values.std()), context.thresholds
        size = max(abs(mean), deviation)
        if reached := band(limits, "amount_scale", size):
            severity, limit = reached
            of_output = f" of {output.where}" if several else ""
            detail = f"The targets{of_output} have mean {mean:.3g} and standard deviation {deviation:.3g}"
            evidence = [context.seen(limit, "mean or standard deviation of the targets", size)]
            where = ["targets", output.where] if several else ["targets"]
            yield finding("unscaled-targets", severity, where, evidence, detail=detail)


def _rescaled(context: Context, output: OutputFacts) -> bool:
    """Whether a scaling layer follows the last kernel."""
    head, scalings = context.layer(output.where), (keras.layers.Normalization, keras.layers.Rescaling)
    after = () if head is None else following(context.layers, head)
    return any(isinstance(one.layer, scalings) for one in after)


def check_columns(context: Context) -> Iterator[Finding]:
    """Constant columns, and columns that repeat another one."""
    for place, array in enumerate(context.inputs):
        steps = any(isinstance(one.layer, LOOKUPS) for one in context.readers(place))
        if array.ndim != 2 or steps or array.dtype.kind not in "fiub" or len(array) < 2:
            continue
        constant = [int(i) for i in np.flatnonzero(np.all(array == array[0], axis=0))]
        first: dict[int, int] = {}
        skipped = set(constant)
        repeated = []
        for index in range(array.shape[1]):
            key = hash(np.ascontiguousarray(array[:, index]).tobytes())
            if index not in skipped and first.setdefault(key, index) != index:
                repeated.append(index)
        for code, columns in (("constant-columns", constant), ("duplicated-columns", repeated)):
            if columns:
                detail = few([context.column(one) for one in columns], 8)
                evidence = [Evidence("columns", len(columns), 0, "they carry no information")]
                yield finding(code, "note", ["data"], evidence, detail=detail)


def check_precision(context: Context) -> Iterator[Finding]:
    """Columns of large numbers in which different values become equal in float32."""
    for array in context.inputs:
        lost = [(name, lost_values(values)) for name, values in lossy_columns(array)]
        counts = [(name, before, after) for name, pair in lost if pair for before, after in [pair]]
        if not counts:
            continue
        name, before, after = max(counts, key=lambda one: one[1] - one[2])
        detail = f"Column {context.column(int(name))}: {before} different values become {after}"
        detail += f", and {len(counts) - 1} more columns lose values" if len(counts) > 1 else ""
        evidence = [Evidence("distinct values left", after, before, "subtract a nearby number in float64")]
        yield finding("lost-differences", "warning", ["data"], evidence, detail=detail)


def check_classes(context: Context) -> Iterator[Finding]:
    """Imbalanced classes, or targets that are all the same."""
    for output in context.outputs:
        targets = output.targets
        same = targets is not None and len(targets) > 1 and bool(np.all(targets == targets[0]))
        known = _is_classifier(context) or (output.loss is not None and output.loss.name in SQUARES)
        if targets is not None and same and known and not is_generator(context):
            evidence = [Evidence("different targets", 1, 2, "at least two are needed")]
            label = targets.reshape(len(targets), -1)[0].tolist()
            yield finding("one-class", "severe", ["targets"], evidence, label=label)
            continue
        classes = labels(targets)
        if classes is None:
            continue
        weights = context.row_weights if np.size(context.row_weights) == len(classes) else None
        counts = np.bincount(classes, None if weights is None else np.ravel(weights))
        counts = counts[counts > 0]
        ratio = float(counts.max() / counts.min()) if len(counts) else 1.0  # all weights may be 0
        if ratio > context.thresholds.class_ratio and _is_classifier(context):
            evidence = [context.seen("class_ratio", "most common over rarest class", ratio)]
            detail = f"The most common class has {counts.max():.0f} rows, the rarest {counts.min():.0f}"
            yield finding("class-imbalance", "warning", ["targets"], evidence, detail=detail)


def _is_classifier(context: Context) -> bool:
    """Whether a loss is for classes, or the targets are classes."""
    names = [one.loss.name or "" for one in context.outputs if one.loss is not None]
    if any("entropy" in name or "hinge" in name or name == "kl_divergence" for name in names):
        return True
    return any(labels(one.targets) is not None for one in context.outputs)


def check_order(context: Context) -> list[Finding]:
    """Rows that are not shuffled; severe if they are sorted by class."""
    if context.shuffle:
        return []
    ordered = [one for one in (labels(output.targets) for output in context.outputs) if one is not None]
    is_sorted = any(_few_changes(one) for one in ordered)
    severity: Severity = "severe" if is_sorted else "note"
    detail = "Rows come in the same order in every epoch" + (", sorted by class" if is_sorted else "")
    evidence = [Evidence("sorted by class", "yes" if is_sorted else "no", "no", "Bengio 2012, section 3.1.1")]
    return [finding("not-shuffled", severity, ["data"], evidence, detail=detail)]


def _few_changes(classes: np.ndarray) -> bool:
    changes = int(np.count_nonzero(np.diff(classes)))
    present = len(np.unique(classes))
    return present > 1 and changes < 2 * present and len(classes) >= 8 * present


def check_labels(context: Context) -> list[Finding]:
    """Labels that similar rows share no more often than random rows do; a training outcome overrules this."""
    single = len(context.inputs) == len(context.outputs) == 1
    classes = labels(context.outputs[0].targets) if single and context.epochs is None else None
    if classes is None or context.rows < context.thresholds.unrelated_rows:
        return []
    if any(isinstance(one.layer, LOOKUPS) for one in context.readers(0)):
        return []  # the distance of two ids means nothing
    found = learnable(context)
    return [unrelated(found, context.thresholds, "warning")] if found.learnable is False else []


def unrelated(found: Learnable, limits: Thresholds, severity: Severity, more: str = "") -> Finding:
    """The finding that targets do not depend on the inputs."""
    evidence = [Evidence("p of a label-permutation test", found.p, limits.unrelated_p, "Fisher 1935")]
    detail = f"a permutation test of {found.tested} gives p = {found.p:.2f}{more}"
    return finding("shuffled-labels", severity, ["targets"], evidence, detail=detail)


def check_leakage(context: Context) -> list[Finding]:
    """A single column of several that nearly decides the target."""
    if len(context.inputs) != 1 or len(context.outputs) != 1 or context.inputs[0].ndim != 2:
        return []
    rows, targets = context.inputs[0][:_SAMPLE], context.outputs[0].targets
    if targets is None or rows.dtype.kind not in "fiub" or rows.shape[1] < _LEAST_COLUMNS or len(rows) < 100:
        return []
    targets, classes = targets[:_SAMPLE], labels(targets)
    if classes is None and (targets.size != len(targets) or targets.dtype.kind != "f"):
        return []
    for index, column in enumerate(rows.T[:_MOST_COLUMNS].astype(np.float64)):
        given = _told_by(
            column, classes[:_SAMPLE] if classes is not None else targets.ravel(), classes is not None
        )
        if given >= context.thresholds.leakage:
            name = "share of the targets that one column predicts"
            evidence = [context.seen("leakage", name, given)]
            detail = f"Column {index} alone predicts {given:.1%} of the targets"
            return [finding("leakage", "warning", ["data"], evidence, detail=detail)]
    return []


def _told_by(column: np.ndarray, targets: np.ndarray, of_classes: bool) -> float:
    """R² of a line through the column; or the share of rows in runs of one class, sorted by the column."""
    if not np.isfinite(column).all() or np.ptp(column) == 0:
        return 0.0
    if not of_classes:
        spread = np.ptp(targets)
        return float(np.corrcoef(column, targets)[0, 1] ** 2) if spread > 0 else 0.0
    values, counted = np.unique(column, return_inverse=True)
    table = np.zeros((len(values), int(targets.max()) + 1))
    np.add.at(table, (counted, targets), 1)
    if len(values) <= 2 * table.shape[1]:  # a code of the classes
        return float(table.max(axis=1).sum() / len(targets))
    order = targets[np.argsort(column, kind="stable")]
    return 1 - max(0, int(np.count_nonzero(np.diff(order))) - table.shape[1] + 1) / len(order)
