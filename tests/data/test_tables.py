"""Tables: which column is the target, which task, how columns become numbers, and how that is kept."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kilter.data import TableEncoding, load
from kilter.data.columns import MAX_CATEGORIES, Column
from kilter.data.labels import MAX_CLASSES_AUTO
from kilter.errors import DataError

HOUSES = """area,colour,garden,price
50,red,true,100.5
80.5,blue,false,200
20, red ,true,50
70,green,false,175
"""


def test_columns_become_numbers(write):
    source = load(write(HOUSES))
    data = source.train
    assert data.features == ("area", "colour=blue", "colour=green", "colour=red", "garden")
    assert data.task == "regression"
    assert data.outputs == 1
    expected = [[50, 0, 0, 1, 1], [80.5, 1, 0, 0, 0], [20, 0, 0, 1, 1], [70, 0, 1, 0, 0]]
    np.testing.assert_array_equal(data.x, np.array(expected, np.float32))
    np.testing.assert_array_equal(data.y, np.array([100.5, 200, 50, 175], np.float32))
    assert 'the target is column "price" (the last column)' in source.notes[0]


def test_encoding_survives_json_and_reads_a_new_file(write):
    kept = load(write(HOUSES)).encoding
    assert kept is not None
    encoding = TableEncoding.from_json(kept.to_json())
    assert encoding == kept
    new = load(
        write("note,garden,colour,area\nx,false,purple,1\ny,true,blue,2\n", "new.csv"), encoding=encoding
    )
    np.testing.assert_array_equal(new.train.x, np.array([[1, 0, 0, 0, 0], [2, 1, 0, 0, 1]], np.float32))
    assert new.train.y is None
    assert new.train.task == "regression"


def test_a_category_that_looks_like_a_number_keeps_its_text(write):
    encoding = load(write("code,y\n01,a\nx2,b\nz,a\n1,b\n")).encoding
    new = load(write("code\n01\n01\n1\n", "new.csv"), encoding=encoding)
    assert new.train.features == ("code=01", "code=1", "code=x2", "code=z")
    assert new.train.x.argmax(axis=1).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", '{"version": 2}', '{"version": 1, "columns": 3}', "[" * 5000, "\x00"],
)
def test_damaged_encodings_are_data_errors(text):
    with pytest.raises(DataError, match="encoding"):
        TableEncoding.from_json(text)


def test_every_part_of_an_encoding_is_checked():
    good = TableEncoding((Column("a", "category", ("x",)),), "y", "classification", ("0", "1")).to_json()
    for old, new in (
        ('"category"', '"colour"'),
        ('"classification"', '"ranking"'),
        ('"y"', "7"),
        ('"x"', "null"),
        ('"0"', "0"),
    ):
        assert old in good
        with pytest.raises(DataError):
            TableEncoding.from_json(good.replace(old, new))


@pytest.mark.parametrize(
    ("header", "target"),
    [("a,Label,b", "Label"), ("class,a,target", "target"), ("y,a,b", "y"), ("a,b,c", "c")],
)
def test_the_target_is_found_by_name_or_is_the_last_column(header, target, write):
    source = load(write(f"{header}\n1,2,3\n2,3,4\n1,2,3\n2,3,4\n"))
    assert source.encoding is not None
    assert source.encoding.target == target
    assert f'"{target}"' in source.notes[0]


def test_a_wrong_target_suggests_the_near_one(write):
    with pytest.raises(DataError, match='did you mean "price"'):
        load(write(HOUSES), target="prize")


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["b", "a"] * 10, "classification", ("a", "b")),
        ([True, False] * 10, "classification", ("false", "true")),
        ([10, 9] * 10, "classification", ("9", "10")),
        ([1.0, 0.0] * 10, "classification", ("0", "1")),
        ([-1, 1] * 10, "classification", ("-1", "1")),
        ([0.5, 1.0] * 10, "regression", ()),
        (list(range(MAX_CLASSES_AUTO)) * 2, "classification", tuple(map(str, range(MAX_CLASSES_AUTO)))),
        (list(range(MAX_CLASSES_AUTO + 1)) * 2, "regression", ()),
        ([1, 2, 3, 4, 5, 6, 7], "regression", ()),
        (list(range(80, 100)) * 2, "regression", ()),  # points
        ([*list(range(18)) * 2, 18], "regression", ()),  # a grade that one row has
        ([3, 4, 5, 6, 7, 8] * 2, "classification", tuple("345678")),
        ([str(i * 7) for i in range(40)], "regression", ()),
        ([str(i) for i in range(100, 125)] * 2, "classification", tuple(map(str, range(100, 125)))),
    ],
)
def test_the_rule_for_the_task(values, task, classes, tmp_path):
    path = tmp_path / "table.parquet"
    pl.DataFrame({"a": [float(i) for i in range(len(values))], "y": values}).write_parquet(path)
    data = load(path).train
    assert data.task == task
    assert data.classes == classes
    if classes:
        assert [data.classes[i] for i in data.y] == [str(v).lower().removesuffix(".0") for v in values]


def test_a_task_that_is_asked_for_wins_where_it_is_possible(write):
    path = write("a,y\n1,3\n2,4\n3,3\n4,4\n")
    assert load(path, task="regression").train.y.dtype == np.float32
    assert load(path, task="classification").train.classes == ("3", "4")
    with pytest.raises(DataError, match="text"):
        load(write("a,y\n1,p\n2,q\n", "t.csv"), task="regression")
    with pytest.raises(DataError, match="fractions in row 1"):
        load(write("a,y\n1,1\n2,1.5\n", "f.csv"), task="classification")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,y\n1,2,\n1,2,\n3,4,\n4,4,1\n", 'target column "y": 3 missing or NaN in rows 0, 1, 2'),
        ("a,y\n1,0\n2,0\n", "one class only"),
        ("y\n0\n1\n", 'the column "y" and no other'),
        ("a,y\n,0\n,1\n", '"a" (no values)'),
        ("a,y\n0,\n1,\n", "all missing"),
        ("1,2\n3,4\n5,6\n", "only numbers"),
        ("a,b,y\n1,2,3,4,5\n", "line 2 has 5 fields, the header 3"),
        ('a,b\n"open,1\n2,3\n', "cannot be read"),
        ("a,y\n1,1e300\n2,0.5\n", "1 infinite values in the targets"),
        ("a,y\n10%,0\n0.1,1\n20%,0\n", '"10%", "20%" in rows 0, 2'),
        ("a,y\n$5,0\n€6,1\n", '"$5", "€6"'),
        ("a,y\nUSD 5,0\nEUR 6,1\n", '"USD 5", "EUR 6"'),
        ('a,y\n"1,5",0\n2.5,1\n', '"1,5" in row 0'),
        ("a;b;y\n1,5;2;0\n2.5;3;1\n", '"1,5" in row 0'),
        ("a;y\n1.000,5;0\n1,000.5;1\n", '"1.000,5", "1,000.5"'),
        ("a,y\n1,10%\n2,20%\n3,30%\n4,few\n5,few\n6,few\n7,few\n", 'column "y"'),
    ],
)
def test_tables_that_cannot_be_trained_on(text, words, write):
    with pytest.raises(DataError) as caught:
        load(write(text))
    assert words in caught.value.received or words in caught.value.expected


def test_bad_rows_are_left_out_on_request(write):
    data = load(write("a,b,y\n1,u,0\n2,u,\n3,u,0\n4,v,\n5,v,1\n6,u,1\n"), skip_bad=True).train
    assert data.x[:, 0].tolist() == [1, 3, 5, 6]
    assert data.y.tolist() == [0, 0, 1, 1]
    assert data.skipped == ("2 rows left out, in rows 1, 3",)


@pytest.mark.parametrize("entry", ["inf", "-inf", "1e300", "Infinity"])
def test_numbers_that_float32_cannot_represent_count_as_missing(entry, write):
    source = load(write(f"a,y\n1,0\n{entry},1\n3,0\n5,1\n"))
    assert source.train.features == ("a", "a missing")
    assert source.train.x.tolist() == [[1, 0], [3, 1], [3, 0], [5, 0]]
    assert any(
        'column "a": 1 value is infinite or too large: it counts as missing' in n for n in source.notes
    )
    new = load(write(f"a\n{entry}\n2\n", "new.csv"), encoding=source.encoding)
    assert new.train.x.tolist() == [[3, 1], [2, 0]]
    assert any("infinite or too large" in note for note in new.notes)


def test_a_few_words_among_numbers_are_missing_and_that_is_said(write):
    source = load(write("a,y\n1,0\n2,1\n3,0\nfour,1\n5,0\n"))
    assert source.train.x.tolist() == [[1, 0], [2, 0], [3, 0], [2.5, 1], [5, 0]]
    assert any('1 entry is not a number, such as "four"' in note for note in source.notes)


def test_many_categories_are_no_feature_unless_asked_for(write):
    rows = "".join(f"name{i},{i % 3},{i % 2}\n" for i in range(MAX_CATEGORIES + 1))
    path = write("who,a,y\n" + rows)
    assert load(path).train.features == ("a",)
    kept = load(path, kinds={"who": "category"}).train  # the rarest share a feature
    assert (len(kept.features), kept.features[MAX_CATEGORIES - 1]) == (MAX_CATEGORIES + 1, "who other")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_are_told_by_the_header(separator, write):
    expected = load(write(HOUSES)).train
    np.testing.assert_array_equal(load(write(HOUSES.replace(",", separator), "s.csv")).train.x, expected.x)


def test_lists_are_no_feature(tmp_path):
    path = tmp_path / "table.parquet"
    columns = [pl.Series("when", [[1], [2]]), pl.Series("a", [1, 2]), pl.Series("y", [0.5, 1.5])]
    pl.DataFrame(columns).write_parquet(path)
    source = load(path)
    assert source.train.features == ("a",)
    assert any('"when" (lists)' in note for note in source.notes)


def test_a_new_file_must_have_the_columns_and_classes_of_training(write):
    encoding = load(write("age,y\n1,no\n2,yes\n")).encoding
    with pytest.raises(DataError, match='did you mean "Age"'):
        load(write("Age\n1\n", "b.csv"), encoding=encoding)
    with pytest.raises(DataError, match='"maybe", in row 1'):
        load(write("age,y\n1,no\n2,maybe\n", "c.csv"), encoding=encoding)


@pytest.mark.parametrize(
    ("kind", "values"),
    [("y", ["", ""]), ("y", ["perhaps", "no"]), ("paid", ["", ""]), ("paid", ["much", "2"])],
)
def test_targets_that_prediction_cannot_use_are_left_aside(kind, values, write):
    encoding = load(write("age,y\n1,no\n2,yes\n" if kind == "y" else "age,paid\n1,0.5\n2,1.5\n")).encoding
    new = write(f"age,{kind}\n1,{values[0]}\n2,{values[1]}\n", "new.csv")
    data = load(new, encoding=encoding, unlabelled=True).train
    assert data.x.tolist() == [[1], [2]]
    assert data.y is None
    with pytest.raises(DataError):
        load(new, encoding=encoding)


def test_a_new_file_may_call_the_target_otherwise(write):
    encoding = load(write("age,y\n1,no\n2,yes\n")).encoding
    new = write("truth,age,y\nyes,5,no\nno,6,no\n", "new.csv")
    assert load(new, encoding=encoding, target="truth").train.y.tolist() == [1, 0]
    assert load(new, encoding=encoding).train.y.tolist() == [0, 0]
    with pytest.raises(DataError, match='did you mean "truth"'):
        load(new, encoding=encoding, target="thruth")
    with pytest.raises(DataError, match="target='age', one of the 1 columns it was trained on"):
        load(new, encoding=encoding, target="age")


def test_parquet_shards_and_their_test_part(tmp_path):
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "y": ["p", "q", "p", "q"]})
    frame[:2].write_parquet(tmp_path / "train-0.parquet")
    frame[2:].write_parquet(tmp_path / "train-1.parquet")
    frame[1:3].write_parquet(tmp_path / "test-0.parquet")
    frame[:1].write_parquet(tmp_path / "validation-0.parquet")
    source = load(tmp_path)
    assert source.train.x[:, 0].tolist() == [1, 2, 3, 4]
    assert source.test is not None
    assert source.test.y.tolist() == [1, 0]
    assert source.validation.y.tolist() == [0]
    frame[:1].write_parquet(tmp_path / "other-0.parquet")
    assert load(tmp_path).notes[0] == "not read: other-0.parquet"


# Categories and classes of training, and how a new file may write them; None: it is refused.
WRITTEN_OTHERWISE = [
    (["1", "2", "a", "b"], pl.Series([1, 2]), [0, 1]),
    (["1", "2", "a", "b"], pl.Series([1.0, 2.0]), [0, 1]),
    (["01", "2", "a", "b"], pl.Series(["01", " 2 "]), [0, 1]),
    (["a", "b"], pl.Series(["b", "a"], dtype=pl.Categorical), [1, 0]),
    (["a", "b"], pl.Series([0, 1]), None),
    (["a", "b"], pl.Series(["0", "1"]), None),
]


@pytest.mark.parametrize(("categories", "new", "codes"), WRITTEN_OTHERWISE)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_categories_are_known_again_in_another_type(categories, new, codes, suffix, tmp_path):
    rows = pl.DataFrame({"c": categories * 4, "y": ["u", "v"] * (2 * len(categories))})
    rows.write_parquet(tmp_path / "rows.parquet")
    encoding = load(tmp_path / "rows.parquet").encoding
    path, frame = tmp_path / f"new{suffix}", pl.DataFrame({"c": new})
    frame.write_csv(path) if suffix == ".csv" else frame.write_parquet(path)
    if codes is None:
        with pytest.raises(DataError, match='column "c": "a", "b"'):
            load(path, encoding=encoding)
    elif suffix == ".csv" and new.dtype.is_float():
        pytest.skip("text from a file: 1.0 is not the text 1")
    else:
        assert load(path, encoding=encoding).train.x.argmax(axis=1).tolist() == codes


def test_a_class_that_looks_like_a_number_keeps_its_text(write):
    encoding = load(write("a,y\n1,01\n2,x\n3,01\n")).encoding
    assert load(write("a,y\n1,01\n2,01\n", "new.csv"), encoding=encoding).train.y.tolist() == [0, 0]
