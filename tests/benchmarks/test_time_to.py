from __future__ import annotations

from time_to import Session, new_lines, table

COURSE = Session(((5.0, 0.30), (7.0, 0.46), (9.0, 0.45)), 9.5)


def test_the_target_is_reached_when_the_first_epoch_has_it():
    assert COURSE.reached(0.4484) == 7.0
    assert COURSE.reached(0.50) is None
    assert COURSE.best == 0.46


def test_only_whole_new_lines_of_a_history_count(tmp_path):
    assert new_lines(tmp_path, 0) == []
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.jsonl").write_text('{"a": 1}\n{"a": 2}\n{"a":')
    assert new_lines(tmp_path, 1) == ['{"a": 2}']


def test_the_table_says_how_many_times_sooner():
    published = Session(((70.0, 0.40), (140.0, 0.45)), 300.0)
    rows = table({"kilter, cold cache": [COURSE, COURSE], "keras-tensorflow": [published]}, 0.4484).rows
    assert rows[0][1] == "7.0"
    assert rows[0][-2:] == ("20.0", "42.9")
    assert table({"kilter, cold cache": [COURSE]}, 0.5).rows[0][1:4] == ("–", "–", "0 of 1")
