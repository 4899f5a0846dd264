"""kilter pretrain: the file it writes, what it says, and when it refuses."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import kilter as library
from kilter.pretrain.autoencoder import KINDS
from kilter.pretrain.tasks.base import TASKS
from kilter.recipe import PretrainSection, load_recipe, parse_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes/pretrain").glob("*.toml"))
SMALL = ("--set", "model.hidden=[20]", "--set", "optimizer.learning_rate=1e-2", "--epochs", 6)


def test_a_recipe_leaves_an_encoder_for_reuse(kilter, tmp_path):
    out, curve = tmp_path / "encoder.keras", tmp_path / "curve.html"
    recipe = RECIPES[[path.stem for path in RECIPES].index("digits-denoising")]
    ended = kilter("pretrain", recipe, "--out", out, "--curve", curve, *SMALL)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith("epoch 1/6  loss ")
    assert lines[6].startswith("tied denoising autoencoder: 6 epochs in ")
    assert {line.split()[0] for line in lines[8:12]} == {"error", "baseline", "explained", "rows"}
    assert lines[-1] == f"encoder: {out}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.html", "encoder.keras"]
    encoder = keras.saving.load_model(out)
    assert encoder.output_shape == (None, 20)
    student = library.reuse(encoder, keep="all", head=10)
    assert student.predict(np.zeros((2, 8, 8, 1)), verbose=0).shape == (2, 10)


@pytest.mark.long
def test_data_and_a_task_are_enough(kilter, tmp_path):
    options = ("--task", "jigsaw", "--out", tmp_path / "e.keras", "--json", *SMALL)
    told = [json.loads(kilter("pretrain", "digits", *options).out) for _ in range(2)]
    assert told[0]["task"] == "jigsaw"
    assert told[0]["figures"]["chance"] == pytest.approx(1 / 24)
    assert told[0]["learnt"]
    assert told[0]["figures"] == told[1]["figures"]  # the same recipe, the same bits


def test_rows_without_labels(kilter, tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 5)).astype("float32")
    np.savez(tmp_path / "rows.npz", x=rows)
    out = tmp_path / "e.keras"
    options = ("--task", "autoencoder", "--out", out, "--set", 'pretrain.kind=["denoising"]', *SMALL)
    ended = kilter("pretrain", tmp_path / "rows.npz", *options)
    assert (ended.code, ended.err) == (0, "")
    assert keras.saving.load_model(out).input_shape == (None, 5)


REFUSED = {
    "no task": (("digits",), "a recipe with [pretrain]"),
    "unknown task": (("digits", "--task", "rotatoin"), "did you mean 'rotation'?"),
    "a key of another task": (
        ("digits", "--task", "rotation", "--set", "pretrain.tiles=2"),
        "tiles with task = jigsaw only",
    ),
    "unknown key": (("digits", "--task", "jigsaw", "--set", "pretrain.tile=2"), "did you mean 'tiles'?"),
    "does not divide": (("digits", "--task", "jigsaw", "--set", "pretrain.tiles=3"), "one of 2, 4, 8"),
    "all layers left out": (
        ("digits", "--task", "rotation", "--set", "pretrain.drop=50"),
        "drop fewer layers",
    ),
    "idle sections": (
        ("digits", "--task", "rotation", "--set", "augment.flip=both", "--set", "train.ema=0.9"),
        "train.ema, augment",
    ),
    "another monitor": (
        ("digits", "--task", "rotation", "--set", "train.early_stopping.monitor=val_error"),
        "one of loss, accuracy, val_loss, val_accuracy",
    ),
    "no such suffix": (("digits", "--task", "rotation", "--out", "encoder.h5"), "--out with one of .keras"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_writes_nothing(kilter, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    words, said = REFUSED[case]
    ended = kilter("pretrain", *words)
    assert ended.code == 2
    assert said in ended.err
    assert list(tmp_path.iterdir()) == []


def test_training_refuses_a_recipe_for_pretraining(kilter, tmp_path):
    ended = kilter("train", RECIPES[0], "--runs", tmp_path)
    assert ended.code == 2
    assert "use kilter pretrain" in ended.err


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_are_for_pretraining(path):
    assert load_recipe(path).pretrain is not None


def test_the_section_names_what_there_is():
    tasks = PretrainSection.model_fields["task"].annotation.__args__
    assert set(tasks) == {"autoencoder", "gan", *TASKS}
    given = {"data": {"source": "digits"}, "model": {"builder": "mlp"}}
    section = {"task": "autoencoder", "kind": list(KINDS[1:])}
    assert parse_recipe(given | {"pretrain": section}).pretrain.kind == KINDS[1:]
