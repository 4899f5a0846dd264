"""The table "Where does it go?" of docs/architecture.md: a toy of each kind works where the table puts it.

All toys are put into one copy of the source, and one process uses them all (:mod:`tests.architecture.used`).
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.toys import TOYS, Edit

ROOT = Path(__file__).resolve().parents[2]
TABLE = dict(
    re.findall(
        r"^\| ([\w ]+) \| (.+) \|$",
        (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## Where does it go?")[2],
        re.M,
    )
)


def write(edit: Edit, source: Path) -> None:
    path = source / edit.path
    if edit.anchor is None:
        assert not path.exists()
        path.write_text(edit.text, encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    assert text.count(edit.anchor) == 1, f"{edit.path} has {edit.anchor!r} {text.count(edit.anchor)} times"
    path.write_text(text.replace(edit.anchor, edit.text.replace("{}", edit.anchor)), encoding="utf-8")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the process that used all toys reported."""
    folder = tmp_path_factory.mktemp("toys")
    source = folder / "src" / "kilter"
    shutil.copytree(ROOT / "src" / "kilter", source)  # with the bytecode, which fits what is not edited
    for edits in TOYS.values():
        for edit in edits:
            write(edit, source)
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("used.py"))],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def named(row: str) -> list[str]:
    """The files and folders that a row of the table names."""
    return re.findall(r"`((?:\w+/)+[\w.]*)`", TABLE[row])


@pytest.mark.parametrize("row", TOYS)
def test_a_toy_is_added_where_the_table_says_and_nowhere_else(row: str):
    places, edited = named(row), {edit.path for edit in TOYS[row]}
    outside = [path for path in edited if path not in places and f"{path.rpartition('/')[0]}/" not in places]
    assert not outside
    unused = [place for place in places if not any(path.startswith(place) for path in edited)]
    assert not unused


def test_every_row_has_a_toy():
    assert set(TABLE) - {"A new …", "use of a Keras internal"} == set(TOYS)


def test_a_check_finds_its_fault(seen):
    code, output = seen["check"]
    assert code == 1
    assert "toy-finding" in output
    assert "toy-finding" in seen["codes"]


def test_a_remedy_is_tried(seen):
    assert "toy-remedy" in seen["tried"]


def test_a_schedule_is_a_recipe_key_and_a_curve(seen):
    assert seen["schedule"]["learning_rate"] == pytest.approx(0.0025)
    assert seen["curve"][0] == 0, seen["curve"]


def test_a_data_format_is_read(seen):
    code, output = seen["data"]
    assert code == 0
    assert "64" in output


def test_an_augmentation_is_a_recipe_key(seen):
    assert set(seen["augmented"]) == {0.5}


def test_a_pretext_task_is_learnt(seen):
    code, output = seen["pretrain"]
    assert code == 0, output
    assert json.loads(output)["task"] == "toy"


def test_a_layer_kind_is_checked_as_its_kind(seen):
    assert "excessive-dropout" in seen["codes"]


def test_an_xla_rule_rewrites_the_step(seen):
    assert set(seen["rewritten"]) == {"log"}


def test_a_report_section_is_on_the_page(seen):
    assert seen["section"]


def test_a_command_runs_and_is_listed(seen):
    assert seen["command"] == [0, "hello world\n"]
    assert "Say hello to a toy." in seen["help"][1]
