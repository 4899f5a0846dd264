"""Which features are related to the target, for tables with more features than rows."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from sklearn.feature_selection import SelectFdr, f_classif, f_regression

from kilter.data.dataset import Dataset

# Of the features that are kept, at most this share is expected to be unrelated.
FALSE_DISCOVERIES: Final = 0.1


def related_features(train: Dataset) -> np.ndarray:
    """A mask, bool ``[features]``, of the features that an F-test relates to the target.

    The false discovery rate is held at FALSE_DISCOVERIES (Benjamini and Hochberg 1995). All if none is
    related. ``train``: the training part alone, or held-out rows would have chosen the features too.
    """
    assert train.y is not None
    test = f_classif if train.task == "classification" else f_regression
    found = np.zeros(train.x.shape[1], bool)
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # constant features have no F
        warnings.simplefilter("ignore")
        for target in np.atleast_2d(train.y.T):
            found |= SelectFdr(test, alpha=FALSE_DISCOVERIES).fit(train.x, target).get_support()
    return found if found.any() else ~found
