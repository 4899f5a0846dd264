"""fold(): one of k parts of the rows as the test part, for cross-validation."""

from dataclasses import replace

import numpy as np

from kilter._validation import is_whole
from kilter.data.dataset import Dataset, Source
from kilter.data.splitting import groups_of, row_keys
from kilter.errors import DataError, OptionError


def fold_numbers(train: Dataset, folds: int, seed: int, group: str | None = None) -> np.ndarray:
    """The fold, from 1, in which each row is held out, int ``[n]``; 0: in none, as the only row of its class.

    Rows are dealt out in the order of their keys, class by class, so that folds differ by one row at most,
    and by one row of each class. Rows of a ``group`` are in one fold. The same on every machine, as in
    :mod:`kilter.data.splitting`.
    """
    keys = row_keys(len(train), seed)
    groups = groups_of(train, group)
    if groups is not None:
        return _by_group(groups, keys, folds)
    classes = train.y if train.task == "classification" and train.y is not None else np.zeros(len(train), int)
    several = np.bincount(classes)[classes] > 1 if len(classes) else np.zeros(0, bool)
    if train.task == "regression":
        several = np.ones(len(train), bool)
    order = np.lexsort((keys, classes))
    order = order[several[order]]
    numbers = np.zeros(len(train), np.int64)
    numbers[order] = np.arange(len(order)) % folds + 1
    return numbers


def _by_group(groups: np.ndarray, keys: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each row: the largest groups first, each into the fold with the fewest rows."""
    _, first, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    filled, chosen = np.zeros(folds, np.int64), np.zeros(len(sizes), np.int64)
    for one in np.lexsort((keys[first], -sizes)):
        chosen[one] = np.argmin(filled)
        filled[chosen[one]] += sizes[one]
    return chosen[inverse] + 1


def fold(
    source: Source, *, folds: int = 5, number: int = 1, seed: int = 0, group: str | None = None
) -> Source:
    """The source with one fold of its rows as the test part, and the others to train on.

    Args:
        source: without a test part of its own.
        folds: from 2 to the number of rows.
        number: of the fold, from 1.
        seed: a whole number from 0.
        group: a column of a table, loaded with ``keep_inputs=True``, whose equal entries are in one fold.

    In classification each fold has its share of each class; the only row of a class is always trained on.
    Raises DataError for too few rows and for a source with a test part, OptionError for other values.
    """
    fits = is_whole(folds, 2) and is_whole(number, 1) and is_whole(seed, 0) and number <= folds
    if not fits:
        raise OptionError(
            expected="folds from 2, the number of one of them, and a seed from 0",
            received=f"folds={folds!r}, number={number!r}, seed={seed!r}",
            remedy="use for example folds=5",
        )
    train = source.train
    if source.test is not None or len(train) < folds:
        own = f" and a test part of its own ({len(source.test)} rows)" if source.test is not None else ""
        raise DataError(
            expected=f"data of at least {folds} rows without a test part, to divide into {folds} folds",
            received=f"{train.name}: {len(train)} rows{own}",
            remedy="leave the folds out" if own else f"use at most {max(2, len(train))} folds, or more data",
        )
    numbers = fold_numbers(train, folds, seed, group)
    held = np.flatnonzero(numbers == number)
    if not len(held):
        raise DataError(
            expected=f"rows in fold {number} of {folds}",
            received=f"{len(train)} rows in {len(train.classes)} classes, of which {np.sum(numbers > 0)} can "
            "be held out: the only row of a class is not",
            remedy="use fewer folds, or more rows of each class",
        )
    return replace(source, train=train.take(np.flatnonzero(numbers != number)), test=train.take(held))
