"""Kinds of tables and files with their right values: lists of labels, ids, a text alone, misnamed files."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest

from kilter.data import TableEncoding, load
from kilter.data.loading import contents
from kilter.errors import DataError

GENRES = ["War;Drama", "Drama", "War", "Drama; War;Action", "Action", None]


@pytest.mark.parametrize("separator", [";", "|", ","])
def test_each_label_of_a_list_is_a_feature(separator):
    entries = [one and one.replace(";", separator) for one in GENRES] * 4
    frame = pl.DataFrame({"genre": entries, "b": [1.5, 2.5] * 12, "y": ["u", "v"] * 12})
    source = load(frame)
    assert source.train.features == ("genre=Action", "genre=Drama", "genre=War", "genre missing", "b")
    expected = [[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert source.train.x[:6, :4].tolist() == expected
    assert any("each label in lists of labels has a feature" in note for note in source.notes)
    encoding = TableEncoding.from_json(source.encoding.to_json())
    new = load(pl.DataFrame({"genre": [f"War{separator}Crime"], "b": [1]}), encoding=encoding)
    assert new.train.x.tolist() == [[0, 0, 1, 0, 1]]
    assert any('1 value did not occur in training, such as "Crime"' in note for note in new.notes)
    lists = pl.DataFrame({"genre": [["War", "Drama"], [], ["War"]] * 8, "y": ["u", "v", "u"] * 8})
    assert load(lists).train.x[:2].tolist() == [[1, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    "entries",
    [["Berlin, Germany", "Paris, France", "Rome, Italy"], ["a, b and c", "a", "so"], ["x;", "y", "z"]],
)
def test_addresses_and_sentences_are_no_lists_of_labels(entries):
    source = load(pl.DataFrame({"a": entries * 8, "y": ["u", "v", "u"] * 8}))
    assert source.train.features == tuple(f"a={one}" for one in sorted(entries))


def test_targets_that_are_lists_of_labels_are_said():
    frame = pl.DataFrame({"a": range(12), "y": ["news;music", "news", "music"] * 4})
    assert any("each combination is a class of its own" in note for note in load(frame).notes)


def test_ids_keep_their_zeros_beside_the_answers(tmp_path):
    rows = [f"{i:04},{i % 7},{'uv'[i % 2]}\n" for i in range(30)]
    (tmp_path / "t.csv").write_text("customer_id,a,y\n" + "".join(rows))
    encoding = load(tmp_path / "t.csv").encoding
    (tmp_path / "new.csv").write_text("customer_id,a\n0007,1\n0010,2\n")
    new = load(tmp_path / "new.csv", encoding=encoding, keep_inputs=True)
    assert new.train.inputs["customer_id"].to_list() == ["0007", "0010"]


def test_a_text_alone_becomes_counts_of_words():
    texts = [f"win a prize {i}" if i % 2 else f"see you at home {i}" for i in range(30)]
    source = load(pl.DataFrame({"kind": ["spam", "ham"] * 15, "text": texts}), target="kind")
    assert {"text: prize", "text: home"} <= set(source.train.features)


def test_a_sign_for_missing_in_the_target_is_said_and_then_missing():
    frame = pl.DataFrame({"a": range(30), "co": [-200.0 if i % 9 == 0 else i / 10 for i in range(30)]})
    assert any("-200 may stand for missing in the target" in note for note in load(frame).notes)
    source = load(frame, missing=["co=-200"], skip_bad=True)
    assert len(source.train) == 26
    assert len(load(frame, encoding=source.encoding, skip_bad=True).train) == 26


FRAME = pl.DataFrame({"a": [1.5, 2.5, 3.5, 4.5], "y": ["u", "v", "u", "v"]})


def _written(write) -> bytes:
    content = io.BytesIO()
    write(content)
    return content.getvalue()


MISNAMED = {
    "t.csv": _written(FRAME.write_parquet),
    "t.txt": _written(lambda file: FRAME.write_ipc(file)),
    "t.xlsx": FRAME.write_csv().encode(),
    "t.xls": FRAME.write_csv(separator="\t").encode(),
    "t.parquet": _written(lambda file: FRAME.write_ipc(file)),
    "table": _written(FRAME.write_parquet),
}


@pytest.mark.parametrize("name", MISNAMED)
def test_a_file_with_the_wrong_ending_is_known_by_its_content(name, tmp_path):
    (tmp_path / name).write_bytes(MISNAMED[name])
    source = load(tmp_path / name)
    assert source.train.x[:, 0].tolist() == [1.5, 2.5, 3.5, 4.5]
    assert contents(tmp_path / name) == "table"


def test_a_picture_with_the_ending_of_a_table_is_a_picture(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\x89PNG\r\n")
    assert contents(tmp_path / "t.csv") == "images"
    with pytest.raises(DataError, match="kilter predict takes a single picture"):
        load(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "said"), [("t.dta", "read_stata"), ("t.mat", "numpy.savez"), ("t.svm", "load_svmlight_file")]
)
def test_files_of_other_programs_say_how_to_convert_them(name, said, tmp_path):
    (tmp_path / name).write_bytes(b"\x00\x01")
    with pytest.raises(DataError) as refused:
        load(tmp_path / name)
    assert said in refused.value.remedy


def test_bytes_that_are_no_pictures_are_a_column_of_a_table(tmp_path):
    frame = FRAME.with_columns(blob=pl.Series([b"\0\1"] * 4))
    frame.write_parquet(tmp_path / "t.parquet")
    source = load(tmp_path / "t.parquet", target="y")
    assert contents(tmp_path / "t.parquet") == "table"
    assert source.train.features == ("a",)
    assert any('"blob" (bytes)' in note for note in source.notes)
    np.testing.assert_array_equal(source.train.x[:, 0], FRAME["a"])


BLUE = "'dark blue'"
WEKA = """% made by hand
@RELATION r
@attribute 'sepal length' numeric
@ATTRIBUTE colour {red,'dark blue'}
@attribute class {u,v}

@DATA
% rows
"""


def test_a_file_of_weka_is_a_table(tmp_path):
    path = tmp_path / "t.arff"
    rows = [f"{'?' if i == 7 else i / 2},{'red' if i % 2 else BLUE},{'uv'[i % 2]}\n" for i in range(30)]
    path.write_text(WEKA + "".join(rows))
    train = load(path).train
    assert train.features == ("sepal length", "sepal length missing", "colour=dark blue", "colour=red")
    assert (train.classes, len(train)) == (("u", "v"), 30)


ATTRIBUTES = "@RELATION t\n@ATTRIBUTE 'a b' STRING\n@ATTRIBUTE c {x,y}\n@DATA\n"


def test_quoted_fields_of_arff_are_read(tmp_path):
    path = tmp_path / "t.arff"
    path.write_text(ATTRIBUTES + "'it, is',x\n'b c',y\n" * 5)
    train = load(path).train
    assert (len(train), train.classes) == (10, ("x", "y"))
    assert set(train.features) == {"a b=it, is", "a b=b c"}


def test_sparse_arff_is_refused(tmp_path):
    path = tmp_path / "t.arff"
    path.write_text(ATTRIBUTES + "{0 b, 1 y}\n{0 c}\n" * 5)
    with pytest.raises(DataError, match="sparse rows"):
        load(path)


def test_blank_lines_take_no_time(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\n" * 500 + "a,b\n" + "1.5,2\n3,4\n" * 10)  # twice as long with each line, once
    assert len(load(path).train) == 20
