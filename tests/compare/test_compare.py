"""Whole comparisons: the same numbers from any number of workers, and from one that was stopped."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from kilter._compare.compare import compare
from kilter._compare.workers import cores
from kilter._fit import fit
from kilter.errors import ModelError, OptionError, RecipeError, RunError
from kilter.recipe import load_recipe
from kilter.runs import Interrupted, train
from kilter.runs.reading import open_run

from .functions_of_test import diverging, dying, narrow, uncompiled, unseeded


@pytest.fixture(scope="module")
def pair(recipe_of):
    return {"plain": recipe_of(), "tanh": recipe_of(model={"activation": "tanh"})}


@pytest.fixture(scope="module")
def stopped(pair, tmp_path_factory):
    """A comparison stopped after its first run, and what was said."""
    folder = tmp_path_factory.mktemp("stopped")

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        compare(pair, pairs=2, seed=3, out=folder, workers=1, progress=stop)
    return folder, str(caught.value)


@pytest.fixture(scope="module")
def continued(pair, stopped):
    """The same one, gone on with."""
    told = []
    found = compare(pair, pairs=2, seed=3, out=stopped[0], workers=min(2, len(cores())), progress=told.append)
    return found, told


@pytest.fixture(scope="module")
def alone(pair, tmp_path_factory):
    """The same comparison by one worker, without a stop."""
    return compare(pair, pairs=2, seed=3, out=tmp_path_factory.mktemp("alone"), workers=1)


def numbers(comparison):
    """All of it but times and places."""
    return [
        [(run.seed, run.score, run.best_epoch, run.history) for run in candidate.runs]
        for candidate in comparison.candidates
    ]


@pytest.mark.long
def test_no_number_depends_on_workers_or_stops(continued, alone):
    assert numbers(continued[0]) == numbers(alone)
    assert [replace(one, candidate="") for one in continued[0].differences] == [
        replace(one, candidate="") for one in alone.differences
    ]


@pytest.mark.long
def test_a_stop_says_how_to_go_on_and_keeps_what_is_finished(stopped, continued):
    folder, said = stopped
    assert said.startswith("Stopped after 1 of 4 runs")
    assert str(folder) in said
    assert [told.done for told in continued[1]] == [2, 3, 4]
    assert {told.total for told in continued[1]} == {4}
    assert continued[1][-1].seconds_left is None


def test_seeds_are_paired_and_rows_are_the_same(alone):
    for candidate in alone.candidates:
        assert [run.seed for run in candidate.runs] == [3, 4]
        for run in candidate.runs:
            recipe = load_recipe(Path(run.path, "recipe.toml"))
            assert (recipe.seed, recipe.data.split_seed) == (run.seed, 3)
    digests = {
        open_run(Path(run.path)).data.sha256 for candidate in alone.candidates for run in candidate.runs
    }
    assert len(digests) == 1
    assert numbers(alone)[0][0] != numbers(alone)[0][1]


def test_the_score_is_that_of_the_best_weights(alone):
    run = alone.candidates[1].runs[0]
    records = open_run(Path(run.path))
    assert alone.metric == "val_accuracy"
    assert run.score == records.result.evaluations["validation"].metrics["accuracy"]
    assert run.score == pytest.approx(run.history[run.best_epoch]["val_accuracy"])


def test_a_run_is_the_one_that_train_gives(alone, tmp_path):
    run = alone.candidates[0].runs[0]
    again = train(load_recipe(Path(run.path, "recipe.toml")), parent=tmp_path, verbose=0)
    # This process may use more than one core, whose sums are ordered otherwise: rounding apart the same.
    for old, new in zip(run.history, open_run(again.path).history, strict=True):
        assert dict(new.logs) == pytest.approx(dict(old), rel=1e-3)


def test_all_is_written_down(alone):
    folder = Path(alone.path)
    assert json.loads((folder / "comparison.json").read_text())["candidates"][0]["name"] == "plain"
    assert not (folder / "lock").exists()
    assert load_recipe(folder / "tanh" / "asked.txt").model.activation == "tanh"


def test_what_is_finished_is_not_trained_again_and_any_metric_can_be_asked_of_it(pair, alone):
    told = []
    again = compare(
        pair, pairs=2, seed=3, out=alone.path, metric="test_loss", workers=1, progress=told.append
    )
    assert told == []
    assert (again.metric, again.direction) == ("test_loss", "min")
    run = again.candidates[0].runs[1]
    assert run.score == open_run(Path(run.path)).result.evaluations["test"].metrics["loss"]
    with pytest.raises(OptionError, match="did you mean 'val_accuracy'"):
        compare(pair, pairs=2, seed=3, out=alone.path, metric="val_acuracy")


def test_a_folder_of_other_recipes_is_refused(pair, recipe_of, alone):
    longer = recipe_of(model={"activation": "tanh"}, train={"epochs": 3})
    with pytest.raises(RunError, match=r"epochs = 2.* there, .*epochs = 3"):
        compare(pair | {"tanh": longer}, pairs=2, seed=3, out=alone.path)
    with pytest.raises(RunError, match="split_seed"):
        compare(pair, pairs=2, seed=4, out=alone.path)


def test_other_rows_than_before_are_found_out(pair, alone, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(alone.path, folder)
    data = next((folder / "tanh" / "seed-4").glob("*/data.json"))
    data.write_text(data.read_text().replace('"sha256": "', '"sha256": "0'))
    (data.parent / "checksums.json").unlink()
    with pytest.raises(RunError, match="different rows in"):
        compare(pair, pairs=2, seed=3, out=folder)


def test_a_recipe_that_cannot_be_trained_is_refused_before_anything_is_written(recipe_of, tmp_path):
    bad = {"plain": recipe_of(), "misspelt": recipe_of(train={"early_stopping": {"monitor": "val_acuracy"}})}
    with pytest.raises(RecipeError, match="did you mean 'val_accuracy'"):
        compare(bad, out=tmp_path / "new", workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_functions_are_trained_by_workers_as_in_this_process(arrays, tmp_path):
    def here(seed):
        return narrow(seed)

    def dropping_here(seed):
        return unseeded(seed)

    options = {"epochs": 3, "batch_size": 32}
    remote = compare(
        {"a": narrow, "b": unseeded}, arrays, fit=options, pairs=2, out=tmp_path / "1", workers=1
    )
    local = compare({"a": here, "b": dropping_here}, arrays, fit=options, pairs=2, out=tmp_path / "2")
    assert (remote.metric, local.metric) == ("val_loss", "val_loss")
    for one, other in zip(remote.candidates, local.candidates, strict=True):
        assert one.scores == pytest.approx(other.scores, rel=1e-5)
        assert one.runs[0].score != one.runs[1].score
        assert one.runs[0].score == min(epoch["val_loss"] for epoch in one.runs[0].history)


def test_a_function_is_trained_as_kilter_fit_does(arrays, tmp_path):
    x, y, x_val, y_val = arrays
    both = {"a": lambda seed: unseeded(seed), "b": unseeded}
    found = compare(both, arrays, pairs=2, seed=4, out=tmp_path, fit={"epochs": 2})
    keras.utils.set_random_seed(5)
    history = fit(unseeded(5), x, y, validation_data=(x_val, y_val), epochs=2, seed=5, verbose=0)
    assert found.candidates[0].scores[1] == min(history.history["val_loss"])
    assert found.candidates[0].scores == found.candidates[1].scores
    assert found.differences[0].p == 1.0


def test_a_run_that_diverges_counts_as_worst(arrays, tmp_path):
    found = compare({"a": lambda seed: narrow(seed), "b": diverging}, arrays, pairs=2, out=tmp_path)
    assert all(run.diverged and run.best_epoch is None for run in found.candidates[1].runs)
    assert found.differences[0].differences == (-np.inf,) * 2


@pytest.mark.parametrize("function", [uncompiled, lambda seed: keras.Sequential, lambda seed: None])
def test_a_function_that_gives_no_compiled_model(function, arrays, tmp_path):
    with pytest.raises(ModelError, match=r"a compiled keras\.Model"):
        compare({"a": lambda seed: function(seed), "b": function}, arrays, out=tmp_path, pairs=2)


def test_a_worker_that_dies_is_told_with_its_last_words(arrays, tmp_path):
    with pytest.raises(RunError, match="what it prints before it dies"):
        compare({"a": dying, "b": narrow}, arrays, pairs=2, out=tmp_path, workers=1)


def test_ctrl_c_ends_a_wait_although_polars_has_a_handler():
    """Its handler makes the system restart waits, so that Python looks at no signal before they end."""
    program = """
import functools, polars, time
from kilter._compare.workers import Workers
polars.DataFrame({"a": [1]}).lazy().filter(polars.col("a") > 0).collect()
with Workers([None]) as workers:
    for _ in workers.results([functools.partial(time.sleep, seconds) for seconds in (0, 60)]):
        print("ready", flush=True)  # the worker has started, and the wait for the second task follows
"""
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in said
    assert "resource_tracker" not in said
