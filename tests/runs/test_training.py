"""The main job: what it leaves behind is whole, true, replayable and resumable to the bit."""

import math
import os

import keras
import numpy as np
import pytest

from kilter.data import load, split
from kilter.errors import RunError
from kilter.recipe import load_recipe, with_overrides
from kilter.runs import Interrupted, Recorder, checkpoints, create_run, open_run, resume, train
from kilter.runs.best_epoch import Watch
from kilter.runs.reading import read_history

from .interrupting import InterruptIn


def _weights(path):
    return keras.saving.load_model(path / "model.keras", compile=False).get_weights()


def _same_bits(left, right):
    return len(left) == len(right) and all(
        a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True)
    )


def _without_time(path):
    return [(line.epoch, dict(line.logs), line.learning_rate) for line in read_history(path)]


def _state(path):
    found = checkpoints.latest(path)
    assert found is not None
    return {name: [np.asarray(value).tobytes() for value in group] for name, group in found.tree.items()}


@pytest.fixture
def saving_every_epoch(monkeypatch):
    """Checkpoints are due at once: small epochs end before the throttle would let one through."""
    monkeypatch.setattr(checkpoints.Throttle, "due", lambda self: True)


def test_the_directory_holds_what_the_design_lists(trained):
    names = {path.name for path in trained.path.iterdir()}
    assert {"recipe.toml", "environment.json", "history.jsonl", "model.keras", "checkpoints"} <= names
    assert "lock" not in names
    assert any(name.startswith("events.out.tfevents.") for name in names)
    records = open_run(trained.path)
    assert records.status == "finished"
    assert [line.epoch for line in records.history] == [0, 1, 2, 3]
    assert records.data is not None
    assert sum(records.data.rows.values()) == 1797
    assert records.environment["device"] == "cpu"


def test_the_saved_model_is_the_best_one_and_the_figures_are_its_own(trained):
    """An independent reading: Keras loads the file and evaluates it on a split made anew."""
    records = open_run(trained.path)
    assert records.result is not None
    values = [line.logs["val_loss"] for line in records.history]
    assert records.result.best_epoch == int(np.argmin(values))
    validation = split(load("digits"), validation=0.2, test=0.1, seed=3).validation
    assert validation is not None
    model = keras.saving.load_model(trained.path / "model.keras", compile=False)
    logits = model.predict(validation.x, verbose=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(validation.y, logits)
    assert float(loss) == pytest.approx(min(values), rel=1e-5)  # float32 sums in another order
    found = records.result.evaluations["validation"]
    counts = np.asarray(found.confusion)
    expected = np.zeros((10, 10), int)
    for label, answer in zip(validation.y, logits.argmax(-1), strict=True):
        expected[label, answer] += 1
    assert (counts == expected).all()
    assert found.metrics["accuracy"] == pytest.approx(counts.trace() / found.rows)
    assert _same_bits(trained.model.get_weights(), model.get_weights())


def test_training_the_resolved_recipe_again_gives_the_same_bits(trained, tmp_path):
    again = train(load_recipe(trained.path / "recipe.toml"), parent=tmp_path, verbose=0)
    assert _same_bits(_weights(again.path), _weights(trained.path))
    assert _without_time(again.path) == _without_time(trained.path)
    assert _state(again.path) == _state(trained.path)
    assert (again.path / "recipe.toml").read_bytes() == (trained.path / "recipe.toml").read_bytes()


def test_ctrl_c_keeps_the_best_and_a_resume_gives_the_bits_of_an_uninterrupted_run(
    recipe, trained, tmp_path, saving_every_epoch
):
    with pytest.raises(Interrupted, match="kilter resume") as caught:
        train(recipe, parent=tmp_path, callbacks=[InterruptIn(2)], verbose=0)
    path = caught.value.path
    records = open_run(path)
    assert records.status == "interrupted"
    assert records.result is not None
    assert len(records.history) == 2
    assert f"epoch {records.result.best_epoch + 1}" in str(caught.value)
    before = [line.logs["val_loss"] for line in records.history]
    assert records.result.best_epoch == int(np.argmin(before))
    result = resume(path, verbose=0)
    assert result.result.status == "finished"
    assert _without_time(path) == _without_time(trained.path)
    assert _state(path) == _state(trained.path)
    assert _same_bits(_weights(path), _weights(trained.path))
    with pytest.raises(RunError, match="finished"):
        resume(path)


def test_a_run_killed_before_its_first_checkpoint_starts_again(recipe, trained, tmp_path):
    """What a killed process leaves: some lines, no result, no checkpoint (they are throttled)."""
    with create_run(tmp_path, "small", recipe_text=(trained.path / "recipe.toml").read_text()) as run:
        for line in read_history(trained.path)[:2]:
            run.record_epoch(line)
    resume(run.path, verbose=0)
    assert _without_time(run.path) == _without_time(trained.path)
    assert _same_bits(_weights(run.path), _weights(trained.path))


def test_a_resume_with_other_data_is_refused(trained, tmp_path):
    text = (trained.path / "recipe.toml").read_text().replace("seed = 3", "seed = 4")
    data = open_run(trained.path).data
    assert data is not None
    with create_run(tmp_path, "small", recipe_text=text) as run:
        run.write_data(data)  # the rows of seed 3; seed 4 draws others
    with pytest.raises(RunError, match="other rows"):
        resume(run.path)


def test_a_full_disk_stops_the_run_and_leaves_it_resumable(recipe, trained, tmp_path, monkeypatch):
    class Fill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                monkeypatch.setattr(os, "fsync", _no_room)

    def _no_room(descriptor):
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="free some space"):
        train(recipe, parent=tmp_path, callbacks=[Fill()], verbose=0)
    monkeypatch.undo()
    (path,) = tmp_path.iterdir()
    assert [line.epoch for line in read_history(path)] == [0, 1]
    assert not list(path.glob(".*")), "no temporary file is left"
    resume(path, verbose=0)
    assert _same_bits(_weights(path), _weights(trained.path))


def test_an_error_of_a_callback_is_told_and_the_run_is_marked(recipe, tmp_path):
    class Broken(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ZeroDivisionError("in a callback")

    with pytest.raises(ZeroDivisionError):
        train(recipe, parent=tmp_path, callbacks=[Broken()], verbose=0)
    (path,) = tmp_path.iterdir()
    records = open_run(path)
    assert records.status == "failed"
    assert records.result is not None
    assert "in a callback" in records.result.reason


def test_early_stopping_ends_the_run_and_keeps_the_best(recipe, tmp_path):
    stopping = with_overrides(
        recipe,
        [
            "train.epochs=50",
            "optimizer.learning_rate=1.0",
            "train.early_stopping={patience = 2, monitor = 'val_accuracy'}",
        ],
    )
    result = train(stopping, parent=tmp_path, verbose=0)
    values = [line.logs["val_accuracy"] for line in read_history(result.path)]
    assert result.result.reason == "patience"
    assert len(values) == int(np.argmax(values)) + 3 < 50
    assert result.result.evaluations["validation"].metrics["accuracy"] == pytest.approx(max(values))


def test_the_recorder_serves_keras_own_fit_too(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(32, 2)).astype("float32")
    with create_run(tmp_path, "keras") as run:
        model.fit(x, x[:, :1], epochs=3, verbose=0, callbacks=[Recorder(run, Watch("loss", "min"))])
    assert [line.epoch for line in read_history(run.path)] == [0, 1, 2]
    assert math.isclose(read_history(run.path)[0].learning_rate or 0, 0.01, rel_tol=1e-6)
    assert _same_bits(_weights(run.path), model.get_weights())


def test_what_a_callback_has_stopped_stays_so_when_killed_before_the_result(recipe, tmp_path):
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", epoch == 1)
    )
    path = train(recipe, parent=tmp_path, callbacks=[stop], verbose=0).path
    for _ in range(2):
        (path / "result.json").unlink()
        assert resume(path, callbacks=[stop], verbose=0).result.epochs == 2
    assert resume(path, epochs=4, verbose=0).result.epochs == 4
