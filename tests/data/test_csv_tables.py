"""CSV: separators and quotes, blank lines, header lines, and numbers as people write them."""

from __future__ import annotations

import pytest

from kilter.data import load
from kilter.data.csv import frame
from kilter.data.dataset import LoadOptions
from kilter.errors import DataError

PLAIN = [[1, 2], [2, 3]]


@pytest.mark.parametrize(
    "text",
    [
        "a,b,y\n1,2,u\n2,3,v\n\n",
        "\na,b,y\n\n1,2,u\n2,3,v",
        "a,b,y\r\n1,2,u\r\n\r\n2,3,v\r\n",
        "a,b,y\n1,2,u\n  \n2,3,v\n\n\n  ",
    ],
    ids=["at the end", "at the beginning", "of another system", "of blanks"],
)
def test_blank_lines_are_skipped(text, write):
    data = load(write(text)).train
    assert data.features == ("a", "b")
    assert data.x.tolist() == PLAIN


def test_rows_are_counted_without_blank_lines(write):
    data = load(write("a,b,y\n\n1,2,u\n\n2,3,\n3,4,v\n")).train
    assert data.skipped == ("1 row left out, in row 1",)


def test_a_line_of_separators_is_blank_and_that_is_said(write):
    source = load(write("a,b,y\n1,2,u\n2,3,v\n,,\n,,\n"))
    assert source.train.x.tolist() == PLAIN
    assert "2 rows without any entry are left out" in source.notes


def test_blank_lines_within_quotes_belong_to_their_field(write):
    data = load(write('a,text,y\n1,"p\n\nq",u\n\n2,r,v\n')).train
    assert data.features == ("a", "text=p\n\nq", "text=r")
    assert len(data) == 2


def test_a_file_of_blank_lines_is_empty(write):
    with pytest.raises(DataError, match="cannot be read"):
        load(write("\n\n  \n"))


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ('"a,b,c";"d";y', ("a,b,c", "d")),
        ('"a;b;c","d",y', ("a;b;c", "d")),
    ],
)
def test_separators_within_quotes_do_not_count(header, names, write):
    separator = header[-2]
    rows = "1 2 u\n2 3 v\n".replace(" ", separator)
    data = load(write(f"{header}\n{rows}")).train
    assert data.features == names
    assert data.x.tolist() == PLAIN


FILES_WITHOUT_A_HEADER = {
    "flowers": "5.1,3.5,setosa\n4.9,3.0,setosa\n6,2,virginica\n6,2.1,virginica\n",
    "a name that stands in no other row": "5.1,3.5,setosa\n6,2,virginica\n6,2.1,virginica\n",
    "whole numbers": "5,3,setosa\n4,3,setosa\n6,2,virginica\n",
    "the same number twice": "5,5,setosa\n4,3,setosa\n6,2,virginica\n",
    "negative numbers": "-5,3,first\n4,3,setosa\n6,2,virginica\n6,2,first\n",
    "a missing value": ",3,7,setosa\n4,3,9,setosa\n6,2,8,virginica\n",
    "text alone": "red,big,yes\nblue,big,yes\nred,small,no\nblue,big,no\n",
    "true and false": "true,3,setosa\nfalse,3,setosa\ntrue,2,virginica\n",
    "incomes": "39, State-gov, <=50K\n50, Private, >50K\n38, State-gov, <=50K\n",
    "messages": "ham\tsee you 0\n"
    + "".join(f"{'hs'[i % 2]}am\tso long {i}{' again' * (i % 3)}\n" for i in range(30)),
    "a sign for missing": "7,red,?,4\n6,blue,2.5,3\n5,red,1.5,2\n9,red,2,1\n",
    "numbers alone": "1,14.2,127\n2,13.2,100\n1,13.1,101\n2,14,105\n",
}


@pytest.mark.parametrize("case", FILES_WITHOUT_A_HEADER)
def test_a_first_line_that_is_a_row_is_read_as_one(case, write):
    text = FILES_WITHOUT_A_HEADER[case]
    target = "column_1" if case == "messages" else None
    source = load(write(text), target=target, task="classification" if case == "numbers alone" else "auto")
    rows = text.strip().split("\n")
    assert len(source.train) == len(rows)
    assert any("the file has no header" in note for note in source.notes)
    if target is None:  # new rows without the target, and a single one
        bare = ["".join(row.rpartition(",")[:1]) for row in rows]
        for some in (bare, bare[:1]):
            new = load(write("\n".join(some) + "\n", "new.csv"), encoding=source.encoding, unlabelled=True)
            assert new.train.x.tolist() == source.train.x[: len(some)].tolist()


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("0,1,y\n5,3,setosa\n4,3,virginica\n", ("0", "1")),
        ("2019,2020,price\n5,3,1.5\n4,3,2.5\n", ("2019", "2020")),
        (",a,y\n0,3,setosa\n1,4,virginica\n", ("", "a")),
        ("0.25,0.5,y\n1,2,0\n2,3,1\n3,4,0\n4,5,1\n", ("0.25", "0.5")),
        ("0,1,2,3\n5.5,3,1,2\n4,3,1,2.5\n4,1,2,1.5\n", ("0", "1", "2")),
        ("nan,inf,y\n1,2,0\n2,3,1\n3,4,0\n4,5,1\n", ("nan", "inf")),
    ],
)
def test_columns_may_be_called_by_numbers_where_another_is_not(text, features, write):
    assert load(write(text)).train.features == features


def test_a_note_tells_of_names_that_could_be_values(write):
    note = "the header has numbers as column names: 0, 1, y"
    assert note in load(write("0,1,y\n5,3,setosa\n4,3,virginica\n")).notes
    assert not any("numbers as column names" in line for line in load(write("a,b,y\n1,2,u\n2,3,v\n")).notes)


def test_the_columns_of_training_are_names_whatever_they_look_like(write):
    encoding = load(write("0.5,colour,y\n1,red,0\n2,blue,1\n3,red,0\n4,red,1\n")).encoding
    new = load(write("0.5,colour\n7,red\n", "new.csv"), encoding=encoding)
    assert new.train.x.tolist() == [[7, 0, 1]]
    with pytest.raises(DataError, match="what looks like a row"):
        load(write("0.7,red\n7,red\n", "bare.csv"), encoding=encoding)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("when\n2024-01-02 10:00\n2024-01-03 11:00\n2024-01-04 12:00\n", "when"),  # no two columns
        ("x\n3,866E-06\n4,1\n2,5\n", "x"),  # nor these
    ],
)
def test_a_single_column_of_blanks_or_decimal_commas_stays_one(text, column, write):
    assert frame(write(text), LoadOptions())[0].columns == [column]


LAYOUTS = {
    "as many decimal commas as semicolons": (
        "Lake report;;\nlake;a;y\n" + "".join(f"P{i};1,{i % 9};2,{i % 8}\n" for i in range(40)),
        ["lake", "a", "y"],
    ),
    "of R, with the names of the rows": (
        '"a" "y"\n"1" 5 "u"\n"2" 6 "v"\n"3" 7 "u"\n"4" 7 "u"\n',
        ["", "a", "y"],
    ),
    "in single quotes": ("'a','b','y'\n'1','2','u'\n'3','4','v'\n", ["a", "b", "y"]),
    "names of groups above": ("p,p,q\na,b,y\n1,2,u\n3,4,v\n5,6,u\n", ["a", "b", "y"]),
    "quotes in a name": ('"a ""big"" one",y\n1,u\n2,v\n', ['a "big" one', "y"]),
    "the header again": ("a,y\n1,u\n2,v\na,y\n3,u\n", ["a", "y"]),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_the_names_of_the_columns_are_found(case, write):
    text, names = LAYOUTS[case]
    table, _ = frame(write(text), LoadOptions())
    assert table.columns == names
    assert table["a" if "a" in names else names[0]].dtype.is_numeric()
