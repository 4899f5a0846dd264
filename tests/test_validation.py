"""The checks of numeric arguments: what passes, what does not, and what the error says."""

from typing import Any

import numpy as np
import pytest

from kilter._validation import errors_as, number, one_of, whole_number
from kilter.errors import DataError, OptionError

WHOLE = [
    # value, low, high, passes
    (3, 1, None, True),
    (np.int64(3), 1, 5, True),
    (np.uint8(5), 1, 5, True),
    (-2, None, None, True),
    (0, 1, None, False),
    (6, 1, 5, False),
    (True, 0, None, False),
    (np.True_, 0, None, False),
    (3.0, 1, None, False),
    (np.float32(3), 1, None, False),
    ("3", 1, None, False),
    (None, 1, None, False),
    (np.array([3]), 1, None, False),
]
NUMBERS: list[tuple[Any, dict[str, float], bool]] = [
    # value, bounds, passes
    (0.5, {"low": 0, "below": 1}, True),
    (0, {"low": 0, "below": 1}, True),
    (1, {"above": 0, "high": 1}, True),
    (np.float32(0.25), {"above": 0}, True),
    (np.int8(2), {}, True),
    (1, {"low": 0, "below": 1}, False),
    (0.0, {"above": 0, "high": 1}, False),
    (-0.1, {"low": 0}, False),
    (1.1, {"high": 1}, False),
    (float("nan"), {}, False),
    (float("inf"), {"low": 0}, False),
    (np.float32("nan"), {"low": 0}, False),
    (10**400, {"low": 0}, False),
    (True, {}, False),
    ("0.5", {}, False),
    (None, {}, False),
    (1 + 1j, {}, False),
]


@pytest.mark.parametrize(("value", "low", "high", "passes"), WHOLE)
def test_whole_numbers(value: Any, low: int | None, high: int | None, passes: bool):
    if passes:
        assert whole_number("steps", value, low, high) == value
        assert type(whole_number("steps", value, low, high)) is int
    else:
        with pytest.raises(OptionError, match=r"steps as a whole number.* Received steps=.* To fix: "):
            whole_number("steps", value, low, high)


@pytest.mark.parametrize(("value", "bounds", "passes"), NUMBERS)
def test_numbers(value: Any, bounds: dict[str, float], passes: bool):
    if passes:
        assert number("rate", value, **bounds) == value
        assert type(number("rate", value, **bounds)) is float
    else:
        with pytest.raises(OptionError, match=r"Expected rate as a number.* Received rate=.* To fix: "):
            number("rate", value, **bounds)


@pytest.mark.parametrize(
    ("value", "low", "high", "example"),
    [("5", 0, None, 5), (2.5, 0, None, 2), (-3, 0, None, 1), (None, 0, None, 1), (0, 3, None, 3),
     (40, 1, 9, 9), ("50", 1, 9, 9), ("two", None, None, 1)],
)  # fmt: skip
def test_the_example_is_the_number_that_was_meant(
    value: Any, low: int | None, high: int | None, example: int
):
    with pytest.raises(OptionError, match=rf"for instance steps={example}\."):
        whole_number("steps", value, low, high)


def test_the_error_states_the_bounds_or_the_words_of_the_caller():
    with pytest.raises(OptionError, match="rate as a number, above 0 and below 1"):
        number("rate", 2, above=0, below=1)
    with pytest.raises(OptionError, match="steps as a whole number from 1 to 9"):
        whole_number("steps", 10, 1, 9)
    with pytest.raises(OptionError, match=r"Expected steps or None\. Received steps=0\. To fix: take 10"):
        whole_number("steps", 0, 1, expected="steps or None", remedy="take 10")


def test_a_name_that_is_not_allowed_gets_the_nearest_one():
    one_of("fill", "edge", ("edge", "zero", False))
    one_of("fill", False, ("edge", "zero", False))
    with pytest.raises(OptionError, match=r"fill of Shift as one of edge, zero\. .*'edgy'.*'edge'"):
        one_of("fill", "edgy", ("edge", "zero"), owner="Shift")
    with pytest.raises(OptionError, match="To fix: choose one of these"):
        one_of("fill", 0, ("edge", False))  # equal to False, but another value


def test_an_error_of_a_library_becomes_one_of_kilter_that_names_it():
    with (
        pytest.raises(DataError, match=r"Received data.csv: ValueError: bad\. To fix: mend") as caught,
        errors_as(DataError, ValueError, expected="data", received="data.csv", remedy="mend it"),
    ):
        raise ValueError("bad\nand more")
    assert isinstance(caught.value.__cause__, ValueError)


def test_other_errors_and_those_of_kilter_pass_unchanged():
    for error in (KeyError("x"), OptionError(expected="a", received="b", remedy="c")):
        with (
            pytest.raises(type(error)) as caught,
            errors_as(DataError, ValueError, expected="data", remedy="mend it"),
        ):
            raise error
        assert caught.value is error
