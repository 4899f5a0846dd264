"""Runs that were copied in part, looked at by other systems, moved, or that share a moment."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from kilter.errors import RunError
from kilter.report import write_report
from kilter.runs import list_runs, open_run, resume
from kilter.runs.checksums import damage
from kilter.runs.consistency import newest_cut
from kilter.runs.directory import create_run, reopen_run
from kilter.runs.recipe_data import recipe_of_run


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained.path, tmp_path / "run")


def _piped(run):
    (run / "history.jsonl").unlink()
    os.mkfifo(run / "history.jsonl")
    open_run(run)


def _piped_recipe(run):
    (run / "recipe.toml").unlink()
    os.mkfifo(run / "recipe.toml")
    recipe_of_run(run)


def _without_identity(run):
    (run / "checksums.json").unlink()
    newest_cut(run)


def _without_recipe(run):
    (run / "recipe.toml").unlink()
    recipe_of_run(run)


def _of_fit(run):
    (run / "recipe.toml").rename(run / "call.json")
    recipe_of_run(run)


def _without_data(run):
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('source = "digits"', 'source = "/gone/to/rows.csv"'))
    recipe_of_run(run)


def _huge(name):
    def meet(run):
        os.truncate(run / name, 1 << 42)  # takes no room on the disk
        open_run(run)

    return meet


def _lock_is_a_folder(run):
    (run / "lock").mkdir()
    reopen_run(run)


FAULTS = {
    "a pipe in place of the history": (_piped, "history.jsonl to be read"),
    "a pipe in place of the recipe": (_piped_recipe, "copy it from where the run was"),
    "no checksums, and so no identity": (_without_identity, "checksums.json, which says.*copy it"),
    "no recipe": (_without_recipe, "no such file.*copy it from where the run was"),
    "no recipe, of kilter.fit": (_of_fit, "which has none.*resume=True"),
    "the data are elsewhere": (_without_data, "/gone/to/rows.csv, which does not exist.*set data.source in"),
    **{
        f"{name} is larger than the memory": (_huge(name), f"{name} as kilter wrote it.*4 TiB needed")
        for name in ("history.jsonl", "result.json", "data.json", "recipe.toml", "environment.json")
    },
    "a folder in place of the lock": (_lock_is_a_folder, "remove that folder"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_copying_is_named_with_its_remedy(fault, run):
    meet, message = FAULTS[fault]
    with pytest.raises(RunError, match=message):
        meet(run)


@pytest.mark.parametrize("name", ["._manifest.json", ".DS_Store", "Thumbs.db", "desktop.ini"])
def test_what_a_system_adds_to_folders_does_no_harm(name, run):
    (checkpoint,) = (run / "checkpoints").iterdir()
    (checkpoint / name).write_bytes(b"x")
    (checkpoint / "state" / name).write_bytes(b"x")
    assert damage(checkpoint) is None
    (checkpoint / "state" / f"{name}x.json").write_bytes(b"x")
    assert (damage(checkpoint) is None) == name.startswith("._")


def test_a_run_that_cannot_be_read_is_listed_as_damaged(run):
    (run / "result.json").write_text("[1, 2]")
    assert [one.status for one in list_runs(run.parent)] == ["damaged"]


def test_a_path_that_is_not_utf8(run):
    moved = run.rename(Path(os.fsdecode(os.fsencode(run.parent) + b"/\xff")))
    assert "\\udcff" in write_report(moved).read_text(encoding="utf-8")
    with pytest.raises(RunError, match="with a UTF-8 path"):
        reopen_run(moved)


def test_runs_of_one_name_that_begin_in_the_same_second(tmp_path):
    def begin(_):
        with create_run(tmp_path, "same") as run:
            return run.path

    with ThreadPoolExecutor(3) as threads:
        assert len(set(threads.map(begin, range(3)))) == 3


def test_more_epochs_in_the_recipe_lengthen_a_finished_run(run):
    with pytest.raises(RunError, match=r"a finished run with 4 epochs.*--epochs 8"):
        resume(run, verbose=0)
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 4", "epochs = 5"))
    assert resume(run, verbose=0).result.epochs == 5


def test_a_higher_patience_lengthens_a_run_that_early_stopping_ended(run):
    recipe, result = run / "recipe.toml", open_run(run).result
    text = recipe.read_text().replace("epochs = 4", "epochs = 5")
    stopping = '{patience = 1, monitor = "loss", min_delta = 1e9}'
    old = next(line for line in text.splitlines() if line.startswith("early_stopping"))
    recipe.write_text(text.replace(old, f"early_stopping = {stopping}"))
    (run / "result.json").write_text(replace(result, reason="patience").to_json())
    with pytest.raises(RunError, match=r"would end again.*higher patience"):
        resume(run, verbose=0)
    recipe.write_text(text.replace(old, f"early_stopping = {stopping.replace('= 1,', '= 9,')}"))
    assert resume(run, verbose=0).result.epochs == 5
