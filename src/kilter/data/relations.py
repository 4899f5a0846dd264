"""Columns that are related to the target: all that are, or that alone predict it almost perfectly (leaks)."""

import warnings
from typing import Any, Final

import numpy as np
from sklearn.feature_selection import SelectFdr, f_classif, f_regression
from sklearn.linear_model import LinearRegression
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from kilter.data.dataset import Dataset
from kilter.data.encoding import Column, TableEncoding
from kilter.data.paths import first_named, quote
from kilter.data.splitting import draw_rows

# A tree of one column that finds so large a share of each class in rows it has not seen; for numbers the R2
# of the tree or of a straight line, for which a few rows are enough: a correlation of 0.99.
ALMOST_PERFECT: Final = 0.99
ALMOST_ALL_VARIANCE: Final = 0.98
# Of the related features, at most this share is expected to be unrelated.
FALSE_DISCOVERIES: Final = 0.1
# Fewer rows prove nothing; more than the second number take time and change nothing. Of wide tables only the
# columns with the strongest relation are tried.
_FEWEST, _ROWS, _TRIED = 40, 4000, 20


def leak_notes(train: Dataset, encoding: TableEncoding | None) -> tuple[str, ...]:
    """A sentence on the columns that alone predict the target almost perfectly; none without such columns.

    A small decision tree of the column's features, and for numbers a straight line, is fitted on half of at
    most 4,000 rows and scored on the others. Classes of few rows each are not judged.
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
        "known only after the target, leave it out: --ignore COLUMN (in Python ignore=)",
    )


def related_features(train: Dataset) -> np.ndarray:
    """A mask, bool ``[features]``, of the features that an F-test relates to the target.

    The false discovery rate is held at FALSE_DISCOVERIES (Benjamini and Hochberg 1995). All if none is
    related. ``train``: the training part alone, or held-out rows would have chosen the features too.
    """
    assert train.y is not None
    found = np.zeros(train.x.shape[1], bool)
    for target in np.atleast_2d(train.y.T):
        select = SelectFdr(
            lambda x, y: _f_test(x, y, train.task == "classification"), alpha=FALSE_DISCOVERIES
        )
        found |= select.fit(train.x, target).get_support()
    return found if found.any() else ~found


def _f_test(x: np.ndarray, y: np.ndarray, classes: bool) -> tuple[np.ndarray, np.ndarray]:
    """F and p of each feature; NaN for constant ones."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return (f_classif if classes else f_regression)(x, y)


def _strongest(
    x: np.ndarray, y: np.ndarray, encoding: TableEncoding, classes: bool
) -> list[tuple[Column, np.ndarray]]:
    """The columns with the largest F of their best feature, and their features."""
    strength = np.nan_to_num(_f_test(x, y, classes)[0], nan=0.0, posinf=np.inf)
    ends = np.cumsum([len(column.features) for column in encoding.columns])
    places = [
        slice(end - len(column.features), end) for column, end in zip(encoding.columns, ends, strict=True)
    ]
    best = [strength[place].max() for place in places]
    order = np.argsort(best)[::-1][:_TRIED]
    return [(encoding.columns[i], x[:, places[i]]) for i in order]


def _predicts(part: np.ndarray, y: np.ndarray, classes: bool) -> bool:
    options: Any = {"max_leaf_nodes": 64, "min_samples_leaf": 2, "random_state": 0}
    if classes:
        models, score, least = [DecisionTreeClassifier(**options)], balanced_accuracy_score, ALMOST_PERFECT
    else:
        models = [DecisionTreeRegressor(**options), LinearRegression()]
        score, least = r2_score, ALMOST_ALL_VARIANCE
    with warnings.catch_warnings():  # a class that is in one half only
        warnings.simplefilter("ignore")
        found = (model.fit(part[::2], y[::2]).predict(part[1::2]) for model in models)
        return any(float(score(y[1::2], one)) >= least for one in found)
