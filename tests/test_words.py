"""Text and numbers as they are printed: the examples, and no control character whatever comes in."""

import doctest
import math
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter import _text
from kilter._diagnosis.catalogue import CATALOGUE, finding
from kilter._text import duration


def test_examples():
    found = doctest.testmod(_text)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_finding_counts_one_thing_in_the_singular(code):
    """Whatever a text counts, "1 rows" is never said."""
    words = {
        name: _One()
        for _, name, *_ in string.Formatter().parse(CATALOGUE[code].explanation)
        if name not in (None, "", "where")
    }
    said = finding(code, "note", ["dense"], **words).explanation
    assert not re.search(
        r"\b1 (hidden |planned )?(row|step|layer|epoch|batch|unit|number|pixel|dimension)e?s\b", said
    )


class _One(float):
    """1 in whichever format a text asks for."""

    def __new__(cls):
        return super().__new__(cls, 1)

    def __format__(self, form: str) -> str:
        return "1"


@given(st.text())
def test_printable_text_has_no_control_character_and_plain_text_stays(text):
    shown = _text.printable(text)
    assert shown.isprintable()
    assert _text.printable(shown) == shown


@given(st.floats(-1e300, 1e300))
def test_a_number_keeps_three_digits(value):
    assert math.isclose(float(_text.number(value).replace(",", "")), value, rel_tol=1e-3)


@given(st.floats(0, 1e7))
def test_a_duration_grows_with_time(seconds):
    assert duration(seconds)[0].isdigit()


def test_measures_that_are_not_finite():
    assert _text.measures({"loss": math.nan, "val_loss": math.inf}) == "loss nan (val inf)"


def test_measures_too_small_for_four_decimals():
    assert _text.measures({"mae": 1.5e-5, "loss": 0.0}) == "loss 0.0000  mae 1.500e-05"
