"""Checks that data can be trained on; one error lists and counts all problems."""

from dataclasses import dataclass

import numpy as np

from kilter.data.dataset import Dataset
from kilter.data.paths import first_named, name_rows, quote
from kilter.errors import DataError

# Values checked at once, so that a check never doubles the memory.
CHUNK_VALUES = 4_000_000


@dataclass(frozen=True, eq=False)
class NonFinite:
    """NaN and infinite values of an array: how many, in which rows (ascending) and columns."""

    nan: int
    infinite: int
    rows: np.ndarray
    columns: tuple[int, ...]

    def describe(self, what: str, features: tuple[str, ...] = ()) -> str:
        """One clause for a message: counts, the first columns by name, the first rows."""
        counts = [
            f"{count} {word}" for count, word in ((self.nan, "NaN"), (self.infinite, "infinite")) if count
        ]
        names = [quote(features[column]) for column in self.columns if column < len(features)]
        where = f" of {first_named(names)}" if names else ""
        return f"{' and '.join(counts)} values in the {what}{where} {name_rows(self.rows)}"


def find_nonfinite(values: np.ndarray) -> NonFinite | None:
    """NaN and infinite values of ``values`` (rows first); None if all are finite."""
    if values.dtype.kind not in "fc" or values.size == 0:
        return None
    rows_at_once = max(1, CHUNK_VALUES // max(1, values[0].size))
    nan = infinite = 0
    bad_rows: list[np.ndarray] = []
    bad_columns: set[int] = set()
    for start in range(0, len(values), rows_at_once):
        chunk = values[start : start + rows_at_once].reshape(min(rows_at_once, len(values) - start), -1)
        bad = ~np.isfinite(chunk)
        if not bad.any():
            continue
        nan += (chunk_nan := int(np.isnan(chunk).sum()))
        infinite += int(bad.sum()) - chunk_nan
        bad_rows.append(start + np.flatnonzero(bad.any(axis=1)))
        bad_columns.update(int(column) for column in np.flatnonzero(bad.any(axis=0)))
    if not bad_rows:
        return None
    return NonFinite(nan, infinite, np.concatenate(bad_rows), tuple(sorted(bad_columns)))


_ONE_CLASS = "add rows of another class, or name another target"


def check(dataset: Dataset, *, part: str = "training data", training: bool = True) -> None:
    """Raise DataError that lists every problem of ``dataset``; do nothing if there is none.

    Problems are: no rows; x and y of different length; NaN or infinite values; labels outside 0 to
    len(classes) - 1; with ``training=True`` also no labels and fewer than two classes. ``part``: the name of
    the data in the message. Rows count from 0.
    """
    problems = _row_problems(dataset)
    for what, values, names in (("features", dataset.x, dataset.features), ("targets", dataset.y, ())):
        found = None if values is None else find_nonfinite(values)
        if found is not None:
            problems.append(found.describe(what, names if dataset.x.ndim == 2 else ()))
    if dataset.y is not None and dataset.task == "classification" and len(dataset):
        problems += _label_problems(dataset.y, dataset.classes, training)
    if dataset.y is None and training:
        problems.append("no labels")
    if problems:
        raise DataError(
            expected=f"{part} with rows, finite values and valid labels ({dataset.name})",
            received="; ".join(problems),
            remedy=_ONE_CLASS
            if problems[-1].startswith("one class only")
            else "correct the source (training leaves out rows that are not finite with skip_bad=True), or "
            "choose another target or split",
        )


def _row_problems(dataset: Dataset) -> list[str]:
    if len(dataset) == 0:
        return ["0 rows"]
    if dataset.x[0].size == 0:
        return [f"rows without values (shape {dataset.x.shape})"]
    if dataset.y is not None and len(dataset.y) != len(dataset):
        return [f"{len(dataset)} rows of features but {len(dataset.y)} of targets"]
    return []


def _label_problems(labels: np.ndarray, classes: tuple[str, ...], training: bool) -> list[str]:
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        return [f"labels of type {labels.dtype} and shape {labels.shape} instead of int32 [n]"]
    outside = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(outside):
        first = f"(first: {labels[outside[0]]}) {name_rows(outside)}"
        return [f"{len(outside)} labels outside 0 to {len(classes) - 1} {first}"]
    present = np.unique(labels)
    if training and len(present) < 2:
        return [f"one class only, {quote(classes[int(present[0])])}, in all {len(labels)} rows"]
    return []
