from __future__ import annotations

import json
import math

import pytest

from keras_suite.comparing import compare, note_crash, read, relevant, running_file


def record(test, outcome="passed", calls=("fit",), error="", place=""):
    return {"test": test, "outcome": outcome, "calls": list(calls), "error": error, "place": place}


PLAIN = {
    each["test"]: each
    for each in (
        record("a::one"),
        record("a::two"),
        record("a::three"),
        record("a::fails_in_keras", "failed"),
        record("a::skipped", "skipped"),
        record("a::trains_nothing", calls=()),
    )
}


def test_only_tests_that_train_and_pass_on_plain_keras_count():
    assert relevant(PLAIN) == ["a::one", "a::two", "a::three"]


def test_failures_and_tests_that_did_not_run_lower_the_share():
    found = compare(
        PLAIN, {"a::one": record("a::one"), "a::two": record("a::two", "failed", error="no", place="fit:1")}
    )
    assert found.share == pytest.approx(1 / 3)
    assert list(found.lines()) == [
        "pass on plain Keras-JAX and call fit, evaluate or predict: 3",
        "of these pass through kilter: 1 (33.3%)",
        "a::two  [fit:1]  no",
        "a::three  not run",
    ]


def test_no_tests_have_no_share():
    assert math.isnan(compare({}, {}).share)


def test_records_are_read_by_test_and_a_later_one_counts(tmp_path):
    path = tmp_path / "records.jsonl"
    lines = [record("a::one", "failed"), record("a::one")]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert read(path) == {"a::one": record("a::one")}
    assert read(tmp_path / "none") == {}


def test_a_test_that_ends_the_interpreter_has_failed(tmp_path):
    path = tmp_path / "plain.jsonl"
    note_crash(path, -11)  # none was running
    running_file(path).write_text("a::one")
    note_crash(path, -11)
    assert read(path)["a::one"]["outcome"] == "failed"
    assert not running_file(path).exists()
