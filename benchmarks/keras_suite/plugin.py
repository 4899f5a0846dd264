"""The pytest plugin: routes the calls of Keras's tests, and writes one line of JSON a test.

``pytest -p keras_suite.plugin --route kilter --record results.jsonl FILES``
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keras_suite import routing
from keras_suite.comparing import read, running_file

SECONDS_A_TEST = 240


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--route plain`` or ``kilter``, and the file to write to."""
    parser.addoption("--route", choices=("plain", "kilter"), required=True)
    parser.addoption("--record", type=Path, required=True, help="a file of JSON lines, appended to")
    parser.addoption("--only", type=Path, help="a file with the ids of the tests to run, one a line")


def pytest_configure(config: pytest.Config) -> None:
    """Install the routes before any test is imported."""
    config.addinivalue_line("markers", "requires_trainable_backend: JAX is one")
    config.addinivalue_line("markers", "multi_device: for several devices")
    routing.install(config.getoption("--route"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that are asked for and not yet recorded."""
    only, record = config.getoption("--only"), config.getoption("--record")
    done, wanted = read(record), set(only.read_text().splitlines()) if only else None
    items[:] = [item for item in items if name(item) not in done and (wanted is None or name(item) in wanted)]


def name(item: pytest.Item) -> str:
    """The test's id without addresses, which differ from run to run."""
    return re.sub(r"0x[0-9a-f]+", "0x", item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that hangs fails; one that ends the interpreter leaves its id for the runner."""
    running = running_file(item.config.getoption("--record"))
    running.write_text(name(item))
    routing.called.clear()

    def late(*_: Any) -> None:
        raise TimeoutError(f"{item.nodeid} took more than {SECONDS_A_TEST} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS_A_TEST)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        running.unlink()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[pytest.TestReport]:
    """Write the outcome of the test, or of the set-up that failed or skipped it."""
    report: pytest.TestReport = yield
    if call.when == "call" or (call.when == "setup" and not report.passed):
        found = {
            "test": name(item),
            "outcome": report.outcome,
            "calls": sorted(set(routing.called)),
            "seconds": round(call.duration, 2),
            "error": _first_line(call) if report.failed else "",
            "place": _place(call) if report.failed else "",
        }
        with item.config.getoption("--record").open("a") as file:
            file.write(json.dumps(found) + "\n")
    return report


def _first_line(call: pytest.CallInfo[None]) -> str:
    """The error's kind and first line that says something."""
    assert call.excinfo is not None
    lines = [line.strip() for line in str(call.excinfo.value).splitlines() if line.strip()]
    return f"{call.excinfo.typename}: {lines[0] if lines else ''}"[:400]


def _place(call: pytest.CallInfo[None]) -> str:
    """The last place in kilter's source that the error passed, else the last place at all."""
    assert call.excinfo is not None
    entries = [(Path(entry.path), entry.lineno + 1) for entry in call.excinfo.traceback]
    in_kilter = [(path, line) for path, line in entries if "kilter" in path.parts]
    path, line = (in_kilter or entries)[-1]
    return f"{'/'.join(path.parts[-2:])}:{line}"
