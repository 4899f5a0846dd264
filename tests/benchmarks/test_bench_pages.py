from __future__ import annotations

import json

import plotly.graph_objects as graph_objects
import pytest

from bench.pages import Page, Table, between
from bench.turns import in_turns

TABLE = Table("Times", ("what", "s"), (("one", "1.5"), ("two", "3")), ("Medians.",))


def page(**changes) -> Page:
    figures = {"seconds": [1.5, 3.0]}
    return Page("times", "Times of things", "What was done.", [TABLE], figures, **changes)


def test_a_page_is_kept_as_markdown_and_every_figure_as_json(tmp_path):
    path = page().write(tmp_path)
    text = path.read_text()
    assert text.startswith("# Times of things, 20")
    assert "| one | 1.5 |\n| two | 3 |\n\nMedians." in text
    assert "cores" in text
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["figures"] == {"seconds": [1.5, 3.0]}
    assert record["quick"] is False
    assert sorted(one.suffix for one in tmp_path.iterdir()) == [".json", ".md"]


def test_a_quick_page_says_so_in_name_and_text(tmp_path):
    path = page(quick=True).write(tmp_path)
    assert path.stem.endswith("times-quick")
    assert "no figure to quote" in path.read_text()


def test_pictures_stand_beside_the_page(tmp_path):
    path = page(pictures={"curves": graph_objects.Figure()}).write(tmp_path)
    picture = path.with_name(f"{path.stem}-curves.html")
    assert "plotly" in picture.read_text()
    assert f"({picture.name})" in path.read_text()


@pytest.mark.parametrize(("form", "text"), [(".2f", "1.00–30.00"), (".3g", "1–30")])
def test_a_range_is_told_from_the_smallest_to_the_largest(form, text):
    assert between([30.0, 1.0, 2.0], form) == text


def test_actions_take_turns_after_a_first_one_that_does_not_count():
    called = []
    seconds = in_turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 2)
    assert called == ["a", "b", "a", "b", "a", "b"]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_an_action_may_measure_its_own_seconds():
    assert in_turns({"own": lambda: 2.5}, 2) == {"own": [2.5, 2.5]}
