"""CSV: separators and quotes, blank lines, header lines, and numbers as people write them."""

from __future__ import annotations

import pytest

from kilter.data import load
from kilter.errors import DataError


@pytest.fixture
def write(tmp_path):
    def write_text(text: str, name: str = "table.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return write_text


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
    with pytest.raises(DataError, match='column "b": 1 missing or NaN in row 1'):
        load(write("a,b,y\n\n1,2,u\n\n2,,v\n3,4,u\n"))


def test_a_line_of_missing_values_is_no_blank_line(write):
    with pytest.raises(DataError, match='column "a": 1 missing or NaN in row 2'):
        load(write("a,b,y\n1,2,u\n2,3,v\n,,\n"))


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
