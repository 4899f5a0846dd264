"""The records of two runs of the same tests, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """The tests that call fit, evaluate or predict and pass on plain Keras, and those that kilter fails."""

    total: int
    failures: tuple[dict[str, Any], ...]  # kilter's records
    missing: tuple[str, ...]  # not run through kilter

    @property
    def share(self) -> float:
        """The share that passes through kilter, 0 to 1; NaN if there are no tests."""
        passed = self.total - len(self.failures) - len(self.missing)
        return passed / self.total if self.total else float("nan")

    def lines(self) -> Iterator[str]:
        """A summary, then a line for each test that differs."""
        passed = self.total - len(self.failures) - len(self.missing)
        yield f"pass on plain Keras-JAX and call fit, evaluate or predict: {self.total}"
        yield f"of these pass through kilter: {passed} ({self.share:.1%})"
        for each in self.failures:
            yield f"{each['test']}  [{each['place']}]  {each['error']}"
        for test in self.missing:
            yield f"{test}  not run"


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The records by test."""
    records = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return {record["test"]: record for record in records}


def running_file(record: Path) -> Path:
    """Where the id of the running test is."""
    return record.with_suffix(".running")


def note_crash(record: Path, status: int) -> None:
    """Record the running test, if any, as failed: the interpreter ended with ``status``."""
    running = running_file(record)
    if not running.exists():
        return
    error = f"the interpreter ended with status {status}"
    found = {"test": running.read_text(), "outcome": "failed", "calls": [], "error": error, "place": ""}
    with record.open("a") as file:
        file.write(json.dumps(found) + "\n")
    running.unlink()


def relevant(plain: dict[str, dict[str, Any]]) -> list[str]:
    """The tests that pass on plain Keras and call one of the three methods."""
    return [test for test, record in plain.items() if record["calls"] and record["outcome"] == "passed"]


def compare(plain: dict[str, dict[str, Any]], routed: dict[str, dict[str, Any]]) -> Comparison:
    """Judge the routed run by the plain one."""
    tests = relevant(plain)
    failures = [routed[test] for test in tests if test in routed and routed[test]["outcome"] != "passed"]
    return Comparison(len(tests), tuple(failures), tuple(test for test in tests if test not in routed))
