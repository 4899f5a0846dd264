"""Rows on both sides of a split: shared rows, windows moved by one step, and groups."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._records import Evidence, Finding

_FEW_COLUMNS: Final = 32
_ALIKE: Final = 3
_LEAST_ROWS: Final = 30
_WINDOWS: Final = 500
_GROUP: Final = re.compile(r"(^|[_ ])(patient|subject|user|customer|group|session|person|speaker)([_ ]?id)?$")


def check_shared_rows(context: Context) -> list[Finding]:
    """Validation rows that are also training rows.

    Not those that are alike by chance: columns of few values, and rows of training are alike as often.
    """
    if context.x_val is None:
        return []
    validation = context.held_inputs
    # float64 tells rows apart that differ only in a unix time, but 0.1 differs between the two types.
    types = [array.dtype for array in (*context.inputs, *validation)]
    exact = np.float32 if np.dtype(np.float32) in types else np.float64
    training = _keys(context.inputs, exact)
    known, keys = Counter(training), _keys(validation, exact)
    repeated = sum(key in known for key in keys)
    usual = sum(known[key] > 1 for key in training) / len(training) * len(keys)
    if not repeated or (repeated <= 2 * usual + _ALIKE and _has_few_values(context)):
        return []
    evidence = [Evidence("validation rows that are training rows", repeated, 0, "there should be none")]
    detail = f"{repeated} of {len(keys)} validation rows are also training rows"
    return [finding("shared-rows", "warning", ["data"], evidence, detail=detail)]


def _keys(arrays: Sequence[np.ndarray], dtype: type[np.floating] = np.float32) -> list[int]:
    """A number for each row, the same for rows with the same numbers."""
    same = [np.ascontiguousarray(array, dtype=dtype) for array in arrays if array.dtype.kind in "fiub"]
    return [hash(b"".join(part.tobytes() for part in row)) for row in zip(*same, strict=True)]


def _has_few_values(context: Context) -> bool:
    """Whether inputs are few columns that all repeat their values, such as hours: rows may be alike."""
    if any(one.ndim > 2 for one in context.inputs):
        return False
    columns = [column for one in context.inputs for column in one.reshape(len(one), -1).T]
    return len(columns) <= _FEW_COLUMNS and all(3 * len(np.unique(one)) <= len(one) for one in columns)


def check_windows(context: Context) -> list[Finding]:
    """Validation windows that continue training windows by one step: windows were cut before the split."""
    if context.x_val is None or len(context.inputs) != 1:
        return []
    (mine,), held = context.inputs, context.held_inputs
    if len(held) != 1 or mine.ndim not in (2, 3) or held[0].ndim != mine.ndim or mine.dtype.kind not in "fiu":
        return []
    theirs, steps = held[0], mine.shape[1]
    if theirs.shape[1:] != mine.shape[1:] or steps < 4 or min(len(mine), len(theirs)) < _LEAST_ROWS:
        return []
    random = np.random.default_rng(0)
    chosen = theirs[random.permutation(len(theirs))[:_WINDOWS]]
    share, least = _moved_on(mine, chosen), context.thresholds.window_share
    if share <= least or share <= least + _moved_on(mine, random.permuted(chosen, axis=0)):
        return []
    name = "share of validation windows that are training windows moved by one step"
    evidence = [context.seen("window_share", name, share)]
    detail = f"{share:.0%} of the validation windows are training windows moved by one step"
    return [finding("overlapping-windows", "warning", ["data"], evidence, detail=detail)]


def are_windows(array: np.ndarray) -> bool:
    """Whether rows are windows of a series: many continue another row by one step, not just by chance."""
    if array.ndim not in (2, 3) or array.shape[1] < 4 or len(array) < _LEAST_ROWS:
        return False
    share = _continued(array)
    return share > 0.2 and share > 0.2 + _continued(np.random.default_rng(0).permuted(array, axis=0))


def _continued(array: np.ndarray) -> float:
    starts = set(_keys([array[:, :-1]]))
    return float(np.mean([key in starts for key in _keys([array[:, 1:]])]))


def _moved_on(windows: np.ndarray, others: np.ndarray) -> float:
    """The share of ``others`` that are windows moved by one step."""
    starts, ends = set(_keys([windows[:, :-1]])), set(_keys([windows[:, 1:]]))
    pairs = zip(_keys([others[:, 1:]]), _keys([others[:, :-1]]), others, strict=True)
    return float(np.mean([(on in starts or back in ends) and np.ptp(row) > 0 for on, back, row in pairs]))


def check_groups(context: Context) -> list[Finding]:
    """Columns named as groups (patient, user, session) whose values are on both sides."""
    if not context.features or context.x_val is None or [one.ndim for one in context.inputs] != [2]:
        return []
    mine, held = context.inputs[0], context.held_inputs[0]
    found: list[Finding] = []
    places: dict[str, list[int]] = {}  # a category has a feature for each of its values, NAME=VALUE
    for place, feature in enumerate(context.features):
        places.setdefault(feature.partition("=")[0], []).append(place)
    for name, columns in places.items():
        if not _GROUP.search(name.lower()):
            continue
        if len(columns) > 1:
            both = int((mine[:, columns].any(axis=0) & held[:, columns].any(axis=0)).sum())
        else:
            both = len(np.intersect1d(mine[:, columns], held[:, columns]))
        if both and len(np.unique(mine[:, columns], axis=0)) > 1:
            evidence = [Evidence("groups on both sides", both, 0)]
            detail = f"{both} values of column {name} occur in both parts"
            found.append(finding("shared-groups", "warning", ["data"], evidence, detail=detail))
    return found
