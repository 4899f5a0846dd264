"""Text and numbers as they are printed: the examples, and no control character whatever comes in."""

import doctest
import math

from hypothesis import given
from hypothesis import strategies as st

from kilter.cli import words
from kilter.words import duration


def test_examples():
    found = doctest.testmod(words)
    assert found.attempted > 0
    assert found.failed == 0


@given(st.text())
def test_printable_text_has_no_control_character_and_plain_text_stays(text):
    shown = words.printable(text)
    assert shown.isprintable()
    assert words.printable(shown) == shown


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_a_table_keeps_every_row_on_one_line(rows):
    lines = words.table(("a", "b"), rows)
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)


@given(st.floats(-1e300, 1e300))
def test_a_number_keeps_three_digits(value):
    assert math.isclose(float(words.number(value)), value, rel_tol=1e-3)


@given(st.floats(0, 1e7))
def test_a_duration_grows_with_time(seconds):
    assert duration(seconds)[0].isdigit()


def test_measures_that_are_not_finite():
    assert words.measures({"loss": math.nan, "val_loss": math.inf}) == "loss nan  val_loss inf"


def test_measures_too_small_for_four_decimals():
    assert words.measures({"mae": 1.5e-5, "loss": 0.0}) == "loss 0.0000  mae 1.500e-05"
