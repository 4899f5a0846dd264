"""kilter.search: what is tried, that it goes on where it was, and that workers do not matter."""

import json
import math

import pytest

import kilter
from kilter._compare.samplers import sampler_for, space_of
from kilter._compare.stopping import Limits, running_best
from kilter.errors import OptionError, RunError
from kilter.recipe import recipe_for, with_overrides

OVER = {"optimizer.learning_rate": {"low": 1e-4, "high": 0.1, "log": True}, "model.hidden": [[4], [8]]}


def small(epochs: int = 2):
    keys = ["train.batch_size=256", f"train.epochs={epochs}", "model.hidden=[4]", "schedule.name=constant"]
    return with_overrides(
        recipe_for("digits"), [*keys, "train.early_stopping=none", "data.standardize=false"]
    )


@pytest.mark.parametrize(
    "over",
    [
        {},
        {"epochs": [1, 2]},
        {"train.epochs": []},
        {"train.epochs": 3},
        {"train.epochs": "text"},
        {"optimizer.learning_rate": {"low": 1.0}},
        {"optimizer.learning_rate": {"low": 1.0, "high": 0.5}},
        {"optimizer.learning_rate": {"low": 0.0, "high": 0.5, "log": True}},
        {"optimizer.learning_rate": {"low": 0.1, "high": math.inf}},
        {"optimizer.learning_rate": {"low": 0.1, "high": 0.5, "step": 1}},
    ],
)
def test_a_space_that_is_none(over):
    with pytest.raises(OptionError, match="range"):
        space_of(over)


def test_a_grid_has_every_combination_and_no_range():
    found = sampler_for("grid", space_of({"a.b": [1, 2], "a.c": ["x", None]}), 0).ask(10)
    assert found == [{"a.b": b, "a.c": c} for b in (1, 2) for c in ("x", None)]
    with pytest.raises(OptionError, match="grid"):
        sampler_for("grid", space_of(OVER), 0)


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_draws_are_in_the_space_and_the_same_again(name):
    space = space_of(OVER | {"train.batch_size": {"low": 16, "high": 64}})

    def drawn():
        sampler = sampler_for(name, space, 3)
        rounds = []
        for _ in range(3):
            rounds += sampler.ask(4)
            sampler.tell([1.0, math.nan, 0.5, 2.0])
        return rounds

    found = drawn()
    assert found == drawn()
    assert len({json.dumps(one) for one in found}) == 12
    for one in found:
        assert 1e-4 <= one["optimizer.learning_rate"] <= 0.1
        assert one["model.hidden"] in ([4], [8])
        assert isinstance(one["train.batch_size"], int)
        assert 16 <= one["train.batch_size"] <= 64


def test_tpe_without_optuna_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(OptionError, match=r"kilter\[sweep\]"):
        sampler_for("tpe", space_of(OVER), 0)


def test_ray_without_ray_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(OptionError, match=r"kilter\[ray\]"):
        kilter.search(small(), OVER, sampler="random", out=tmp_path, ray="auto", verbose=0)


def test_the_median_stops_what_is_worse_and_nothing_before_four_trials():
    curves = tuple(running_best(one, min) for one in ([3.0, 2.0], [3.0, 1.0], [9.0, 8.0], [4.0, 3.0]))
    assert curves[0] == (3.0, 2.0)

    class Model:
        stop_training = False

    def stopped(limits, losses):
        callback = limits.callback()
        callback.set_model(Model())
        for epoch, loss in enumerate(losses):
            callback.on_epoch_end(epoch, {"val_loss": loss})
        return callback.model.stop_training

    limits = Limits("val_loss", curves)
    assert stopped(limits, [9.0, 2.6])
    assert not stopped(limits, [2.0, 9.0])  # its best is good
    assert not stopped(limits, [3.0, 2.4])
    assert not stopped(Limits("val_loss", curves[:3]), [9.0, 9.0])
    for epoch, stops in ((1, False), (0, True)):  # it begins again before the last epoch that it had
        resumed = limits.callback([{"val_loss": 2.0}])
        resumed.set_model(Model())
        for later in range(epoch, 2):
            resumed.on_epoch_end(later, {"val_loss": 9.0})
        assert resumed.model.stop_training == stops


@pytest.mark.long
def test_a_search_goes_on_and_workers_do_not_matter(tmp_path):
    options = {"sampler": "random", "verbose": 0}
    one = kilter.search(small(), OVER, trials=3, workers=1, out=tmp_path / "one", **options)
    assert [trial.number for trial in one.trials] == [0, 1, 2]
    assert one.best.score == max(trial.score for trial in one.trials)
    assert one.recipe.optimizer.learning_rate == one.best.values["optimizer.learning_rate"]
    two = kilter.search(small(), OVER, trials=2, workers=2, out=tmp_path / "two", **options)
    assert [trial.score for trial in two.trials] == [trial.score for trial in one.trials[:2]]
    runs = {path: path.stat().st_mtime_ns for path in tmp_path.glob("two/*/*/model.keras")}
    longer = kilter.search(small(), OVER, trials=3, workers=1, out=tmp_path / "two", **options)
    assert [trial.score for trial in longer.trials] == [trial.score for trial in one.trials]
    assert all(path.stat().st_mtime_ns == before for path, before in runs.items())
    with pytest.raises(RunError, match="search"):
        kilter.search(small(3), OVER, trials=3, out=tmp_path / "two", **options)
