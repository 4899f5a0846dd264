"""Tables as people have them: missing values, columns that are no features, dates, new categories."""

import datetime
import math

import numpy as np
import polars as pl
import pytest

from kilter.data import TableEncoding, load
from kilter.data.columns import find_column
from kilter.data.dates import PATTERNS, days_of, find_pattern
from kilter.errors import DataError, OptionError


@pytest.fixture
def write(tmp_path):
    def write_frame(frame, name="table.csv"):
        path = tmp_path / name
        frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
        return path

    return write_frame


def table(**columns):
    rows = len(next(iter(columns.values())))
    return pl.DataFrame({**columns, "y": [0.5 + i for i in range(rows)]}, strict=False)


HOLES = {
    "whole numbers": ([4, None, 8, 1], [4, 4, 8, 1], [0, 1, 0, 0]),
    "fractions": ([0.5, None, 1.5, None], [0.5, 1, 1.5, 1], [0, 1, 0, 1]),
    "numbers with nan": ([0.5, float("nan"), 1.5, 2.5], [0.5, 1.5, 1.5, 2.5], [0, 1, 0, 0]),
    "true and false": ([True, None, True, False], [1, 1, 1, 0], [0, 1, 0, 0]),
    "a question mark": (["3", "?", "5", "7"], [3, 5, 5, 7], [0, 1, 0, 0]),
    "blanks": (["3", " ", "5", "7"], [3, 5, 5, 7], [0, 1, 0, 0]),
    "words for missing": (["10%", "none", "30%", "Unknown"], [10, 20, 30, 20], [0, 1, 0, 1]),
}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("case", HOLES)
def test_missing_numbers_become_the_median_and_are_marked(case, suffix, write):
    given, expected, missing = HOLES[case]
    source = load(write(table(a=given), f"table.{suffix}"))
    assert source.train.features == ("a", "a missing")
    np.testing.assert_array_equal(source.train.x, np.column_stack([expected, missing]))
    assert any('"a"' in note and "missing" in note for note in source.notes)


def test_large_numbers_keep_their_differences_beside_missing_ones(write):
    moments = [1_700_000_000 + i for i in range(5)]
    x = load(write(table(a=[*moments, None]))).train.x
    assert np.diff(x[:5, 0]).tolist() == [1, 1, 1, 1]
    assert x[5].tolist() == [x[2, 0], 1]


def test_missing_categories_are_a_category(write):
    source = load(write(table(c=["u", None, "v", "", "u"])))
    assert source.train.features == ("c=u", "c=v", "c missing")
    assert source.train.x.argmax(axis=1).tolist() == [0, 2, 1, 2, 0]
    assert source.train.x.sum(axis=1).tolist() == [1] * 5


def test_a_new_file_is_filled_as_the_training_was_and_that_is_said(write):
    training = table(
        a=[1, 2, 9], b=[1.5, None, 2.5], c=["u", "v", "u"], when=["2024-01-01"] * 2 + ["2024-01-31"]
    )
    encoding = TableEncoding.from_json(load(write(training)).encoding.to_json())
    new = pl.DataFrame(
        {"a": [None, 7], "b": [None, 2.0], "c": ["w", None], "when": [None, "2024-02-01"], "extra": [1, 2]}
    )
    source = load(write(new, "new.csv"), encoding=encoding, unlabelled=True)
    named = dict(zip(source.train.features, source.train.x.T.tolist(), strict=True))
    assert named["a"] == [2, 7]
    assert named["b"] == [2, 2]
    assert named["b missing"] == [1, 0]
    assert named["c=u"] == named["c=v"] == [0, 0]
    assert named["when days"] == [0, 31]
    text = " ".join(source.notes)
    for words in (
        '"a": 1 missing',
        '"b": 1 missing',
        '"c": 1 missing value is',
        'did not occur in training, such as "w"',
    ):
        assert words in text


def test_known_columns_are_no_new_names_of_absent_ones(write):
    """Used, set aside, an id or the target: known in training, so not what an absent column is called now."""
    rows = 40
    training = table(
        charge=[1.5 * i for i in range(rows)],
        charge_2=[i % 7 for i in range(rows)],
        charge_3=[4] * rows,
        charge_id=[f"c{i}" for i in range(rows)],
        size=[i % 3 for i in range(rows)],
    )
    encoding = TableEncoding.from_json(load(write(training)).encoding.to_json())
    given = write(training.drop("charge"), "new.csv")
    assert any("absent" in note for note in load(given, encoding=encoding, unlabelled=True).notes)
    with pytest.raises(DataError, match='did you mean "charges"'):
        load(write(training.rename({"charge": "charges"}), "b.csv"), encoding=encoding, unlabelled=True)
    other = pl.DataFrame({"row": [1, 2], "charges": [0, 1]})
    with pytest.raises(DataError, match=r"add the columns\.$"):
        load(write(other, "c.csv"), encoding=encoding, unlabelled=True)


def test_encodings_of_earlier_versions_still_refuse_what_they_cannot_fill(write):
    text = load(write(table(a=[1, 2, 9]))).encoding.to_json()
    old = text.replace('"version": 3', '"version": 2').replace('"fill": 2.0', '"fill": null')
    assert old != text
    with pytest.raises(DataError, match='column "a": 1 missing'):
        load(write(pl.DataFrame({"a": [1, None, 2]}), "new.parquet"), encoding=TableEncoding.from_json(old))


MANY = range(40)
ASIDE = {
    "Unnamed: 0": ([7 * i for i in MANY], "a unique number in every row"),
    "PassengerId": ([i + 1 for i in MANY], "a unique number in every row"),
    "code": ([100 + i for i in MANY], "a unique number in every row"),
    "name": ([f"person {i}" for i in MANY], "text with 40 different values in 40 rows"),
    "one": ([3] * 40, "the same value in every row"),
    "word": (["same"] * 40, "the same value in every row"),
    "empty": ([None] * 40, "no values"),
    "blank": ([" "] * 40, "no values"),
}
KEPT = {
    "time": list(MANY),
    "year": [1980 + i for i in MANY],
    "amount": [3 * i % 41 for i in MANY],
    "city": [f"city {i % 20}" for i in MANY],
    "mostly": [3] * 39 + [None],
    "user": [i // 2 for i in MANY],
}


@pytest.mark.parametrize("name", ASIDE)
def test_columns_that_tell_nothing_are_set_aside_and_named(name, write):
    values, reason = ASIDE[name]
    source = load(write(table(**{name: values, "a": [i % 7 for i in MANY]})))
    assert source.train.features == ("a",)
    assert any(f'"{name}" ({reason})' in note for note in source.notes)


@pytest.mark.parametrize("name", KEPT)
def test_columns_that_may_tell_something_are_kept(name, write):
    source = load(write(table(**{name: KEPT[name], "a": [i % 7 for i in MANY]})))
    assert source.train.features[-1] == "a"
    assert len(source.train.features) > 1


def test_a_column_of_nan_has_no_values(write):
    source = load(write(table(a=[1.0, 2.0, 3.0], gone=[float("nan")] * 3), "table.parquet"))
    assert source.train.features == ("a",)


def test_the_only_column_is_kept_whatever_it_is(write):
    assert load(write(table(id=list(MANY)))).train.features == ("id",)


def test_the_person_decides(write):
    path = write(table(id=[i % 5 for i in MANY], zip=[i % 3 for i in MANY], note=[f"n{i}" for i in MANY]))
    assert load(path).train.features == ("id", "zip")
    assert load(path, ignore=["zip"]).train.features == ("id",)
    assert load(path, only=["zip"]).train.features == ("zip",)
    assert load(path, kinds={"zip": "category", "id": "ignore"}).train.features == ("zip=0", "zip=1", "zip=2")
    assert len(load(path, kinds={"note": "category"}).train.features) == 42
    assert load(path, text="bag").train.features == ("id", "zip")  # each note is one word: an id
    with pytest.raises(DataError, match='did you mean "zip"'):
        load(path, ignore=["zipp"])
    with pytest.raises(OptionError, match="kinds"):
        load(path, kinds={"zip": "colour"})
    with pytest.raises(DataError, match="dates"):
        load(path, kinds={"note": "date"})


def test_weeks_and_quarters_are_dates():
    for texts, days in (
        (["2024-W09", "2024-W10", "2025-W01"], [19779, 19786, 20087]),  # Mondays
        (["2024Q1", "2024 Q2", "2025-Q1"], [19723, 19814, 20089]),
    ):
        series = pl.Series("when", texts)
        assert days_of(series, find_pattern(series) or "").tolist() == days


MOMENT = datetime.datetime(2024, 2, 29, 13, 45, 30)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("pattern", [one for one in PATTERNS if "Q" not in one and "W" not in one])
def test_every_form_of_a_date_is_read(pattern):
    days = [MOMENT + datetime.timedelta(days=31 * i) for i in range(8)]
    written = [
        one.replace(tzinfo=datetime.UTC).strftime(pattern.replace("%.f", ".%f").replace("%#z", "%z"))
        for one in days
    ]
    series = pl.Series("when", written)
    column = find_column(series)
    assert column.kind == "date"
    has_time = "%H" in pattern or "%I" in pattern
    assert column.has_time == has_time
    found = find_pattern(series)
    assert found is not None
    whole = [one if has_time else one.replace(hour=0, minute=0) for one in days]
    whole = [one if "%S" in pattern else one.replace(second=0) for one in whole]
    whole = [one if "%d" in pattern else one.replace(day=1) for one in whole]
    expected = [(one - datetime.datetime(1970, 1, 1)).total_seconds() / 86400 for one in whole]
    np.testing.assert_allclose(days_of(series, found), expected, rtol=0, atol=1e-8)


def test_dates_become_numbers_with_their_meaning(write):
    days = [datetime.datetime(2024, month, 1, 6 * (month % 4)) for month in range(1, 13)]
    source = load(write(table(when=days), "table.parquet"))
    named = dict(zip(source.train.features, source.train.x.T, strict=True))
    assert list(named) == [
        f"when {part}"
        for part in (
            "days",
            "year",
            "month sin",
            "month cos",
            "weekday sin",
            "weekday cos",
            "hour sin",
            "hour cos",
        )
    ]
    elapsed = [(day - days[0]).total_seconds() / 86400 for day in days]
    np.testing.assert_allclose(named["when days"] - named["when days"][0], elapsed, atol=1e-4)
    assert set(named["when year"]) == {2024}
    for part, turns in (
        ("month", [(day.month - 1) / 12 for day in days]),
        ("weekday", [day.weekday() / 7 for day in days]),
        ("hour", [day.hour / 24 for day in days]),
    ):
        np.testing.assert_allclose(
            named[f"when {part} sin"], [math.sin(2 * math.pi * one) for one in turns], atol=1e-6
        )
        np.testing.assert_allclose(
            named[f"when {part} cos"], [math.cos(2 * math.pi * one) for one in turns], atol=1e-6
        )


def test_forty_dates_are_one_column_and_texts_like_dates_are_none(write):
    days = [str(datetime.date(2023, 1, 1) + datetime.timedelta(days=i)) for i in MANY]
    assert len(load(write(table(when=days))).train.features) == 6
    for texts in (["2-3", "4-5"], ["1.2.3", "2.3.4"], ["12.05.2020", "a"], ["2020-13-01", "2020-14-01"]):
        assert find_column(pl.Series("a", texts)).kind == "category"


def test_dates_of_two_readings_are_read_the_way_that_fits_them_all():
    assert find_pattern(pl.Series(["03/04/2024", "25/04/2024"])) == "%d/%m/%Y"
    assert find_pattern(pl.Series(["03/04/2024", "04/25/2024"])) == "%m/%d/%Y"
