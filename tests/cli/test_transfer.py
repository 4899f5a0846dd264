"""``kilter transfer``: what it prints, what it leaves, and what it refuses."""

import hashlib
import json

import pytest

from kilter.runs import open_run


def test_a_run_is_reused_for_other_data(kilter, digits_run, tmp_path):
    words = ["--keep", 1, "--epochs", 3, "--head-epochs", 1, "--runs", tmp_path]
    ended = kilter("transfer", digits_run, "digits", *words)
    assert ended.code == 0, ended.err
    checksum = hashlib.sha256((digits_run / "model.keras").read_bytes()).hexdigest()
    assert f"SHA-256 {checksum}" in ended.out
    assert "keeps 1 of 2 layers with weights" in ended.out
    (run,) = tmp_path.iterdir()
    records = open_run(run)
    assert len(records.history) == 3
    model = records.recipe["model"]
    assert (model["keep"], model["sha256"]) == (1, checksum)
    assert [stage["epochs"] for stage in records.recipe["fine_tune"]["stages"]] == [1, "none"]
    assert json.loads((run / "result.json").read_text())["status"] == "finished"


def test_a_recipe_gives_all_but_the_model_and_no_head_start_is_one_stage(kilter, digits_run, tmp_path):
    recipe = tmp_path / "other.toml"
    recipe.write_text('seed = 5\n[data]\nsource = "digits"\n[model]\nbuilder = "mlp"\n[train]\nepochs = 1\n')
    ended = kilter("transfer", digits_run, recipe, "--head-epochs", 0, "--runs", tmp_path / "runs", "--quiet")
    assert ended.code == 0, ended.err
    records = open_run(next((tmp_path / "runs").iterdir()))
    assert records.recipe["seed"] == 5
    assert len(records.recipe["fine_tune"]["stages"]) == 1


BAD = {
    "no such source": ("transfer {absent} digits", "does not exist"),
    "no such file": ("transfer {absent}.keras digits", "does not exist"),
    "a network without weights": ("transfer MobileNetV2 digits", "downloads nothing"),
    "keep too much": ("transfer {run} digits --keep 9", "keep from 1 to 2"),
    "no such layer": ("transfer {run} digits --keep dense_9", "keep='dense_9'"),
    "a head-start of all epochs": (
        "transfer {run} digits --epochs 3 --head-epochs 3",
        "more than the stages",
    ),
    "a head-start before the first": ("transfer {run} digits --head-epochs -1", "a whole number from 1"),
    "epochs for no stage": ("transfer {run} digits --epochs 3", "train.epochs=3"),
    "rows that cannot be adapted": ("transfer {run} {table}", "rows that can be adapted to"),
}


@pytest.mark.parametrize("case", BAD)
def test_three_lines_and_nothing_left_behind(case, kilter, digits_run, prices, tmp_path):
    words, says = BAD[case]
    words = words.format(absent=tmp_path / "absent", run=digits_run, table=prices).split()
    ended = kilter(*words, "--runs", tmp_path / "runs")
    assert ended.code == 2
    assert [line.partition(":")[0] for line in ended.err.splitlines()] == [
        "Expected",
        "Received",
        "To fix",
    ]
    assert says in ended.err
    assert not (tmp_path / "runs").exists()
