"""``kilter transfer``: what it prints and what it leaves."""

import hashlib
import json

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
