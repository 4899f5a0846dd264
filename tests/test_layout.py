"""Text and tables laid out for a width: no word is cut, no line of several words is too wide."""

import doctest
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter import _layout
from kilter._layout import columns, table, wrapped
from kilter._text import printable

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
TEXTS = st.lists(WORDS, min_size=1, max_size=12).map(" ".join)


def test_examples():
    found = doctest.testmod(_layout)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("width", range(12, 90))
def test_a_number_stays_beside_its_unit(width):
    text = "gains 66.7 % (40.8 to 85.1 %) of the way in 2 min 5 s, with 3 MB, after 12 ms"
    lines = [
        *wrapped(text, width),
        *table(["what", "how much"], [["all", text], ["some", text]], width=width),
    ]
    assert not [line for line in lines if line.split()[0].strip(",)") in ("%", "min", "s", "MB", "ms")]


@given(st.lists(WORDS, min_size=1), st.sampled_from([" ", "  "]), st.integers(10, 120))
def test_wrapped_lines_keep_every_word_and_the_width(words, gap, width):
    lines = wrapped(gap.join(words), width, indent="  ")
    assert " ".join(lines).split() == words
    assert all(len(line) <= width or len(line.split()) == 1 for line in lines)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=4), st.integers(20, 120))
def test_a_table_keeps_every_word_and_the_width(rows, width):
    lines = table(("name", "a value", "note"), rows, right=(1,), width=width)
    shown = " ".join(lines).split()
    for word in " ".join(cell for row in rows for cell in row).split():
        assert word in shown or f"{word}," in shown
    assert all(len(line) <= width or len(line.split()) == 1 for line in lines)


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_a_table_of_any_width_keeps_every_row_on_one_line(rows):
    lines = table(("a", "b"), rows)
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)
    assert printable(rows[0][0]).strip() in lines[1]


@pytest.mark.parametrize(
    ("environment", "terminal", "expected"),
    [
        ({"COLUMNS": "40"}, False, 40),
        ({"COLUMNS": "0"}, False, None),
        ({}, False, None),
        ({"COLUMNS": "72"}, True, 72),
    ],
)
def test_the_columns_of_a_stream(monkeypatch, environment, terminal, expected):
    monkeypatch.delenv("COLUMNS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    assert columns(stream) == expected
