"""``learning_rate = "auto"`` and ``clip = "auto"``: measured once, then a recipe of numbers like others."""

import functools
import json

import numpy as np
import pytest

from kilter._tuning.clip_threshold import clip_threshold
from kilter._tuning.find_lr import find_lr
from kilter.errors import ModelError, RunError
from kilter.recipe import load_recipe, parse_recipe, with_overrides
from kilter.report import write_report
from kilter.runs import Interrupted, build, open_run, resume, train
from kilter.runs.build import prepare

from .conftest import SMALL
from .test_training import InterruptIn, _same_bits, _state, _weights, saving_every_epoch  # noqa: F401

AUTO = ["optimizer.learning_rate=auto", "optimizer.clip=auto", "train.batch_size=64"]


@pytest.fixture(scope="module")
def recipe():
    return with_overrides(parse_recipe(SMALL), AUTO)


@pytest.fixture(scope="module")
def tuned(recipe, tmp_path_factory):
    return train(recipe, parent=tmp_path_factory.mktemp("tuned"), verbose=0)


@pytest.fixture
def no_search(monkeypatch):
    def searched(*_, **__):
        raise AssertionError("a recipe of numbers was searched")

    monkeypatch.setattr(build, "find_lr", searched)
    monkeypatch.setattr(build, "clip_threshold", searched)


def test_the_run_keeps_the_numbers_and_what_they_were_read_from(tuned):
    resolved = load_recipe(tuned.path / "recipe.toml").optimizer
    found = open_run(tuned.path).found
    assert resolved.learning_rate == found["find_lr.json"]["suggestion"]
    assert resolved.global_clipnorm == found["clip_threshold.json"]["threshold"]
    assert resolved.clip is None
    optimizer = tuned.model.optimizer
    assert float(optimizer.learning_rate) == np.float32(resolved.learning_rate)
    assert optimizer.global_clipnorm == resolved.global_clipnorm


def test_they_are_what_the_public_functions_find(recipe, tuned):
    numbers = with_overrides(recipe, ["optimizer.learning_rate=0.5", "optimizer.clip=none"])
    prepared = prepare(numbers)
    model, rows = prepared.model, prepared.parts.train
    how = {"batch_size": 64, "seed": recipe.seed}
    found = find_lr(model, rows.x, rows.y, **how)
    model.optimizer.learning_rate = found.suggestion
    resolved = load_recipe(tuned.path / "recipe.toml").optimizer
    assert resolved.learning_rate == found.suggestion
    assert resolved.global_clipnorm == clip_threshold(model, rows.x, rows.y, **how).threshold


def test_a_replay_searches_no_more_and_gives_the_same_bits(tuned, tmp_path, no_search):
    again = train(load_recipe(tuned.path / "recipe.toml"), parent=tmp_path, verbose=0)
    assert _same_bits(_weights(again.path), _weights(tuned.path))
    assert _state(again.path) == _state(tuned.path)
    assert not open_run(again.path).found


@pytest.mark.long
def test_a_resumed_run_searches_no_more_and_gives_the_same_bits(
    recipe,
    tuned,
    tmp_path,
    saving_every_epoch,  # noqa: F811
    monkeypatch,
):
    with pytest.raises(Interrupted) as caught:
        train(recipe, parent=tmp_path, callbacks=[InterruptIn(2)], verbose=0)
    monkeypatch.setattr(build, "find_lr", None)
    resumed = resume(caught.value.path, verbose=0)
    assert _same_bits(_weights(resumed.path), _weights(tuned.path))
    assert _state(resumed.path) == _state(tuned.path)


def test_the_found_rate_is_the_peak_of_one_cycle(recipe, tuned):
    prepared = prepare(with_overrides(recipe, ["schedule.name=one_cycle", "optimizer.clip=none"]))
    assert prepared.found_rate is not None
    schedule = prepared.spec.schedule
    rates = [float(schedule(step)) for step in range(4 * -(-len(prepared.parts.train) // 64))]
    assert max(rates) == pytest.approx(prepared.found_rate.suggestion, rel=0.02)  # a whole step is the top
    assert prepared.found_rate.suggestion == load_recipe(tuned.path / "recipe.toml").optimizer.learning_rate


def test_class_weights_are_searched_with(recipe):
    plain, weighted = (
        prepare(with_overrides(recipe, ["optimizer.clip=none", *more]))
        for more in ([], ["train.class_weight={0 = 9.0}"])
    )
    assert plain.found_rate is not None
    assert weighted.found_rate is not None
    assert weighted.found_rate.first_loss > 1.2 * plain.found_rate.first_loss


def test_the_report_shows_both_pictures(tuned):
    page = write_report(tuned.path).read_text(encoding="utf-8")
    assert "Measured before training" in page
    assert "Learning rate <small>" in page
    assert "Clipping threshold" in page
    assert "suggestion " in page


def test_a_damaged_measurement_is_told(tuned, tmp_path):
    path = tmp_path / tuned.path.name
    path.mkdir()
    (path / "recipe.toml").write_bytes((tuned.path / "recipe.toml").read_bytes())
    (path / "find_lr.json").write_text(json.dumps({"lrs": [1.0]}))
    with pytest.raises(RunError, match=r"find_lr\.json as kilter wrote it"):
        write_report(path)


def test_a_search_that_fails_leaves_no_directory(recipe, tmp_path, monkeypatch):
    @functools.wraps(find_lr)  # what it takes is read from its signature
    def find_below(*data, **how):
        return find_lr(*data, **how, high=1e-6)

    monkeypatch.setattr(build, "find_lr", find_below)
    with pytest.raises(ModelError, match="by chance"):
        train(recipe, parent=tmp_path)
    assert not list(tmp_path.iterdir())
