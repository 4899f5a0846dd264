"""Missing values of a table get the median of the training part, once it is known which rows those are."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kilter.data.dataset import Dataset
from kilter.data.dates import features_of
from kilter.data.encoding import Column, TableEncoding


def filled_by(
    train: Dataset, parts: Sequence[Dataset], encoding: TableEncoding
) -> tuple[tuple[Dataset, ...], TableEncoding]:
    """The ``parts`` with the medians of ``train`` where a value was missing, and the encoding that says so.

    A median over held-out rows would leak information about them into the training part.
    """
    columns: list[Column] = []
    fills: list[tuple[int, np.ndarray]] = []
    position = 0
    for column in encoding.columns:
        width = len(column.features)
        known = np.zeros(0)
        if column.indicator and column.kind in ("number", "date"):
            known = train.x[train.x[:, position + width - 1] == 0, position]
        if len(known):
            fill, features = _fill(column, float(np.median(known)))
            column = replace(column, fill=fill)
            fills.append((position, features))
        columns.append(column)
        position += width
    return tuple(_filled(part, fills) for part in parts), replace(encoding, columns=tuple(columns))


def _fill(column: Column, median: float) -> tuple[float, np.ndarray]:
    """The value that replaces a missing one in the column, and its features."""
    if column.kind == "number":
        return column.restored(median), np.array([median])
    days = median + float(column.center)
    return days, features_of(np.array([days]), column.center, has_time=column.has_time)[0]


def _filled(part: Dataset, fills: Sequence[tuple[int, np.ndarray]]) -> Dataset:
    changed = None
    for position, features in fills:
        places = slice(position, position + len(features))
        missing = part.x[:, position + len(features)] == 1
        if missing.any() and (part.x[missing, places] != features.astype(np.float32)).any():
            changed = part.x.copy() if changed is None else changed
            changed[missing, places] = features
    return part if changed is None else replace(part, x=changed)
