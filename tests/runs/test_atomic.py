"""No file is ever half-written, whatever the disk does and whenever the writer is stopped."""

import errno
import os
import resource
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter._cli.predicting import WRITERS as WRITERS_OF_ANSWERS
from kilter.errors import RunError
from kilter.runs import atomic

WRITERS = {
    "write_text": lambda path: atomic.write_text(path, "new content\n"),
    "append_line": lambda path: atomic.append_line(path, "new line"),
    "write_with": lambda path: atomic.write_with(path, lambda temporary: temporary.write_bytes(b"new")),
}


def _fail(number):
    def failing(*_):
        raise OSError(number, os.strerror(number))

    return failing


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize(
    ("writer", "call"),
    [
        ("write_text", "write"),
        ("write_text", "fsync"),
        ("append_line", "write"),
        ("append_line", "fsync"),
        ("write_with", "fsync"),  # what fills the file makes its own writes
    ],
)
def test_a_failing_disk_leaves_the_old_file_and_names_the_cause(tmp_path, monkeypatch, writer, call, number):
    path = tmp_path / "file.txt"
    path.write_text("old line\n")
    monkeypatch.setattr(os, call, _fail(number))
    with pytest.raises(RunError) as caught:
        WRITERS[writer](path)
    monkeypatch.undo()
    assert path.read_text() == "old line\n"
    assert os.listdir(tmp_path) == ["file.txt"]
    assert str(path) in caught.value.expected
    assert ("full disk" in caught.value.received) == (number in atomic.FULL_DISK)


def test_a_write_that_takes_only_some_bytes_goes_on(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, bytes(content)[:3]))
    atomic.write_text(tmp_path / "a", "ten letters")
    atomic.append_line(tmp_path / "b", "another ten")
    assert (tmp_path / "a").read_text() == "ten letters"
    assert (tmp_path / "b").read_text() == "another ten\n"


LIMITED = """
import resource, sys
from pathlib import Path
from kilter.errors import RunError
from kilter.runs import atomic
folder = Path(sys.argv[1])
atomic.write_text(folder / "whole.txt", "x" * 500)
atomic.append_line(folder / "lines.jsonl", "y" * 500)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for write in (lambda: atomic.write_text(folder / "whole.txt", "z" * 5000),
              lambda: atomic.append_line(folder / "lines.jsonl", "z" * 5000)):
    try:
        write()
    except RunError as error:
        print(error.received)
"""


def test_a_real_size_limit_leaves_whole_files(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("full disk") == 2
    assert (tmp_path / "whole.txt").read_text() == "x" * 500
    assert (tmp_path / "lines.jsonl").read_text() == "y" * 500 + "\n"
    assert sorted(os.listdir(tmp_path)) == ["lines.jsonl", "whole.txt"]


@pytest.mark.parametrize("suffix", WRITERS_OF_ANSWERS)
def test_answers_that_do_not_fit_on_the_disk(tmp_path, suffix):
    table = pl.DataFrame({"x": np.random.default_rng(0).random(5000)})
    found: Any = SimpleNamespace(arrays=table.to_dict)
    path, given = tmp_path / f"answers{suffix}", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, given[1]))
    try:
        with pytest.raises(RunError, match="full disk"):
            atomic.write_with(path, lambda temporary: WRITERS_OF_ANSWERS[suffix](found, table, temporary))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, given)
    assert os.listdir(tmp_path) == []


def test_ctrl_c_while_filling_leaves_no_temporary_file(tmp_path):
    def interrupted(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic.write_with(tmp_path / "a.keras", interrupted)
    assert os.listdir(tmp_path) == []


def test_the_temporary_file_keeps_the_suffix(tmp_path):
    names = []
    atomic.write_with(
        tmp_path / "model.keras", lambda temporary: (names.append(temporary), temporary.touch())
    )
    assert names[0].suffix == ".keras"
    assert names[0].parent == tmp_path


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RunError, match="no_such"):
        atomic.write_text(tmp_path / "no_such" / "a", "text")


@settings(deadline=None)  # it waits for the disk
@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])), max_size=5),
    torn=st.integers(0, 10_000),
)
def test_cutting_the_file_anywhere_loses_at_most_the_line_that_was_cut(tmp_path_factory, lines, torn):
    """A crash is a prefix of the file: the lines whole in it are read, and appending goes on after them."""
    path = tmp_path_factory.mktemp("lines") / "history.jsonl"
    for line in lines:
        atomic.append_line(path, line)
    content = path.read_bytes() if lines else b""
    cut = content[: torn % (len(content) + 1)]
    path.write_bytes(cut)
    whole = lines[: cut.count(b"\n")]
    assert atomic.read_lines(path) == whole
    atomic.append_line(path, "next")
    assert atomic.read_lines(path) == [*whole, "next"]


def test_a_long_torn_line_is_cut_off(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"first\n" + b"x" * 20_000)
    atomic.append_line(path, "second")
    assert path.read_bytes() == b"first\nsecond\n"


def test_a_line_break_inside_a_line_is_refused(tmp_path):
    with pytest.raises(ValueError, match="line break"):
        atomic.append_line(tmp_path / "a", "two\nlines")
    assert atomic.read_lines(tmp_path / "a") == []
