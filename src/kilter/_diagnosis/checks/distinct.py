"""Whether the inputs tell rows apart: equal rows with other targets, and values cut to whole numbers."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._diagnosis.targets import labels
from kilter._models.layers import LOOKUPS
from kilter._records import Evidence, Finding, Severity

_SAMPLE: Final = 20_000
_LEAST_ROWS: Final = 20
_MANY_NUMBERS: Final = 16  # a row of so many numbers hardly ever repeats by chance
_LEAST_COLUMNS: Final = 3


def check_alike(context: Context) -> list[Finding]:
    """Rows with equal inputs and different targets: no network can be right about both."""
    groups = _groups(context)
    if groups is None:
        return []
    best = [_best_skill(one.targets, groups) for one in context.outputs]
    known = [one for one in best if one is not None]
    limits = context.thresholds
    if not known or max(known) >= limits.skill_possible:
        return []
    kinds, most = int(groups.max()) + 1, max(known)
    numbers = sum(int(array[:1].size) for array in context.inputs)
    few = kinds == 1 or (numbers >= _MANY_NUMBERS and kinds < limits.distinct_rows * len(groups))
    severity: Severity = "severe" if few else "warning"
    detail = "All rows are equal" if kinds == 1 else f"{len(groups)} rows have {kinds} different inputs"
    if kinds > 1 and _are_bits(context):
        detail += ", all of them 0 or 1"
    evidence = [
        context.seen("skill_possible", "largest possible skill", most),
        Evidence("different rows", kinds, len(groups), "rows looked at"),
    ]
    return [finding("inputs-alike", severity, ["data"], evidence, detail=detail, most=most)]


def _groups(context: Context) -> np.ndarray | None:
    """A number for each of the first rows, the same for rows with equal inputs; None if all differ."""
    arrays = [array[:_SAMPLE] for array in context.inputs]
    if context.rows < _LEAST_ROWS or any(array.dtype.kind not in "fiub" for array in arrays):
        return None
    numbers: dict[bytes, int] = {}
    parts = [np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8) for array in arrays]
    rows = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    found = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows])
    return found if len(numbers) < len(found) else None


def _best_skill(targets: np.ndarray | None, groups: np.ndarray) -> float | None:
    """The skill of the best answer to each group; None without targets, or where they do not vary."""
    if targets is None or targets.dtype.kind not in "fiub":
        return None
    classes, counts = labels(targets), np.bincount(groups)
    if classes is not None:
        table = np.zeros((len(counts), int(classes.max()) + 1))
        np.add.at(table, (groups, classes[: len(groups)]), 1)
        chance = table.sum(axis=0).max() / len(groups)
        return float((table.max(axis=1).sum() / len(groups) - chance) / (1 - chance)) if chance < 1 else None
    numbers = targets[: len(groups)].reshape(len(groups), -1).astype(np.float64)
    varies = numbers.std(axis=0) > 0
    if not varies.any() or not np.isfinite(numbers).all():
        return None
    scaled = (numbers[:, varies] - numbers[:, varies].mean(axis=0)) / numbers[:, varies].std(axis=0)
    sums = np.zeros((len(counts), scaled.shape[1]))
    np.add.at(sums, groups, scaled)
    return float((np.square(sums).sum(axis=1) / counts).sum() / scaled.size)


def _are_bits(context: Context) -> bool:
    return all(array.size and np.isin(array[:_SAMPLE], (0, 1)).all() for array in context.inputs)


def check_whole(context: Context) -> Iterator[Finding]:
    """Pictures of 0 and hardly any 1, and standardised columns of whole numbers: cut off by integers."""
    for index, array in enumerate(context.inputs):
        readers = [one.layer for one in context.readers(index)]
        if array.dtype.kind not in "fiu" or len(array) < _LEAST_ROWS:
            continue
        if any(isinstance(one, LOOKUPS) for one in readers):
            continue
        rows = array[:_SAMPLE]
        if not np.isfinite(rows).all() or not (rows == np.round(rows)).all():
            continue
        if array.ndim == 4 and array.shape[-1] in (1, 3):
            yield from _dark(context, rows)
        elif array.ndim in (2, 3) and array.shape[-1] >= _LEAST_COLUMNS:
            yield from _rounded(context, rows.reshape(-1, array.shape[-1]))


def _dark(context: Context, pictures: np.ndarray) -> list[Finding]:
    """Pictures of 0 with so few 1 that these can only have been the brightest pixels."""
    share, limits = float(np.mean(pictures != 0)), context.thresholds
    if not 0 < share < limits.bright_pixels or pictures.max() != 1 or pictures.min() != 0:
        return []
    evidence = [context.seen("bright_pixels", "share of pixels that are not 0", share)]
    detail = f"The pixels are 0 or 1, and only {share:.2%} are 1"
    return [finding("inputs-cut-off", "warning", ["data"], evidence, detail=detail)]


def _rounded(context: Context, rows: np.ndarray) -> list[Finding]:
    """Columns around 0 of which most values are 0 and the others whole numbers on both sides."""
    zero, limits = np.mean(rows == 0, axis=0), context.thresholds
    both = (rows.min(axis=0) < 0) & (rows.max(axis=0) > 0) & (np.abs(rows).max(axis=0) <= 6)
    centred = (np.abs(rows.mean(axis=0)) < 0.3) & (rows.std(axis=0) < 1.3)
    share = float(np.mean(both & centred & (zero >= limits.cut_to_zero)))
    if share < 0.8:
        return []
    name = "share of values that are 0"
    evidence = [context.seen("cut_to_zero", name, float(np.mean(rows == 0)))]
    detail = f"The values are whole numbers from {rows.min():g} to {rows.max():g} around 0, most of them 0"
    return [finding("inputs-cut-off", "warning", ["data"], evidence, detail=detail)]
