"""Splits: counts by exact rules, every row in one part, the same rows on every machine."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.data import Dataset, Source, load, split
from kilter.data.splitting import draw_share, row_keys, share_counts
from kilter.errors import DataError, OptionError

from .writers import labels, numbers


def classified(counts, order_seed=None):
    """A dataset whose only feature is the row number, with ``counts[c]`` rows of class c."""
    y = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    if order_seed is not None:
        np.random.default_rng(order_seed).shuffle(y)
    x = np.arange(len(y), dtype=np.float32)[:, None]
    return Dataset(x, y, "classification", tuple(f"class{c}" for c in range(len(counts))))


def measured(n):
    return Dataset(
        np.arange(n, dtype=np.float32)[:, None], np.linspace(0, 1, n, dtype=np.float32), "regression"
    )


def rows(part):
    return [] if part is None else part.x[:, 0].astype(int).tolist()


def test_the_keys_are_the_same_on_every_machine():
    """PCG64's raw stream is promised never to change (NEP 19); these values pin it."""
    assert row_keys(3, 0).tolist() == [11749869230777074271, 4976686463289251617, 755828109848996024]
    assert row_keys(2, 42).tolist() == [14276969152011380360, 8095878257575067585]


def test_the_rows_are_the_same_on_every_machine():
    parts = split(classified([12, 8]), validation=0.25, test=0.2, seed=7)
    assert (rows(parts.validation), rows(parts.test)) == ([4, 10, 11, 14, 15], [3, 6, 12, 13])


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=6),
    share=st.floats(0.01, 0.6),
    seed=st.integers(0, 2**63),
    order=st.integers(0, 99),
)
def test_a_share_is_stratified_and_exact(counts, share, seed, order):
    data = classified(counts, order)
    parts = split(data, validation=share, seed=seed)
    assert sorted(rows(parts.train) + rows(parts.validation)) == list(range(len(data)))
    assert rows(parts.validation) == sorted(rows(parts.validation))
    taken = np.bincount(parts.validation.y, minlength=len(counts))
    for count, size in zip(taken, counts, strict=True):
        assert 1 <= count < size
        assert abs(count - share * size) <= 1
    again = split(data, validation=share, seed=seed)
    assert rows(again.validation) == rows(parts.validation)


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(4, 1000), min_size=1, max_size=8), tenths=st.integers(26, 70))
def test_counts_add_up_to_the_rounded_share_where_no_class_is_small(sizes, tenths):
    share = Fraction(tenths, 100)
    assert sum(share_counts(sizes, share)) == int(share * sum(sizes) + Fraction(1, 2))


@pytest.mark.parametrize(
    ("sizes", "share", "counts"),
    [
        ([100, 100], "0.29", [29, 29]),  # 0.29 * 100 is 28.999999999999996 in floats
        ([15, 15], "0.1", [2, 1]),  # 3 in all: the half goes to the lower index
        ([5, 5, 5, 5], "0.1", [1, 1, 1, 1]),  # 2 by the share, but every class is in both parts
        ([2, 100], "0.9", [1, 90]),  # 92 by the share, 2 of them from the class of two, which keeps one
        ([1, 19], "0.5", [0, 9]),  # a single row stays in training
        ([25], "0.1", [3]),  # 2.5 rounds up
    ],
)
def test_rounding_rules(sizes, share, counts):
    assert share_counts(sizes, Fraction(share)) == counts


def test_regression_draws_from_all_rows():
    parts = split(measured(25), validation=0.1, seed=3)
    expected = np.sort(np.argsort(row_keys(25, 3))[:3])
    assert rows(parts.validation) == expected.tolist()
    assert parts.test is None


def test_equal_keys_take_the_earlier_row():
    assert draw_share(None, np.zeros(4, np.uint64), Fraction(1, 2)).tolist() == [0, 1]


def test_counts_take_rows_from_the_front_and_the_end_as_they_stand():
    data = classified([10, 10], 1)
    parts = split(data, validation=3, test=4)
    assert rows(parts.validation) == [0, 1, 2]
    assert rows(parts.test) == [16, 17, 18, 19]
    assert rows(parts.train) == list(range(3, 16))
    assert np.shares_memory(parts.validation.x, data.x)
    assert np.shares_memory(parts.train.x, data.x)


def test_both_shares_are_of_all_rows_and_the_test_part_stays():
    data = classified([500, 500], 1)
    small, large = (split(data, validation=share, test=0.1) for share in (0.1, 0.3))
    assert [len(part) for part in (small.train, small.validation, small.test)] == [800, 100, 100]
    assert [len(part) for part in (large.train, large.validation, large.test)] == [600, 300, 100]
    assert rows(small.test) == rows(large.test)
    assert set(rows(small.validation)) < set(rows(large.validation))


@pytest.mark.parametrize("nothing", [None, 0, 0.0])
def test_nothing_asked_for_is_nothing_taken(nothing):
    data = classified([3, 3])
    parts = split(data, validation=nothing, test=nothing)
    assert (parts.train, parts.validation, parts.test) == (data, None, None)


def test_other_seeds_draw_other_rows():
    data = classified([50, 50])
    assert len({tuple(rows(split(data, validation=0.2, seed=seed).validation)) for seed in range(20)}) == 20


def test_the_sources_own_test_part_is_kept_and_not_replaced():
    data = classified([5, 5])
    source = Source(data, classified([2, 2]), None, "arrays", "here")
    assert split(source).test is source.test
    with pytest.raises(OptionError, match="4 test rows"):
        split(source, test=0.2)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"validation": np.int64(2)}, {"validation": 2}),
        ({"validation": np.float64(0.25), "test": np.uint8(3)}, {"validation": 0.25, "test": 3}),
        ({"seed": np.int64(5)}, {"seed": 5}),
    ],
)
def test_numpys_numbers_are_numbers(given, plain):
    data = classified([8, 8])
    for part, expected in zip(
        vars(split(data, **given)).values(), vars(split(data, **plain)).values(), strict=True
    ):
        assert (part is None) == (expected is None)
        if part is not None:
            np.testing.assert_array_equal(part.x, expected.x)


@pytest.mark.parametrize(
    "options",
    [
        {"validation": np.True_},
        {"validation": np.int64(-1)},
        {"seed": np.float64(1)},
        {"validation": 1.0},
        {"validation": -1},
        {"validation": -0.1},
        {"validation": True},
        {"test": float("nan")},
        {"validation": [1]},
        {"seed": -1},
        {"seed": 1.5},
    ],
)
def test_impossible_options_are_option_errors(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        split(classified([5, 5]), **options)


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (classified([5, 5]), {"validation": 10}, "10 rows"),
        (classified([5, 5]), {"validation": 6, "test": 6}, "4 rows in all"),
        (classified([5, 5]), {"validation": 0.6, "test": 0.6}, "10 rows in all"),
        (classified([1, 1, 1]), {"validation": 0.3}, "one per class"),
        (classified([5, 5]), {"validation": 5}, "one class only"),
        (classified([5, 5, 5]), {"validation": 5}, '"class0"'),
        (classified([5, 5, 5]), {"test": 5}, '"class2"'),
        (classified([5, 0]), {}, "one class only"),
        (measured(1), {"validation": 0.5}, "1 rows in all"),
    ],
)
def test_splits_that_cannot_be_trained_on(data, options, words):
    with pytest.raises(DataError) as caught:
        split(data, **options)
    assert words in caught.value.received


def test_a_file_is_read_with_the_encoding_of_training(tmp_path):
    (tmp_path / "train.csv").write_text("colour,size,y\nred,1,no\nblue,2,yes\nred,3,no\nblue,4,yes\n")
    (tmp_path / "held.csv").write_text("y,size,colour\nyes,7,green\nyes,8,red\n")
    source = load(tmp_path / "train.csv")
    part = split(source, validation=str(tmp_path / "held.csv")).validation
    np.testing.assert_array_equal(part.x, np.array([[0, 0, 7], [0, 1, 8]], np.float32))
    assert part.y.tolist() == [1, 1]
    (tmp_path / "held.csv").write_text("size,colour\n7,green\n")
    with pytest.raises(DataError, match="no labels"):
        split(source, validation=tmp_path / "held.csv")
    with pytest.raises(OptionError, match="Source"):
        split(source.train, validation=tmp_path / "held.csv")


def test_a_file_of_arrays_gets_the_classes_of_training(tmp_path):
    np.savez(tmp_path / "train.npz", x=numbers(), y=labels())
    np.savez(tmp_path / "held.npz", x=numbers()[:2], y=np.array([2, 1]))
    np.savez(tmp_path / "wide.npz", x=np.zeros((2, 5)), y=np.array([2, 1]))
    source = load(tmp_path / "train.npz")
    assert split(source, validation=tmp_path / "held.npz").validation.y.tolist() == [2, 1]
    with pytest.raises(DataError, match=r"rows \(5,\)"):
        split(source, validation=tmp_path / "wide.npz")
