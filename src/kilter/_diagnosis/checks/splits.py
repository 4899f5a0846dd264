"""Training rows against validation rows: scale, range, classes and their order."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks.alignment import turned_back
from kilter._diagnosis.checks.both_sides import are_windows
from kilter._diagnosis.checks.output import BINARY, CATEGORICAL, SPARSE
from kilter._diagnosis.context import Context
from kilter._diagnosis.skill import baseline, features
from kilter._diagnosis.targets import labels
from kilter._diagnosis.thresholds import between
from kilter._diagnosis.values import without_sentinels
from kilter._engine.arrays import pick
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.layers import LOOKUPS, OutputFacts
from kilter._models.reading import paired_targets
from kilter._records import Evidence, Finding, Severity

_RAW: Final = 0.3  # of the columns
_SAMPLE: Final = 2_000
_LEAST_ROWS: Final = 30
_MOST_CLASSES: Final = 1_000
_FOLD: Final = 0.25


def _pairs(context: Context) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Numeric inputs and amounts as targets, of training and validation, with words for them."""
    held = context.held_inputs
    if len(held) != len(context.inputs):
        return
    for index, (array, other) in enumerate(zip(context.inputs, held, strict=True)):
        ids = any(isinstance(one.layer, LOOKUPS) for one in context.readers(index))
        if not ids and _are_numbers(array, other):
            named = "inputs" if len(held) == 1 else f"values of input {index}"
            yield named, array, other
    for output, other in zip(context.outputs, _held_targets(context), strict=False):
        mine = output.targets
        if (
            mine is not None
            and labels(mine) is None
            and not _has_classes(output)
            and _are_numbers(mine, other)
        ):
            yield "targets", mine, other


def _are_numbers(array: np.ndarray, other: np.ndarray) -> bool:
    return (
        array.dtype.kind in "fiu"
        and other.dtype.kind in "fiu"
        and array.ndim == other.ndim
        and min(len(array), len(other)) >= _LEAST_ROWS
    )


def _held_targets(context: Context) -> list[np.ndarray]:
    return [] if context.y_val is None else paired_targets(context.model, context.y_val)


def _has_classes(output: OutputFacts) -> bool:
    name = None if output.loss is None else output.loss.name
    return name in (*SPARSE, *CATEGORICAL, *BINARY)


def check_scale(context: Context) -> Iterator[Finding]:
    """Validation data multiplied or moved as a whole: other spread, or another place, in most columns."""
    if context.x_val is None:
        return
    for named, array, other in _pairs(context):
        mine, theirs = _spread(without_sentinels(array)), _spread(without_sentinels(other))
        ratios, shifts, places = _changes(mine, theirs)
        if not len(ratios):
            continue
        factor, shift = float(np.exp(np.median(ratios))), float(np.median(shifts))
        limits = context.thresholds
        sure = _sureness(array, ratios, np.abs(shifts) > limits.split_shift)
        where = ["targets"] if named == "targets" else ["data"]
        most, far = limits.split_scale * sure, limits.split_shift * sure
        raw = _raw_share(array, ratios, shifts)
        if not 1 / most <= factor <= most or abs(shift) > far or raw > _RAW:
            evidence = [
                between("spread in validation over that in training", factor, 1 / most, most),
                between("shift in spreads of the training rows", shift, -far, far),
            ]
            if raw > _RAW:
                evidence = [Evidence("share of the standardised columns that are not so there", raw, _RAW)]
            middle = [float(np.median(one[1])) for one in (mine, theirs)]
            detail = f"The {named} of training are around {middle[0]:.3g} with a spread of {_mid(mine):.3g}, "
            detail += f"those of validation around {middle[1]:.3g} with {_mid(theirs):.3g}"
            yield finding("validation-scale", "severe", where, evidence, detail=detail)
        elif named != "targets":
            yield from _columns(context, array, places, ratios, shifts)


def _raw_share(array: np.ndarray, ratios: np.ndarray, shifts: np.ndarray) -> float:
    """The share of validation columns of another scale where all training columns are standardised; or 0."""
    if array.ndim != 2 or len(ratios) < 4:
        return 0.0
    means, deviations = array.mean(axis=0), array.std(axis=0)
    scaled = bool((np.abs(means) < 0.2).all() and (np.abs(deviations - 1) < 0.2).all())
    moved = (np.abs(ratios) > math.log(3)) | (np.abs(shifts) > 1)
    return float(np.mean(moved)) if scaled else 0.0


def _sureness(array: np.ndarray, ratios: np.ndarray, moved: np.ndarray) -> float:
    """By how much limits are raised: series and single columns drift with time.

    1 for pictures, and for tables of several columns that all changed alike; lags of a series are no such
    columns.
    """
    wider = np.abs(ratios) > math.log(3)
    alike = max(float(np.mean(wider & (np.sign(ratios) == way))) for way in (-1, 1))
    most = len(ratios) > 3 and max(alike, float(np.mean(moved))) > 0.9
    return 1.0 if array.ndim > 3 or (most and not are_windows(array)) else 3.5


def _columns(
    context: Context, array: np.ndarray, places: np.ndarray, ratios: np.ndarray, shifts: np.ndarray
) -> Iterator[Finding]:
    """Single columns of a table with other values."""
    far = np.flatnonzero((np.abs(shifts) > context.thresholds.split_shift) | (np.abs(ratios) > math.log(10)))
    if array.ndim != 2 or array.shape[1] < 2 or not len(far):
        return
    columns = ", ".join(context.column(int(places[one])) for one in far[:6])
    name = "largest shift of a column, in spreads"
    evidence = [context.seen("split_shift", name, float(np.abs(shifts).max()))]
    detail = f"Columns {columns} have other values in validation than in training"
    yield finding("validation-range", "warning", ["data"], evidence, detail=detail)


def _mid(part: tuple[np.ndarray, np.ndarray]) -> float:
    return float(np.median(part[0]))


def _spread(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spread (5 % to 95 %) and median of each column of a table, of the whole of anything else."""
    rows = array[np.sort(np.random.default_rng(0).permutation(len(array))[:_SAMPLE])].astype(np.float64)
    flat = rows.reshape(len(rows), -1) if rows.ndim == 2 else rows.reshape(-1, 1)
    flat = np.where(np.isfinite(flat), flat, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns without a number
        low, middle, high = np.nanquantile(flat, [0.05, 0.5, 0.95], axis=0)
    return high - low, middle


def _changes(
    mine: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logarithm of the ratio of the spreads and shift of the medians, of columns that vary; and which."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(theirs[0] / mine[0])
        shifts = (theirs[1] - mine[1]) / np.maximum(mine[0], theirs[0])
    places = np.flatnonzero(np.isfinite(ratios) & np.isfinite(shifts))
    if 2 * len(places) < len(ratios):  # most columns hardly vary
        places = places[:0]
    return ratios[places], shifts[places], places


def check_classes(context: Context) -> Iterator[Finding]:
    """Classes that only the validation rows have, and classes mixed otherwise."""
    for output, held in zip(context.outputs, _held_targets(context), strict=False):
        mine, theirs = (_class_numbers(output, one) for one in (output.targets, held))
        if mine is None or theirs is None or not len(mine) or not len(theirs):
            continue
        kinds = set(np.unique(mine).tolist())
        missing = sorted(set(np.unique(theirs).tolist()) - kinds)
        if missing and len(missing) < _MOST_CLASSES:
            share = float(np.mean(np.isin(theirs, missing)))
            severity: Severity = "severe" if share >= 0.05 else "warning"
            shown = ", ".join(f"{one:g}" for one in missing[:8])
            evidence = [Evidence("share of the validation rows with such a class", share, 0.0)]
            detail = f"No training row has class {shown}; {share:.0%} of the validation rows do"
            yield finding("validation-classes", severity, ["targets"], evidence, detail=detail)
            continue
        distance = _distance(mine, theirs)
        if len(theirs) >= _LEAST_ROWS and distance > context.thresholds.class_mix:
            name = "share of rows of other classes than in training"
            evidence = [context.seen("class_mix", name, distance)]
            detail = f"{distance:.0%} of the validation rows would have to change class for equal "
            detail += "proportions"
            yield finding("validation-class-mix", "warning", ["targets"], evidence, detail=detail)


def _class_numbers(output: OutputFacts, targets: np.ndarray | None) -> np.ndarray | None:
    """Class numbers of rows or elements, flat; None if the output has no classes."""
    if targets is None or targets.dtype.kind not in "fiub" or not targets.size:
        return None
    known = labels(targets)
    if known is not None and known.max() < 2 and not _has_classes(output):
        return None
    name = None if output.loss is None else output.loss.name
    if name in CATEGORICAL and targets.ndim > 1 and targets.shape[-1] > 1:
        return targets.argmax(axis=-1).ravel()
    whole = bool(np.all(np.isfinite(targets)) and np.all(targets == np.round(targets)))
    if name in SPARSE and whole:
        return targets.ravel()
    if name in BINARY and whole and targets[:1].size == 1:
        return targets.ravel()
    return None


def _distance(mine: np.ndarray, theirs: np.ndarray) -> float:
    """The total variation between the shares of classes."""
    kinds = np.union1d(mine, theirs)
    shares = [np.array([np.mean(one == kind) for kind in kinds[:_MOST_CLASSES]]) for one in (mine, theirs)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def check_relation(context: Context) -> list[Finding]:
    """Whether what simple learners find in training rows holds for validation rows: class order, labels."""
    if context.x_val is None or len(context.outputs) != 1 or context.outputs[0].targets is None:
        return []
    held = _held_targets(context)
    if len(held) != 1 or min(len(held[0]), context.rows) < _LEAST_ROWS:
        return []
    try:
        return list(_relation(context, held[0]))
    except FOREIGN_ERRORS:  # rows or targets that do not fit; another check says so
        return []


def _relation(context: Context, held: np.ndarray) -> Iterator[Finding]:
    """One share of the training rows is held out to see what can be expected."""
    order = np.random.default_rng(1).permutation(context.rows)[:_SAMPLE]
    cut = int(len(order) * (1 - _FOLD))
    part = _rows_of(context, np.sort(order[:cut]))
    x_in, y_in = pick((context.x, context.outputs[0].targets), np.sort(order[cut:]))
    limits = context.thresholds
    inside = baseline(part, x_in, [y_in])
    outside = baseline(part, context.x_val, [held])
    if math.isnan(inside) or math.isnan(outside) or inside < limits.relation_least:
        return
    if outside > limits.relation_share * inside:
        return
    permuted = _permuted(part, held)
    evidence = [
        Evidence("skill of nearest neighbours or ridge on other training rows", inside),
        context.seen("relation_share", "skill on validation rows over that", outside / inside),
    ]
    if permuted is not None:
        share, plain, swaps = permuted
        evidence.append(Evidence("accuracy after another order of the classes", share, plain, "as they are"))
        detail = f"Nearest neighbours or ridge regression are right for {plain:.0%} of the validation rows, "
        detail += f"but for {share:.0%} if the classes were numbered differently ({swaps}). Number both with "
        detail += "one list of class names"
        yield finding("validation-class-order", "severe", ["targets"], evidence, detail=detail)
        return
    detail = (
        f"Nearest neighbours or ridge regression reach a skill of {inside:.2f} on training rows that they "
    )
    detail += f"did not see, and {outside:.2f} on validation rows"
    turn = turned_back(context, part, held, inside)
    detail += f"; {turn[1]:.2f} if the validation images are {turn[0]} first" if turn else ""
    across = _across(context)
    grouped = across is not None and across <= limits.relation_share * inside
    if across is not None:
        evidence.append(
            Evidence("skill from three quarters of the training rows, in order, on the other", across)
        )
    if grouped:
        detail += ". It does not hold between consecutive quarters of the training rows either (skill "
        detail += f"{across:.2f}): the rows come in groups, or change over time"
    severity: Severity = "severe" if outside < 0.1 * inside and not grouped else "warning"
    yield finding("validation-unlike-training", severity, ["data"], evidence, detail=detail)


def _across(context: Context) -> float | None:
    """The skill of simple learners on each quarter of the rows, in their order, learnt from the others.

    None if that is unknown, or if rows are sorted by their targets.
    """
    targets = np.asarray(context.outputs[0].targets)
    kinds, places, found = labels(targets), np.arange(context.rows), []
    ranked: Any = spearmanr(places, targets.reshape(len(targets), -1)[:, 0])
    if kinds is None and abs(ranked.statistic) > 0.7:
        return None
    for part in np.array_split(places, round(1 / _FOLD)):
        rest = np.setdiff1d(places, part)
        if kinds is not None and _distance(kinds[rest], kinds[part]) > context.thresholds.class_mix:
            return None
        x_part, y_part = pick((context.x, targets), part)
        found.append(baseline(_rows_of(context, rest), x_part, [y_part]))
    return None if np.isnan(found).any() else float(np.mean(found))


def _rows_of(context: Context, rows: np.ndarray) -> Context:
    """The context of a single output with these training rows only."""
    x, y = pick((context.x, context.outputs[0].targets), rows)
    return replace(context, x=x, outputs=(replace(context.outputs[0], targets=y),))


def _permuted(context: Context, held: np.ndarray) -> tuple[float, float, str] | None:
    """Accuracy on validation rows after the best renumbering, without it, and the renumbering; else None."""
    known, wanted = labels(context.outputs[0].targets), labels(held)
    rows, others = features(context, context.x), features(context, context.x_val)
    if known is None or wanted is None or rows is None or others is None or len(np.unique(wanted)) < 2:
        return None
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    deviation[deviation == 0] = 1.0
    kinds, best = int(max(known.max(), wanted.max())) + 1, None
    for learner in (KNeighborsClassifier(5), RidgeClassifier()):
        given: Any = learner.fit((rows - mean) / deviation, known).predict((others - mean) / deviation)
        table = np.zeros((kinds, kinds))
        np.add.at(table, (given, wanted), 1)
        mine, theirs = linear_sum_assignment(-table)
        share, plain = table[mine, theirs].sum() / table.sum(), np.trace(table) / table.sum()
        if best is None or share > best[0]:
            swaps = [f"{a}→{b}" for a, b in zip(mine, theirs, strict=True) if a != b]
            best = float(share), float(plain), ", ".join(swaps[:6])
    assert best is not None
    chance = float(np.bincount(wanted).max() / len(wanted))
    clear = best[0] > chance + 0.5 * (1 - chance) and best[0] > best[1] + 0.3
    return best if clear else None


SHIFTS: Final = (
    "validation-scale",
    "validation-range",
    "validation-classes",
    "validation-class-mix",
    "validation-class-order",
    "validation-unlike-training",
)
"""The codes that explain a validation score far from that of training."""
