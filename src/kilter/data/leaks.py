"""Columns that alone predict the target almost perfectly: often known only after the target is."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from sklearn.feature_selection import f_classif, f_regression
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from kilter.data.dataset import Dataset
from kilter.data.encoding import Column, TableEncoding
from kilter.data.paths import first_named, quote
from kilter.data.splitting import draw_rows

# A tree of one column that finds so large a share of each class in rows it has not seen (or reaches this R2).
ALMOST_PERFECT: Final = 0.99
# Fewer rows prove nothing; more than the second number take time and change nothing. Of wide tables only the
# columns with the strongest relation are tried.
_FEWEST, _ROWS, _TRIED = 40, 4000, 20


def leak_notes(train: Dataset, encoding: TableEncoding | None) -> tuple[str, ...]:
    """A sentence on the columns that alone predict the target almost perfectly; none without such columns.

    A small decision tree of the column's features is fitted on half of at most 4,000 rows and scored on the
    others. Classes of few rows each are not judged.
    """
    if encoding is None or train.y is None or train.y.ndim != 1 or len(train) < _FEWEST:
        return ()
    rows = draw_rows(len(train), min(len(train), _ROWS), seed=0)
    x, y = train.x[rows], train.y[rows]
    classes = train.task == "classification"
    if len(np.unique(y)) == 1:
        return ()
    if classes and 4 * len(np.unique(y)) > len(y):
        return ()
    found = [
        quote(one.name) for one, part in _strongest(x, y, encoding, classes) if _predicts(part, y, classes)
    ]
    if not found:
        return ()
    return (
        f"alone predicts {quote(encoding.target)} almost perfectly: column {first_named(found)}; if it is "
        "known only after the target, leave it out: ignore=COLUMN",
    )


def _strongest(
    x: np.ndarray, y: np.ndarray, encoding: TableEncoding, classes: bool
) -> list[tuple[Column, np.ndarray]]:
    """The columns with the largest F of their best feature, and their features."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # constant features have no F
        warnings.simplefilter("ignore")
        strength = np.nan_to_num((f_classif if classes else f_regression)(x, y)[0], nan=0.0, posinf=np.inf)
    ends = np.cumsum([len(column.features) for column in encoding.columns])
    places = [
        slice(end - len(column.features), end) for column, end in zip(encoding.columns, ends, strict=True)
    ]
    best = [strength[place].max() for place in places]
    order = np.argsort(best)[::-1][:_TRIED]
    return [(encoding.columns[i], x[:, places[i]]) for i in order]


def _predicts(part: np.ndarray, y: np.ndarray, classes: bool) -> bool:
    tree = (DecisionTreeClassifier if classes else DecisionTreeRegressor)(
        max_leaf_nodes=64, min_samples_leaf=2, random_state=0
    )
    found = tree.fit(part[::2], y[::2]).predict(part[1::2])
    score = balanced_accuracy_score if classes else r2_score
    with warnings.catch_warnings():  # a class that is in one half only
        warnings.simplefilter("ignore")
        return float(score(y[1::2], found)) >= ALMOST_PERFECT
