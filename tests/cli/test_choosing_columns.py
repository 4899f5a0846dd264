"""--ignore, --only, --as and --missing, on every command that reads a table; what is said of the columns."""

import json

import polars as pl
import pytest

from kilter._cli.options import Overrides
from kilter.recipe import recipe_for, with_overrides

ROWS = 40


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "people.csv"
    frame = {
        "id": range(1, ROWS + 1),
        "zip.code": [i % 3 for i in range(ROWS)],
        "age": [None if i % 5 == 0 else 20 + i % 30 for i in range(ROWS)],
        "joined": [f"2024-0{1 + i % 9}-1{i % 10}" for i in range(ROWS)],
        "kind": [("a", "b")[i % 2] for i in range(ROWS)],
    }
    pl.DataFrame(frame).write_csv(path)
    return path


COMMANDS = {
    "train": ("--epochs", "1"),
    "find-lr": (),
    "diagnose": ("--steps", "0"),
    "schedule": (),
    "pretrain": ("--task", "autoencoder", "--epochs", "1"),
    "data": (),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_them_and_refuses_unknown_columns(command, kilter, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = kilter(command, table, "--target", "kind", "--ignore", "agee", *COMMANDS[command])
    assert ended.code == 2
    assert 'did you mean "age"' in ended.err
    wrong = kilter(command, table, "--as", "age=colour")
    assert wrong.code == 2
    assert "category" in wrong.err
    assert kilter(command, table, "--as", "age").code == 2


def test_the_run_keeps_the_choice_and_predicts_with_it(kilter, table, tmp_path):
    chosen = ("--only", "zip.code", "--only", "age", "--as", "zip.code=category", "--missing", "age=21")
    ended = kilter("train", table, "--target", "kind", "--epochs", "1", "--runs", tmp_path, *chosen)
    assert ended.code == 0, ended.err
    run = next(tmp_path.iterdir())
    encoding = json.loads((run / "data.json").read_text())["encoding"]
    text = encoding if isinstance(encoding, str) else json.dumps(encoding)
    columns = {one["name"]: one["kind"] for one in json.loads(text)["columns"]}
    assert columns == {"zip.code": "category", "age": "number"}
    assert {one["name"]: one["signs"] for one in json.loads(text)["columns"]} == {
        "zip.code": [],
        "age": ["21"],
    }
    new = tmp_path / "new.csv"
    new.write_text("zip.code,age\n1,21\n7,30\n")
    answered = kilter("predict", run, new)
    assert answered.code == 0
    assert len(answered.out.splitlines()) == 3
    assert '"age": 1 missing' in answered.err
    assert 'did not occur in training, such as "7"' in answered.err


def test_training_says_what_it_did_with_the_columns(kilter, table, tmp_path):
    ended = kilter("train", table, "--target", "kind", "--epochs", "1", "--runs", tmp_path)
    said = " ".join((ended.out + ended.err).split())
    assert 'not used as features: column "id" (a unique number in every row)' in said
    assert 'column "age": 8 missing values are replaced by the median' in said
    quiet = kilter("train", table, "--target", "kind", "--epochs", "1", "--runs", tmp_path, "--quiet")
    (path,) = quiet.out.split()
    assert str(tmp_path) in path


def test_an_option_of_its_own_wins_over_set():
    chosen = Overrides(target="a", kinds=["zip.code=category"], settings=["data.target=b", "seed=1"])
    recipe = with_overrides(recipe_for("table.csv"), chosen.all)
    assert (recipe.data.target, recipe.seed, recipe.data.kinds) == ("a", 1, {"zip.code": "category"})
    assert chosen.given(but=["settings"]) == ["--target", "--as"]
