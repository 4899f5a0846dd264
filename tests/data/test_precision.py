"""Numbers that float32 cannot tell apart keep their differences, in tables, arrays and new data."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.data import TableEncoding, describe, load, split
from kilter.data.precision import NO_SHIFT, Shift, difference, find_shift, lost_values

HOURS = np.arange(60)
# A column in which float32 makes different values equal, and what its differences are.
LARGE = {
    "unix seconds": 1_700_000_000 + HOURS,
    "unix seconds as floats": 1_700_000_000.0 + HOURS,
    "unix milliseconds": 1_700_000_000_000 + 1000 * HOURS,
    "unix nanoseconds": 1_700_000_000_000_000_000 + HOURS,
    "unsigned, beyond int64": np.uint64(2**63 + 5) + HOURS.astype(np.uint64),
    "negative": -(2**60) + HOURS,
    "identifiers": 10**12 + 7 * HOURS,
    "fractions at an offset": 1e6 + HOURS / 128,
    "a few zeros among times": np.where(HOURS % 20 == 3, 0, 1_700_000_000 + HOURS),
}
UNTOUCHED = {
    "small whole numbers": HOURS,
    "years": 1990 + HOURS,
    "whole numbers that fill their range": HOURS * 10**9,
    "plain floats": np.sin(HOURS),
    "exact at an offset": 1000 + HOURS / 4,
    "a constant": np.full(60, 1_700_000_000),
    "float32 already": (1e9 + HOURS).astype(np.float32),
    "flags": HOURS > 7,
}


def written(frame: pl.DataFrame, path):
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return path


def exact(values: np.ndarray) -> np.ndarray:
    """Differences from the first value, in Python's whole numbers or float64."""
    return np.array([value - values.tolist()[0] for value in values.tolist()], np.float64)


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_keeps_the_differences_of_large_numbers(name, suffix, tmp_path):
    values = LARGE[name]
    frame = pl.DataFrame({"t": values, "y": ["a", "b"] * 30})
    source = load(written(frame, tmp_path / f"t{suffix}"))
    stored = source.train.x[:, 0].astype(np.float64)
    near = np.abs(exact(values)) < 1e6  # of the zeros among the times nothing is asked
    np.testing.assert_array_equal((stored - stored[0])[near], exact(values)[near])
    assert any("float32" in note for note in source.notes)
    shown = describe(source)
    assert shown.columns[0].maximum == pytest.approx(float(values.max()), rel=1e-12)
    assert not any("constant" in problem for problem in shown.problems)
    encoding = TableEncoding.from_json(source.encoding.to_json())
    again = load(written(frame.reverse().select("y", "t"), tmp_path / f"new{suffix}"), encoding=encoding)
    np.testing.assert_array_equal(again.train.x, source.train.x[::-1])


@pytest.mark.parametrize("name", LARGE)
def test_arrays_keep_the_differences_of_large_numbers(name, tmp_path):
    values = LARGE[name]
    x, y = np.stack([values, values[::-1]], axis=1), HOURS % 2
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    source = load(tmp_path / "rows.npz")
    stored = source.train.x[:, 0].astype(np.float64)
    near = np.abs(exact(values)) < 1e6
    np.testing.assert_array_equal((stored - stored[0])[near], exact(values)[near])
    np.savez(tmp_path / "new.npz", x=x[::-1], y=y[::-1])
    again = load(tmp_path / "new.npz", shifts=source.shifts, classes=source.train.classes)
    np.testing.assert_array_equal(again.train.x, source.train.x[::-1])
    held_out = split(source, validation=tmp_path / "new.npz").validation
    np.testing.assert_array_equal(held_out.x, again.train.x)


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_float32_holds_well_enough_stays_as_it_is(name, tmp_path):
    values = UNTOUCHED[name]
    assert find_shift(values) == NO_SHIFT
    source = load(written(pl.DataFrame({"t": values, "y": ["a", "b"] * 30}), tmp_path / "t.parquet"))
    np.testing.assert_array_equal(source.train.x[:, 0], values.astype(np.float32))
    assert not any("float32" in note for note in source.notes)


def test_missing_whole_numbers_do_not_move_the_center(tmp_path):
    values = [None if i % 2 else 1_700_000_000_000_000_000 + i for i in range(60)]
    path = written(pl.DataFrame({"t": values, "y": ["a", "a", "b", "b"] * 15}), tmp_path / "t.csv")
    kept = load(path).train.x[::2, 0]
    np.testing.assert_array_equal(kept - kept[0], np.arange(0, 60, 2))


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_numbers_that_stay_as_they_are_are_said_to_lose_values(suffix, tmp_path):
    path, times = tmp_path / f"t{suffix}", LARGE["unix seconds"]
    if suffix == ".csv":
        written(pl.DataFrame({"t": times, "y": ["a", "b"] * 30}), path)
    else:
        np.savez(path, x=np.stack([times, times], axis=1), y=HOURS % 2)
    source = load(path, center=False)
    np.testing.assert_array_equal(source.train.x[:, 0], times.astype(np.float32))
    left = len(np.unique(times.astype(np.float32)))
    assert f"60 different values become {left}" in source.losses[0]
    assert source.losses[0] in describe(source).problems


def test_targets_that_become_equal_are_named(tmp_path):
    path = written(pl.DataFrame({"a": HOURS, "y": LARGE["unix seconds as floats"] + 0.5}), tmp_path / "t.csv")
    assert "60 different values become" in load(path).losses[0]


@pytest.mark.parametrize(("factor", "scaled"), [(1e-30, True), (1e-9, True), (1.0, False), (1e20, True)])
def test_very_small_and_very_large_spreads_are_scaled(factor, scaled, tmp_path):
    values = np.linspace(-3, 5, 60) * factor
    x = load(written(pl.DataFrame({"t": values, "y": ["a", "b"] * 30}), tmp_path / "t.parquet")).train.x[:, 0]
    assert (np.std(x) == pytest.approx(np.std(values), rel=1e-5)) != scaled
    np.testing.assert_allclose(x / x[-1], values / values[-1], rtol=1e-6)  # float32's rounding
    assert 0.1 < np.std(x.astype(np.float64)) < 10


WHOLE = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(WHOLE, min_size=1, max_size=5), center=WHOLE)
def test_whole_numbers_are_subtracted_exactly(values, center):
    expected = [float(value - center) for value in values]
    np.testing.assert_array_equal(difference(np.array(values, np.int64), center), expected)
    unsigned = np.array([value + 2**63 for value in values], np.uint64)
    expected = [float(int(value) - abs(center)) for value in unsigned]
    np.testing.assert_array_equal(difference(unsigned, abs(center)), expected)


def test_a_shift_undoes_what_it_does():
    shift = Shift(2**60, 4.0)
    assert shift.undo(shift.apply(np.array([2**60 + 8]))[0]) == 2**60 + 8
    assert lost_values(LARGE["unix seconds"]) == (
        60,
        len(np.unique(LARGE["unix seconds"].astype(np.float32))),
    )


@pytest.mark.parametrize("bad", ['"x"', "NaN", "true", "1e400"])
def test_a_damaged_center_is_a_data_error(bad, tmp_path):
    path = written(pl.DataFrame({"t": LARGE["negative"], "y": ["a", "b"] * 30}), tmp_path / "t.csv")
    encoding = load(path).encoding
    text = encoding.to_json().replace(f'"center": {encoding.columns[0].center}', f'"center": {bad}')
    with pytest.raises(ValueError, match="encoding"):
        TableEncoding.from_json(text)
