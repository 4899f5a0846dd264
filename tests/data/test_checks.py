"""check() and the records: every problem counted, the first rows named, healthy data let through."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.data import Dataset, check, checks
from kilter.errors import DataError

HEALTHY = Dataset(np.ones((4, 2), np.float32), np.array([0, 1, 0, 1], np.int32), "classification", ("a", "b"))


def change(**fields):
    return Dataset(**{**vars(HEALTHY), **fields})


def test_healthy_data_pass():
    check(HEALTHY)
    check(change(x=np.zeros((4, 3, 3, 1), np.uint8)))
    check(change(y=np.array([[1.0, 2.0]] * 4), task="regression", classes=()))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"x": np.zeros((0, 2)), "y": np.zeros(0, np.int32)}, "0 rows"),
        ({"x": np.zeros((4, 0))}, "rows without values"),
        ({"y": np.array([0, 1], np.int32)}, "4 rows of features but 2 of targets"),
        ({"y": np.array([0, 2, 0, -1], np.int32)}, "2 labels outside 0 to 1 (first: 2) in rows 1, 3"),
        ({"y": np.zeros(4, np.int32)}, 'one class only, "a", in all 4 rows'),
        ({"y": np.zeros(4, np.float32)}, "type float32"),
        ({"y": None}, "no labels"),
        (
            {"y": np.array([1, np.nan, 2, 3], np.float32), "task": "regression"},
            "1 NaN values in the targets in row 1",
        ),
    ],
)
def test_each_problem_is_said(fields, words):
    with pytest.raises(DataError) as caught:
        check(change(**fields))
    assert words in caught.value.received


def test_columns_are_named_and_all_problems_come_at_once():
    x = np.ones((4, 2), np.float32)
    x[2, 1] = np.inf
    with pytest.raises(DataError) as caught:
        check(change(x=x, features=("age", "height"), y=np.array([0, 9, 0, 1], np.int32)))
    assert '1 infinite values in the features of "height" in row 2' in caught.value.received
    assert "1 labels outside" in caught.value.received


def test_held_out_parts_may_have_one_class_or_no_labels():
    check(change(y=np.zeros(4, np.int32)), training=False)
    check(change(y=None), training=False)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_nonfinite_values_are_found_wherever_they_are(data):
    """Against the plain NumPy count, over chunk borders: CHUNK_VALUES is small here."""
    shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)))
    flat = data.draw(st.lists(st.sampled_from([0.0, 1.0, np.nan, np.inf, -np.inf]), min_size=0, max_size=4))
    x = np.zeros(shape, np.float32)
    x.flat[: len(flat)] = flat[: x.size]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "CHUNK_VALUES", 5)
        found = checks.find_nonfinite(x)
    bad = ~np.isfinite(x.reshape(len(x), -1))
    if not bad.any():
        assert found is None
        return
    assert (found.nan, found.infinite) == (np.isnan(x).sum(), np.isinf(x).sum())
    assert found.rows.tolist() == np.flatnonzero(bad.any(axis=1)).tolist()
    assert found.columns == tuple(np.flatnonzero(bad.any(axis=0)))


def test_taking_rows_keeps_order_and_copies_only_where_it_must():
    data = change(x=np.arange(8, dtype=np.float32).reshape(4, 2))
    assert data.take(np.array([3, 0])).x[:, 0].tolist() == [6, 0]
    assert data.take(np.array([3, 0])).y.tolist() == [1, 0]
    assert np.shares_memory(data.take(np.array([1, 2])).x, data.x)
    assert len(data.take(np.array([], np.int64))) == 0
    assert (data.input_shape, data.outputs, len(data)) == ((2,), 2, 4)


@pytest.mark.parametrize(("y", "outputs"), [(None, 1), (np.zeros(4), 1), (np.zeros((4, 3)), 3)])
def test_outputs_of_regression(y, outputs):
    assert change(y=y, task="regression", classes=()).outputs == outputs
