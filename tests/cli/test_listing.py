"""kilter runs, data and report."""

import json
from pathlib import Path

import pytest


def test_runs_are_listed_with_what_they_reached(kilter, digits_run):
    ended = kilter("runs", digits_run.parent)
    heading, row = ended.out.splitlines()
    assert heading.split()[-1] == "run"
    result = json.loads((digits_run / "result.json").read_text())
    assert row.endswith(str(digits_run))
    assert "finished" in row
    assert f"{result['evaluations']['validation']['metrics']['loss']:.4g}" in row


@pytest.mark.parametrize("width", [80, 200])
def test_runs_stay_rows_in_a_narrow_terminal(width, kilter, digits_run, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = kilter("runs", digits_run.parent).out.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split()[0] == "status"
    assert lines[1].startswith("finished")
    assert lines[-1].endswith(digits_run.name)


def test_no_runs(kilter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert kilter("runs", tmp_path).out == f"no runs yet in {tmp_path}: kilter train digits makes one\n"
    ended = kilter("runs")
    assert (ended.code, ended.out) == (0, "no runs yet in runs: kilter train digits makes one\n")
    assert kilter("runs", "elsewhere").code == 2


def test_a_table_is_told_column_by_column(kilter, prices):
    ended = kilter("data", prices, "--target", "price")
    assert (ended.code, ended.err) == (0, "")
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["train", "200", "3", "float32", "0"] in lines
    assert any(words[:2] == ["size", "float64"] and words[-1] == "number" for words in lines)
    assert any(words[:1] == ["price"] and len(words) == 4 for words in lines)


def test_classes_are_counted(kilter):
    lines = [line.split() for line in kilter("data", "digits").out.splitlines()]
    assert ["3", "183"] in lines
    assert ["train", "1797", "8×8×1", "uint8", "0"] in lines


@pytest.fixture
def listing(kilter, tmp_path):
    """What ``kilter data`` prints of a CSV text."""

    def call(text, *options):
        (tmp_path / "data.csv").write_text(text)
        ended = kilter("data", tmp_path / "data.csv", *options)
        assert ended.code == 0
        return ended.out

    return call


def test_a_hostile_name_cannot_steer_the_terminal(listing):
    found = listing("\x1b[31mred,y\n1,a\x1b[0m\n2,b\n3,a\x1b[0m\n4,b\n")
    assert "\\x1b[31mred" in found
    assert all(line.isprintable() for line in found.splitlines())


def test_skipped_rows_are_counted_and_told(listing):
    text = "x,y\n1,a\n2,b\n3,\n4,b\n1,a\n5,\n6,\n7,\n8,\n"
    found = listing(text)
    assert "problem: cannot be trained on as it is" in found
    assert '"y": 5 missing or NaN in rows 2, 5' in found
    found = listing(text, "--skip-bad")
    assert "skipped: 5 rows left out" in found
    train = next(line for line in found.splitlines() if line.split()[:1] == ["train"])
    assert train.split()[1::3] == ["4", "5"]


def test_a_report_is_written_anew(kilter, digits_run):
    page = digits_run / "report.html"
    page.unlink()
    assert kilter("report", digits_run).out == f"{page}\n"
    assert page.stat().st_size > 0


@pytest.mark.parametrize(
    "words", [["resume"], ["replay"], ["report"], ["resume", "runs"], ["report", "runs"]]
)
def test_a_run_that_is_not_named_is_suggested(words, kilter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("20260101-000000-old", "20260102-000000-new"):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "history.jsonl").touch()
    assert "did you mean runs/20260102-000000-new?" in kilter(*words).err
