"""kilter train --folds: a run for each fold, mean and spread, answers out of fold."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl

from kilter._cli.training import _folds
from kilter.runs import cross_validation, recipe_data
from kilter.runs.cross_validation import _spread
from kilter.runs.termination import Interrupted


def test_cross_validation_from_the_command_line(kilter, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=60).round(3)
    frame = pl.DataFrame({"id": [f"p{i}" for i in range(60)], "x": x, "left": np.where(x > 0, "yes", "no")})
    frame.write_csv(tmp_path / "rows.csv")
    settings = ("--set", "model.hidden=[4]", "--epochs", 2)
    ended = kilter("train", tmp_path / "rows.csv", "--folds", 2, "--runs", tmp_path, *settings)
    assert ended.code == 0, ended.err
    run = Path(ended.out.splitlines()[-1].removeprefix("run: "))
    found = json.loads((run / "folds.json").read_text())
    accuracy = found["measures"]["accuracy"]
    np.testing.assert_allclose(accuracy["mean"], np.mean(accuracy["folds"]))
    np.testing.assert_allclose(accuracy["std"], np.std(accuracy["folds"], ddof=1))
    answers = pl.read_csv(run / "out-of-fold.csv")
    assert answers.columns[:5] == ["id", "fold", "true", "prediction", "probability"]
    assert answers["id"].to_list() == frame["id"].to_list()
    assert answers["true"].to_list() == frame["left"].to_list()
    right = answers.with_columns(right=pl.col("true") == pl.col("prediction"))
    by_fold = right.group_by("fold").agg(pl.col("right").mean()).sort("fold")["right"]
    np.testing.assert_allclose(by_fold, accuracy["folds"])
    # A fold is an ordinary run: evaluate reads its own rows again.
    evaluated = kilter("evaluate", run / found["folds"][0])
    assert "test: 30 rows" in evaluated.out


def test_a_fold_that_does_not_exist_is_refused(kilter, prices):
    for wrong in (("data.fold=3",), ("data.folds=2", "data.fold=3"), ("data.folds=2", "data.split=time")):
        settings = [word for one in wrong for word in ("--set", one)]
        assert kilter("train", prices, *settings).code == 2
    assert kilter("train", prices, "--folds", 1).code == 2
    assert "data.folds" in kilter("find-lr", prices, "--set", "data.folds=2").err


def test_an_interrupted_cross_validation_goes_on_where_it_stopped(kilter, prices, tmp_path, monkeypatch):
    settings = ("--set", "model.hidden=[4]", "--set", "train.epochs=2", "--seed", 3)
    whole = kilter("train", prices, "--folds", 2, "--runs", tmp_path / "whole", *settings)
    expected = json.loads((_path(whole) / "folds.json").read_text())["measures"]
    trained, read = [], []
    train, load = cross_validation.train, recipe_data.load

    def stopped(recipe, **how):
        if trained:
            path = how["parent"] / "fold"
            raise Interrupted(path, f"stopped. To continue: kilter resume {path}")
        trained.append(recipe.name)
        return train(recipe, **how)

    def counted(source, **how):
        read.append(source)
        return load(source, **how)

    monkeypatch.setattr(cross_validation, "train", stopped)
    monkeypatch.setattr(recipe_data, "load", counted)
    half = kilter("train", prices, "--folds", 2, "--runs", tmp_path / "half", *settings)
    (run,) = (tmp_path / "half").iterdir()
    assert f"kilter resume {run}\n" in half.err.replace("\n ", " ") + "\n"
    assert len(read) == 1  # once for all folds
    monkeypatch.setattr(cross_validation, "train", train)
    assert kilter("resume", run, "--epochs", 3).code == 2
    ended = kilter("resume", run)
    assert ended.code == 0, ended.err
    assert json.loads((run / "folds.json").read_text())["measures"] == expected
    assert len(list(run.glob("*-fold-*"))) == 2
    assert kilter("resume", run).code == 2  # finished


def _path(ended):
    return Path(ended.out.splitlines()[-1].removeprefix("run: "))


def test_a_measure_that_a_fold_lacks_is_that_of_the_others():
    found = _spread([0.5, math.nan, 0.7])
    np.testing.assert_allclose([found.mean, found.std], [0.6, np.std([0.5, 0.7], ddof=1)])
    assert _folds(found.folds) == "0.5 to 0.7, in 2 of them"
    assert math.isnan(_spread([math.nan]).mean)
    assert _folds((math.nan,)) == "in none"
