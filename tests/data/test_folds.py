"""Folds of the rows: each row is held out once, class by class, the same way on every machine."""

import numpy as np
import polars as pl
import pytest

from kilter.data import Dataset, Source, fold, load, split
from kilter.data.folds import fold_numbers
from kilter.errors import KilterError


def source(labels=None, rows=23):
    y = np.linspace(0, 1, rows).astype(np.float32) if labels is None else np.array(labels, np.int32)
    task = "regression" if labels is None else "classification"
    classes = () if labels is None else tuple("abc"[: max(labels) + 1])
    x = np.arange(len(y), dtype=np.float32)[:, None]
    return Source(Dataset(x, y, task, classes), None, None, "arrays", "memory")


RARE = [0] * 20 + [1] * 6 + [2] * 4


@pytest.mark.parametrize("labels", [None, RARE])
@pytest.mark.parametrize("folds", [2, 5])
def test_each_row_is_held_out_once_and_each_class_evenly(labels, folds):
    whole = source(labels)
    parts = [fold(whole, folds=folds, number=number, seed=3) for number in range(1, folds + 1)]
    held = np.concatenate([part.test.x[:, 0] for part in parts])
    np.testing.assert_array_equal(np.sort(held), whole.train.x[:, 0])
    for part in parts:
        both = np.concatenate([part.train.x[:, 0], part.test.x[:, 0]])
        np.testing.assert_array_equal(np.sort(both), whole.train.x[:, 0])
    sizes = [len(part.test) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    if labels is not None:
        counts = np.array([np.bincount(part.test.y, minlength=3) for part in parts])
        assert (np.ptp(counts, axis=0) <= 1).all()


def test_the_folds_are_known_numbers():
    """PCG64's raw stream: the same on every machine and with every version of NumPy."""
    assert fold_numbers(source(rows=8).train, 3, seed=0).tolist() == KNOWN


KNOWN = [2, 3, 2, 1, 1, 2, 1, 3]


def test_the_only_row_of_a_class_is_always_trained_on():
    numbers = fold_numbers(source([0, 0, 0, 0, 1, 2, 2]).train, 2, seed=0)
    assert numbers[4] == 0
    assert (np.delete(numbers, 4) > 0).all()


def test_validation_rows_come_from_the_others():
    part = fold(source(rows=30), folds=5, number=2)
    parts = split(part, validation=0.25)
    rows = [set(one.x[:, 0].tolist()) for one in (parts.train, parts.validation, parts.test)]
    assert [len(one) for one in rows] == [18, 6, 6]
    assert len(set.union(*rows)) == 30


@pytest.mark.parametrize(
    "how", [{"folds": 1}, {"folds": 2.5}, {"folds": 5, "number": 6}, {"folds": 24}, {"number": 0}]
)
def test_other_folds_are_refused(how):
    with pytest.raises(KilterError):
        fold(source(), **how)


def test_a_source_with_a_test_part_is_refused(tmp_path):
    for name in ("train", "test"):
        pl.DataFrame({"a": range(20), "y": [0.5 * i for i in range(20)]}).write_parquet(
            tmp_path / f"{name}.parquet"
        )
    with pytest.raises(KilterError, match="test part of its own"):
        fold(load(tmp_path))
