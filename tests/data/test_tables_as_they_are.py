"""What stands for missing, long tails, rare categories, texts, new data unlike the training, leaks, time."""

import datetime

import numpy as np
import polars as pl
import pytest

from kilter.data import TableEncoding, load, split
from kilter.data.relations import leak_notes, related_features
from kilter.data.survey import survey
from kilter.errors import DataError, OptionError
from kilter.recipe import parse_recipe
from kilter.runs.recipe_data import read_source

ROWS = 200
RNG = np.random.default_rng(0)
NORMAL = RNG.normal(50, 10, ROWS).round(1)
DAYS = [str(datetime.date(2024, 1, 1) + datetime.timedelta(days=i)) for i in range(ROWS)]


def written(path, **columns):
    rows = len(next(iter(columns.values())))
    columns.setdefault("y", [0.5 + i for i in range(rows)])
    pl.DataFrame(columns, strict=False).write_csv(path)
    return path


def with_some(values, sign, every=10):
    return [sign if i % every == 3 else value for i, value in enumerate(values)]


# Entries, and what the note calls the suspicious one; None: no note.
SIGNS = {
    "-999": (with_some(NORMAL.tolist(), -999), "-999"),
    "9999": (with_some(range(ROWS), 9999), "9999"),
    "-200 of a sensor": (with_some((NORMAL / 10).tolist(), -200), "-200"),
    "-1 among counts": (with_some([i % 40 for i in range(ROWS)], -1), "-1"),
    "0 where no 0 can be": (with_some(NORMAL.tolist(), 0), "0"),
    "a first day of all days": (with_some(DAYS, "1900-01-01"), "1900-01-01"),
    "a word": (with_some(["a", "b"] * 100, "unknown"), "unknown"),
    "normal numbers": (NORMAL.tolist(), None),
    "counts with zeros": ([i % 7 for i in range(ROWS)], None),
    "true and false": ([i % 2 for i in range(ROWS)], None),
    "mostly zeros": ([0 if i % 5 else 100 + i for i in range(ROWS)], None),
    "one outlier": ([*NORMAL.tolist()[1:], 900.0], None),
}


@pytest.mark.parametrize("case", SIGNS)
def test_entries_that_may_mean_missing_are_named_and_one_word_says_so(case, tmp_path):
    values, sign = SIGNS[case]
    path = written(tmp_path / "t.csv", a=values)
    found = [note for note in load(path).notes if "may stand for missing" in note]
    assert len(found) == (sign is not None)
    if sign is None:
        return
    assert f'--missing="a={sign}"' in found[0]  # in this column alone
    for words in (sign, f"a={sign}"):
        source = load(path, missing=[words])
        indicator = source.train.features.index("a missing")
        assert source.train.x[:, indicator].sum() == sum(str(value) == sign for value in values)
        again = load(path, encoding=TableEncoding.from_json(source.encoding.to_json()))
        np.testing.assert_array_equal(again.train.x, source.train.x)
    assert "a missing" not in load(path, missing=[f"y={sign}"]).train.features


TAILS = {
    "log-normal": (np.exp(RNG.normal(0, 1.5, ROWS)), True),
    "with -999": (np.array(with_some(NORMAL.tolist(), -999.0)), True),
    "normal": (NORMAL, False),
    "exponential": (RNG.exponential(1, ROWS), False),
    "flags": (np.arange(ROWS) % 2, False),
    "one value but for a few": (np.where(np.arange(ROWS) % 50 == 0, 3.0, 0.0), False),
}


@pytest.mark.parametrize("case", TAILS)
def test_long_tails_are_compressed_and_can_be_restored(case, tmp_path):
    values, compressed = TAILS[case]
    path = written(tmp_path / "t.csv", a=values)
    source = load(path)
    column = source.encoding.columns[0]
    assert column.compressed == compressed
    restored = [column.restored(float(one)) for one in source.train.x[:, 0]]
    np.testing.assert_allclose(restored, values, rtol=1e-5, atol=1e-5)
    assert compressed == (np.ptp(source.train.x[:, 0]) < 0.9 * np.ptp(values))
    assert not load(path, center=False).encoding.columns[0].compressed


def test_a_code_for_missing_is_said_and_not_called_a_long_tail(tmp_path):
    notes = load(written(tmp_path / "t.csv", a=with_some(NORMAL.tolist(), -999))).notes
    assert [note[:22] for note in notes if "-999" in note or "asinh" in note] == ["-999 may stand for mis"]


# Entries, the categories that they are, and a new spelling of the last one.
SPELLINGS = {
    "cases": (["pro", "PRO", " pro ", "free", "Free", "free"], ("free", "pro"), "Pro"),
    "codes": (["1a", "1A", "1a", "2b"], ("1a", "2b"), "2B"),
    "single letters": (["a", "A"], ("A", "a"), "a"),
}


@pytest.mark.parametrize("case", SPELLINGS)
def test_categories_in_several_cases_are_one(case, tmp_path):
    entries, categories, new = SPELLINGS[case]
    path = written(tmp_path / "t.csv", c=[entries[i % len(entries)] for i in range(60)])
    source = load(path)
    assert source.encoding.columns[0].categories == categories
    said = [note for note in source.notes if "upper and lower case" in note]
    assert len(said) == (case != "single letters")
    np.testing.assert_array_equal(load(path, encoding=source.encoding).train.x, source.train.x)
    again = load(written(tmp_path / "n.csv", c=[new]), encoding=source.encoding)
    assert again.train.x.tolist() == [[0, 1]]


def test_rare_categories_share_a_feature_with_those_that_are_new(tmp_path):
    values = ["u"] * 120 + ["v"] * 76 + ["r", "s", "t", None]
    encoding = load(written(tmp_path / "t.csv", c=values)).encoding
    assert encoding.features == ("c=u", "c=v", "c other", "c missing")
    new = load(written(tmp_path / "n.csv", c=["u", "s", "w", None]), encoding=encoding)
    assert new.train.x.argmax(axis=1).tolist() == [0, 2, 2, 3]
    assert [note for note in new.notes if "1 value did not occur in training, such as" in note]


@pytest.mark.parametrize("how", ["hash", "bag"])
def test_words_become_features_on_request(how, tmp_path):
    texts = [
        f"Order {i}: the {'red' if i % 2 else 'blue'} one, {'red' if i % 2 else 'blue'}" for i in range(30)
    ]
    path = written(tmp_path / "t.csv", a=NORMAL[:30], t=[*texts[:29], None])
    assert load(path).train.features == ("a",)
    source = load(path, text=how)
    np.testing.assert_array_equal(load(path, kinds={"t": "text"}, text=how).train.x, source.train.x)
    assert len(source.train.features) == (258 if how == "hash" else 1 + 5 + 1)
    if how == "bag":
        assert source.encoding.columns[1].categories == ("blue", "one", "order", "red", "the")
        np.testing.assert_allclose(source.train.x[:2, 1:], np.log1p([[2, 1, 1, 0, 1, 0], [0, 1, 1, 2, 1, 0]]))
    assert source.train.x[29, 1:].tolist() == [0] * (len(source.train.features) - 2) + [1]


def test_the_median_is_that_of_the_training_part(tmp_path):
    ages = [10.0] * 50 + [None] * 50 + [90.0] * 100
    source = load(written(tmp_path / "t.csv", a=ages, when=[None, *DAYS[1:]]))
    parts = split(source, validation=100, seed=0)
    assert source.train.x[60, 0] == 90
    assert parts.encoding.columns[0].fill == 90
    parts = split(source, validation=None, test=100)
    assert parts.encoding.columns[0].fill == 10
    assert set(parts.train.x[50:, 0]) == {10}
    assert source.train.x[60, 0] == 90  # the source is as it was
    assert parts.train.x[0, 2] == np.median(parts.train.x[1:, 2])


def test_the_latest_rows_are_held_out_by_time(tmp_path):
    order = np.random.default_rng(1).permutation(ROWS)
    source = load(written(tmp_path / "t.csv", when=[DAYS[i] for i in order], a=order.tolist()), target="a")
    assert any("split=time" in note for note in source.notes)
    data = {"source": str(tmp_path / "t.csv"), "target": "a", "split": "time"}
    recipe = parse_recipe({"data": data, "model": {"builder": "mlp", "hidden": [4]}})
    assert not any("split=time" in note for note in read_source(recipe, None).notes)
    parts = split(source, validation=0.1, test=20, by="time")
    assert sorted(parts.test.y) == list(range(180, 200))
    assert sorted(parts.validation.y) == list(range(160, 180))
    with pytest.raises(OptionError, match="column of dates"):
        split(load(written(tmp_path / "n.csv", a=NORMAL.tolist())), by="time")


TRAINING = {"n": NORMAL.tolist(), "m": NORMAL.tolist(), "c": ["u", "v"] * 100, "d": DAYS}
NEW = {
    "a number far outside": ({"n": [500.0]}, 'column "n": 1 value is far outside'),
    "a number near the range": ({"n": [float(NORMAL.max()) + 1]}, None),
    "a later day": ({"d": ["2026-01-01"]}, "outside the range of training, 2024-01-01 to 2024-07-18"),
    "an unknown category": ({"c": ["w"]}, 'column "c": 1 value did not occur in training, such as "w"'),
    "words in a column of numbers": ({"n": [1.5, "high"]}, 'entry is not a number, such as "high"'),
    "days written otherwise": ({"d": ["31.01.2024"]}, None),
    "a column that is not there": ({"m": None}, 'absent, so missing in every row: column "m"'),
    "a column of numbers as text": ({"n": ["45.5 "]}, None),
}


@pytest.mark.parametrize("case", NEW)
def test_new_data_unlike_the_training_are_answered_and_counted(case, tmp_path):
    encoding = load(written(tmp_path / "t.csv", **TRAINING)).encoding
    change, said = NEW[case]
    rows = max(len(values or [0]) for values in change.values())
    frame = {name: values[:rows] for name, values in TRAINING.items()} | change
    frame = {name: values for name, values in frame.items() if values is not None}
    source = load(written(tmp_path / "n.csv", **frame), encoding=encoding, unlabelled=True)
    notes = [note for note in source.notes if said and said in note]
    assert len(notes) == (said is not None), source.notes
    if said is None:
        assert not source.notes


@pytest.mark.parametrize("absent", [["n", "m"], ["n", "m", "c", "d"]])
def test_a_file_without_half_of_the_columns_is_another_one(absent, tmp_path):
    encoding = load(written(tmp_path / "t.csv", **TRAINING)).encoding
    new = written(tmp_path / "n.csv", other=[1], **{k: v[:1] for k, v in TRAINING.items() if k not in absent})
    with pytest.raises(DataError, match="no column"):
        load(new, encoding=encoding, unlabelled=True)


LEAKS = {
    "the target in words": (lambda y: np.where(y == 1, "closed", "open"), True),
    "a number that only leavers have": (lambda y: np.where(y == 1, RNG.uniform(1, 9, ROWS), 0), True),
    "a good but honest feature": (lambda y: y + RNG.normal(0, 0.5, ROWS), False),
    "noise": (lambda y: RNG.normal(0, 1, ROWS), False),
}


@pytest.mark.parametrize("case", LEAKS)
def test_a_column_that_gives_the_target_away_is_named(case, tmp_path):
    y = RNG.integers(0, 2, ROWS)
    make, leaks = LEAKS[case]
    source = load(written(tmp_path / "t.csv", a=make(y), b=NORMAL, y=y))
    found = leak_notes(source.train, source.encoding)
    assert bool(found) == leaks
    assert not leaks or '"a"' in found[0]
    assert bool(survey(tmp_path / "t.csv").problems) == leaks


@pytest.mark.parametrize(("noise", "leaks"), [(0.07, True), (0.3, False)])
def test_a_second_target_is_named_as_a_leak_of_numbers(noise, leaks, tmp_path):
    other = RNG.normal(0, 1, ROWS)
    y = other + RNG.normal(0, noise, ROWS)
    source = load(written(tmp_path / "t.csv", a=other, b=NORMAL, y=y))
    assert bool(leak_notes(source.train, source.encoding)) == leaks


def test_related_features_are_few_of_many_and_all_without_any(tmp_path):
    y = np.repeat([0, 1], 20)
    x = np.random.default_rng(3).normal(size=(40, 400))
    x[:, :5] += 2.5 * y[:, None]
    table = written(tmp_path / "t.csv", **{f"g{i}": x[:, i] for i in range(400)}, y=y)
    kept = related_features(load(table).train)
    assert kept[:5].all()
    assert kept.sum() < 10
    noise = written(tmp_path / "n.csv", **{f"g{i}": x[:, i] for i in range(5, 60)}, y=y)
    assert related_features(load(noise).train).all()


def test_a_survey_counts_and_names_candidates(tmp_path):
    found = survey(written(tmp_path / "t.csv", a=[1, 2, None, 2] * 10, Outcome=["u", "v"] * 20, z=["k"] * 40))
    by_name = {one.name: one for one in found.columns}
    assert (by_name["a"].missing, by_name["a"].distinct, by_name["a"].shown) == (10, 2, "1 to 2")
    assert (by_name["z"].use, by_name["Outcome"].shown) == ("not used", "u, v")
    assert found.candidates[0] == "y" or found.candidates[0] == "Outcome"
